//! `cargo xtask test`: every check that CI runs. A failed step does not stop the others.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bench,
    build::{self, Built},
    cgroup,
    child::Child,
    deploy, e2e, image, kernels, licences, object, paths, prometheus, shell, vm,
};

/// How long the scenarios may take on the machine's own kernel.
const SCENARIOS_LIMIT: Duration = Duration::from_secs(600);

/// What may differ on a node whose kubelet makes the cgroups itself and lets an OOM kill one
/// process.
const UNUSUAL_NODE: [&str; 5] = [
    "--cgroup-driver",
    "cgroupfs",
    "--single-process-oom-kill",
    "--only",
    "oom-of-,stop-clean,life-with-init,life-of-a-static-pod",
];

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only format, licences, lints and unit tests.
    #[arg(long)]
    quick: bool,
}

/// How a step ended.
enum Outcome {
    Passed,
    Failed(String),
    /// It could not run here, and why.
    Skipped(String),
}

/// What the steps hand to one another.
#[derive(Default)]
struct Shared {
    object: Option<std::path::PathBuf>,
    built: Option<Built>,
}

/// Each step's name, heading and time.
#[derive(Default)]
struct Steps {
    done: Vec<(String, Outcome, Duration)>,
}

impl Steps {
    /// Runs one step. `Ok(Some(why))` from it means skipped.
    fn run(&mut self, name: &str, step: impl FnOnce() -> Result<Option<String>>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let outcome = match step() {
            Ok(None) => Outcome::Passed,
            Ok(Some(why)) => Outcome::Skipped(why),
            Err(error) => Outcome::Failed(format!("{error:#}")),
        };
        let took = start.elapsed();
        match &outcome {
            Outcome::Passed => println!("=== {name}: ok in {:.1} s", took.as_secs_f64()),
            Outcome::Skipped(why) => println!("=== {name}: SKIPPED ({why})"),
            Outcome::Failed(why) => {
                println!("{why}\n=== {name}: FAILED in {:.1} s", took.as_secs_f64());
            }
        }
        self.done.push((name.to_owned(), outcome, took));
    }

    /// Prints the table and the counts; whether none failed.
    fn finish(&self) -> bool {
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        println!("\n{:<20} {:>8}  result", "step", "seconds");
        for (name, outcome, took) in &self.done {
            let word = match outcome {
                Outcome::Passed => {
                    passed += 1;
                    "ok".to_owned()
                }
                Outcome::Failed(why) => {
                    failed += 1;
                    format!("FAILED: {}", why.lines().next().unwrap_or_default())
                }
                Outcome::Skipped(why) => {
                    skipped += 1;
                    format!("SKIPPED ({why})")
                }
            };
            println!("{name:<20} {:>8.1}  {word}", took.as_secs_f64());
        }
        println!("\n{passed} passed, {failed} failed, {skipped} skipped");
        failed == 0
    }
}

/// `cargo xtask test`
pub(crate) fn command(args: &Args) -> Result<()> {
    let mut steps = Steps::default();
    let mut shared = Shared::default();
    steps.run("format", || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"])).map(|()| None)
    });
    steps.run("licences", || licences::check().map(|()| None));
    steps.run("eBPF object", || {
        shared.object = Some(object::build()?);
        Ok(None)
    });
    steps.run("lints", || {
        let mut clippy = shell::cargo();
        // The same as for the tests, or the agent would be built anew.
        clippy.envs(shared.object.as_ref().map(|object| ("AGENT_EBPF_OBJECT", object)));
        clippy.args(["clippy", "--quiet", "--locked", "--workspace", "--exclude", "agent-ebpf"]);
        shell::run(clippy.args(["--all-targets", "--", "-D", "warnings"])).map(|()| None)
    });
    steps.run("lints, kernel side", object::lint);
    steps.run("unit tests", || {
        let Some(object) = &shared.object else { return no("the eBPF object") };
        let mut test = shell::cargo();
        test.env("AGENT_EBPF_OBJECT", object);
        test.args(["test", "--quiet", "--locked", "--workspace", "--exclude", "agent-ebpf"]);
        shell::run(&mut test).map(|()| None)
    });
    if !args.quick {
        slow(&mut steps, &mut shared);
    }
    if !steps.finish() {
        // The table above is the last word; an error line would hide the counts.
        std::process::exit(1);
    }
    Ok(())
}

