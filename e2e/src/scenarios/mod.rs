//! What happens to Pods on a real node, told by the agent and by a witness.
//!
//! Witnesses are what runs in the Pod (it logs each act with the boot-time clock, which the agent's
//! kernel side uses as well), the API's status, and the kernel's files. Counts are exact. Times may
//! differ by 50 ms or 5 %, since the node is emulated.

mod context;
mod disruptions;
mod figure;
mod kills;
mod lives;
mod oom;
mod outages;
mod scenario;
mod stops;

use std::{
    fmt::{self, Write as _},
    net::SocketAddr,
    sync::Mutex,
};

use anyhow::{Result, bail};
use testbed::runner::{Case, Done, Outcome, Phase, Report, Runner, SECOND_TRIES, Try};
use xtask::stop;

use self::{
    context::Context,
    figure::Figure,
    scenario::{Scenario, When},
};
use super::{cluster::Cluster, node::Options, steps::Steps};

/// Scenarios that run at once: the node's CPUs are emulated, and its kubelet is what they wait for.
const AT_ONCE: usize = 5;

/// All of them.
fn all() -> impl Iterator<Item = &'static Scenario> {
    [
        stops::SCENARIOS,
        kills::SCENARIOS,
        oom::SCENARIOS,
        lives::SCENARIOS,
        disruptions::SCENARIOS,
        outages::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// The figures of a scenario.
struct Figures(Vec<Figure>);

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} figures", self.0.len())
    }
}

/// Runs those whose names contain one of `only`, or all; prints each, and gives the report.
///
/// # Errors
/// If one failed; the report is printed then as well.
pub(crate) fn run(
    cluster: &Cluster,
    agent: SocketAddr,
    options: &Options,
    only: &[String],
    steps: &mut Steps,
) -> Result<String> {
    let chosen: Vec<&Scenario> = all()
        .filter(|it| only.is_empty() || only.iter().any(|only| it.name.contains(only.as_str())))
        .filter(|it| match it.when {
            When::Oom { single_process } => options.single_process_oom_kill == single_process,
            // The extra runs are for what is different there.
            When::Alone => !options.single_process_oom_kill || !only.is_empty(),
            When::Together => true,
        })
        .collect();
    if chosen.is_empty() {
        bail!("no scenario is called {}", only.join(", "));
    }
    let agent = Mutex::new(agent);
    let attempt = |scenario: &Scenario, number| {
        let again = format!("{}-again", scenario.name);
        let name = match number {
            Try::First => scenario.name,
            Try::Second => {
                cluster.clear(scenario.name)?;
                &again
            }
        };
        stop::check()?;
        (scenario.run)(&Context::new(cluster, &agent, name)).map(Figures)
    };
    let cases: Vec<_> = chosen
        .into_iter()
        .map(|it| {
            Case::new(it.name, move |number| attempt(it, number).into())
                .alone(it.when == When::Alone)
        })
        .collect();
    let report = Report::default();
    let runner = Runner { at_once: AT_ONCE, second_tries: SECOND_TRIES };
    runner.run(&cases, &report, |phase| match phase {
        Phase::Together(count) => steps.begin(&format!("scenarios: {count} at once")),
        Phase::Alone => steps.begin("scenarios: one after the other"),
        Phase::Again(count) => steps.begin(&format!("scenarios: {count} for a second time")),
    });
    steps.end();
    let counts = report.counts();
    let table = table(&report.into_done());
    if !counts.good() {
        println!("{table}");
        bail!("scenarios: {counts}");
    }
    Ok(table)
}

/// A table in Markdown.
fn table(done: &[Done<Figures>]) -> String {
    let mut table = String::from("| scenario | figure | agent | witness |\n|---|---|---|---|\n");
    for Done { name, outcome, took, first_try } in done {
        let mut name = format!("{name} ({:.0} s)", took.as_secs_f64());
        if let Some(error) = first_try {
            let _ = writeln!(table, "| {name} | at the first try: {error:#} | | |");
            name.clear();
        }
        match outcome {
            Outcome::Passed(Figures(figures)) => {
                for Figure { what, agent, witness } in figures {
                    let _ = writeln!(table, "| {name} | {what} | {agent} | {witness} |");
                    name.clear();
                }
            }
            Outcome::Failed(error) => {
                let _ = writeln!(table, "| {name} | FAILED: {error:#} | | |");
            }
            Outcome::Skipped(why) => {
                let _ = writeln!(table, "| {name} | SKIPPED: {why} | | |");
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_try_is_in_the_table() {
        let figures = || Outcome::Passed(Figures(vec![Figure::same("deaths", 1, 1).unwrap()]));
        let table = |outcome, first_try| {
            let (name, took) = ("stop-clean".to_owned(), Duration::from_secs(7));
            table(&[Done { name, outcome, took, first_try }])
        };
        let plain = table(figures(), None);
        assert!(plain.ends_with("| stop-clean (7 s) | deaths | 1 | 1 |\n"), "{plain}");
        let again = table(figures(), Some(anyhow::anyhow!("late")));
        let rows = "| stop-clean (7 s) | at the first try: late | | |\n|  | deaths | 1 | 1 |\n";
        assert!(again.ends_with(rows), "{again}");
        let failed = table(Outcome::Failed(anyhow::anyhow!("wrong")), None);
        assert!(failed.ends_with("| FAILED: wrong | | |\n"), "{failed}");
    }

    #[test]
    fn names_are_unique_and_names_of_pods() {
        let mut names: Vec<_> = all().map(|it| it.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.len() < 40
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')));
    }
}
