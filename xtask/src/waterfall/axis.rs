//! The axis of time. Pure.

use super::rows::{Mark, Row};

const SECOND_NS: u64 = 1_000_000_000;
/// About so many ticks are on an axis.
const TICKS: u64 = 6;

/// The axis of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Axis {
    /// Its zero, Unix time: the start of the first row's span.
    zero_unix_ns: u64,
    begin_unix_ns: u64,
    end_unix_ns: u64,
}

impl Axis {
    /// An axis on which all marks are. What is before the first span has a negative time.
    pub(super) fn over(rows: &[Row]) -> Self {
        let times = rows.iter().flat_map(|row| match row.mark {
            Mark::Bar { start_unix_ns, end_unix_ns, .. } => vec![start_unix_ns, end_unix_ns],
            Mark::Point(unix_ns) => vec![unix_ns],
            Mark::None => Vec::new(),
        });
        let times: Vec<u64> = times.collect();
        let begin_unix_ns = times.iter().copied().min().unwrap_or(0);
        let end_unix_ns = times.iter().copied().max().unwrap_or(0).max(begin_unix_ns + 1);
        let zero_unix_ns = times.first().copied().unwrap_or(0);
        Self { zero_unix_ns, begin_unix_ns, end_unix_ns }
    }

    /// Where a time is: 0 at the begin, 1 at the end.
    pub(super) fn at(self, unix_ns: u64) -> f64 {
        let length = self.end_unix_ns - self.begin_unix_ns;
        unix_ns.saturating_sub(self.begin_unix_ns) as f64 / length as f64
    }

    /// Places and labels of the ticks, from zero on.
    pub(super) fn ticks(self) -> Vec<(f64, String)> {
        let length = self.end_unix_ns - self.zero_unix_ns.min(self.end_unix_ns);
        let step = step((self.end_unix_ns - self.begin_unix_ns) / TICKS);
        let places = (0..=length / step).map(|n| n * step);
        places.map(|after| (self.at(self.zero_unix_ns + after), label(after, step))).collect()
    }
}

/// The first of 1, 2, 5, 10, … of a unit that is not below `least`; from a minute on of minutes.
fn step(least: u64) -> u64 {
    const MINUTES: [u64; 6] = [60, 120, 300, 600, 1800, 3600];
    let mut decade = 1_000;
    while decade <= 10 * SECOND_NS {
        if let Some(step) = [1, 2, 5].map(|n| n * decade).into_iter().find(|it| *it >= least)
            && step < 60 * SECOND_NS
        {
            return step;
        }
        decade *= 10;
    }
    let minutes = MINUTES.map(|seconds| seconds * SECOND_NS);
    minutes.into_iter().find(|it| *it >= least).unwrap_or_else(|| least.max(1))
}

/// A time in the unit of the step.
fn label(after: u64, step: u64) -> String {
    let (unit_ns, unit) = match step {
        step if step >= 60 * SECOND_NS => (60 * SECOND_NS, "min"),
        SECOND_NS.. => (SECOND_NS, "s"),
        1_000_000.. => (1_000_000, "ms"),
        _ => (1_000, "µs"),
    };
    format!("{} {unit}", after / unit_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(start_unix_ns: u64, end_unix_ns: u64) -> Row {
        Row {
            depth: 0,
            label: String::new(),
            detail: String::new(),
            mark: Mark::Bar { start_unix_ns, end_unix_ns, is_error: false },
        }
    }

    #[test]
    fn all_marks_are_on_the_axis_and_zero_is_the_first_spans_start() {
        let axis = Axis::over(&[bar(10_000, 20_000), bar(5_000, 25_000)]);
        assert_eq!((axis.at(5_000), axis.at(25_000), axis.at(15_000)), (0.0, 1.0, 0.5));
        let ticks = axis.ticks();
        assert_eq!(ticks[0], (0.25, "0 µs".to_owned()));
        assert_eq!(ticks.last().unwrap(), &(1.0, "15 µs".to_owned()));
    }

    #[test]
    fn an_axis_without_length_has_one() {
        for rows in [vec![], vec![bar(7, 7)]] {
            let axis = Axis::over(&rows);
            assert!(axis.at(7) >= 0.0 && axis.ticks().len() == 1, "{axis:?}");
        }
    }

    #[test]
    fn ticks_are_few_and_of_round_numbers() {
        for length in [1, 999, 31_000, 2_500_000, SECOND_NS, 31 * SECOND_NS, 900 * SECOND_NS] {
            let ticks = Axis::over(&[bar(0, length)]).ticks();
            assert!((1..=8).contains(&ticks.len()), "{length}: {ticks:?}");
        }
        let labels = |length| {
            let ticks = Axis::over(&[bar(0, length)]).ticks();
            ticks.into_iter().map(|(_, label)| label).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(labels(31 * SECOND_NS), "0 s 10 s 20 s 30 s");
        assert_eq!(labels(900 * SECOND_NS), "0 min 5 min 10 min 15 min");
        assert_eq!(labels(2_500_000), "0 µs 500 µs 1000 µs 1500 µs 2000 µs 2500 µs");
    }
}
