//! Out of memory: whose limit, which victim, how often.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use testbed::cgroup;
use testbed::scrape::View;

use super::common::{Case, born_at_zero, ended_once, lives, shutdowns};
use crate::container::{Container, Pod};
use crate::context::Context;
use crate::host::Need;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("oom-container-limit", container_limit).needs(&[Need::Memory]),
    || Case::new("oom-pod-limit", pod_limit).needs(&[Need::Memory]),
    || Case::new("oom-equal-limits", equal_limits).needs(&[Need::Memory]),
    || Case::new("oom-child", child).needs(&[Need::Memory]),
    || Case::new("oom-group", group).needs(&[Need::Memory]),
    || Case::new("oom-exec-session", exec_session).needs(&[Need::Memory]),
];

const LIMIT: &str = "33554432";

/// A memory limit on a cgroup, without swap to escape to.
fn limit(dir: &Path) -> Result<()> {
    cgroup::write(&dir.join("memory.max"), LIMIT)?;
    let swap = dir.join("memory.swap.max");
    if swap.exists() { cgroup::write(&swap, "0") } else { Ok(()) }
}

fn container_limit(context: &Context) -> Result<String> {
    init_dies(context, "oom-container-limit", Some("container"), |_, container| {
        limit(&container.dir)
    })
}

fn pod_limit(context: &Context) -> Result<String> {
    init_dies(context, "oom-pod-limit", Some("pod"), |pod, _| limit(&pod.dir))
}

/// A Pod of one container has its limit. Which of the two is met first depends on what else is
/// charged to the Pod (the container's own kernel structures are, since 5.9): the files tell.
fn equal_limits(context: &Context) -> Result<String> {
    init_dies(context, "oom-equal-limits", None, |pod, container| {
        limit(&pod.dir)?;
        limit(&container.dir)
    })
}

fn init_dies(
    context: &Context,
    name: &str,
    wanted_scope: Option<&str>,
    limits: fn(&Pod, &Container) -> Result<()>,
) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    // As the kubelet sets it.
    container.set("memory.oom.group", "1")?;
    limits(&pod, &container)?;
    container.start(&["--hog"], context.timeout())?;
    oom_killed(&mut container, context)?;
    let scope = witnessed_scope(&pod, &container)?;
    ensure!(wanted_scope.is_none_or(|wanted| wanted == scope), "the kernel says {scope}");
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "oom")?;
        one_oom(&view, scope, "init")?;
        for (label, value) in [("signal", "SIGKILL"), ("sender", "kernel"), ("scope", scope)] {
            view.want_label("container_last_termination_info", label, value)?;
        }
        shutdowns(&view, 0.0, 0.0)
    })?;
    Ok(format!("scope {scope}"))
}

/// Whose limit it was, by `memory.events.local`, which has no part in its children's.
fn witnessed_scope(pod: &Pod, container: &Container) -> Result<&'static str> {
    let ooms = |dir: &Path| cgroup::read_field(&dir.join("memory.events.local"), "oom");
    Ok(match (ooms(&container.dir)?, ooms(&pod.dir)?) {
        (1.., _) => "container",
        (0, 1..) => "pod",
        (0, 0) => "node",
    })
}

fn oom_killed(container: &mut Container, context: &Context) -> Result<()> {
    let end = container.wait(context.timeout() * 2)?;
    ensure!(
        matches!(end.status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "the workload ended otherwise: {:?}",
        end.status
    );
    Ok(())
}

/// One event of this scope and victim, and no other.
fn one_oom(view: &View<'_>, scope: &str, victim: &str) -> Result<()> {
    view.want("oom_events_total", &[], 1.0)
        .with_context(|| format!("wanted scope {scope}, victim {victim}"))?;
    view.want("oom_events_total", &[("scope", scope), ("victim", victim)], 1.0)
}

/// One child dies, init lives: nobody but the kernel would know.
fn child(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-child")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "0")?;
    limit(&container.dir)?;
    container.start(&["--child-hog"], context.timeout())?;
    context.eventually(|s| born_or_dead(&s.of(&container.key)))?;
    container.init()?.expect_line("child-ended", context.timeout() * 2)?;
    let kills = container.read_field("memory.events", "oom_kill")?;
    ensure!(kills == 1, "memory.events says {kills} kills");
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        one_oom(&view, "container", "child")?;
        same_events(&view, &container)
    })?;
    ensure!(!container.init()?.has_ended(), "init has ended");
    Ok(format!("{kills} kill"))
}

/// The container is known, whatever has happened in it by now.
fn born_or_dead(view: &View<'_>) -> Result<()> {
    view.value("container_info", &[]).map(drop)
}

/// `container_memory_events_total` says what the file says.
fn same_events(view: &View<'_>, container: &Container) -> Result<()> {
    for event in ["high", "max", "oom", "oom_kill"] {
        let file = container.read_field("memory.events", event)?;
        let agent = view.value("container_memory_events_total", &[("event", event)])?;
        ensure!(
            (agent - f64::from(u32::try_from(file)?)).abs() < 0.5,
            "memory event {event}: agent {agent}, file {file}"
        );
    }
    Ok(())
}

/// The kubelet's default: one OOM kills all. One event, however many die.
fn group(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-group")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "1")?;
    limit(&container.dir)?;
    container.start(&["--child-hog"], context.timeout())?;
    oom_killed(&mut container, context)?;
    let kills = container.read_field("memory.events", "oom_kill")?;
    // Two processes; the first victim is taken a second time (mm/oom_kill.c, oom_kill_process).
    ensure!((2..=3).contains(&kills), "memory.events says {kills} kills");
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "oom")?;
        one_oom(&view, "container", "init")
    })?;
    Ok(format!("oom_kill {kills}, one event"))
}

/// An exec session takes too much; with the group killed separately, only it dies.
fn exec_session(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-exec-session")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "0")?;
    limit(&container.dir)?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let mut session = container.exec(&["work", "--hog"])?;
    session.end_ns(context.timeout() * 2)?;
    let status = session.reap()?;
    ensure!(matches!(status, WaitStatus::Signaled(..)), "the session ended by {status:?}");
    std::thread::sleep(Duration::from_millis(50));
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        one_oom(&view, "container", "exec")?;
        same_events(&view, &container)
    })?;
    Ok(String::new())
}
