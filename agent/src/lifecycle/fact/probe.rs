//! Attempts of probes, as the kernel saw them.

use crate::kube::pod::Handler;

/// One attempt of a probe: the kubelet asked once.
///
/// Its times are `CLOCK_BOOTTIME`. An attempt over HTTP that was redirected is one attempt of several
/// connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAttempt {
    /// The probe.
    pub probe: ProbeKind,
    /// How the kubelet asked.
    pub handler: Handler,
    /// The result.
    pub result: ProbeResult,
    /// Begin of the attempt: the connection is asked for, or the command's process has entered the
    /// container's cgroup.
    pub start_boot_ns: u64,
    /// End of the attempt: what the kubelet waited for is there, or it has given up.
    pub end_boot_ns: u64,
    /// Field `timeoutSeconds` of the probe when the attempt was made.
    pub timeout_s: u64,
    /// Failures in a row that are left until they count, after this attempt; `None` where they
    /// cannot be counted: the result is not known, or attempts were missed.
    pub failures_left: Option<u64>,
    /// Status of the answer: that of HTTP; `None` without one in clear text.
    pub status: Option<u16>,
    /// The way over the network; `None` for a command.
    pub network: Option<Network>,
    /// The command; `None` for a probe over the network.
    pub exec: Option<ExecRun>,
}

impl ProbeAttempt {
    /// Duration of the attempt.
    #[must_use]
    pub const fn duration_ns(&self) -> u64 {
        self.end_boot_ns.saturating_sub(self.start_boot_ns)
    }
}

/// Probe of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeKind {
    /// The startup probe.
    Startup,
    /// The liveness probe.
    Liveness,
    /// The readiness probe.
    Readiness,
    /// The liveness or the readiness probe: both are the same on the wire, and so is their schedule.
    LivenessOrReadiness,
}

impl ProbeKind {
    /// All values, in the order of the exposition.
    pub const ALL: [Self; 4] =
        [Self::Startup, Self::Liveness, Self::Readiness, Self::LivenessOrReadiness];

    /// Value of the label `probe`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Liveness => "liveness",
            Self::Readiness => "readiness",
            Self::LivenessOrReadiness => "liveness_or_readiness",
        }
    }
}

/// Result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeResult {
    /// A good answer, a connection, exit code 0.
    Success,
    /// A bad answer, an answer that is none, a connection that was reset or closed, another exit code.
    Failure,
    /// No answer in time.
    Timeout,
    /// A connection that was refused.
    Refused,
    /// An answer that cannot be read: it is encrypted.
    Unknown,
}

impl ProbeResult {
    /// All values, in the order of the exposition.
    pub const ALL: [Self; 5] =
        [Self::Success, Self::Failure, Self::Timeout, Self::Refused, Self::Unknown];

    /// Value of the label `result`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the kubelet takes it for a failure; `None` if that is not known.
    #[must_use]
    pub const fn is_failure(self) -> Option<bool> {
        match self {
            Self::Success => Some(false),
            Self::Failure | Self::Timeout | Self::Refused => Some(true),
            Self::Unknown => None,
        }
    }
}

/// Moments of an attempt over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The connection is established; `None` if it never was.
    pub connected_boot_ns: Option<u64>,
    /// First byte of the answer; `None` without one.
    pub first_byte_boot_ns: Option<u64>,
    /// Connections of the attempt: one more for each redirect.
    pub connections: u32,
}

/// Run of a probe's command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecRun {
    /// Exec of the command, after its process had entered the container's cgroup; `None` if it was
    /// not seen.
    pub exec_boot_ns: Option<u64>,
    /// Exit code, or 128 + n for signal n; `None` if the command still runs or its end was not seen.
    pub exit_code: Option<u8>,
    /// CPU time of the command's process, and of its children that it has waited for; `None` if it
    /// was not seen.
    pub cpu_ns: Option<u64>,
    /// Children that the command left to the container: they run, or nobody has waited for them.
    pub left_behind: u32,
    /// Whether the command went on after the probe's timeout.
    pub overran: bool,
}
