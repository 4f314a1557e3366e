//! Verdicts: what the kubelet makes of a connection that a probe asked for. Pure.
//!
//! The rules are the kubelet's (`pkg/probe` and `pkg/kubelet/prober`, Kubernetes 1.37), as far as the
//! first bytes and the end of a connection show them:
//!
//! - HTTP: a status of 200 to 399 succeeds, any other fails, and so does an answer that breaks off. Of
//!   a redirect, see [`Follow::Redirect`].
//! - TCP: a connection succeeds.
//! - gRPC: `SERVING` succeeds, anything else fails; a connection that breaks is tried again until the
//!   time is up ([`Follow::Retry`]).
//! - What has no answer when the time is up has failed. A connection without an answer that the
//!   kubelet closes much earlier was no attempt: it has ended itself.

use super::answer::Answer;
use super::body::{self, Extent};
use crate::clock::SECOND_NS;
use crate::event::{Connection, Ending};
use crate::kube::pod::Handler;
use crate::lifecycle::fact::ProbeResult;

/// Time by which a connection that ran out of time may seem too short: the kubelet's timer starts
/// before its call of `connect`.
const TIMER_AHEAD_NS: u64 = 5_000_000;

/// Time after the timeout from which on a connection is one that its attempt has left behind: Go's
/// client goes on with a dial or a handshake for which nobody waits.
pub(super) const IN_VAIN_NS: u64 = 250_000_000;

/// Time after which Go's client gives up a TLS handshake, whatever the probe's timeout is
/// (`apimachinery/pkg/util/net/http.go`, `SetTransportDefaults`, Kubernetes 1.37: 10 s), less what a clock may be off.
const HANDSHAKE_NS: u64 = 9_900_000_000;

/// What may follow on a connection in the same attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// A connection to the place that the answer names, if that is on the same host: the kubelet
    /// follows up to nine times (`pkg/probe/http/http.go`, `RedirectChecker`).
    Redirect,
    /// Another try: gRPC connects again until the time is up (`pkg/probe/grpc/grpc.go`: `WithBlock`).
    Retry,
}

/// What a connection says of its attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) result: ProbeResult,
    /// Status of HTTP.
    pub(super) status: Option<u16>,
    /// The moment from which on the kubelet waited no more, `CLOCK_BOOTTIME`.
    pub(super) end_boot_ns: u64,
    pub(super) follow: Option<Follow>,
    /// Whether the kubelet's prober has an error, which changes no count
    /// (`pkg/kubelet/prober/worker.go`, `doProbe`).
    pub(super) is_error: bool,
}

/// The verdict on a connection of an attempt that began at `start_boot_ns`; `None` if the kubelet
/// gave it up before its time, so that it has no result.
pub(super) fn of(
    handler: Handler,
    connection: &Connection,
    answer: Answer,
    start_boot_ns: u64,
    timeout_s: u64,
) -> Option<Verdict> {
    let Connection { connected_boot_ns, end_boot_ns, ending, .. } = *connection;
    let took_ns = end_boot_ns.saturating_sub(start_boot_ns);
    let timeout_ns = timeout_s.saturating_mul(SECOND_NS);
    let is_grpc = handler == Handler::Grpc;
    // The kubelet waits no more when its time is up, whatever becomes of the connection.
    let given_up = start_boot_ns.saturating_add(timeout_ns);
    let is_in_vain = !is_grpc && took_ns >= timeout_ns.saturating_add(IN_VAIN_NS);
    let verdict = |result| {
        let is_over = result == ProbeResult::Timeout && is_in_vain;
        let end_boot_ns = if is_over { given_up } else { end_boot_ns };
        Verdict { result, status: None, end_boot_ns, follow: None, is_error: false }
    };
    let retry = |verdict: Verdict| {
        let follow = is_grpc.then_some(Follow::Retry);
        Verdict { follow: follow.filter(|_| took_ns < timeout_ns), ..verdict }
    };
    let Some(connected_boot_ns) = connected_boot_ns else {
        return Some(match ending {
            _ if is_in_vain => verdict(ProbeResult::Timeout),
            Ending::TimedOut if out_of_time(took_ns, timeout_ns) => verdict(ProbeResult::Timeout),
            Ending::Refused | Ending::Reset => retry(verdict(ProbeResult::Refused)),
            // No way there, or nobody answers for the address.
            Ending::Open | Ending::TimedOut | Ending::Closed | Ending::ClosedByPeer => {
                retry(verdict(ProbeResult::Failure))
            }
        });
    };
    if handler == Handler::Tcp {
        return Some(Verdict { end_boot_ns: connected_boot_ns, ..verdict(ProbeResult::Success) });
    }
    // An answer whose body takes too long is no answer (`pkg/probe/http/http.go`, `DoHTTPProbe`).
    let is_late = ending == Ending::Closed
        && took_ns.saturating_add(TIMER_AHEAD_NS) >= timeout_ns
        && !matches!(answer, Answer::Health { .. });
    Some(match answer {
        _ if is_late => verdict(ProbeResult::Timeout),
        Answer::Status(status) => {
            let follow = matches!(status, 301 | 302 | 303 | 307 | 308).then_some(Follow::Redirect);
            let ended_by_peer = matches!(ending, Ending::ClosedByPeer | Ending::Reset);
            let extent = if ended_by_peer { body::extent(connection) } else { Extent::Whole };
            // Of a redirect's body nothing is wanted.
            let is_error = extent == Extent::BodyBroken && follow.is_none();
            let good = (200..400).contains(&status) && extent != Extent::HeadBroken && !is_error;
            let result = if good { ProbeResult::Success } else { ProbeResult::Failure };
            let follow = follow.filter(|_| extent != Extent::HeadBroken);
            Verdict { status: Some(status), follow, is_error, ..verdict(result) }
        }
        Answer::Health { serving: true } => verdict(ProbeResult::Success),
        Answer::Health { serving: false } => verdict(ProbeResult::Failure),
        Answer::HandshakeRefused | Answer::Other => retry(verdict(ProbeResult::Failure)),
        Answer::Encrypted | Answer::Unread => verdict(ProbeResult::Unknown),
        Answer::Nothing if !connection.data_observed => verdict(ProbeResult::Unknown),
        Answer::Nothing if is_in_vain => verdict(ProbeResult::Timeout),
        Answer::Nothing => match ending {
            // Only its own end makes the kubelet close one earlier. On a machine that is short of CPU
            // it connects late, and has waited for longer than is seen.
            Ending::Closed if took_ns >= timeout_ns / 2 => verdict(ProbeResult::Timeout),
            Ending::Closed if handler == Handler::Https && took_ns >= HANDSHAKE_NS => {
                verdict(ProbeResult::Timeout)
            }
            // A server that says good-bye, or speaks another protocol.
            Ending::Closed if is_grpc && has_read_all(connection) => {
                retry(verdict(ProbeResult::Failure))
            }
            Ending::Closed => return None,
            Ending::Open
            | Ending::ClosedByPeer
            | Ending::Reset
            | Ending::Refused
            | Ending::TimedOut => retry(verdict(ProbeResult::Failure)),
        },
    })
}

/// Whether something was received, and all of it is known.
fn has_read_all(connection: &Connection) -> bool {
    (1..=connection.received.len() as u64).contains(&connection.received_bytes)
}

/// Whether the time of a dial was up. A machine that is short of CPU may have been late to begin it; where
/// there is no way, the kernel gives it up earlier.
const fn out_of_time(took_ns: u64, timeout_ns: u64) -> bool {
    took_ns.saturating_add(timeout_ns / 10) >= timeout_ns
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
