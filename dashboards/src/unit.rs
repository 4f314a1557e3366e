//! Units, colors, thresholds and value mappings: how a value looks.

/// Unit of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, thousands as K.
    Count,
    /// A number of things, all digits.
    Whole,
    /// CPU cores.
    Cores,
    /// Bytes, in powers of 1024.
    Bytes,
    /// Seconds.
    Seconds,
    /// A fraction, shown in percent.
    Ratio,
    /// Events a second.
    PerSecond,
    /// A moment in milliseconds since unix epoch; without the date if it is today.
    Moment,
    /// A moment in milliseconds since unix epoch, as the time since then.
    Ago,
}

impl Unit {
    /// Grafana's name of the unit.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::Count => "short",
            Self::Whole => "none",
            Self::Cores => "suffix:cores",
            Self::Bytes => "bytes",
            Self::Seconds => "s",
            Self::Ratio => "percentunit",
            Self::PerSecond => "suffix:/s",
            Self::Moment => "dateTimeAsIsoNoDateIfToday",
            Self::Ago => "dateTimeFromNow",
        }
    }
}

/// What is bad, as colors: the color below all steps, and each value from which another one holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds {
    /// Color below the first step.
    pub base: &'static str,
    /// Values and the colors from there on, ascending.
    pub steps: Vec<(f64, &'static str)>,
}

/// Green.
pub const GOOD: &str = "green";
/// Yellow: worth a look.
pub const NOTABLE: &str = "yellow";
/// Orange: needs work, not tonight.
pub const BAD: &str = "orange";
/// Red: needs somebody now.
pub const WORSE: &str = "red";
/// Neither good nor bad.
pub const NEUTRAL: &str = "text";
/// Neither good nor bad, for what has an area to fill.
pub const PLAIN: &str = "blue";

impl Thresholds {
    /// No value is good or bad.
    #[must_use]
    pub const fn none() -> Self {
        Self { base: PLAIN, steps: Vec::new() }
    }

    /// Good below, bad from `bad` on.
    #[must_use]
    pub fn bad_from(bad: f64) -> Self {
        Self { base: GOOD, steps: vec![(bad, BAD)] }
    }

    /// Good below, needs somebody from `worse` on.
    #[must_use]
    pub fn worse_from(worse: f64) -> Self {
        Self { base: GOOD, steps: vec![(worse, WORSE)] }
    }

    /// Good below, bad from `bad` on, needs somebody from `worse` on.
    #[must_use]
    pub fn rising(bad: f64, worse: f64) -> Self {
        Self { base: GOOD, steps: vec![(bad, BAD), (worse, WORSE)] }
    }

    /// Needs somebody below `good`.
    #[must_use]
    pub fn good_from(good: f64) -> Self {
        Self { base: WORSE, steps: vec![(good, GOOD)] }
    }
}

/// A value of a label, as people read it: value, text, color.
pub type Mapping = (&'static str, &'static str, &'static str);

/// Causes of death.
pub const CAUSES: &[Mapping] = &[
    ("oom", "OOM", "red"),
    ("killed_after_grace", "killed after grace", "orange"),
    ("killed_without_stop_signal", "killed without stop signal", "purple"),
    ("signal", "signal", "#e377c2"),
    ("error", "error", "yellow"),
    ("unknown", "unknown", "blue"),
    ("completed", "completed", "green"),
];

/// Triggers of a stop.
pub const TRIGGERS: &[Mapping] = &[
    ("none", "nobody", "text"),
    ("pod_deletion", "Pod deletion", "text"),
    ("api_eviction", "API eviction", "text"),
    ("preemption", "preemption", "text"),
    ("taint", "taint", "text"),
    ("node_pressure", "node pressure", "text"),
    ("node_shutdown", "node shutdown", "text"),
    ("deadline", "deadline", "text"),
    ("liveness", "liveness probe", "text"),
    ("startup", "startup probe", "text"),
    ("pod_completion", "Pod completion", "text"),
    ("restart_other", "other restart", "text"),
    ("unknown", "unknown", "text"),
];

/// Results of a probe that are no success.
pub const RESULTS: &[Mapping] = &[
    ("failure", "failure", "orange"),
    ("timeout", "timeout", "red"),
    ("refused", "refused", "purple"),
];

/// Phases of a start.
pub const PHASES: &[Mapping] = &[
    ("scheduled_to_sandbox", "scheduled to sandbox", "text"),
    ("sandbox_to_created", "sandbox to created", "text"),
    ("init", "init containers", "text"),
    ("created_to_running", "created to running", "text"),
    ("running_to_started", "running to started", "text"),
    ("running_to_ready", "running to ready", "text"),
];
