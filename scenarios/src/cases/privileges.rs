//! What the agent may do: without capabilities, and with none effective while it serves.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use testbed::agent::{Agent, scrape};
use testbed::scrape::Scrape;

use super::common::{Case, WALKS_AT_START, ended_once};
use crate::agent::{Plan, Watch, walks};
use crate::context::Context;
use crate::signal::RUNTIME;

/// The user of a Pod that is not root.
const NOBODY: u32 = 65534;
/// How often an agent without events looks around.
const RESCAN: Duration = Duration::from_secs(10);

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("agent-without-capabilities", without_capabilities).alone(),
    || Case::new("agent-with-none-effective", none_effective).alone(),
];

/// Nothing can be loaded: it says so, serves what the files say, and looks around. An agent that is
/// told of all cgroups does not, though it has no cgroup iterator.
fn without_capabilities(context: &Context) -> Result<String> {
    let pod = context.node.pod("agent-without-capabilities")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle"], context.timeout())?;
    let files = Watch { source: "files", ..Watch::from(&context.node) };
    let mut sighted = context.plan.start(files, context.timeout() * 2)?;
    let since = Instant::now();
    let plan = Plan { user: NOBODY, capabilities: false, ..context.plan.clone() };
    let mut agent = plan.start(&context.node, context.timeout() * 2)?;
    let cpu = context.eventually_at(agent.address(), |s| {
        s.of(&container.key).value("container_cpu_usage_seconds_total", &[])
    })?;
    let scrape = scrape(agent.address(), context.timeout())?;
    let attached = scrape.sum("program_attached", &[]).context("no program_attached")?;
    ensure!(attached == 0.0, "{attached} programs are attached without a capability");
    let log = agent.log()?;
    ensure!(log.contains("CAP_BPF"), "the log does not name what is missing");
    let before = scrape.sum("cgroups_tracked", &[]).context("no cgroups_tracked")?;

    // Without events, the end of a container is found by looking.
    context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    context.eventually_within(RESCAN + context.timeout(), |_| {
        let scrape = self::scrape(agent.address(), context.timeout())?;
        let now = scrape.sum("cgroups_tracked", &[]).context("no cgroups_tracked")?;
        ensure!(now < before, "the removed cgroup is still counted");
        Ok(())
    })?;
    // The agent's own clock, however slow the machine is.
    std::thread::sleep((RESCAN + Duration::from_secs(2)).saturating_sub(since.elapsed()));
    let looked = |agent: &Agent| walks(agent.address(), context.timeout());
    let (by_sighted, by_blind) = (looked(&sighted)?, looked(&agent)?);
    ensure!(by_blind > WALKS_AT_START, "{by_blind} walks without events");
    ensure!(by_sighted == WALKS_AT_START, "{by_sighted} walks without an iterator");
    for agent in [&mut agent, &mut sighted] {
        let status = agent.stop(context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
    }
    Ok(format!(
        "CPU time {cpu:.4} s from the files alone, {by_blind} walks; {by_sighted} with events"
    ))
}

/// `CAP_NET_ADMIN`, `CAP_PERFMON` and `CAP_BPF` (include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 12 | 1 << 38 | 1 << 39;

/// While it serves, no capability is effective, and only those that attaching again needs can be
/// raised: also for root, who began with all. Containers that were there before and that come later
/// are followed all the same, which takes calls that old kernels refuse without a capability.
fn none_effective(context: &Context) -> Result<String> {
    let pod = context.node.pod("agent-with-none-effective")?;
    let work = ["--on-term", "handle", "--term-ms", "100"];
    let mut older = pod.container("older")?;
    older.start(&work, context.timeout())?;
    let mut agents = Vec::new();
    for user in [0, NOBODY] {
        let plan = Plan { user, ..context.plan.clone() };
        let agent = plan.start(&context.node, context.timeout() * 2)?;
        check_sets(user, &agent).with_context(|| format!("user {user}, at rest"))?;
        agents.push((user, agent));
    }
    let mut younger = pod.container("younger")?;
    younger.start(&work, context.timeout())?;
    for container in [&mut older, &mut younger] {
        for (_, agent) in &agents {
            context.eventually_at(agent.address(), |s| {
                s.of(&container.key).value("container_info", &[])
            })?;
        }
        context.signal(&RUNTIME, container, Signal::SIGTERM)?;
        container.wait(context.timeout())?;
        container.remove_cgroup()?;
        for (user, agent) in &agents {
            let shutdown = |s: &Scrape| {
                let view = s.of(&container.key);
                ended_once(&view, "completed")?;
                view.value("container_last_shutdown_seconds", &[])
            };
            context
                .eventually_at(agent.address(), shutdown)
                .with_context(|| format!("user {user}"))?;
        }
    }
    for (user, agent) in &mut agents {
        let scrape = scrape(agent.address(), context.timeout())?;
        let lost = scrape.sum("events_lost_total", &[]).context("no events_lost_total")?;
        ensure!(lost == 0.0, "user {user}: {lost} events lost");
        check_sets(*user, agent).with_context(|| format!("user {user}, after its work"))?;
        let log = agent.log()?;
        ensure!(!log.contains("not tracked"), "user {user}:\n{log}");
        let status = agent.stop(context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
    }
    Ok("root and nobody: none effective, CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN permitted"
        .to_owned())
}

/// What the kernel says of the agent.
fn check_sets(user: u32, agent: &Agent) -> Result<()> {
    let path = format!("/proc/{}/status", agent.pid()?);
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let set = line.with_context(|| format!("no {name} in {path}"))?.trim();
        u64::from_str_radix(set, 16).with_context(|| format!("{name} {set:?}"))
    };
    ensure!(set("CapEff")? == 0, "effective: {:x}", set("CapEff")?);
    ensure!(set("CapPrm")? == KEPT, "permitted: {:x}", set("CapPrm")?);
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid()?)).context("threads")?;
    for task in tasks {
        let path = task.context("a thread")?.path().join("status");
        let status = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
        let none = |name: &str| status.contains(&format!("{name}:\t0000000000000000"));
        ensure!(none("CapEff"), "effective in a thread:\n{status}");
        ensure!(none("CapPrm") || path.ends_with(format!("{}/status", agent.pid()?)), "{status}");
    }
    ensure!(set("NoNewPrivs")? == 1, "privileges could be gained by executing a program");
    // Only who has CAP_SETPCAP can empty it, and root does.
    ensure!(user != 0 || set("CapBnd")? == 0, "bounding: {:x}", set("CapBnd")?);
    ensure!(set("CapInh")? == 0 && set("CapAmb")? == 0, "inherited by what it would execute");
    Ok(())
}
