//! Named cases, run side by side or alone, and the report of what came of each.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

/// The most failed cases that are tried once more on an emulated machine: it is late now and then,
/// but what is wrong fails twice. The report says so.
pub const SECOND_TRIES: usize = 3;

/// One case of a run; `F` are the figures that it gives.
pub struct Case<'a, F> {
    name: &'a str,
    alone: bool,
    run: Box<dyn Fn(Try) -> Outcome<F> + Sync + 'a>,
}

/// The number of the try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Try {
    /// The first.
    First,
    /// The second, after a failure: what the first left may still be there.
    Second,
}

/// What came of a case.
#[derive(Debug)]
pub enum Outcome<F> {
    /// All is as it should be; with figures.
    Passed(F),
    /// Something is not.
    Failed(Error),
    /// It cannot run here, and why.
    Skipped(String),
}

/// A case that has run.
#[derive(Debug)]
pub struct Done<F> {
    /// Name of the case.
    pub name: String,
    /// What came of the last try.
    pub outcome: Outcome<F>,
    /// How long that try took.
    pub took: Duration,
    /// Why the first try failed, if there was a second.
    pub first_try: Option<Error>,
}

/// What came of the cases so far. Each is printed at once, since a machine may not live to the end.
#[derive(Debug)]
pub struct Report<F> {
    done: Mutex<Vec<Done<F>>>,
}

/// How cases are run.
#[derive(Clone, Copy, Debug)]
pub struct Runner {
    /// Cases that run side by side, those that want to be alone aside.
    pub at_once: usize,
    /// Up to so many failed cases are tried once more; more than that failed for a reason.
    pub second_tries: usize,
}

/// A part of a run that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Cases side by side, so many at once.
    Together(usize),
    /// The others, one after the other.
    Alone,
    /// So many that failed, once more.
    Again(usize),
}

impl<'a, F> Case<'a, F> {
    /// A case that runs beside others.
    pub fn new(name: &'a str, run: impl Fn(Try) -> Outcome<F> + Sync + 'a) -> Self {
        Self { name, alone: false, run: Box::new(run) }
    }

    /// Whether no other case runs at the same time.
    #[must_use]
    pub fn alone(mut self, alone: bool) -> Self {
        self.alone = alone;
        self
    }
}

impl<F> From<Result<F>> for Outcome<F> {
    fn from(result: Result<F>) -> Self {
        match result {
            Ok(figures) => Self::Passed(figures),
            Err(error) => Self::Failed(error),
        }
    }
}

impl<F: fmt::Display> Done<F> {
    fn of(name: &str, run: impl FnOnce() -> Outcome<F>) -> Self {
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(run))
            .unwrap_or_else(|_| Outcome::Failed(anyhow!("it panicked; see above")));
        Self { name: name.to_owned(), outcome, took: start.elapsed(), first_try: None }
    }

    fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

/// The line of the report: `ok name (figures), 1.2 s`, `FAILED name: why`, `SKIPPED name: why`.
impl<F: fmt::Display> fmt::Display for Done<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, outcome, took, first_try } = self;
        let seconds = took.as_secs_f64();
        match outcome {
            Outcome::Passed(figures) => {
                let figures = figures.to_string();
                write!(f, "ok {name}")?;
                if !figures.is_empty() {
                    write!(f, " ({figures})")?;
                }
                write!(f, ", {seconds:.1} s")?;
            }
            Outcome::Failed(error) => write!(f, "FAILED {name}: {error:#}, after {seconds:.1} s")?,
            Outcome::Skipped(reason) => write!(f, "SKIPPED {name}: {reason}")?,
        }
        match first_try {
            Some(error) => write!(f, "; the first try: {error:#}"),
            None => Ok(()),
        }
    }
}

impl<F> Default for Report<F> {
    fn default() -> Self {
        Self { done: Mutex::new(Vec::new()) }
    }
}

impl<F: fmt::Display> Report<F> {
    /// Runs a case that is part of no [`Runner::run`], prints and keeps what came of it.
    pub fn case(&self, name: &str, run: impl FnOnce() -> Outcome<F>) {
        self.add(Done::of(name, run));
    }

    fn add(&self, done: Done<F>) {
        let mut all = self.lock();
        println!("{done}");
        all.push(done);
    }

    /// Prints what came of a second try, and keeps it in the place of the first.
    fn again(&self, mut done: Done<F>) {
        let mut all = self.lock();
        let Some(kept) = all.iter_mut().find(|it| it.name == done.name) else { return };
        std::mem::swap(kept, &mut done);
        if let Outcome::Failed(error) = done.outcome {
            kept.first_try = Some(error);
        }
        println!("{kept}");
    }

