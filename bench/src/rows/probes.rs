//! What a connection of the kubelet costs while it is observed, and what one of another process does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;

use agent::bpf::{
    kubelet::{By, Whose},
    load,
    survey::Survey,
};
use agent::cgroup::CgroupId;
use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::cgroup::{self, Cgroup};

use crate::connect::{ANSWER, Round};
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, three};

pub(super) const HOW: &str = "A request and its answer over loopback, a connection for each, by a \
    process in the kubelet's cgroup and by one in another, in turn; the agent's own programs are loaded \
    in this process. The programs' time is what the kernel has taken down for all of them \
    (kernel.bpf_stats_enabled), both ends of the connection included.";

/// File that turns the kernel's time-keeping of programs on.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    ensure!(!args.cgroup_root.exists(), "{} exists already", args.cgroup_root.display());
    let root = Cgroup::make(&args.cgroup_root)?;
    let (kubelet, other) = (root.child("kubelet")?, root.child("other")?);
    let server = serve()?;
    let mut lines = Vec::new();
    for (by, net_admin) in [("the kubelet's cgroup", true), ("the tracepoint", false)] {
        let mut survey = Survey::of_this_process()?;
        survey.facts.capabilities.net_admin &= net_admin;
        let (mut programs, _rings) = load::load(&survey, 0)?;
        let id = CgroupId(cgroup::id(kubelet.dir())?);
        let whose = Whose { directory: kubelet.dir(), cgroup: id, comm: [0; 16] };
        let watching =
            programs.watch_kubelet(&whose, None).map_err(|refusal| anyhow!(refusal.why))?;
        let wanted = if net_admin { By::SockOps } else { By::Tracepoint };
        ensure!(watching.by == wanted, "observed by the other way: {}", watching.why);
        lines.extend(costs(args, by, server, [&kubelet, &other])?);
    }
    Ok(lines)
}

/// A server that answers each connection, until this process ends.
fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listening")?;
    let address = listener.local_addr().context("the server's address")?;
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 512];
            // One that has gone is no one's fault.
            let _ = stream.read(&mut head).and_then(|_| stream.write_all(ANSWER));
            let _ = stream.read(&mut head);
        }
    });
    Ok(address)
}

fn costs(args: &Args, by: &str, server: SocketAddr, cgroups: [&Cgroup; 2]) -> Result<Vec<Line>> {
    let rounds = args.pick(20, 3);
    let connections = args.pick(2000, 500);
    let mut times = [Series::default(), Series::default()];
    for _ in 0..rounds {
        for (cgroup, times) in cgroups.iter().zip(&mut times) {
            times.push(connect(cgroup, server, connections)?.median_ns / 1e9);
        }
    }
    let mut programs_us = [0.0; 2];
    for (cgroup, us) in cgroups.iter().zip(&mut programs_us) {
        *us = with_stats(|| {
            let before = programs_ns()?;
            connect(cgroup, server, connections)?;
            Ok((programs_ns()? - before) as f64 / f64::from(connections) / 1e3)
        })?;
    }
    let [kubelet, other] = &times;
    let [kubelet_us, other_us] = programs_us;
    let us = |seconds: f64| format!("{} µs", three(seconds * 1e6));
    Ok(vec![
        Line::new(
            format!("by {by}: the programs' time for a connection"),
            format!("{} µs", three(kubelet_us)),
        )
        .peer(format!("{} µs (of another process)", three(other_us)))
        .goal("≤ 10 µs", Verdict::goal(kubelet_us <= 10.0)),
        Line::new(
            format!("by {by}: a connection with its request and answer"),
            us(kubelet.median()),
        )
        .peer(format!("{} (of another process)", us(other.median())))
        .ratio(kubelet.median() / other.median()),
    ])
}

/// Has a process in this cgroup connect so often.
fn connect(cgroup: &Cgroup, server: SocketAddr, connections: u32) -> Result<Round> {
    let exe = std::env::current_exe().context("this program")?;
    let output = Command::new(exe)
        .args(["connect", &server.to_string(), &connections.to_string()])
        .arg(cgroup.dir())
        .stdin(Stdio::null())
        .output()
        .context("start a process that connects")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    said.trim().parse()
}

/// Runs `work` while the kernel keeps the time of programs.
fn with_stats<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = fs::read_to_string(STATS).with_context(|| format!("read {STATS}"))?;
    fs::write(STATS, "1").with_context(|| format!("write {STATS}"))?;
    let result = work();
    fs::write(STATS, before.trim()).with_context(|| format!("write {STATS}"))?;
    result
}

/// Time that the programs of this process have taken so far, as its descriptors tell.
fn programs_ns() -> Result<u64> {
    let folder = fs::read_dir("/proc/self/fdinfo").context("read /proc/self/fdinfo")?;
    let mut sum = 0;
    for entry in folder {
        // The descriptor of the folder itself is gone by now.
        let text = fs::read_to_string(entry.context("a descriptor")?.path()).unwrap_or_default();
        let time = text.lines().find_map(|line| line.strip_prefix("run_time_ns:"));
        sum += time.and_then(|time| time.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}
