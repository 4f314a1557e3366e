//! What came of the scenarios, one line each.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use anyhow::{Error, Result, ensure};

use crate::witness::seconds_between;

/// What came of one scenario.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All as it should be; with figures.
    Ok(String),
    /// Not so.
    Failed(Error),
    /// It cannot run here.
    Skipped(String),
}

/// The lines so far. Each is printed at once, since a VM may not live to the end.
#[derive(Debug, Default)]
pub(crate) struct Report {
    counts: Mutex<Counts>,
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Report {
    /// Prints and counts it.
    pub(crate) fn add(&self, name: &str, outcome: &Outcome) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Outcome::Ok(figures) if figures.is_empty() => println!("ok {name}"),
            Outcome::Ok(figures) => println!("ok {name} ({figures})"),
            Outcome::Failed(error) => println!("FAILED {name}: {error:#}"),
            Outcome::Skipped(reason) => println!("SKIPPED {name}: {reason}"),
        }
        match outcome {
            Outcome::Ok(_) => counts.passed += 1,
            Outcome::Failed(_) => counts.failed += 1,
            Outcome::Skipped(_) => counts.skipped += 1,
        }
    }

    /// How many of each so far.
    pub(crate) fn counts(&self) -> Counts {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// None failed.
    pub(crate) fn good(self) -> bool {
        self.failed == 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Two clocks on the same thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// What the agent shows, seconds.
    pub(crate) agent: f64,
    /// What the witness saw, seconds.
    pub(crate) witness: f64,
}

impl Compared {
    /// The agent's figure against the witness's two moments.
    pub(crate) fn new(agent: f64, from_ns: u64, to_ns: u64) -> Self {
        Self { agent, witness: seconds_between(from_ns, to_ns) }
    }

    /// At most 50 ms or 5 % of the witness apart.
    pub(crate) fn check(self) -> Result<Self> {
        let allowed = (self.witness * 0.05).max(0.05);
        ensure!((self.agent - self.witness).abs() <= allowed, "too far apart: {self}");
        Ok(self)
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {:.4} s, witness {:.4} s", self.agent, self.witness)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allowance_is_the_larger_of_the_two() {
        let apart = |agent| Compared { agent, witness: 0.3 }.check().is_ok();
        assert!(apart(0.349) && apart(0.251));
        assert!(!apart(0.351) && !apart(0.249) && !apart(f64::NAN));
        assert!(Compared { agent: 10.4, witness: 10.0 }.check().is_ok());
        assert!(Compared { agent: 10.6, witness: 10.0 }.check().is_err());
        assert_eq!(Compared::new(0.5, 3_000_000_000, 2_000_000_000).witness, -1.0);
    }

    #[test]
    fn counts_and_judges() {
        let report = Report::default();
        report.add("a", &Outcome::Ok(String::new()));
        report.add("b", &Outcome::Skipped("no".into()));
        assert!(report.counts().good());
        report.add("c", &Outcome::Failed(Error::msg("no")));
        assert_eq!(report.counts().to_string(), "1 passed, 1 failed, 1 skipped");
        assert!(!report.counts().good());
    }
}
