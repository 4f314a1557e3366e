//! A scenario: its name, what it does, and when it may run.

use anyhow::Result;

use super::{context::Context, figure::Figure};

/// One scenario.
pub(crate) struct Scenario {
    /// Also the name of its Pods.
    pub(super) name: &'static str,
    pub(super) run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    pub(super) when: When,
}

/// When a scenario may run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Beside others.
    Together,
    /// By itself, after those: it takes something away that all need.
    Alone,
    /// As together, and only where an OOM kills one process, or all of a container.
    Oom { single_process: bool },
}

impl Scenario {
    pub(super) const fn together(
        name: &'static str,
        run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    ) -> Self {
        Self { name, run, when: When::Together }
    }

    pub(super) const fn alone(
        name: &'static str,
        run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    ) -> Self {
        Self { name, run, when: When::Alone }
    }
}
