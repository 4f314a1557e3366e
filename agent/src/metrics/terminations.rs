//! Collector `terminations`: ends of containers by cause and trigger.

use super::collector::Collector;
use super::counters::Counters;
use super::expose::{Labels, StateFamily, Value};
use super::family::{Family, Scope};
use crate::event::ExitStatus;
use crate::lifecycle::fact::{Cause, Fact, FactKind, OomScope, OomVictim, Termination};
use crate::lifecycle::trigger::Trigger;
use crate::signal;

/// Terminations of a workload's containers.
pub static TOTAL: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "terminations_total",
        Scope::Workload,
        "Container terminations by cause; causes are mutually exclusive.",
    )
    .of(Collector::Terminations)
    .labels(&["cause"], Cause::ALL.len()),
    write: |block, terminations, to| terminations.0.write(block, to),
};

/// Last termination of a container.
pub static LAST: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_last_termination_info",
        Scope::Container,
        "Information about the container's last termination; the value is its time since unix \
         epoch in seconds. signal and sender: of the signal that ended it; scope: of the OOM that \
         did.",
    )
    .of(Collector::Terminations)
    .labels(&["cause", "trigger", "exit_code", "signal", "sender", "scope"], 1),
    write: |block, terminations, to| {
        if let Some(last) = &terminations.last {
            to.sample(block, last, Value::Moment(last.end.end_boot_ns));
        }
    },
};

/// Terminations of all containers by cause and trigger.
pub static BY_TRIGGER: StateFamily<OfNode> = StateFamily {
    family: Family::counter(
        "terminations_by_trigger_total",
        Scope::Node,
        "Container terminations on this node by cause and by what triggered the stop. The triggers \
         pod_completion and restart_other are inferred, as are liveness and startup where the \
         attempts of probes were not seen.",
    )
    .of(Collector::Terminations)
    .labels(&["cause", "trigger"], Cause::ALL.len() * Trigger::ALL.len()),
    write: |block, terminations, to| terminations.0.write(block, to),
};

/// The last termination of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LastTermination {
    end: Termination,
    trigger: Trigger,
    /// Scope of the OOM, if that was the cause and the scope is known.
    scope: Option<OomScope>,
}

impl Labels for LastTermination {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("cause", self.end.cause.label());
        label("trigger", self.trigger.label());
        let fatal = self.end.fatal.map_or("", |fatal| signal::name(fatal.signal));
        match self.end.status {
            Some(ExitStatus::Code(code)) => {
                label("exit_code", itoa::Buffer::new().format(code));
                label("signal", "");
            }
            Some(ExitStatus::Signal { signal, .. }) => {
                label("exit_code", "");
                label("signal", signal::name(signal));
            }
            None => {
                label("exit_code", "");
                label("signal", fatal);
            }
        }
        label("sender", self.end.fatal.map_or("", |fatal| fatal.sender.label()));
        label(
            "scope",
            match self.end.cause {
                Cause::Oom => self.scope.map_or("unknown", OomScope::label),
                _ => "",
            },
        );
    }
}

impl Labels for Cause {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("cause", self.label());
    }
}

/// The labels `cause` and `trigger`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct CauseAndTrigger(Cause, Trigger);

impl Labels for CauseAndTrigger {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        self.0.each(label);
        label("trigger", self.1.label());
    }
}

/// Terminations of a container.
#[derive(Debug, Default)]
pub struct OfContainer {
    last: Option<LastTermination>,
    /// Time and scope of the last OOM that killed init.
    oom: Option<(u64, Option<OomScope>)>,
}

impl OfContainer {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        match &fact.kind {
            FactKind::Oom(oom) if oom.victim == OomVictim::Init => {
                self.oom = Some((fact.time_boot_ns, oom.scope));
            }
            FactKind::Explained(death) => {
                let end = death.end;
                if self.last.is_none_or(|last| last.end.end_boot_ns <= end.end_boot_ns) {
                    // A death waits for its reason: a later OOM is the next instance's.
                    let oom = self.oom.filter(|(time_boot_ns, _)| *time_boot_ns <= end.end_boot_ns);
                    let scope = oom.and_then(|(_, scope)| scope);
                    self.last = Some(LastTermination { end, trigger: death.trigger, scope });
                }
            }
            _ => {}
        }
    }
}

/// Terminations of a workload's containers.
#[derive(Debug)]
pub struct OfWorkload(Counters<Cause>);

impl OfWorkload {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Explained(death) = &fact.kind {
            self.0.add_one(death.end.cause);
        }
    }
}

impl Default for OfWorkload {
    fn default() -> Self {
        Self(Counters::initialised(Cause::ALL))
    }
}

/// Terminations of all containers of the node.
#[derive(Debug)]
pub struct OfNode(Counters<CauseAndTrigger>);

impl OfNode {
    /// Takes in a fact.
    pub fn fact(&mut self, fact: &Fact) {
        if let FactKind::Explained(death) = &fact.kind {
            self.0.add_one(CauseAndTrigger(death.end.cause, death.trigger));
        }
    }
}

impl Default for OfNode {
    /// Counters with all label sets: there is one node.
    fn default() -> Self {
        let of_cause = |cause| Trigger::ALL.map(|trigger| CauseAndTrigger(cause, trigger));
        Self(Counters::initialised(Cause::ALL.into_iter().flat_map(of_cause)))
    }
}
