//! `cargo xtask test`: every check that CI runs. A failed step does not stop the others.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    alerts, bench,
    build::{self, Built},
    cgroup, chart, circles, dashboards, deploy, draw, e2e, fuzz, image, kernels, licences, object,
    otlp, paths, prometheus, shell, stack,
    steps::Steps,
    stop, vm,
};

/// Time limits: several times what a step takes on two idle cores from nothing, since a limit is
/// there for what hangs.
const SHORT: Duration = Duration::from_secs(15 * 60);
/// The limit of a step that compiles, and may install a tool chain first.
const COMPILE: Duration = Duration::from_secs(40 * 60);
/// The limit of all virtual machines, each of which has limits of its own.
const MACHINES: Duration = Duration::from_secs(90 * 60);
/// The limit of a Kubernetes node, with the build of Kubernetes.
const NODE: Duration = Duration::from_secs(120 * 60);

/// What may differ on a node whose kubelet makes the cgroups itself and lets an OOM kill one
/// process, and where the agent has no CAP_NET_ADMIN.
const UNUSUAL_NODE: [&str; 8] = [
    "--cgroup-driver",
    "cgroupfs",
    "--single-process-oom-kill",
    "--without-net-admin",
    "--kubelet-unit",
    "rke2-agent",
    "--only",
    "oom-of-,stop-clean,life-with-init,life-of-a-static-pod,probe-by-tracepoint",
];

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only format, licences, lints and unit tests: a few minutes instead of 70, on two cores.
    #[arg(long)]
    quick: bool,
}

/// What the steps hand to one another.
#[derive(Default)]
struct Shared {
    object: Option<std::path::PathBuf>,
    built: Option<Built>,
}

/// `cargo xtask test`
pub(crate) fn command(args: &Args) -> Result<()> {
    let mut steps = Steps::default();
    let mut shared = Shared::default();
    steps.run("format", SHORT, || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"])).map(|()| None)
    });
    steps.run("licences", SHORT, || licences::check().map(|()| None));
    steps.run("eBPF object", COMPILE, || {
        shared.object = Some(object::build()?);
        Ok(None)
    });
    steps.run("lints", COMPILE, || {
        circles::check()?;
        let mut clippy = shell::cargo();
        // The same as for the tests, or the agent would be built anew.
        clippy.envs(shared.object.as_ref().map(|object| ("AGENT_EBPF_OBJECT", object)));
        clippy.args(["clippy", "--quiet", "--locked", "--workspace", "--exclude", "agent-ebpf"]);
        shell::run(clippy.args(["--all-targets", "--", "-D", "warnings"])).map(|()| None)
    });
    steps.run("lints, kernel side", COMPILE, object::lint);
    steps.run("unit tests", COMPILE, || {
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
        std::process::exit(stop::status().into());
    }
    Ok(())
}

/// The steps that start real processes and machines.
fn slow(steps: &mut Steps, shared: &mut Shared) {
    steps.run("fuzz targets", COMPILE, || fuzz::check(fuzz::SECONDS, &[]));
    steps.run("static release", COMPILE, || {
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
    steps.run("scenarios, here", SHORT, || match &shared.built {
        None => no("the static release"),
        Some(built) => scenarios(built),
    });
    steps.run("Prometheus", SHORT, || {
        let Some(built) = &shared.built else { return no("the static release") };
        if let Some(why) = no_cgroups() {
            return Ok(Some(why));
        }
        prometheus::check(&built.agent).map(|()| None)
    });
    steps.run("OTLP", COMPILE, || {
        if shell::find("go").is_none() {
            return Ok(Some(
                "the Collector is built with Go, which is not installed here".to_owned(),
            ));
        }
        // Without an agent that can be run, what is recorded of one.
        let agent = shared.built.as_ref().filter(|_| no_cgroups().is_none());
        otlp::check(agent.map(|built| built.agent.as_path()), false).map(|()| None)
    });
    steps.run("dashboards", SHORT, || dashboards::check().map(|()| None));
    steps.run("drawing", SHORT, || draw::check().map(|()| None));
    steps.run("stack", SHORT, || {
        let Some(built) = &shared.built else { return no("the static release") };
        if let Some(why) = no_cgroups() {
            return Ok(Some(why));
        }
        stack::check(&built.agent).map(|()| None)
    });
    steps.run("deploy", SHORT, || deploy::check().map(|()| None));
    steps.run("alerts", SHORT, || alerts::check().map(|()| None));
    steps.run("chart", COMPILE, chart::check);
    steps.run("image", SHORT, || {
        let Some(built) = &shared.built else { return no("the static release") };
        let images = [image::agent(&built.agent, image::AGENT)?];
        image::check(&image::archive(&images)?, &images)
    });
    steps.run("bench", SHORT, || {
        let Some(built) = &shared.built else { return no("the static release") };
        if let Some(why) = no_cgroups() {
            return Ok(Some(why));
        }
        bench::quick(built).map(|()| None)
    });
    let name = format!("scenarios, Linux {}", kernels::DEFAULT.join(", "));
    steps.run(&name, MACHINES, || match &shared.built {
        None => no("the static release"),
        Some(built) => vm::check(&kernels::DEFAULT, built).map(|()| None),
    });
    steps.run("a Kubernetes node", NODE, || node(shared, &[]));
    steps.run("a node with cgroupfs", NODE, || node(shared, &UNUSUAL_NODE));
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
    testbed::cgroup::mount().err().map(|error| format!("{error:#}"))
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
    // Most of the time they wait.
    scenarios.args(["--jobs", "3"]);
    shell::run(&mut scenarios).map(|()| None)
}
