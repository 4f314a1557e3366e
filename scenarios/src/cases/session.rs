//! Processes of a container's cgroup that are not the container: exec sessions and the runtime's
//! own stages.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use testbed::cgroup::{self, Cgroup};

use super::common::{Case, born_at_zero, ended_once, ends_in_order, lives, no_shutdown};
use crate::compared::Compared;
use crate::context::Context;
use crate::signal::RUNTIME;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("exec-session-ends", ends),
    || Case::new("exec-session-leaves-children", leaves_children),
    || Case::new("exec-session-kills-init", kills_init),
    || Case::new("start-failed", start_failed),
    || Case::new("runtime-stages", stages),
    || Case::new("init-without-exec", without_exec),
    || Case::new("init-moves", moves),
];

/// `kubectl exec`, or an exec probe: its end is not the container's.
fn ends(context: &Context) -> Result<String> {
    let pod = context.node.pod("exec-session-ends")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    for code in ["0", "7"] {
        let mut session = container.exec(&["work", "--exit-after-ms", "50", "--code", code])?;
        session.end_ns(context.timeout())?;
        session.reap()?;
    }
    context.fence("exec-session-ends")?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    Ok(String::new())
}

/// The children that a command leaves to its container are counted, and the CPU time of those that it
/// has waited for is its own.
fn leaves_children(context: &Context) -> Result<String> {
    const BURN_MS: u64 = 500;
    /// Children that are counted at most.
    const CHILDREN_MAX: u32 = 64;
    let pod = context.node.pod("exec-session-leaves-children")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let burn = BURN_MS.to_string();
    let plain: &[&str] = &["work", "--exit-after-ms", "20"];
    let mut told = Vec::new();
    for (more, left_behind) in [
        (&[][..], 0),
        (&["--leave", "3"], 3),
        (&["--leave", "1", "--child-burn-ms", &burn], 1),
        (&["--leave", "70"], CHILDREN_MAX),
    ] {
        let mut session = container.exec(&[plain, more].concat())?;
        session.end_ns(context.timeout())?;
        let pid = session.pid();
        session.reap()?;
        let ended = format!("an exec session has ended pid={pid} ");
        let line =
            context.log_line(|line| line.contains(&ended) && line.contains("settled=true"))?;
        let first =
            context.log_line(|line| line.contains(&ended) && line.contains("settled=false"))?;
        let number = |line: &str, name: &str| -> Result<u64> {
            let value = line.split(' ').find_map(|field| field.strip_prefix(name));
            value.with_context(|| format!("{name} in {line:?}"))?.parse().context(name.to_owned())
        };
        let counted = number(&first, "left_behind=")?;
        ensure!(counted == u64::from(left_behind), "{counted} children, not {left_behind}");
        let cpu_ms = number(&line, "cpu_ns=")? / 1_000_000;
        // A start of this program takes a few.
        let burned_ms = if more.contains(&"--child-burn-ms") { BURN_MS } else { 0 };
        ensure!(cpu_ms >= burned_ms, "{cpu_ms} ms of CPU in {line:?}");
        told.push(counted.to_string());
    }
    // They are gone by then.
    context.pause(Duration::from_millis(1500));
    Ok(format!("children left behind: {}", told.join(", ")))
}

/// `kubectl exec … kill 1` is not the runtime's stop signal.
fn kills_init(context: &Context) -> Result<String> {
    let pod = context.node.pod("exec-session-kills-init")?;
    let mut container = pod.container("app")?;
    container.start(&[], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let pid = container.pid()?.to_string();
    let mut session = container.exec(&["work", "--term-pid", &pid, "--exit-after-ms", "0"])?;
    let end = container.wait(context.timeout())?;
    session.end_ns(context.timeout())?;
    session.reap()?;
    ensure!(matches!(end.status, WaitStatus::Signaled(..)), "ended by {:?}", end.status);
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "signal")?;
        no_shutdown(&view)?;
        let labels = [("signal", "SIGTERM"), ("sender", "same_container")];
        view.want("fatal_signals_total", &labels, 1.0)
    })?;
    Ok(String::new())
}

