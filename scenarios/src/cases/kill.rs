//! Ends by SIGKILL, and the stop signals that came to nothing before.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use testbed::scrape::View;

use super::common::{Case, born_at_zero, ended_once, no_shutdown, shutdowns};
use crate::compared::Compared;
use crate::container::Container;
use crate::context::Context;
use crate::host::Need;
use crate::signal::RUNTIME;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("kill-after-ignored", after_ignored),
    || Case::new("kill-pid-namespace-init", pid_namespace_init),
    || Case::new("kill-after-blocked", after_blocked),
    || Case::new("kill-without-stop-signal", without_stop_signal),
    || Case::new("kill-cgroup-after-stop-signal", cgroup_after).needs(&[Need::CgroupKill]),
    || Case::new("kill-cgroup-without-stop-signal", cgroup_without).needs(&[Need::CgroupKill]),
    || Case::new("kill-then-stop-signal", then_stop_signal),
    || Case::new("stop-signal-to-zombie", to_zombie),
];

fn after_ignored(context: &Context) -> Result<String> {
    let work = ["--on-term", "ignore"];
    killed_after_stop(context, "kill-after-ignored", &work, false, true, Kill::Signal)
}

/// PID 1 of a namespace has no default actions: without a handler it ignores SIGTERM.
fn pid_namespace_init(context: &Context) -> Result<String> {
    killed_after_stop(context, "kill-pid-namespace-init", &[], true, true, Kill::Signal)
}

/// A blocked signal is delivered, as far as the kernel tells: no claim that it is ignored.
fn after_blocked(context: &Context) -> Result<String> {
    let work = ["--on-term", "block"];
    killed_after_stop(context, "kill-after-blocked", &work, false, false, Kill::Signal)
}

fn cgroup_after(context: &Context) -> Result<String> {
    let work = ["--on-term", "ignore"];
    killed_after_stop(context, "kill-cgroup-after-stop-signal", &work, false, true, Kill::Cgroup)
}

fn without_stop_signal(context: &Context) -> Result<String> {
    killed_at_once(context, "kill-without-stop-signal", Kill::Signal)
}

fn cgroup_without(context: &Context) -> Result<String> {
    killed_at_once(context, "kill-cgroup-without-stop-signal", Kill::Cgroup)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kill {
    Signal,
    Cgroup,
}

impl Kill {
    fn send(self, context: &Context, container: &Container) -> Result<()> {
        match self {
            Self::Signal => context.signal(&RUNTIME, container, Signal::SIGKILL)?,
            Self::Cgroup => RUNTIME.kill_cgroup(&container.dir, context.timeout())?,
        };
        Ok(())
    }
}

/// A stop signal in vain, a grace period of 700 ms, SIGKILL.
fn killed_after_stop(
    context: &Context,
    name: &str,
    work: &[&str],
    new_pid_namespace: bool,
    ignored: bool,
    kill: Kill,
) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    container.start_as(work, new_pid_namespace, context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;

    let sent_ns = context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    // Told before the kill: a whole grace period before anybody else could tell.
    context.eventually(|s| {
        let view = s.of(&container.key);
        ignored_as(&view, ignored)?;
        let open = view.value("container_terminating_seconds", &[])?;
        ensure!(open >= 0.0, "container_terminating_seconds is {open}");
        view.want_label("container_terminating_seconds", "killed", "false")?;
        view.want("terminations_total", &[], 0.0)
    })?;
    std::thread::sleep(Duration::from_millis(700));
    ensure!(!container.init()?.has_ended(), "the workload ended before it was killed");
    kill.send(context, &container)?;
    let end = killed(&mut container, context)?;
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "killed_after_grace")?;
        view.want_label("container_last_termination_info", "signal", "SIGKILL")?;
        shutdowns(&view, 0.0, 1.0)?;
        ignored_as(&view, ignored)?;
        view.want_none("container_terminating_seconds", &[])?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    Ok(Compared::new(agent, sent_ns, end).check()?.to_string())
}

fn ignored_as(view: &View<'_>, ignored: bool) -> Result<()> {
    if ignored {
        view.want("stop_signal_ignored_total", &[], 1.0)
    } else {
        view.want_none_or_zero("stop_signal_ignored_total", &[])
    }
}

/// Waits for the end, which must be SIGKILL's, and removes the cgroup.
fn killed(container: &mut Container, context: &Context) -> Result<u64> {
    let end = container.wait(context.timeout())?;
    ensure!(
        matches!(end.status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "the workload ended otherwise: {:?}",
        end.status
    );
    container.remove_cgroup()?;
    Ok(end.at_ns)
}

fn killed_at_once(context: &Context, name: &str, kill: Kill) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    kill.send(context, &container)?;
    killed(&mut container, context)?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "killed_without_stop_signal")?;
        view.want_label("container_last_termination_info", "signal", "SIGKILL")?;
        no_shutdown(&view)
    })?;
    Ok(String::new())
}

/// A stop signal to a process that is dying, with much memory to free: the kernel says "ignored",
/// and that is no news about the container.
fn then_stop_signal(context: &Context) -> Result<String> {
    let pod = context.node.pod("kill-then-stop-signal")?;
    let mut container = pod.container("app")?;
    container.start(&["--touch-mib", "256"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let signals = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGTERM];
    let sent = RUNTIME.send(container.pid()?, &signals, context.timeout())?;
    let end = killed(&mut container, context)?;
    let last = *sent.last().context("no time reported")?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "killed_without_stop_signal")?;
        no_shutdown(&view)
    })?;
    let left = crate::witness::seconds_between(last, end);
    Ok(format!("the stop signals came {left:.4} s before the end"))
}

/// The parent has not waited yet: the process is a zombie, and every signal to it is ignored.
fn to_zombie(context: &Context) -> Result<String> {
    let pod = context.node.pod("stop-signal-to-zombie")?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "100"], context.timeout())?;
    container.init()?.end_ns(context.timeout())?;
    context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    std::thread::sleep(Duration::from_millis(200));
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    context.fence("stop-signal-to-zombie")?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        no_shutdown(&view)
    })?;
    Ok(String::new())
}
