//! Volume: which of the complete traces are sent. Pure.

use std::hash::{BuildHasher as _, RandomState};

use super::model::Trace;
use crate::kube::identity::Identity;
use crate::rate::{Buckets, Rate};

/// Minutes of a workload's rate that it may use at once: a rollout ends and starts many Pods.
const BURST_MINUTES: u32 = 10;
const MINUTE_NS: u64 = 60_000_000_000;

/// Limits of what is sent.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Shortest duration of a trace in which nothing went wrong.
    pub min_duration_ns: u64,
    /// Whether traces in which nothing went wrong are left out.
    pub only_abnormal: bool,
    /// Traces of one workload a minute; ten times as many at once. 0: no limit.
    pub per_minute: u32,
}

/// Why a trace is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// Shorter than the shortest that is sent.
    MinDuration,
    /// Nothing went wrong.
    Normal,
    /// The workload has used its rate.
    Rate,
    /// There was no room to follow the Pod.
    NoRoom,
}

impl Omitted {
    /// All reasons, in the order of the exposition.
    pub const ALL: [Self; 4] = [Self::MinDuration, Self::Normal, Self::Rate, Self::NoRoom];

    /// The value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::MinDuration => "min_duration",
            Self::Normal => "normal",
            Self::Rate => "rate",
            Self::NoRoom => "no_room",
        }
    }
}

/// Decides which traces are sent, and counts the others.
#[derive(Debug)]
pub struct Volume {
    limits: Limits,
    workloads: Option<Buckets<u64>>,
    hasher: RandomState,
    omitted: [u64; Omitted::ALL.len()],
}

impl Volume {
    /// A volume of which nothing is used.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let rate = (limits.per_minute > 0).then(|| Rate {
            burst: limits.per_minute.saturating_mul(BURST_MINUTES),
            every_ns: MINUTE_NS / u64::from(limits.per_minute),
        });
        Self {
            limits,
            workloads: rate.map(Buckets::new),
            hasher: RandomState::new(),
            omitted: [0; Omitted::ALL.len()],
        }
    }

    /// Key of a workload.
    #[must_use]
    pub fn workload(&self, identity: &Identity) -> u64 {
        let Identity { namespace, workload_kind, workload, .. } = identity;
        self.hasher.hash_one((namespace, workload_kind, workload))
    }

    /// Whether a trace is sent.
    pub fn admit(&mut self, trace: &Trace, workload: u64, now_boot_ns: u64) -> bool {
        let reason = self.refusal(trace, workload, now_boot_ns);
        if let Some(reason) = reason {
            self.count(reason, 1);
        }
        reason.is_none()
    }

    fn refusal(&mut self, trace: &Trace, workload: u64, now_boot_ns: u64) -> Option<Omitted> {
        let abnormal = trace.is_abnormal();
        if self.limits.only_abnormal && !abnormal {
            return Some(Omitted::Normal);
        }
        if !abnormal && trace.duration_ns() < self.limits.min_duration_ns {
            return Some(Omitted::MinDuration);
        }
        let workloads = self.workloads.as_mut()?;
        (!workloads.take(workload, now_boot_ns)).then_some(Omitted::Rate)
    }

    /// Counts traces that are left out.
    pub fn count(&mut self, reason: Omitted, traces: u64) {
        if let Some(count) = self.omitted.get_mut(reason as usize) {
            *count = count.saturating_add(traces);
        }
    }

    /// Traces that were left out, by reason.
    #[must_use]
    pub fn omitted(&self) -> [(&'static str, u64); Omitted::ALL.len()] {
        let mut counts = Omitted::ALL.map(|reason| (reason.label(), 0));
        for (to, count) in counts.iter_mut().zip(self.omitted) {
            to.1 = count;
        }
        counts
    }
}
