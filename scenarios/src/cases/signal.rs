//! Other signals: who sent them, and those that end nothing.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use super::common::{Case, born_at_zero, ended_once, ends_in_order, lives, no_shutdown};
use crate::container::Container;
use crate::context::Context;
use crate::signal::{RUNTIME, Sender};

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("signal-by-itself", by_itself),
    || Case::new("signal-segv", segv),
    || Case::new("signal-abort", abort),
    || Case::new("signal-by-other-container", by_other_container),
    || Case::new("signal-harmless", harmless),
    || Case::new("signal-reload", reload),
    || Case::new("stopped-and-continued", stopped),
    || Case::new("traced", traced),
];

fn by_itself(context: &Context) -> Result<String> {
    crash(context, "signal-by-itself", "term", "SIGTERM", "self")
}

fn segv(context: &Context) -> Result<String> {
    crash(context, "signal-segv", "segv", "SIGSEGV", "kernel")
}

fn abort(context: &Context) -> Result<String> {
    crash(context, "signal-abort", "abort", "SIGABRT", "self")
}

fn crash(context: &Context, name: &str, how: &str, signal: &str, sender: &str) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    container.start(&["--exit-after-ms", "300", "--crash", how], context.timeout())?;
    let end = container.wait(context.timeout())?;
    ensure!(matches!(end.status, WaitStatus::Signaled(..)), "ended by {:?}", end.status);
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "signal")?;
        no_shutdown(&view)?;
        view.want_label("container_last_termination_info", "signal", signal)?;
        view.want("fatal_signals_total", &[("signal", signal), ("sender", sender)], 1.0)?;
        view.want("fatal_signals_total", &[], 1.0)
    })?;
    Ok(String::new())
}

/// With `hostPID`, one container can signal another.
fn by_other_container(context: &Context) -> Result<String> {
    let pod = context.node.pod("signal-by-other-container")?;
    let mut container = pod.container("app")?;
    let mut other = pod.container("other")?;
    container.start(&[], context.timeout())?;
    other.start(&[], context.timeout())?;
    context.eventually(|s| {
        born_at_zero(s, &container.key)?;
        born_at_zero(s, &other.key)
    })?;
    let sender = Sender { comm: "sh", cgroup: Some(&other.dir) };
    context.signal(&sender, &container, Signal::SIGTERM)?;
    container.wait(context.timeout())?;
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "signal")?;
        let labels = [("signal", "SIGTERM"), ("sender", "other_container")];
        view.want("fatal_signals_total", &labels, 1.0)?;
        lives(&s.of(&other.key))
    })?;
    Ok(String::new())
}

/// SIGHUP by a hand is no stop signal, and SIGCHLD, SIGWINCH to a process without handlers end
/// nothing.
fn harmless(context: &Context) -> Result<String> {
    let pod = context.node.pod("signal-harmless")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle", "--term-ms", "50"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let signals = [Signal::SIGWINCH, Signal::SIGCHLD, Signal::SIGURG, Signal::SIGCONT];
    let hand = crate::signal::HAND;
    hand.send(container.pid()?, &signals, context.timeout())?;
    context.fence("signal-harmless")?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        no_shutdown(&view)
    })?;
    stop_at_last(context, container)
}

/// The runtime sends what makes a program read its configuration again: one is stopped later, one is
/// ended from inside later.
fn reload(context: &Context) -> Result<String> {
    let pod = context.node.pod("signal-reload")?;
    let mut stopped = pod.container("stopped")?;
    let mut crashed = pod.container("crashed")?;
    let stops = ["--reloads", "--on-term", "handle", "--term-ms", "300"];
    stopped.start(&stops, context.timeout())?;
    crashed.start(&["--reloads"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &stopped.key))?;
    context.eventually(|s| born_at_zero(s, &crashed.key))?;
    context.signal(&RUNTIME, &stopped, Signal::SIGHUP)?;
    context.signal(&RUNTIME, &crashed, Signal::SIGUSR1)?;
    context.fence("signal-reload")?;
    context.eventually(|s| {
        for container in [&stopped, &crashed] {
            let view = s.of(&container.key);
            lives(&view)?;
            no_shutdown(&view)?;
        }
        Ok(())
    })?;
    let pid = crashed.pid()?.to_string();
    let mut session = crashed.exec(&["work", "--term-pid", &pid, "--exit-after-ms", "0"])?;
    crashed.wait(context.timeout())?;
    session.end_ns(context.timeout())?;
    session.reap()?;
    crashed.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&crashed.key);
        ended_once(&view, "signal")?;
        view.want_label("container_last_termination_info", "trigger", "none")?;
        no_shutdown(&view)
    })?;
    stop_at_last(context, stopped)
}

/// A stop and a continue tell the parent too, with the same signal as an end.
fn stopped(context: &Context) -> Result<String> {
    let pod = context.node.pod("stopped-and-continued")?;
    let mut container = pod.container("app")?;
    container.start(&["--on-term", "handle", "--term-ms", "50"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let pid = container.pid()?;
    for _ in 0..3 {
        container.init()?.signal(Signal::SIGSTOP)?;
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).context("waiting for the stop")?;
        container.init()?.signal(Signal::SIGCONT)?;
        waitpid(pid, Some(WaitPidFlag::WCONTINUED)).context("waiting for the continue")?;
    }
    context.fence("stopped-and-continued")?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    stop_at_last(context, container)
}

/// A debugger comes and goes: its stops tell tracer and parent.
fn traced(context: &Context) -> Result<String> {
    let pod = context.node.pod("traced")?;
    let mut container = pod.container("app")?;
    let work = ["--on-term", "handle", "--term-ms", "50", "--threads", "2"];
    container.start(&work, context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let pid = container.pid()?;
    for _ in 0..3 {
        ptrace::attach(pid).context("ptrace(ATTACH)")?;
        waitpid(pid, Some(WaitPidFlag::__WALL)).context("waiting for the ptrace stop")?;
        ptrace::detach(pid, None).context("ptrace(DETACH)")?;
    }
    std::thread::sleep(Duration::from_millis(100));
    context.fence("traced")?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    stop_at_last(context, container)
}

/// Then it stops in order, once.
fn stop_at_last(context: &Context, container: Container) -> Result<String> {
    let sent_ns = context.signal(&RUNTIME, &container, Signal::SIGTERM)?;
    ends_in_order(context, container, sent_ns)
}
