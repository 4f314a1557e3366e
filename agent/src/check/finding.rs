//! Findings about the host, with their verdicts.

/// Verdict on a finding, in the order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Everything is as it should be.
    Ok,
    /// The agent runs, without some of its parts.
    Degraded,
    /// The agent cannot run.
    Fatal,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "DEGRADED",
            Self::Fatal => "CANNOT RUN",
        }
    }

    /// Exit status of `podvitals check`.
    pub(super) const fn exit_status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Degraded => 1,
            Self::Fatal => 2,
        }
    }
}

/// A finding about the host: one line of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Name of the item that was examined.
    pub what: String,
    /// Verdict on the item.
    pub verdict: Verdict,
    /// Description of what was found.
    pub found: String,
    /// Description of what is lost, with the remedy where there is one; empty if nothing is lost.
    pub lost: String,
}

impl Finding {
    pub(super) fn ok(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.into(), verdict: Verdict::Ok, found: found.into(), lost: String::new() }
    }

    pub(super) fn bad(what: &str, verdict: Verdict, found: impl Into<String>, lost: &str) -> Self {
        Self { what: what.into(), verdict, found: found.into(), lost: lost.into() }
    }
}
