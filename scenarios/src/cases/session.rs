//! Processes of a container's cgroup that are not the container: exec sessions and the runtime's
//! own stages.

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;

use super::common::{Case, born_at_zero, ended_once, lives, no_shutdown};
use crate::context::Context;
use crate::process::Process;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("exec-session-ends", ends),
    || Case::new("exec-session-kills-init", kills_init),
    || Case::new("start-failed", start_failed),
    || Case::new("runtime-stages", stages),
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
    let line = stage.line(context.timeout())?.context("the stage said no process id")?;
    let pid = Pid::from_raw(line.parse().with_context(|| format!("stage: {line:?}"))?);
    container.set_init(Process::adopt(pid)?);
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
