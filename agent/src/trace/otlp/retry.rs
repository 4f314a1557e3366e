//! Decision what becomes of a batch: by the answer, as the OTLP specification has it. Pure.
//!
//! <https://opentelemetry.io/docs/specs/otlp/>, "Failures" and "OTLP/HTTP Response".

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use tonic::Code;

use super::limits::TEXT_MAX;
use super::stats::Failure;
use crate::kube::text::one_line;

/// Outcome of an attempt to send a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has the batch, but for spans that it rejected.
    Exported {
        /// Spans that it says it rejected.
        rejected: u64,
        /// Its words about that, in one line; empty without any.
        message: String,
    },
    /// The same batch may be taken later.
    Retry {
        /// Reason, for the counters.
        failure: Failure,
        /// Rest that the receiver asks for.
        after: Option<Duration>,
        /// Reason in one line.
        why: String,
    },
    /// The batch will never be taken.
    Refused {
        /// Reason, for the counters.
        failure: Failure,
        /// Reason in one line.
        why: String,
    },
}

impl Outcome {
    /// The outcome of a whole answer of OTLP.
    pub(super) fn of(answer: ExportTraceServiceResponse) -> Self {
        let partial = answer.partial_success.unwrap_or_default();
        Self::Exported {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or_default(),
            message: one_line(&partial.error_message, TEXT_MAX),
        }
    }

    /// A connection that cannot be made, or broke.
    pub(super) const fn broken(why: String) -> Self {
        Self::Retry { failure: Failure::Unavailable, after: None, why }
    }

    /// An answer that is none of OTLP.
    pub(super) const fn malformed(why: String) -> Self {
        Self::Refused { failure: Failure::Malformed, why }
    }
}

/// The outcome by the status of a gRPC call, with the rest that its `RetryInfo` asks for.
pub(super) fn by_code(code: Code, retry_info: Option<Duration>, why: String) -> Outcome {
    let is_passing = matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    );
    let failure = match code {
        Code::DeadlineExceeded => Failure::Timeout,
        Code::ResourceExhausted => Failure::Throttled,
        _ if is_passing => Failure::Unavailable,
        _ => Failure::Rejected,
    };
    // Only with a `RetryInfo` does it say that it recovers.
    if is_passing || (code == Code::ResourceExhausted && retry_info.is_some()) {
        Outcome::Retry { failure, after: retry_info, why }
    } else {
        Outcome::Refused { failure, why }
    }
}

/// The outcome by a status of HTTP that is no success, with the rest that `Retry-After` asks for.
pub(super) const fn by_status(status: u16, after: Option<Duration>, why: String) -> Outcome {
    match status {
        429 => Outcome::Retry { failure: Failure::Throttled, after, why },
        502..=504 => Outcome::Retry { failure: Failure::Unavailable, after, why },
        _ => Outcome::Refused { failure: Failure::Rejected, why },
    }
}

/// The rest that a value of `Retry-After` asks for at that Unix time: a number of seconds, or a date.
pub(super) fn retry_after(value: &str, now_unix_s: i64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date_unix_s = jiff::fmt::rfc2822::parse(value).ok()?.timestamp().as_second();
    let rest_s = date_unix_s.saturating_sub(now_unix_s);
    Some(Duration::from_secs(u64::try_from(rest_s).unwrap_or_default()))
}

/// Rests between the attempts: each is up to twice as long as the one before, until one succeeds.
#[derive(Clone, Debug, Default)]
pub(super) struct Backoff {
    /// Attempts that failed in a row.
    failed: u32,
}

/// The first rest, at most.
const FIRST: Duration = Duration::from_secs(1);
/// The longest rest that we take by ourselves.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest rest that a receiver gets: else an answer could silence the agent for good.
const ASKED_LONGEST: Duration = Duration::from_secs(300);

