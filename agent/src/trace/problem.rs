//! What went wrong, in words and attributes. Pure.
//!
//! A span has the status `ERROR` for an OOM kill, a SIGKILL, a fatal signal and an exit code other than
//! 0. An end by the stop signal itself, or with the exit code that stands for it (128 + its number,
//! as a JVM or a shell exits), is what was asked for.

use opentelemetry::KeyValue;

use super::names;
use super::tree::attribute;
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Cause, Death, OomFact, OomScope, Sender};
use crate::lifecycle::trigger::Trigger;
use crate::signal;

/// Exit codes from here on stand for a signal, as shells have it.
const SIGNAL_EXIT: i32 = 128;
/// Default stop signal.
const SIGTERM: u32 = 15;

/// What went wrong with an end; `None` if it was as it should be, or is not known.
pub(super) fn of_death(death: &Death, oom: Option<&OomFact>, ignored: bool) -> Option<String> {
    let end = &death.end;
    let by = |sender: Sender| match sender {
        Sender::Runtime => " by the container runtime",
        Sender::Kernel => " by the kernel",
        Sender::Own => " by itself",
        Sender::SameContainer => " by a process of the same container",
        Sender::OtherContainer => " by another container",
        Sender::Host => " by a process of the host",
    };
    let sender = end.fatal.map_or("", |fatal| by(fatal.sender));
    let what = match end.cause {
        Cause::Oom => out_of_memory(oom),
        Cause::KilledAfterGrace => {
            let after = end.shutdown_ns().map_or_else(String::new, |ns| {
                format!(" {:.1} s after its stop signal", ns as f64 / 1e9)
            });
            let why = if ignored { ", which it ignored" } else { "" };
            format!("SIGKILL{after}{why}")
        }
        Cause::KilledWithoutStopSignal => format!("SIGKILL without a stop signal{sender}"),
        Cause::Signal => {
            let fatal = end.fatal?;
            if end.stop_boot_ns.is_some() && fatal.sender == Sender::Runtime {
                return requested(death.trigger);
            }
            format!("{}{sender}", signal::name(fatal.signal))
        }
        Cause::Error => {
            let Some(ExitStatus::Code(code)) = end.status else { return Some("error".to_owned()) };
            // The number of the stop signal is not part of a death; SIGTERM is nearly always it.
            let stop = SIGNAL_EXIT.saturating_add_unsigned(SIGTERM);
            if end.stop_boot_ns.is_some() && i32::from(code) == stop {
                return requested(death.trigger);
            }
            format!("exit code {code}")
        }
        Cause::Completed | Cause::Unknown => return requested(death.trigger),
    };
    Some(match requested(death.trigger) {
        Some(why) => format!("{why}; {what}"),
        None => what,
    })
}

/// What had the container stopped, if that is a fault.
fn requested(trigger: Trigger) -> Option<String> {
    let why = match trigger {
        Trigger::Liveness => "liveness probe failed",
        Trigger::Startup => "startup probe failed",
        Trigger::NodePressure => "evicted under node pressure",
        Trigger::Deadline => "ran longer than activeDeadlineSeconds",
        _ => return None,
    };
    Some(why.to_owned())
}

fn out_of_memory(oom: Option<&OomFact>) -> String {
    match oom.and_then(|oom| oom.scope) {
        Some(OomScope::Container) => "OOM at the container's limit".to_owned(),
        Some(OomScope::Pod) => "OOM at the Pod's limit".to_owned(),
        Some(OomScope::Node) => "OOM of the node".to_owned(),
        None => "OOM".to_owned(),
    }
}

/// Attributes of an OOM.
pub(super) fn of_oom(oom: &OomFact) -> Vec<KeyValue> {
    vec![
        attribute(names::OOM_SCOPE, oom.scope.map_or("unknown", OomScope::label)),
        attribute(names::OOM_VICTIM, oom.victim.label()),
        attribute(names::OOM_KILLED, i64::from(oom.killed)),
    ]
}