/// The runtime's stage gives up: the container has not lived, so it has not died.
fn start_failed(context: &Context) -> Result<String> {
    let pod = context.node.pod("start-failed")?;
    let mut container = pod.container("app")?;
    let mut stage = container.exec_argv(&["runc", "init", "1"])?;
    stage.end_ns(context.timeout())?;
    let status = stage.reap()?;
    ensure!(matches!(status, WaitStatus::Exited(_, 1)), "the stage ended by {status:?}");
    container.remove_cgroup()?;
    context.fence("start-failed")?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        view.want_none_or_zero("terminations_total", &[])?;
        view.want_none("container_last_termination_info", &[])
    })?;
    Ok(String::new())
}

/// As runc starts a container: a stage that leaves a sibling (`CLONE_PARENT`) and exits; the
/// sibling executes the container's program.
fn stages(context: &Context) -> Result<String> {
    let pod = context.node.pod("runtime-stages")?;
    let mut container = pod.container("app")?;
    let mut stage = container.exec_argv(&[
        "runc",
        "init",
        "hand-over",
        "work",
        "--exit-after-ms",
        "1500",
        "--code",
        "5",
    ])?;
    container.set_init(stage.left_behind(context.timeout())?);
    stage.expect_line("ready", context.timeout())?;
    stage.end_ns(context.timeout())?;
    stage.reap()?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    let end = container.wait(context.timeout())?;
    ensure!(matches!(end.status, WaitStatus::Exited(_, 5)), "ended by {:?}", end.status);
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "error")?;
        view.want_label("container_last_termination_info", "exit_code", "5")?;
        no_shutdown(&view)
    })?;
    Ok(String::new())
}

/// Restored from a checkpoint: the first exec is a probe's, and nothing of it is the container's.
fn without_exec(context: &Context) -> Result<String> {
    let pod = context.node.pod("init-without-exec")?;
    let work = ["--on-term", "handle", "--term-ms", "300"];
    let mut probed = pod.container("probed")?;
    let mut quiet = pod.container("quiet")?;
    probed.restore(&work, context.timeout())?;
    quiet.restore(&work, context.timeout())?;
    for _ in 0..3 {
        let mut session = probed.exec(&["work", "--exit-after-ms", "20"])?;
        session.end_ns(context.timeout())?;
        session.reap()?;
    }
    context.fence("init-without-exec")?;
    context.eventually(|s| {
        lives(&s.of(&probed.key))?;
        lives(&s.of(&quiet.key))
    })?;
    let mut compared = Vec::new();
    for container in [probed, quiet] {
        let sent_ns = context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
        compared.push(ends_in_order(context, container, sent_ns)?);
    }
    Ok(compared.join(", "))
}

/// To the cgroup of another container, where it is still seen, and to one that nobody watches.
fn moves(context: &Context) -> Result<String> {
    let pod = context.node.pod("init-moves")?;
    let work = ["--on-term", "handle", "--term-ms", "300"];
    let near = pod.container("elsewhere")?;
    let far = Cgroup::make(context.node.root().join("elsewhere"))?;
    let mut seen = pod.container("seen")?;
    let mut unseen = pod.container("unseen")?;
    for (container, to) in [(&mut seen, &*near.dir), (&mut unseen, far.dir())] {
        container.start(&work, context.timeout())?;
        context.eventually(|s| born_at_zero(s, &container.key))?;
        cgroup::write(&to.join("cgroup.procs"), &container.pid()?.to_string())?;
    }
    context.pause(Duration::from_millis(300));
    context.fence("init-moves")?;
    context.eventually(|s| {
        lives(&s.of(&seen.key))?;
        lives(&s.of(&unseen.key))
    })?;
    let sent_ns = context.signal(&RUNTIME, &seen, Signal::SIGTERM)?;
    let end = seen.wait(context.timeout())?;
    let agent = context.eventually(|s| {
        let view = s.of(&seen.key);
        ended_once(&view, "completed")?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    context.signal(&RUNTIME, &unseen, Signal::SIGTERM)?;
    unseen.wait(context.timeout())?;
    unseen.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&unseen.key);
        view.want("terminations_total", &[], 1.0)?;
        no_shutdown(&view)
    })?;
    Ok(Compared::new(agent, sent_ns, end.at_ns).check()?.to_string())
}
