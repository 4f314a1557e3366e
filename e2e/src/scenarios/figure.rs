//! A figure of the agent beside that of its witness.

use anyhow::{Result, bail};

/// What the agent says, and what the witness says.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(super) what: String,
    pub(super) agent: String,
    pub(super) witness: String,
}

impl Figure {
    /// The same on both sides.
    #[expect(clippy::needless_pass_by_value, reason = "callers have numbers and words")]
    pub(super) fn same(what: &str, agent: impl ToString, witness: impl ToString) -> Result<Self> {
        let figure =
            Self { what: what.into(), agent: agent.to_string(), witness: witness.to_string() };
        if figure.agent != figure.witness {
            bail!("{what}: the agent says {}, the witness {}", figure.agent, figure.witness);
        }
        Ok(figure)
    }

    /// Two numbers, at most `allowed` apart.
    pub(super) fn within(what: &str, agent: f64, witness: f64, allowed: f64) -> Result<Self> {
        if (agent - witness).abs() > allowed || agent.is_nan() {
            bail!("{what}: the agent says {agent:.4}, the witness {witness:.4}, ± {allowed:.4}");
        }
        let [agent, witness] = [agent, witness].map(|value| format!("{value:.4}"));
        Ok(Self { what: what.into(), agent, witness })
    }

    /// A number between two others.
    pub(super) fn between(what: &str, agent: f64, from: f64, to: f64) -> Result<Self> {
        if !(from..=to).contains(&agent) {
            bail!("{what}: the agent says {agent:.4}, the witness {from:.4} to {to:.4}");
        }
        let witness = format!("{from:.4} to {to:.4}");
        Ok(Self { what: what.into(), agent: format!("{agent:.4}"), witness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_too_much_fails() {
        assert!(Figure::within("x", 1.009, 1.0, 0.01).is_ok());
        assert!(Figure::within("x", 0.989, 1.0, 0.01).is_err());
        assert!(Figure::within("x", f64::NAN, 1.0, 1.0).is_err());
        assert!(Figure::same("x", 1, "1").is_ok() && Figure::same("x", 1, 2).is_err());
        assert!(Figure::between("x", 2.0, 1.0, 2.0).is_ok());
        assert!(Figure::between("x", 2.1, 1.0, 2.0).is_err());
    }
}
