//! What a connection of the kubelet costs while it is observed, and what one of another process does; and
//! how far its times are from those of both sides.

mod asker;
mod clocks;

use std::fs;
use std::net::SocketAddr;

use agent::bpf::{
    kubelet::{By, Whose},
    load,
    ring::Rings,
    survey::Survey,
};
use agent::cgroup::CgroupId;
use anyhow::{Context as _, Result, anyhow, ensure};
use testbed::cgroup::{self, Cgroup};

use self::asker::Asker;
use self::clocks::Server;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, three};

pub(super) const HOW: &str = "A request and its answer over loopback, a connection for each, by a \
    process in the kubelet's cgroup and by one in another, in turn; the agent's own programs are loaded \
    in this process. The programs' time is what the kernel has taken down for all of them \
    (kernel.bpf_stats_enabled), both ends of the connection included. Where others share the kubelet's \
    cgroup, as with k3s, those are told by their short name. The agent's times are compared with the \
    same spans by the clocks of who asked and of the server, connection by connection.";

/// File that turns the kernel's time-keeping of programs on.
const STATS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// Short name of the kubelet's process, and that of another.
const NAMES: [&str; 2] = ["kubelet", "other"];

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    ensure!(!args.cgroup_root.exists(), "{} exists already", args.cgroup_root.display());
    let root = Cgroup::make(&args.cgroup_root)?;
    let (kubelet, other) = (root.child("kubelet")?, root.child("other")?);
    let server = Server::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start a runtime")?;
    let mut lines = Vec::new();
    for (by, net_admin) in [("the kubelet's cgroup", true), ("the tracepoint", false)] {
        let mut survey = Survey::of_this_process()?;
        survey.facts.capabilities.net_admin &= net_admin;
        let id = CgroupId(cgroup::id(kubelet.dir())?);
        let asks = |cgroup, comm| Asker { cgroup, comm };
        let [own, others] = NAMES;
        for shared in [false, true] {
            let (mut programs, rings) = load::load(&survey, 0)?;
            // The runtime must be there when the rings are registered with it.
            let mut rings = runtime.block_on(async { Rings::new(rings) })?;
            let comm = if shared { name(own) } else { [0; 16] };
            let whose = Whose { directory: kubelet.dir(), cgroup: id, comm };
            let watching =
                programs.watch_kubelet(&whose, None).map_err(|refusal| anyhow!(refusal.why))?;
            let wanted = if net_admin { By::SockOps } else { By::Tracepoint };
            ensure!(watching.by == wanted, "observed by the other way: {}", watching.why);
            if shared {
                let askers = [asks(&kubelet, own), asks(&kubelet, others), asks(&other, others)];
                lines.push(shared_costs(args, by, server.address(), askers, &mut rings)?);
            } else {
                let askers = [asks(&kubelet, own), asks(&other, others)];
                lines.extend(costs(args, by, server.address(), askers, &mut rings)?);
                lines.extend(clocks::measure(args, by, &server, askers[0], &mut rings)?);
            }
        }
    }
    Ok(lines)
}

/// A short name as the kernel has it.
fn name(text: &str) -> [u8; 16] {
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(text.bytes()) {
        *to = from;
    }
    name
}

fn costs(
    args: &Args,
    by: &str,
    server: SocketAddr,
    askers: [Asker<'_>; 2],
    rings: &mut Rings,
) -> Result<Vec<Line>> {
    let rounds = args.pick(20, 3);
    let connections = args.pick(2000, 500);
    let mut times = [Series::default(), Series::default()];
    for _ in 0..rounds {
        for (asker, times) in askers.iter().zip(&mut times) {
            times.push(asker.connect(server, connections, rings)?.0.median());
        }
    }
    let [kubelet, other] = &times;
    let [kubelet_us, other_us] = programs_us(server, askers, connections, rings)?;
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

/// What a neighbour in the kubelet's cgroup pays, beside the kubelet and a process elsewhere.
fn shared_costs(
    args: &Args,
    by: &str,
    server: SocketAddr,
    askers: [Asker<'_>; 3],
    rings: &mut Rings,
) -> Result<Line> {
    let all = programs_us(server, askers, args.pick(2000, 500), rings)?;
    let [kubelet, neighbour, other] = all.map(three);
    let line = Line::new(
        format!("by {by}, shared: the programs' time for a connection of a neighbour in it"),
        format!("{neighbour} µs"),
    );
    Ok(line.peer(format!("{kubelet} µs (of the kubelet), {other} µs (of another cgroup)")))
}

/// The programs' time for a connection of each, µs.
fn programs_us<const N: usize>(
    server: SocketAddr,
    askers: [Asker<'_>; N],
    connections: u32,
    rings: &mut Rings,
) -> Result<[f64; N]> {
    let mut all_us = [0.0; N];
    for (asker, us) in askers.iter().zip(&mut all_us) {
        *us = with_stats(|| {
            let before = programs_ns()?;
            asker.connect(server, connections, rings)?;
            Ok((programs_ns()? - before) as f64 / f64::from(connections) / 1e3)
        })?;
    }
    Ok(all_us)
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
