//! The phases of a container's start, from scheduled to ready. Pure data.

/// A phase of a container's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// From the scheduler's decision to the sandbox's cgroup; ±1 s.
    ScheduledToSandbox,
    /// From the sandbox's cgroup to the container's: network, images, containers before it.
    SandboxToCreated,
    /// From the sandbox's cgroup to the end of all init containers; ±1 s.
    Init,
    /// From the container's cgroup to the exec of its own program.
    CreatedToRunning,
    /// From the exec of its program to the success of its startup probe.
    RunningToStarted,
    /// From the exec of its program to its readiness.
    RunningToReady,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 6] = [
        Self::ScheduledToSandbox,
        Self::SandboxToCreated,
        Self::Init,
        Self::CreatedToRunning,
        Self::RunningToStarted,
        Self::RunningToReady,
    ];

    /// The value of the label `phase`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::ScheduledToSandbox => "scheduled_to_sandbox",
            Self::SandboxToCreated => "sandbox_to_created",
            Self::Init => "init",
            Self::CreatedToRunning => "created_to_running",
            Self::RunningToStarted => "running_to_started",
            Self::RunningToReady => "running_to_ready",
        }
    }
}

/// The progress of one container instance's start, in `CLOCK_BOOTTIME`, with the API's times
/// converted. `None` stands for a step that is not reached yet, or was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// Whether it is the Pod's first instance of that name: only that one has phases since the
    /// scheduler's decision.
    pub first: bool,
    /// Time at which the Pod was scheduled.
    pub scheduled_boot_ns: Option<u64>,
    /// Creation of the sandbox's cgroup.
    pub sandbox_boot_ns: Option<u64>,
    /// End of the last init container; `None` also if the Pod has none.
    pub initialized_boot_ns: Option<u64>,
    /// Creation of the container's cgroup.
    pub created_boot_ns: Option<u64>,
    /// Exec of the container's own program.
    pub running_boot_ns: Option<u64>,
    /// Success of the startup probe; `None` also if the container has none.
    pub started_boot_ns: Option<u64>,
    /// Time at which the container became ready.
    pub ready_boot_ns: Option<u64>,
    /// Whether the container has become ready with this very progress: true once for each start.
    pub just_ready: bool,
}

impl Start {
    /// Duration of a phase, if it is over. The API's times are whole seconds, so one that is negative
    /// by less than that is reported as 0.
    #[must_use]
    pub fn phase_ns(&self, phase: Phase) -> Option<u64> {
        let first = |time: Option<u64>| time.filter(|_| self.first);
        let (from, to) = match phase {
            Phase::ScheduledToSandbox => (first(self.scheduled_boot_ns), self.sandbox_boot_ns),
            Phase::SandboxToCreated => (first(self.sandbox_boot_ns), self.created_boot_ns),
            Phase::Init => (first(self.sandbox_boot_ns), self.initialized_boot_ns),
            Phase::CreatedToRunning => (self.created_boot_ns, self.running_boot_ns),
            Phase::RunningToStarted => (self.running_boot_ns, self.started_boot_ns),
            Phase::RunningToReady => (self.running_boot_ns, self.ready_boot_ns),
        };
        Some(to?.saturating_sub(from?))
    }

    /// Duration from the scheduler's decision until the container was ready for the first time.
    #[must_use]
    pub fn whole_ns(&self) -> Option<u64> {
        let scheduled = self.scheduled_boot_ns.filter(|_| self.first)?;
        Some(self.ready_boot_ns?.saturating_sub(scheduled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Start = Start {
        first: true,
        scheduled_boot_ns: Some(10),
        sandbox_boot_ns: Some(15),
        initialized_boot_ns: Some(40),
        created_boot_ns: Some(50),
        running_boot_ns: Some(60),
        started_boot_ns: Some(90),
        ready_boot_ns: Some(100),
        just_ready: true,
    };

    fn phases(start: &Start) -> [Option<u64>; 6] {
        Phase::ALL.map(|phase| start.phase_ns(phase))
    }

    #[test]
    fn a_first_start_has_all_phases() {
        assert_eq!(phases(&START), [5, 35, 25, 10, 30, 40].map(Some));
        assert_eq!(START.whole_ns(), Some(90));
    }

    #[test]
    fn a_restart_has_no_phases_before_its_creation() {
        let again = Start { first: false, ..START };
        assert_eq!(phases(&again), [None, None, None, Some(10), Some(30), Some(40)]);
        assert_eq!(again.whole_ns(), None);
    }

    #[test]
    fn unseen_steps_are_none_and_negative_phases_are_zero() {
        let some = Start { sandbox_boot_ns: None, ready_boot_ns: None, ..START };
        assert_eq!(phases(&some), [None, None, None, Some(10), Some(30), None]);
        assert_eq!(some.whole_ns(), None);
        let early = Start { sandbox_boot_ns: Some(3), ..START };
        assert_eq!(early.phase_ns(Phase::ScheduledToSandbox), Some(0));
    }
}
