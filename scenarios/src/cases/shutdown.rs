//! Stopping in order: from the stop signal to the last exit.

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

use super::common::{Case, born_at_zero, ended_once, ends_in_order, shutdowns};
use crate::compared::Compared;
use crate::context::Context;
use crate::signal::{HAND, RUNTIME, Sender};

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("shutdown-plain", plain),
    || Case::new("shutdown-handler", handler),
    || Case::new("shutdown-threads", threads),
    || Case::new("shutdown-leader-first", leader_first),
    || Case::new("shutdown-leader-gone", leader_gone),
    || Case::new("shutdown-large-memory", large_memory),
    || Case::new("shutdown-exit-code", exit_code),
    || Case::new("shutdown-signalled-twice", twice),
    || Case::new("shutdown-other-stop-signal", other_stop_signal),
    || Case::new("shutdown-by-hand", by_hand),
    || Case::new("shutdown-older-than-agent", older),
];

/// The shapes that shutdown times are measured for: name, workload.
pub(crate) const SHAPES: [(&str, &[&str]); 5] = [
    ("plain", &[]),
    ("handler", &["--on-term", "handle", "--term-ms", "30"]),
    ("8-threads", &["--threads", "8"]),
    ("leader-first", &["--on-term", "handle", "--leader-leaves", "term", "--term-ms", "30"]),
    ("200-MiB", &["--touch-mib", "200"]),
];

fn plain(context: &Context) -> Result<String> {
    stop(context, "shutdown-plain", &[], &RUNTIME, None)
}

fn handler(context: &Context) -> Result<String> {
    let work = ["--on-term", "handle", "--term-ms", "300"];
    stop(context, "shutdown-handler", &work, &RUNTIME, Some(0))
}

fn threads(context: &Context) -> Result<String> {
    stop(context, "shutdown-threads", &["--threads", "8"], &RUNTIME, None)
}

fn leader_first(context: &Context) -> Result<String> {
    let work = ["--on-term", "handle", "--leader-leaves", "term", "--term-ms", "200"];
    stop(context, "shutdown-leader-first", &work, &RUNTIME, Some(0))
}

/// The first thread has long left when the stop signal comes: it is a zombie, its process is not.
fn leader_gone(context: &Context) -> Result<String> {
    let work = ["--on-term", "handle", "--leader-leaves", "start", "--term-ms", "200"];
    stop(context, "shutdown-leader-gone", &work, &RUNTIME, Some(0))
}

fn large_memory(context: &Context) -> Result<String> {
    stop(context, "shutdown-large-memory", &["--touch-mib", "200"], &RUNTIME, None)
}

fn exit_code(context: &Context) -> Result<String> {
    let work = ["--on-term", "handle", "--term-ms", "50", "--code", "7"];
    stop(context, "shutdown-exit-code", &work, &RUNTIME, Some(7))
}

fn by_hand(context: &Context) -> Result<String> {
    stop(context, "shutdown-by-hand", &[], &HAND, None)
}

/// One container, stopped by `sender`; `code` if it exits by itself then.
fn stop(
    context: &Context,
    name: &str,
    work: &[&str],
    sender: &Sender<'_>,
    code: Option<i32>,
) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    container.start(work, context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;

    let sent_ns = context.signal(sender, &container, Signal::SIGTERM)?;
    let end = container.wait(context.timeout())?;
    container.remove_cgroup()?;

    let cause = match (end.status, code) {
        (WaitStatus::Signaled(_, Signal::SIGTERM, _), None) => "signal",
        (WaitStatus::Exited(_, 0), Some(0)) => "completed",
        (WaitStatus::Exited(_, got), Some(wanted)) if got == wanted => "error",
        other => anyhow::bail!("the workload ended otherwise: {other:?}"),
    };
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, cause)?;
        shutdowns(&view, 1.0, 0.0)?;
        view.want_none_or_zero("stop_signal_ignored_total", &[])?;
        view.want_none("container_terminating_seconds", &[])?;
        if let Some(code) = code {
            let wanted = code.to_string();
            view.want_label("container_last_termination_info", "exit_code", &wanted)?;
        } else {
            view.want_label("container_last_termination_info", "signal", "SIGTERM")?;
            let by = if sender.comm == RUNTIME.comm { "runtime" } else { "host" };
            let labels = [("signal", "SIGTERM"), ("sender", by)];
            view.want("fatal_signals_total", &labels, 1.0)?;
        }
        let sum = view.value("shutdown_duration_seconds_sum", &[("outcome", "exited")])?;
        let last = view.value("container_last_shutdown_seconds", &[])?;
        ensure!((sum - last).abs() < 1e-6, "the histogram's sum is {sum}, the last one {last}");
        Ok(last)
    })?;
    Ok(Compared::new(agent, sent_ns, end.at_ns).check()?.to_string())
}

/// The stop signal comes again, as after a restart of containerd: the first one counts.
fn twice(context: &Context) -> Result<String> {
    let pod = context.node.pod("shutdown-signalled-twice")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle", "--term-ms", "600"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let pid = container.pid()?;
    let sent = RUNTIME.send(pid, &[Signal::SIGTERM; 2], context.timeout())?;
    let sent_ns = *sent.first().context("no time reported")?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    if !container.init()?.has_ended() {
        context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    }
    ends_in_order(context, container, sent_ns)
}

/// An image with `STOPSIGNAL SIGQUIT`: what the runtime sends is the stop signal.
fn other_stop_signal(context: &Context) -> Result<String> {
    let pod = context.node.pod("shutdown-other-stop-signal")?;
    let mut container = pod.container("app")?;
    container.start(&[], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let sent_ns = context.signal(&RUNTIME, &container, Signal::SIGQUIT)?;
    let end = container.wait(context.timeout())?;
    container.remove_cgroup()?;
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "signal")?;
        shutdowns(&view, 1.0, 0.0)?;
        view.want_label("container_last_termination_info", "signal", "SIGQUIT")?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    Ok(Compared::new(agent, sent_ns, end.at_ns).check()?.to_string())
}

/// The container was there before the agent, which must find its init by itself.
fn older(context: &Context) -> Result<String> {
    let older = context.older.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let (mut container, _pod) = older.context("the older container is gone")?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let sent_ns = context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    let end = container.wait(context.timeout())?;
    container.remove_cgroup()?;
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "error")?;
        shutdowns(&view, 1.0, 0.0)?;
        view.want_label("container_last_termination_info", "exit_code", "4")?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    Ok(Compared::new(agent, sent_ns, end.at_ns).check()?.to_string())
}