impl Backoff {
    /// The next rest. `random` spreads it over half its length, so that the agents of a cluster do
    /// not come back at once; what the receiver asks for (`after`) is never shortened by that.
    pub(super) fn next(&mut self, after: Option<Duration>, random: u64) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failed.min(16)).min(LONGEST);
        self.failed = self.failed.saturating_add(1);
        let half_ms = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX) / 2;
        let spread = Duration::from_millis(random % (half_ms + 1));
        match after {
            None => Duration::from_millis(half_ms) + spread,
            Some(after) => after.min(ASKED_LONGEST) + spread,
        }
    }

    /// Starts over, after a success.
    pub(super) const fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    fn is_retried(outcome: &Outcome) -> Option<Option<Duration>> {
        match outcome {
            Outcome::Retry { after, .. } => Some(*after),
            _ => None,
        }
    }

    #[test]
    fn codes_are_retried_as_the_specification_has_it() {
        // The table "OTLP/gRPC Throttling and retryable codes".
        let retried = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ];
        for code in (0..=16).map(Code::from_i32) {
            let by = |info| is_retried(&by_code(code, info, String::new()));
            let with_info = retried.contains(&code) || code == Code::ResourceExhausted;
            assert_eq!(by(None), retried.contains(&code).then_some(None), "{code:?}");
            assert_eq!(by(Some(S(3))), with_info.then_some(Some(S(3))), "{code:?}");
        }
    }

    #[test]
    fn statuses_are_retried_as_the_specification_has_it() {
        for status in 100..=599 {
            let retried = [429, 502, 503, 504].contains(&status);
            let outcome = by_status(status, Some(S(2)), String::new());
            assert_eq!(is_retried(&outcome), retried.then_some(Some(S(2))), "{status}");
        }
    }

    #[test]
    fn failures_have_their_reasons() {
        let of = |outcome| match outcome {
            Outcome::Retry { failure, .. } | Outcome::Refused { failure, .. } => failure.label(),
            Outcome::Exported { .. } => "none",
        };
        for (code, reason) in [
            (Code::Unavailable, "unavailable"),
            (Code::DeadlineExceeded, "timeout"),
            (Code::ResourceExhausted, "throttled"),
            (Code::Unauthenticated, "rejected"),
            (Code::Aborted, "unavailable"),
            (Code::Internal, "rejected"),
        ] {
            assert_eq!(of(by_code(code, None, String::new())), reason);
        }
        for (status, reason) in [(429, "throttled"), (503, "unavailable"), (401, "rejected")] {
            assert_eq!(of(by_status(status, None, String::new())), reason);
        }
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        for (value, rest) in [
            ("0", Some(S(0))),
            (" 120 ", Some(S(120))),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(S(10))),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(S(0))),
            ("18446744073709551615", Some(S(u64::MAX))),
            ("18446744073709551616", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, 784_111_777), rest, "{value}");
        }
    }

    #[test]
    fn rests_double_up_to_a_limit_and_are_spread() {
        let rests = |random| {
            let mut backoff = Backoff::default();
            (0..8).map(move |_| backoff.next(None, random).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(rests(0), [500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        let longest = |half: u64| {
            let mut backoff = Backoff { failed: half.ilog2().saturating_sub(8) };
            backoff.next(None, half)
        };
        assert_eq!(longest(500), S(1));
        for random in [1, 77, 499, 501, u64::MAX] {
            for (n, ms) in rests(random).into_iter().enumerate() {
                let most = (1000_u128 << n).min(30_000);
                assert!((most / 2..=most).contains(&ms), "{ms} at {n}");
            }
        }
        let mut backoff = Backoff { failed: u32::MAX };
        assert_eq!(backoff.next(None, 15_000), S(30));
        backoff.reset();
        assert_eq!(backoff.next(None, 500), S(1));
    }

    #[test]
    fn the_rest_that_is_asked_for_is_kept_and_bounded() {
        let mut backoff = Backoff::default();
        for (asked, least) in [(7, 7), (300, 300), (u64::MAX, 300)] {
            let rest = backoff.next(Some(S(asked)), u64::MAX);
            assert!(rest >= S(least) && rest <= S(least) + LONGEST / 2, "{rest:?}");
        }
        assert!(Backoff::default().next(Some(S(0)), 400) <= FIRST, "but never at once for all");
    }
}
