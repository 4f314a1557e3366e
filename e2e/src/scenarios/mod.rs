//! What happens to Pods on a real node, told by the agent and by a witness.
//!
//! Witnesses are what runs in the Pod (it logs each act with the boot-time clock, which the agent's
//! kernel side uses as well), the API's status, and the kernel's files and trace. Counts are exact,
//! shutdowns within 10 ms of the kernel's trace.

mod context;
mod disruptions;
mod figure;
pub(crate) mod kernel;
mod kills;
mod lives;
mod oom;
mod outages;
mod probes;
mod runtime;
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
    runtime::Runtime,
    scenario::{Scenario, When},
};
use super::{cluster::Cluster, node::Options, steps::Steps, traces::Traces};

/// Scenarios that run at once: the node's CPUs are emulated, and its kubelet is what they wait for.
const AT_ONCE: usize = 5;

/// All of them.
fn all() -> impl Iterator<Item = &'static Scenario> {
    // The longest first: what begins last should not take long.
    [
        probes::SCENARIOS,
        lives::SCENARIOS,
        disruptions::SCENARIOS,
        oom::SCENARIOS,
        kills::SCENARIOS,
        stops::SCENARIOS,
        outages::SCENARIOS,
    ]
    .into_iter()
    .flatten()
}

/// A scenario with one of its runtimes.
struct Chosen {
    scenario: &'static Scenario,
    runtime: Runtime,
    name: String,
}

/// Scenarios whose names contain one of `only`, or all.
fn chosen(only: &[String]) -> impl Iterator<Item = Chosen> {
    all()
        .flat_map(|scenario| scenario.runtimes().map(move |runtime| (scenario, runtime)))
        .map(|(scenario, runtime)| Chosen { scenario, runtime, name: scenario.name_with(runtime) })
        .filter(|it| only.is_empty() || only.iter().any(|only| it.name.contains(only.as_str())))
}

/// The RuntimeClasses of the runtimes that are not the node's default.
fn runtime_classes() -> String {
    let classes = Runtime::ALL.into_iter().filter_map(Runtime::class);
    let documents = classes.map(|class| {
        format!(
            "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\nmetadata:\n  name: {class}\n\
             handler: {class}\n"
        )
    });
    documents.collect::<Vec<_>>().join("---\n")
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
    traces: &Traces,
    agent: SocketAddr,
    options: &Options,
    only: &[String],
    steps: &mut Steps,
) -> Result<String> {
    let chosen: Vec<Chosen> = chosen(only)
        .filter(|it| match it.scenario.when {
            When::Oom { single_process } => options.single_process_oom_kill == single_process,
            // The extra runs are for what is different there.
            When::Alone => !options.single_process_oom_kill || !only.is_empty(),
            When::WithoutNetAdmin => options.without_net_admin,
            When::Together => true,
        })
        .collect();
    if chosen.is_empty() {
        bail!("no scenario is called {}", only.join(", "));
    }
    cluster.apply(&runtime_classes())?;
    kernel::start(cluster)?;
    let agent = Mutex::new(agent);
    let attempt = |chosen: &Chosen, number| {
        let Chosen { scenario, runtime, name } = chosen;
        let again = format!("{name}-again");
        let name = match number {
            Try::First => name,
            Try::Second => {
                cluster.clear(name)?;
                traces.forget(name);
                &again
            }
        };
        stop::check()?;
        let context = Context::new(cluster, traces, &agent, name, *runtime, options);
        (scenario.run)(&context).map(Figures)
    };
    let cases: Vec<_> = chosen
        .iter()
        .map(|it| {
            Case::new(&it.name, move |number| attempt(it, number).into())
                .alone(it.scenario.when == When::Alone)
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
    fn what_depends_on_a_cgroups_shape_runs_with_each_runtime() {
        let names = |only: &str| {
            chosen(&[only.to_owned()]).map(|it| (it.name, it.runtime)).collect::<Vec<_>>()
        };
        let both = ["stop-clean", "stop-clean-crun"].map(str::to_owned);
        let both: Vec<_> = both.into_iter().zip(Runtime::ALL).collect();
        assert_eq!(names("stop-clean"), both);
        assert!(names("-crun").iter().all(|(_, runtime)| *runtime == Runtime::Crun));
        assert_eq!(names("stop-forced"), [("stop-forced".to_owned(), Runtime::Runc)]);
        assert_eq!(Runtime::Crun.below("systemd"), "container");
        assert!(runtime_classes().contains("handler: crun"));
    }

    #[test]
    fn names_are_unique_and_names_of_pods() {
        let mut names: Vec<_> = chosen(&[]).map(|it| it.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(names.iter().all(|name| name.len() < 40
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')));
    }
}
