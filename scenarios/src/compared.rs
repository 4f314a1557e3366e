//! The agent's figures against the witness's.

use std::fmt;

use anyhow::{Result, ensure};

use crate::witness::seconds_between;

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
}
