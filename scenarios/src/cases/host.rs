//! The agent and its host: two agents, no privileges, a host without Kubernetes, the demo.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use testbed::agent::scrape;
use testbed::catalogue::{self, Family};
use testbed::cgroup::Cgroup;
use testbed::child::Child;

use super::common::{Case, born_at_zero, ended_once};
use super::kernel::tabulate;
use crate::agent::{Plan, Watch};
use crate::compared::Compared;
use crate::context::Context;
use crate::host::Need;
use crate::process::Spawn;
use crate::signal::{HAND, RUNTIME};

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("second-agent-same-port", same_port),
    || Case::new("second-agent-other-port", other_port).alone(),
    || Case::new("agent-in-host-mode", host_mode).alone(),
    || Case::new("units-in-host-mode", units).alone(),
    || Case::new("agent-on-the-demo", demo).needs(&[Need::Cpu, Need::Memory, Need::Pids]).alone(),
];

/// It says what is wrong, and leaves.
fn same_port(context: &Context) -> Result<String> {
    let mut second = context.plan.spawn(&context.node, context.address)?;
    let status = second.wait_exit(context.timeout() * 2)?;
    ensure!(!status.success(), "a second agent at a port in use ended with {status}");
    // Both agents' logs are one file: the port is theirs in common.
    let log = second.log()?;
    let port = context.address.port().to_string();
    let clear = log
        .lines()
        .find(|line| line.contains(&port) && line.to_ascii_lowercase().contains("in use"))
        .context("no line in the agent's log that names the port and says that it is in use")?;
    context.scrape().context("the first agent does not answer any more")?;
    Ok(clear.trim().to_owned())
}

