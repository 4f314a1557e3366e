//! A scenario: its name, what it does, and when it may run.

use anyhow::Result;

use super::{context::Context, figure::Figure, runtime::Runtime};

/// One scenario.
pub(crate) struct Scenario {
    /// Also the name of its Pods, with the runtime's where that is not the default.
    pub(super) name: &'static str,
    pub(super) run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    pub(super) when: When,
    /// Whether the outcome may depend on the shape of a container's cgroup: then it runs with each
    /// [`Runtime`], else with the first.
    pub(super) each_runtime: bool,
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
    /// As together, and only where the agent has no CAP_NET_ADMIN.
    WithoutNetAdmin,
}

impl Scenario {
    pub(super) const fn together(
        name: &'static str,
        run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    ) -> Self {
        Self { name, run, when: When::Together, each_runtime: false }
    }

    pub(super) const fn alone(
        name: &'static str,
        run: fn(&Context<'_>) -> Result<Vec<Figure>>,
    ) -> Self {
        Self { name, run, when: When::Alone, each_runtime: false }
    }

    /// The same, with each runtime.
    pub(super) const fn with_each_runtime(self) -> Self {
        Self { each_runtime: true, ..self }
    }

    /// The runtimes that it runs with.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = Runtime> {
        Runtime::ALL.into_iter().filter(|it| self.each_runtime || it.class().is_none())
    }

    /// The name with a runtime, which is also that of its Pods.
    pub(super) fn name_with(&self, runtime: Runtime) -> String {
        match runtime.class() {
            None => self.name.to_owned(),
            Some(class) => format!("{}-{class}", self.name),
        }
    }
}
