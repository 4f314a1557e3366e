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
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use self::{
    context::Context,
    figure::Figure,
    scenario::{Scenario, When},
};
use super::{cluster::Cluster, node::Options, steps::Steps};
use xtask::{qemu::SECOND_TRIES, stop};

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

/// How one went.
struct Outcome {
    scenario: &'static Scenario,
    took: Duration,
    result: Result<Vec<Figure>>,
    /// Why it was tried again.
    first_try: Option<anyhow::Error>,
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
    let (alone, together): (Vec<_>, Vec<_>) =
        chosen.into_iter().partition(|it| it.when == When::Alone);
    let outcomes = Mutex::new(Vec::new());
    let attempt = |scenario: &'static Scenario, name: &str| {
        let start = Instant::now();
        let context = Context::new(cluster, &agent, name);
        let result = stop::check().and_then(|()| (scenario.run)(&context));
        let took = start.elapsed();
        match &result {
            Ok(figures) => {
                println!(
                    "    ok      {name} ({} figures, {:.0} s)",
                    figures.len(),
                    took.as_secs_f64()
                );
            }
            Err(error) => println!("    FAILED  {name}: {error:#}"),
        }
        Outcome { scenario, took, result, first_try: None }
    };
    let one = |scenario: &'static Scenario| {
        let outcome = attempt(scenario, scenario.name);
        outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
    };
    steps.begin(&format!("scenarios: {} at once", AT_ONCE.min(together.len())));
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(scenario) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(scenario);
                }
            });
        }
    });
    steps.begin("scenarios: one after the other");
    alone.into_iter().for_each(one);
    steps.end();
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = |outcomes: &[Outcome]| -> Vec<&str> {
        let failed = outcomes.iter().filter(|it| it.result.is_err());
        failed.map(|it| it.scenario.name).collect()
    };
    let second_tries = failed(&outcomes).len();
    if (1..=SECOND_TRIES).contains(&second_tries) {
        steps.begin("scenarios: a second try");
        for outcome in outcomes.iter_mut().filter(|it| it.result.is_err()) {
            cluster.clear(outcome.scenario.name)?;
            let second = attempt(outcome.scenario, &format!("{}-again", outcome.scenario.name));
            let first = std::mem::replace(outcome, second);
            outcome.first_try = first.result.err();
        }
        steps.end();
    }
    let report = report(&outcomes);
    let failed = failed(&outcomes);
    if !failed.is_empty() {
        println!("{report}");
        bail!("{} of {} scenarios failed: {}", failed.len(), outcomes.len(), failed.join(", "));
    }
    Ok(report)
}

/// A table in Markdown.
fn report(outcomes: &[Outcome]) -> String {
    let mut report = String::from("| scenario | figure | agent | witness |\n|---|---|---|---|\n");
    for Outcome { scenario, took, result, first_try } in outcomes {
        let mut name = format!("{} ({:.0} s)", scenario.name, took.as_secs_f64());
        if let Some(error) = first_try {
            let _ = writeln!(report, "| {name} | at the first try: {error:#} | | |");
            name.clear();
        }
        match result {
            Ok(figures) => {
                for Figure { what, agent, witness } in figures {
                    let _ = writeln!(report, "| {name} | {what} | {agent} | {witness} |");
                    name.clear();
                }
            }
            Err(error) => {
                let _ = writeln!(report, "| {name} | FAILED: {error:#} | | |");
            }
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_try_is_told() {
        let scenario = all().next().unwrap();
        let figures = || Ok(vec![Figure::same("deaths", 1, 1).unwrap()]);
        let outcome = |result, first_try| Outcome {
            scenario,
            took: Duration::from_secs(7),
            result,
            first_try,
        };
        let name = scenario.name;
        let plain = report(&[outcome(figures(), None)]);
        assert!(plain.ends_with(&format!("| {name} (7 s) | deaths | 1 | 1 |\n")), "{plain}");
        let again = report(&[outcome(figures(), Some(anyhow::anyhow!("late")))]);
        let rows =
            format!("| {name} (7 s) | at the first try: late | | |\n|  | deaths | 1 | 1 |\n");
        assert!(again.ends_with(&rows), "{again}");
        let failed = report(&[outcome(Err(anyhow::anyhow!("wrong")), None)]);
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
