//! Pace of requests: how long a Pod source rests before it asks again.
//!
//! A server may end each watch at once, or answer each with `410 Gone`, and do so for hours. What
//! counts is therefore not whether a request succeeded, but how long the watch lived.

use std::time::Duration;

/// Rest after a first failure, or after a watch that has lived for long; about, like all rests.
const REST_MIN: Duration = Duration::from_millis(250);
/// Longest rest while the server does not answer, or refuses. client-go goes up to 30 s; then most
/// of what an API server missed while it was down would be missed here as well.
const REST_MAX_REFUSED: Duration = Duration::from_secs(8);
/// Longest rest while the server answers and no watch lasts: every round may cost it a list.
const REST_MAX_ANSWERED: Duration = Duration::from_secs(30);
/// Life of a watch that takes one doubling back.
const LIFE: Duration = Duration::from_secs(5);
/// Longest rest that a server can ask for with `Retry-After`.
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_secs(120);
/// Doublings that are counted: more than lead to the longest rest.
const DOUBLINGS_MAX: u32 = 10;

/// End of a round: of a list and the watch after it, or of a watch that was resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Round {
    /// Time for which the watch was open; 0 if none was.
    pub lived: Duration,
    /// Whether the server answered: a watch was open, or the next round has to begin with a list.
    pub answered: bool,
    /// Rest that the server asked for.
    pub retry_after: Option<Duration>,
}

/// The pace: the doublings of the rest, which are carried over from round to round.
#[derive(Debug, Default)]
pub(super) struct Pace {
    doublings: u32,
}

impl Pace {
    /// The rest after this round. `random` is from 0 up to 1, and spreads the rests of many agents.
    pub(super) fn rest(&mut self, round: Round, random: f64) -> Duration {
        let forgiven = u32::try_from(round.lived.as_secs() / LIFE.as_secs()).unwrap_or(u32::MAX);
        self.doublings = self.doublings.saturating_sub(forgiven);
        let max = if round.answered { REST_MAX_ANSWERED } else { REST_MAX_REFUSED };
        let rest = REST_MIN.saturating_mul(1 << self.doublings).min(max).mul_f64(0.5 + random);
        self.doublings = (self.doublings + 1).min(DOUBLINGS_MAX);
        // Some rest beyond what is asked for, or all agents would come at the same moment.
        let asked =
            round.retry_after.map(|asked| asked.min(RETRY_AFTER_MAX).mul_f64(1.0 + 0.1 * random));
        rest.max(asked.unwrap_or_default())
    }

    /// Whether several watches in a row have ended soon.
    pub(super) const fn is_slow(&self) -> bool {
        self.doublings >= 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn round(lived_s: u64, answered: bool) -> Round {
        Round { lived: Duration::from_secs(lived_s), answered, retry_after: None }
    }

    /// Rests after these rounds, without their random part, in seconds.
    fn rests(pace: &mut Pace, rounds: &[Round]) -> Vec<f64> {
        rounds.iter().map(|round| pace.rest(*round, 0.5).as_secs_f64()).collect()
    }

    #[test]
    fn rests_double_whether_the_server_answers_or_not() {
        let refused = rests(&mut Pace::default(), &[round(0, false); 8]);
        assert_eq!(refused, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        let ended_at_once = rests(&mut Pace::default(), &[round(0, true); 9]);
        assert_eq!(ended_at_once, [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
    }

    #[test]
    fn only_the_life_of_a_watch_shortens_them() {
        let mut pace = Pace::default();
        rests(&mut pace, &[round(0, true); 6]);
        assert!(pace.is_slow());
        assert_eq!(
            rests(&mut pace, &[round(0, false), round(4, true)]),
            [8.0, 30.0],
            "no life yet"
        );
        assert_eq!(rests(&mut pace, &[round(5, true), round(5, true)]), [30.0, 30.0]);
        assert_eq!(rests(&mut pace, &[round(3600, true), round(300, true)]), [0.25, 0.25]);
        // A proxy that ends every watch after 30 s costs next to nothing.
        assert_eq!(rests(&mut pace, &[round(30, true); 3]), [0.25; 3]);
        assert!(!pace.is_slow());
    }

    #[test]
    fn rests_are_spread_and_never_end() {
        for doublings in 0..2_000 {
            let mut pace = Pace { doublings: doublings.min(DOUBLINGS_MAX) };
            let (low, high) = (pace.rest(round(0, true), 0.0), pace.rest(round(0, true), 0.999));
            assert!(low >= REST_MIN / 2 && high <= REST_MAX_ANSWERED * 3 / 2, "{low:?} {high:?}");
        }
    }

    #[test]
    fn a_server_may_ask_for_more_within_reason() {
        let ask = |seconds| {
            let round =
                Round { retry_after: Some(Duration::from_secs(seconds)), ..round(0, false) };
            Pace::default().rest(round, 0.0).as_secs()
        };
        assert_eq!(ask(17), 17);
        assert_eq!(ask(1_000_000), RETRY_AFTER_MAX.as_secs());
        assert_eq!(ask(0), 0, "never less than the rest: 125 ms here");
    }
}