    fn failed(&self) -> Vec<String> {
        let all = self.lock();
        all.iter().filter(|done| done.failed()).map(|done| done.name.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Done<F>>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many passed, failed and were skipped so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for done in self.lock().iter() {
            match done.outcome {
                Outcome::Passed(_) => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
            counts.second_tries += u32::from(done.first_try.is_some());
        }
        counts
    }

    /// All that came of the cases, in the order of their ends.
    pub fn into_done(self) -> Vec<Done<F>> {
        self.done.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many cases ended in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
    second_tries: u32,
}

impl Counts {
    /// Whether none failed.
    #[must_use]
    pub const fn good(self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, skipped, second_tries } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")?;
        match second_tries {
            0 => Ok(()),
            tries => write!(f, ", {tries} at the second try"),
        }
    }
}

impl Runner {
    /// Runs the cases: first those that bear company, then the others, then few that failed.
    pub fn run<F: fmt::Display + Send>(
        self,
        cases: &[Case<'_, F>],
        report: &Report<F>,
        mut begin: impl FnMut(Phase),
    ) {
        let (alone, together): (Vec<_>, Vec<_>) = cases.iter().partition(|case| case.alone);
        let first = |case: &Case<'_, F>| report.case(case.name, || (case.run)(Try::First));
        if !together.is_empty() {
            let at_once = self.at_once.clamp(1, together.len());
            begin(Phase::Together(at_once));
            let next = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..at_once {
                    scope.spawn(|| {
                        while let Some(case) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                            first(case);
                        }
                    });
                }
            });
        }
        if !alone.is_empty() {
            begin(Phase::Alone);
            alone.into_iter().for_each(first);
        }
        let failed = report.failed();
        if (1..=self.second_tries).contains(&failed.len()) {
            begin(Phase::Again(failed.len()));
            for case in cases.iter().filter(|case| failed.iter().any(|name| name == case.name)) {
                report.again(Done::of(case.name, || (case.run)(Try::Second)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn passing(_: Try) -> Outcome<&'static str> {
        Outcome::Passed("")
    }

    fn failing(_: Try) -> Outcome<&'static str> {
        Outcome::Failed(anyhow!("wrong"))
    }

    fn run(
        at_once: usize,
        second_tries: usize,
        cases: &[Case<'_, &'static str>],
    ) -> Report<&'static str> {
        let report = Report::default();
        Runner { at_once, second_tries }.run(cases, &report, |_| ());
        report
    }

    #[test]
    fn cases_that_bear_company_run_at_once_and_the_others_alone() {
        // Each waits for the other: one after the other they would never end.
        let barrier = Barrier::new(2);
        let running = AtomicUsize::new(0);
        let together = |_| {
            running.fetch_add(1, Ordering::SeqCst);
            barrier.wait();
            running.fetch_sub(1, Ordering::SeqCst);
            Outcome::Passed("two")
        };
        let alone = |_| match running.load(Ordering::SeqCst) {
            0 => Outcome::Passed("one"),
            _ => Outcome::Failed(anyhow!("in company")),
        };
        let cases = [
            Case::new("alone", alone).alone(true),
            Case::new("a", together),
            Case::new("b", together),
        ];
        let report = Report::default();
        let mut phases = Vec::new();
        Runner { at_once: 9, second_tries: 0 }.run(&cases, &report, |phase| phases.push(phase));
        assert_eq!(phases, [Phase::Together(2), Phase::Alone]);
        assert_eq!(report.counts().to_string(), "3 passed, 0 failed, 0 skipped");
        assert_eq!(report.into_done()[2].name, "alone");
    }

    #[test]
    fn few_failures_are_tried_again_and_the_report_says_so() {
        let flaky = |number| match number {
            Try::First => Outcome::Failed(anyhow!("late")),
            Try::Second => Outcome::Passed("in time"),
        };
        let cases = [Case::new("good", passing), Case::new("flaky", flaky)];
        let report = run(1, 1, &cases);
        let counts = report.counts();
        assert!(counts.good());
        assert_eq!(counts.to_string(), "2 passed, 0 failed, 0 skipped, 1 at the second try");
        let line = report.into_done()[1].to_string();
        assert_eq!(line, "ok flaky (in time), 0.0 s; the first try: late");

        let report = run(1, 1, &[Case::new("bad", failing)]);
        assert!(!report.counts().good());
        let line = report.into_done()[0].to_string();
        assert_eq!(line, "FAILED bad: wrong, after 0.0 s; the first try: wrong");
    }

    #[test]
    fn many_failures_are_not_tried_again() {
        let tries = AtomicUsize::new(0);
        let bad = |number| {
            tries.fetch_add(1, Ordering::Relaxed);
            failing(number)
        };
        let report = run(1, 1, &[Case::new("a", bad), Case::new("b", bad)]);
        assert_eq!(report.counts().to_string(), "0 passed, 2 failed, 0 skipped");
        assert_eq!(tries.into_inner(), 2);
    }

    #[test]
    fn a_skip_has_its_reason_and_a_panic_is_a_failure() {
        let report = Report::default();
        report.case("skip", || Outcome::Skipped("no memory controller".into()));
        report.case("panic", || panic!("for this test"));
        report.case("result", || Ok("fine").into());
        assert_eq!(report.counts().to_string(), "1 passed, 1 failed, 1 skipped");
        let lines: Vec<_> = report.into_done().iter().map(ToString::to_string).collect();
        assert_eq!(lines[0], "SKIPPED skip: no memory controller");
        assert!(lines[1].starts_with("FAILED panic: it panicked"), "{}", lines[1]);
        assert_eq!(lines[2], "ok result (fine), 0.0 s");
    }
}
