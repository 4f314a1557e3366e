//! Collectors: the groups of families that can be switched on and off.

use crate::cgroup::files::Parts;

/// A group of families with its state. Each is a file of this folder; the agent's metrics
/// about itself are not among them and are always on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Collector {
    /// Identity and start time of containers.
    Info,
    /// Phases and duration of starts.
    Startup,
    /// Restarts and downtime.
    Restart,
    /// Ends by cause and by trigger.
    Terminations,
    /// Time from the stop signal to the end.
    Shutdown,
    /// Grace periods and their use.
    Grace,
    /// preStop hooks.
    Prestop,
    /// Ends that the runtime reported otherwise.
    Mismatch,
    /// Ignored stop signals and fatal signals.
    Signals,
    /// OOMs by scope and victim.
    Oom,
    /// Resource requests.
    Requests,
    /// CPU time, throttling and limits.
    Cpu,
    /// Memory usage, limits and events.
    Memory,
    /// Pressure stall information.
    Pressure,
    /// Tasks and their limit.
    Tasks,
    /// Attempts of the kubelet's probes.
    Probes,
    /// Phases of these attempts; off by default.
    ProbePhases,
}

impl Collector {
    /// All collectors, in the order of the help text.
    pub const ALL: [Self; 17] = [
        Self::Info,
        Self::Startup,
        Self::Restart,
        Self::Terminations,
        Self::Shutdown,
        Self::Grace,
        Self::Prestop,
        Self::Mismatch,
        Self::Signals,
        Self::Oom,
        Self::Requests,
        Self::Cpu,
        Self::Memory,
        Self::Pressure,
        Self::Tasks,
        Self::Probes,
        Self::ProbePhases,
    ];

    /// The name in `--collector.<name>`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Startup => "startup",
            Self::Restart => "restart",
            Self::Terminations => "terminations",
            Self::Shutdown => "shutdown",
            Self::Grace => "grace",
            Self::Prestop => "prestop",
            Self::Mismatch => "mismatch",
            Self::Signals => "signals",
            Self::Oom => "oom",
            Self::Requests => "requests",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pressure => "pressure",
            Self::Tasks => "tasks",
            Self::Probes => "probes",
            Self::ProbePhases => "probe_phases",
        }
    }

    /// One sentence for `--help`.
    #[must_use]
    pub const fn help(self) -> &'static str {
        match self {
            Self::Info => "Identity and start time of containers.",
            Self::Startup => "Phases of container starts, and the time until ready.",
            Self::Restart => "Restarts and the downtime before them.",
            Self::Terminations => "Container terminations by cause and trigger.",
            Self::Shutdown => "Time from the stop signal to the end.",
            Self::Grace => "Grace periods, and the fraction of them that was used.",
            Self::Prestop => "Duration of preStop hooks.",
            Self::Mismatch => "Terminations that the runtime reports otherwise than the kernel.",
            Self::Signals => "Ignored stop signals and fatal signals, by sender.",
            Self::Oom => "OOMs by scope and victim.",
            Self::Requests => "CPU and memory requests.",
            Self::Cpu => "CPU time, throttling and limits.",
            Self::Memory => "Memory usage, limits, page faults and events.",
            Self::Pressure => "Pressure stall information (PSI).",
            Self::Tasks => "Tasks and their limit.",
            Self::Probes => "Results and latency of the kubelet's probes.",
            Self::ProbePhases => "Phases of probes: connect, first byte, rest; spawn, run.",
        }
    }

    /// Whether it is on unless a flag says otherwise.
    #[must_use]
    pub const fn is_default(self) -> bool {
        !matches!(self, Self::ProbePhases)
    }

    /// The parts of a cgroup's sample that the collector exports.
    #[must_use]
    const fn parts(self) -> Parts {
        match self {
            Self::Cpu => Parts::CPU.or(Parts::OTHER),
            Self::Memory => Parts::MEMORY.or(Parts::MEMORY_STAT).or(Parts::OTHER),
            Self::Pressure => Parts::PRESSURE.or(Parts::OTHER),
            Self::Tasks => Parts::PIDS.or(Parts::OTHER),
            _ => Parts::NONE,
        }
    }
}

/// A set of collectors: those that are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collectors(u32);

impl Collectors {
    /// All collectors.
    pub const ALL: Self = Self((1 << Collector::ALL.len()) - 1);
    /// Collectors that are on unless a flag says otherwise.
    pub const DEFAULT: Self = Self::ALL.without(Collector::ProbePhases);
    /// No collector: only the agent's metrics about itself are left.
    pub const NONE: Self = Self(0);

    /// Whether the collector is on.
    #[must_use]
    pub const fn has(self, collector: Collector) -> bool {
        self.0 & (1 << collector as u8) != 0
    }

    /// The set with this collector.
    #[must_use]
    pub const fn with(self, collector: Collector) -> Self {
        Self(self.0 | 1 << collector as u8)
    }

    /// The set without this collector.
    #[must_use]
    pub const fn without(self, collector: Collector) -> Self {
        Self(self.0 & !(1 << collector as u8))
    }

    /// `Some` new state of a collector that is on. One that is off has no state, so no cost.
    pub fn state<S>(self, collector: Collector, new: impl FnOnce() -> S) -> Option<S> {
        self.has(collector).then(new)
    }

    /// The parts of a cgroup's sample that the collectors export; the files of the other parts need
    /// not be read for them.
    #[must_use]
    pub fn parts(self) -> Parts {
        let on = Collector::ALL.into_iter().filter(|collector| self.has(*collector));
        on.fold(Parts::NONE, |parts, collector| parts.or(collector.parts()))
    }
}

impl Default for Collectors {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::{Collector, Collectors, Parts};

    #[test]
    fn a_set_has_what_was_not_taken_out() {
        for collector in Collector::ALL {
            assert!(Collectors::ALL.has(collector));
            let without = Collectors::ALL.without(collector);
            assert!(!without.has(collector));
            assert_eq!(without.with(collector), Collectors::ALL);
            assert_eq!(without.state(collector, || ()), None);
        }
    }

    #[test]
    fn the_default_is_what_each_says_of_itself() {
        let on = Collector::ALL.into_iter().filter(|collector| collector.is_default());
        assert_eq!(on.fold(Collectors::NONE, Collectors::with), Collectors::DEFAULT);
    }

    #[test]
    fn only_collectors_of_usage_need_files() {
        assert_eq!(Collectors::ALL.parts(), Parts::ALL);
        assert_eq!(Collectors::NONE.with(Collector::Shutdown).parts(), Parts::NONE);
        let parts = Collectors::ALL.without(Collector::Pressure).parts();
        assert_eq!(parts, Parts { pressure: false, ..Parts::ALL });
    }
}
