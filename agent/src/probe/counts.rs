//! Counts of what became of connections and commands.

/// What became of a connection of the kubelet, or of a command that came into a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was an attempt of a probe, or part of one.
    Probe,
    /// It was a lifecycle hook.
    Hook,
    /// It was neither: nothing that a Pod's probes ask for.
    NotAProbe,
    /// It went to a probe's address, and asked for something else.
    OtherRequest,
    /// It can have been a probe of several containers, or a connection of the kubelet's own to the same
    /// place.
    Ambiguous,
    /// It was a probe's, of a container that is not known.
    NoContainer,
    /// The kubelet gave it up before its time.
    Abandoned,
    /// It waited for its Pod or its end, and found no room.
    NoRoom,
}

impl Outcome {
    /// All outcomes, in the order of the exposition.
    pub const ALL: [Self; 8] = [
        Self::Probe,
        Self::Hook,
        Self::NotAProbe,
        Self::OtherRequest,
        Self::Ambiguous,
        Self::NoContainer,
        Self::Abandoned,
        Self::NoRoom,
    ];

    /// Value of the label `outcome`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Hook => "hook",
            Self::NotAProbe => "not_a_probe",
            Self::OtherRequest => "other_request",
            Self::Ambiguous => "ambiguous",
            Self::NoContainer => "no_container",
            Self::Abandoned => "abandoned",
            Self::NoRoom => "no_room",
        }
    }
}

/// Numbers of outcomes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Outcome::ALL.len()]);

impl Counts {
    pub(super) fn add(&mut self, outcome: Outcome) {
        if let Some(count) = self.0.get_mut(outcome as usize) {
            *count = count.saturating_add(1);
        }
    }

    /// The number of each outcome, in the order of [`Outcome::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.0)
    }

    /// The number of one outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0.get(outcome as usize).copied().unwrap_or(0)
    }
}