/// The steps that start real processes and machines.
fn slow(steps: &mut Steps, shared: &mut Shared) {
    steps.run("static release", || {
        if shared.object.is_none() {
            return no("the eBPF object");
        }
        let built = build::static_release()?;
        println!("{}", build::size(&built.agent)?);
        let bytes = fs::metadata(&built.agent).context("stat the agent")?.len();
        shared.built = Some(built);
        if bytes > build::MAX_BYTES {
            bail!("the agent is {bytes} bytes; {} are allowed", build::MAX_BYTES);
        }
        Ok(None)
    });
    steps.run("scenarios, here", || match &shared.built {
        None => no("the static release"),
        Some(built) => scenarios(built),
    });
    steps.run("Prometheus", || {
        let Some(built) = &shared.built else { return no("the static release") };
        if let Some(why) = no_cgroups() {
            return Ok(Some(why));
        }
        prometheus::check(&built.agent).map(|()| None)
    });
    steps.run("deploy", || deploy::check().map(|()| None));
    steps.run("image", || {
        let Some(built) = &shared.built else { return no("the static release") };
        let images = [image::agent(&built.agent, image::AGENT)?];
        image::check(&image::archive(&images)?, &images)
    });
    steps.run("bench", || {
        let Some(built) = &shared.built else { return no("the static release") };
        if let Some(why) = no_cgroups() {
            return Ok(Some(why));
        }
        bench::quick(built).map(|()| None)
    });
    let name = format!("scenarios, Linux {}", kernels::DEFAULT.join(", "));
    steps.run(&name, || match &shared.built {
        None => no("the static release"),
        Some(built) => vm::check(&kernels::DEFAULT, built).map(|()| None),
    });
    steps.run("a Kubernetes node", || node(shared, &[]));
    steps.run("a node with cgroupfs", || node(shared, &UNUSUAL_NODE));
}

/// The scenarios on a Kubernetes node, where one can be made.
fn node(shared: &Shared, args: &[&str]) -> Result<Option<String>> {
    if shared.built.is_none() {
        return no("the static release");
    }
    if let Some(why) = e2e::unfit() {
        return Ok(Some(why));
    }
    e2e::run(args).map(|()| None)
}

/// Skips a step whose input an earlier step, counted as failed or skipped itself, did not give.
fn no(what: &str) -> Result<Option<String>> {
    Ok(Some(format!("without {what}")))
}

/// Why no cgroup can be made here, if so.
fn no_cgroups() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    cgroup::mount().err().map(|error| format!("{error:#}"))
}

/// `scenarios run` on this machine's own kernel, in a cgroup of its own.
fn scenarios(built: &Built) -> Result<Option<String>> {
    if let Some(why) = no_cgroups() {
        return Ok(Some(why));
    }
    let agent = built.public_agent()?;
    let subtree = cgroup::Subtree::reserve("podvitals-test")?;
    let mut scenarios = Command::new(&built.scenarios);
    scenarios.current_dir(paths::root());
    scenarios.arg("run").arg("--agent").arg(agent.path());
    scenarios.arg("--cgroup-root").arg(subtree.dir());
    let mut child = Child::spawn("scenarios", &mut scenarios)?;
    match child.wait(SCENARIOS_LIMIT)? {
        None => bail!("scenarios did not end within {SCENARIOS_LIMIT:?}"),
        Some(status) if !status.success() => bail!("scenarios run: {status}"),
        Some(_) => Ok(None),
    }
}
