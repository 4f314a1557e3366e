//! A scenario, and what most of them check.

use anyhow::{Context as _, Result, ensure};
use testbed::scrape::{Key, Scrape, View};

use crate::compared::Compared;
use crate::container::Container;
use crate::context::Context;
use crate::host::Need;

/// One scenario.
pub(crate) struct Case {
    /// Its name: words with dashes.
    pub(crate) name: &'static str,
    /// What the host must have.
    pub(crate) needs: &'static [Need],
    /// No other scenario runs at the same time.
    pub(crate) alone: bool,
    /// Runs it; figures to print, or why not.
    pub(crate) run: fn(&Context) -> Result<String>,
}

impl Case {
    pub(super) const fn new(name: &'static str, run: fn(&Context) -> Result<String>) -> Self {
        Self { name, needs: &[], alone: false, run }
    }

    pub(super) const fn needs(mut self, needs: &'static [Need]) -> Self {
        self.needs = needs;
        self
    }

    pub(super) const fn alone(mut self) -> Self {
        self.alone = true;
        self
    }
}

/// The values of the label `cause`.
pub(super) const CAUSES: [&str; 7] = [
    "completed",
    "error",
    "signal",
    "oom",
    "killed_after_grace",
    "killed_without_stop_signal",
    "unknown",
];

/// Nothing has happened to it yet, and its counters say so: Prometheus sees no increase in a
/// series that is born at 1.
pub(super) fn born_at_zero(scrape: &Scrape, key: &Key) -> Result<()> {
    let view = scrape.of(key);
    view.value("container_info", &[])?;
    for cause in CAUSES {
        view.want("terminations_total", &[("cause", cause)], 0.0)?;
    }
    for outcome in ["exited", "killed"] {
        view.want("shutdown_duration_seconds_count", &[("outcome", outcome)], 0.0)?;
    }
    view.want("container_restarts_total", &[], 0.0)?;
    view.want_none("container_last_termination_info", &[])?;
    view.want_none("container_terminating_seconds", &[])
}

/// It ended once, of this cause and no other.
pub(super) fn ended_once(view: &View<'_>, cause: &str) -> Result<()> {
    ended(view, cause, 1.0)
}

/// It ended so many times, of this cause and no other.
pub(super) fn ended(view: &View<'_>, cause: &str, times: f64) -> Result<()> {
    for other in CAUSES {
        let wanted = if other == cause { times } else { 0.0 };
        let value = view.value("terminations_total", &[("cause", other)])?;
        ensure!(value == wanted, "terminations of cause {other}: {value}, not {wanted}");
    }
    view.want_label("container_last_termination_info", "cause", cause)
}

/// It has not ended.
pub(super) fn lives(view: &View<'_>) -> Result<()> {
    view.value("container_info", &[])?;
    view.want_none_or_zero("terminations_total", &[])?;
    view.want_none("container_last_termination_info", &[])
}

/// So many shutdowns are in the histogram.
pub(super) fn shutdowns(view: &View<'_>, exited: f64, killed: f64) -> Result<()> {
    view.want("shutdown_duration_seconds_count", &[("outcome", "exited")], exited)?;
    view.want("shutdown_duration_seconds_count", &[("outcome", "killed")], killed)
}

/// It was never asked to stop.
pub(super) fn no_shutdown(view: &View<'_>) -> Result<()> {
    shutdowns(view, 0.0, 0.0)?;
    view.want_none("container_last_shutdown_seconds", &[])?;
    view.want_none("container_terminating_seconds", &[])?;
    view.want_none_or_zero("stop_signal_ignored_total", &[])
}

/// Walks over all cgroups at the start: what is there before its parent is tracked is found by the
/// first, what was made meanwhile by the second.
pub(super) const WALKS_AT_START: u32 = 2;

/// After everything else: nothing was lost, nothing was refused.
pub(crate) fn loses_nothing(context: &Context) -> Result<String> {
    let scrape = context.scrape()?;
    for name in ["events_lost_total", "events_rejected_total", "series_dropped_total"] {
        let sum = scrape.sum(name, &[]).with_context(|| format!("no {name}"))?;
        ensure!(sum == 0.0, "{name} is {sum}");
    }
    // With every event reported there is nothing to find by walking, whatever else is not attached.
    // Cgroups that a container made beyond its share are looked for later.
    let beyond = scrape.sum("events_dropped_total", &[("reason", "share_cgroup")]);
    let beyond = beyond.context("no events_dropped_total of share_cgroup")?;
    let walks = crate::agent::walks(context.address, context.timeout())?;
    ensure!(walks == WALKS_AT_START || beyond > 0.0, "the cgroups were walked over {walks} times");
    let received = scrape.sum("events_received_total", &[]).context("no events_received_total")?;
    Ok(format!("{received} events, {} series", scrape.len()))
}

/// The end of a container by its own exit with 0 after the stop signal at `sent_ns`: one shutdown, as
/// long as the witness saw it.
pub(super) fn ends_in_order(
    context: &Context,
    mut container: Container,
    sent_ns: u64,
) -> Result<String> {
    let end = container.wait(context.timeout())?;
    container.remove_cgroup()?;
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "completed")?;
        shutdowns(&view, 1.0, 0.0)?;
        view.value("container_last_shutdown_seconds", &[])
    })?;
    Ok(Compared::new(agent, sent_ns, end.at_ns).check()?.to_string())
}
