//! What went wrong, in words and attributes. Pure.
//!
//! A span has the status `ERROR` for an OOM kill, a SIGKILL, a fatal signal and an exit code other than
//! 0. An end by the stop signal itself, or with the exit code that stands for it (128 + its number,
//! as a JVM or a shell exits), is what was asked for.

use opentelemetry::KeyValue;

use super::names;
use super::tree::{attribute, number};
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Cause, Death, OomFact, OomScope, Sender};
use crate::lifecycle::trigger::Trigger;
use crate::signal::{self, SIGTERM};

/// Exit codes from here on stand for a signal, as shells have it.
const SIGNAL_EXIT: i32 = 128;

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
    let Some(oom) = oom else { return "OOM".to_owned() };
    let limit = oom.limit_bytes.map(bytes);
    match (oom.scope, limit) {
        (Some(OomScope::Container), Some(limit)) => {
            format!("OOM at the container's limit of {limit}")
        }
        (Some(OomScope::Container), None) => "OOM at the container's limit".to_owned(),
        (Some(OomScope::Pod), Some(limit)) => format!("OOM at the Pod's limit of {limit}"),
        (Some(OomScope::Pod), None) => "OOM at the Pod's limit".to_owned(),
        (Some(OomScope::Node), Some(limit)) => format!("OOM at a limit of {limit} above the Pod"),
        (Some(OomScope::Node), None) => "OOM: the node ran out of memory".to_owned(),
        (None, _) => "OOM".to_owned(),
    }
}

/// An amount of memory as Kubernetes writes it, exactly.
fn bytes(amount: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];
    let whole = |(unit, _): &&(u64, &str)| amount >= *unit && amount.is_multiple_of(*unit);
    match UNITS.iter().find(whole) {
        Some((unit, name)) => format!("{} {name}B", amount / unit),
        None => format!("{amount} B"),
    }
}

/// Attributes of an OOM.
pub(super) fn of_oom(oom: &OomFact) -> Vec<KeyValue> {
    let by = &oom.triggered_by;
    let mut attributes = vec![
        attribute(names::OOM_SCOPE, oom.scope.map_or("unknown", OomScope::label)),
        attribute(names::OOM_VICTIM, oom.victim.label()),
        attribute(names::OOM_COMM, oom.comm.to_string()),
        attribute(names::OOM_KILLED, i64::from(oom.killed)),
        attribute(names::OOM_TRIGGER, by.origin.label()),
        attribute(names::OOM_TRIGGER_COMM, by.comm.to_string()),
    ];
    if let Some(who) = &by.who {
        let identity = &who.identity;
        let path = [&*identity.namespace, &identity.pod, &identity.container].join("/");
        attributes.push(attribute(names::OOM_TRIGGER_CONTAINER, path));
    }
    let resident = oom.resident;
    let amounts = [
        (names::OOM_LIMIT, oom.limit_bytes),
        (names::OOM_USAGE, oom.usage_bytes),
        (names::OOM_ANON, resident.map(|memory| memory.anon_bytes)),
        (names::OOM_FILE, resident.map(|memory| memory.file_bytes)),
        (names::OOM_SHMEM, resident.map(|memory| memory.shmem_bytes)),
    ];
    let known = amounts.into_iter().filter_map(|(name, amount)| Some((name, amount?)));
    attributes.extend(known.map(|(name, amount)| attribute(name, number(amount))));
    attributes
}