/// Two agents see the same, also the second, which comes to the container later, and from a PID
/// namespace that shows it nobody.
fn other_port(context: &Context) -> Result<String> {
    let pod = context.node.pod("second-agent-other-port")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle", "--term-ms", "100"], context.timeout())?;
    let plan = Plan { pid_namespace: true, ..context.plan.clone() };
    let mut second = plan.start(&context.node, context.timeout() * 2)?;
    let both = |check: &dyn Fn(&testbed::scrape::Scrape) -> Result<f64>| -> Result<[f64; 2]> {
        Ok([
            context.eventually(check)?,
            context.eventually(|_| check(&scrape(second.address(), context.timeout())?))?,
        ])
    };
    both(&|s| born_at_zero(s, &container.key).map(|()| 0.0))?;
    context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    let [one, two] = both(&|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    // Each agent has programs of its own, which run one after the other and may be preempted.
    ensure!((one - two).abs() < 0.05, "the agents say {one} s and {two} s");
    let status = second.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the second agent with {status}");
    Ok(format!("both agents {one:.4} s"))
}

/// Every container is a unit under its path.
fn host_mode(context: &Context) -> Result<String> {
    let pod = context.node.pod("agent-in-host-mode")?;
    let mut container = pod.container("app")?;
    let watch = Watch { mode: "host", ..Watch::from(&context.node) };
    let mut agent = context.plan.start(watch, context.timeout() * 2)?;
    container.start(&["--on-term", "handle", "--term-ms", "200"], context.timeout())?;
    let path = container.dir.strip_prefix(context.node.root()).context("not below the root")?;
    let (path, name) =
        (path.to_string_lossy().into_owned(), format!("cri-containerd-{}.scope", container.id));
    let labels = [("namespace", "host"), ("pod", &*path), ("container", &*name)];
    context.eventually_at(agent.address(), |s| {
        s.sum("container_info", &labels).context("the unit is not shown")
    })?;
    // A hand's SIGTERM counts as well: systemd's is no runtime's.
    let sent_ns = context.signal(&HAND, &container, Signal::SIGTERM)?;
    let ended = container.wait(context.timeout())?;
    let told = context.eventually_at(agent.address(), |s| {
        s.sum("container_last_shutdown_seconds", &labels).context("no shutdown")
    })?;
    let compared = Compared::new(told, sent_ns, ended.at_ns).check()?;
    let status = agent.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    Ok(compared.to_string())
}

/// A service whose main process comes after another, and one whose main process forks and leaves.
fn units(context: &Context) -> Result<String> {
    let watch = Watch { mode: "host", ..Watch::from(&context.node) };
    let mut agent = context.plan.start(watch, context.timeout() * 2)?;
    let slice = Cgroup::make(context.node.root().join("system.slice"))?;
    let timeout = context.timeout();
    let mut compared = Vec::new();
    for (name, forks) in [("prepared.service", false), ("forking.service", true)] {
        let unit = slice.child(name)?;
        let start = |args: &[&str]| {
            let args = ["work"].iter().chain(args).copied();
            Spawn::scenarios(args).cgroup(unit.dir()).start()
        };
        let works = ["--on-term", "handle", "--term-ms", "200"];
        let mut before = if forks {
            start(&[&works[..], &["--daemonize"]].concat())?
        } else {
            start(&["--exit-after-ms", "20"])?
        };
        let main = if forks { Some(before.left_behind(timeout)?) } else { None };
        before.expect_line("ready", timeout)?;
        before.end_ns(timeout)?;
        before.reap()?;
        let main = match main {
            Some(daemon) => daemon,
            None => {
                let mut main = start(&works)?;
                main.expect_line("ready", timeout)?;
                main
            }
        };
        context.pause(Duration::from_millis(500));
        let labels = [("namespace", "host"), ("container", name)];
        context.eventually_at(agent.address(), |s| {
            s.sum("container_info", &labels).context("the unit is not shown")?;
            let ends = s.sum("terminations_total", &labels);
            ensure!(ends.unwrap_or_default() == 0.0, "{name} has ended: {ends:?}");
            Ok(())
        })?;
        let sent = HAND.send(main.pid(), &[Signal::SIGTERM], timeout)?;
        let ended_ns = main.end_ns(timeout)?;
        let told = context.eventually_at(agent.address(), |s| {
            let ends = s.sum("terminations_total", &labels);
            ensure!(ends == Some(1.0), "{name} has ended: {ends:?}");
            s.sum("container_last_shutdown_seconds", &labels).context("no shutdown")
        })?;
        let sent_ns = *sent.first().context("no time reported")?;
        compared.push(Compared::new(told, sent_ns, ended_ns).check()?.to_string());
    }
    let status = agent.stop(timeout)?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    Ok(compared.join(", "))
}

/// The demo shows every family of the catalogue, its OOM kills included.
fn demo(context: &Context) -> Result<String> {
    let log_dir = context.plan.dir.join("demo");
    fs::create_dir(&log_dir).with_context(|| format!("making {}", log_dir.display()))?;
    let ready = context.plan.dir.join("demo-ready");
    let mut demo = Command::new(&context.plan.path);
    demo.arg("demo")
        .arg("--cgroup.root")
        .arg(context.node.root())
        .arg("--log-dir")
        .arg(&log_dir)
        .arg("--ready-file")
        .arg(&ready)
        .stdout(Stdio::null());
    let mut demo = Child::spawn("the demo", &mut demo)?;
    let root = context.eventually(|_| {
        let line = fs::read_to_string(&ready).context("the demo is not ready")?;
        let root = line.split_whitespace().find_map(|word| word.strip_prefix("cgroup_root="));
        root.map(PathBuf::from).context("the demo names no cgroup_root")
    })?;
    let watch =
        Watch { mode: "kubernetes", source: "auto", root: &root, log_dir: &log_dir, kubelet: None };
    let mut agent = context.plan.start(watch, context.timeout() * 2)?;

    let catalogue = catalogue::read(&context.plan.path)?;
    let families: Vec<_> = catalogue.iter().filter(|family| context.host.shows(family)).collect();
    ensure!(families.len() > 50, "the catalogue has {} families for this host", families.len());
    let patience = context.timeout() * 6;
    context.eventually_within(patience, |_| {
        let scrape = scrape(agent.address(), context.timeout())?;
        let is_missing = |family: &&&Family| !scrape.has_family(&family.name, &family.kind);
        let missing: Vec<_> = families.iter().filter(is_missing).map(|it| &it.name).collect();
        ensure!(missing.is_empty(), "not shown: {missing:?}");
        let hungry = [("workload", "hungry-0"), ("scope", "container"), ("victim", "init")];
        let ooms = scrape.sum("oom_events_total", &hungry).unwrap_or_default();
        ensure!(ooms > 0.0, "no OOM kill of the hungry container");
        let by_release =
            |it: &&Family| it.needs.iter().any(|it| matches!(it, catalogue::Need::Linux(_)));
        for Family { name, kind, .. } in catalogue.iter().filter(by_release) {
            let cell = if scrape.has_family(name, kind) { "yes" } else { "no" };
            tabulate(&format!("`{name}`"), cell);
        }
        Ok(())
    })?;
    let status = agent.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    demo.terminate(context.timeout())?.context("the demo goes on after SIGTERM")?;
    ensure!(!root.exists(), "the demo left {}", root.display());
    Ok(format!("{} families", families.len()))
}
