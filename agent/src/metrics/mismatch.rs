//! Collector `mismatch`: ends that the runtime reported otherwise than the kernel saw them.

use super::collector::Collector;
use super::counters::Counters;
use super::expose::{Labels, StateFamily};
use super::family::{Family, Need, Scope};
use crate::lifecycle::fact::{Cause, Fact, FactKind};

/// Reported reasons that differ from what the kernel saw.
pub static TOTAL: StateFamily<OfWorkload> = StateFamily {
    family: Family::counter(
        "termination_reason_mismatch_total",
        Scope::Workload,
        "Terminations whose reason in the Pod's status is not what the kernel saw. From the fourth \
         on, label sets of a workload are counted as other.",
    )
    .of(Collector::Mismatch)
    .labels(&["reported", "observed"], NAMED_MAX + 1)
    .needs(&[Need::Pods]),
    write: |block, mismatch, to| mismatch.0.write(block, to),
};

/// Label sets of a workload that keep their names. A runtime that is wrong is wrong in one way.
const NAMED_MAX: usize = 3;

/// The labels `reported` and `observed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mismatch {
    reported: &'static str,
    observed: &'static str,
}

impl Mismatch {
    /// The label set of all that exceed [`NAMED_MAX`].
    const OTHER: Self = Self { reported: OTHER, observed: OTHER };
}

/// The label's value for anything else.
const OTHER: &str = "other";

impl Labels for Mismatch {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        label("reported", self.reported);
        label("observed", self.observed);
    }
}

/// A reason that containerd, CRI-O, or for containers that were lost the kubelet reports.
fn reported(reason: &str) -> &'static str {
    const KNOWN: [&str; 6] = [
        "OOMKilled",
        "Error",
        "Completed",
        "ContainerCannotRun",
        "StartError",
        "ContainerStatusUnknown",
    ];
    KNOWN.into_iter().find(|known| *known == reason).unwrap_or(OTHER)
}

/// Mismatches of a workload's containers.
#[derive(Debug, Default)]
pub struct OfWorkload(Counters<Mismatch>);

impl OfWorkload {
    /// Takes in a fact. Returns the number of label sets that found no room.
    pub fn fact(&mut self, fact: &Fact) -> u64 {
        match &fact.kind {
            FactKind::Misreported(report) => self.add_one(&report.reported, report.observed),
            _ => 0,
        }
    }

    fn add_one(&mut self, reason: &str, observed: Cause) -> u64 {
        let mismatch = Mismatch { reported: reported(reason), observed: observed.label() };
        u64::from(!self.0.add_one_bounded(mismatch, NAMED_MAX, Mismatch::OTHER))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, NAMED_MAX, OfWorkload};

    #[test]
    fn label_sets_are_bounded_and_no_mismatch_is_lost() {
        let mut mismatches = OfWorkload::default();
        for reason in ["OOMKilled", "Error", "Completed", "StartError", "new"] {
            for cause in Cause::ALL {
                mismatches.add_one(reason, cause);
            }
        }
        assert_eq!(mismatches.0.len(), NAMED_MAX + 1);
        assert_eq!(mismatches.0.sum(), 5 * Cause::ALL.len() as u64);
    }
}
