//! Places of containers: below a user's manager, in folders that were empty, beside their Pods. The
//! agent shows them whether it was there before or not.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use testbed::agent::Agent;
use testbed::cgroup::Cgroup;
use testbed::scrape::Scrape;

use super::common::Case;
use crate::agent::{Plan, Watch};
use crate::compared::Compared;
use crate::context::Context;
use crate::process::{Process, Spawn};
use crate::signal::RUNTIME;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("place-rootless-docker", rootless_docker).alone(),
    || Case::new("place-empty-folder", empty_folder).alone(),
    || Case::new("place-kubepods-later", kubepods_later).alone(),
    || Case::new("place-beside-the-pod", beside_the_pod).alone(),
];

const UID: &str = "5e2c8a7b-1f6d-4c39-9a40-7d1b3e5f8c26";

/// A hierarchy of our own, and an agent that watches it.
struct Place<'a> {
    context: &'a Context,
    // What runs here is reaped before its cgroups are removed.
    processes: Vec<Process>,
    root: Cgroup,
}

impl<'a> Place<'a> {
    fn make(context: &'a Context, name: &str) -> Result<Self> {
        let root = Cgroup::make(context.node.root().join(name))?;
        Ok(Self { context, processes: Vec::new(), root })
    }

    /// An agent that chooses its mode, and waits for nobody's names.
    fn agent(&self) -> Result<Agent> {
        let log_dir = PathBuf::from("/nonexistent");
        let watch = Watch {
            mode: "auto",
            source: "auto",
            root: self.root.dir(),
            log_dir: &log_dir,
            kubelet: None,
        };
        let plan: &Plan = &self.context.plan;
        plan.start(watch, self.context.timeout() * 2)
    }

    /// Makes a cgroup, and what is missing above it.
    fn cgroup(&self, path: &str) -> Result<PathBuf> {
        let dir = self.root.dir().join(path);
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }

    /// Makes a cgroup and starts a process there.
    fn run(&mut self, path: &str) -> Result<&mut Process> {
        let dir = self.cgroup(path)?;
        let args = ["work", "--on-term", "handle", "--term-ms", "200"];
        let mut process = Spawn::scenarios(args).cgroup(&dir).start()?;
        process.expect_line("ready", self.context.timeout())?;
        self.processes.push(process);
        self.processes.last_mut().context("no process")
    }

    fn eventually<T>(&self, agent: &Agent, check: impl FnMut(&Scrape) -> Result<T>) -> Result<T> {
        self.context.eventually_at(agent.address(), check)
    }

    fn stop(self, mut agent: Agent) -> Result<()> {
        let status = agent.stop(self.context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
        Ok(())
    }
}

fn id(digits: &str) -> String {
    digits.repeat(32)
}

/// The units that are shown, by their paths.
fn units(scrape: &Scrape) -> Vec<String> {
    let of_host = scrape.all("container_info", &[("namespace", "host")]);
    let mut units: Vec<_> = of_host.map(|sample| sample.label("pod").to_owned()).collect();
    units.sort();
    units
}

fn want_units(scrape: &Scrape, wanted: &[&str]) -> Result<()> {
    let units = units(scrape);
    ensure!(units == wanted, "{units:?} are shown, not {wanted:?}");
    Ok(())
}

/// Containers below a user's manager are shown beside it, the older as well as the younger.
fn rootless_docker(context: &Context) -> Result<String> {
    let mut place = Place::make(context, "place-rootless-docker")?;
    let manager = "user.slice/user-1000.slice/user@1000.service";
    let path = |name: &str| format!("{manager}/user.slice/{name}");
    let [older, younger] = ["0a", "1b"].map(|digits| path(&format!("docker-{}.scope", id(digits))));
    let podman = path(&format!("libpod-{}.scope", id("2c")));
    place.run(&format!("{manager}/init.scope"))?;
    place.run(&older)?;
    let agent = place.agent()?;
    place.run(&format!("{podman}/container"))?;
    let process = place.run(&younger)?;
    let pid = process.pid();
    place.eventually(&agent, |s| want_units(s, &[manager, &older, &younger, &podman]))?;
    let sent = RUNTIME.send(pid, &[Signal::SIGTERM], context.timeout())?;
    let process = place.processes.last_mut().context("no process")?;
    let ended_ns = process.end_ns(context.timeout())?;
    process.reap()?;
    let labels = [("pod", &*younger)];
    let told = place.eventually(&agent, |s| s.value("container_last_shutdown_seconds", &labels))?;
    let sent_ns = sent.first().copied().context("no time reported")?;
    let compared = Compared::new(told, sent_ns, ended_ns).check()?;
    place.eventually(&agent, |s| {
        let ends = s.sum("terminations_total", &[]).context("no terminations_total")?;
        ensure!(ends == 1.0, "{ends} ends");
        Ok(())
    })?;
    place.stop(agent)?;
    Ok(compared.to_string())
}

/// A folder of `--cgroup-parent` is empty when it is made. It is no container, and does not end.
fn empty_folder(context: &Context) -> Result<String> {
    let mut place = Place::make(context, "place-empty-folder")?;
    let agent = place.agent()?;
    let container = format!("mine/task/{}", id("3d"));
    place.cgroup("mine")?;
    context.pause(Duration::from_millis(300));
    place.cgroup("mine/task")?;
    context.pause(Duration::from_millis(300));
    let pid = place.run(&container)?.pid();
    place.run("leaf")?;
    place.eventually(&agent, |s| want_units(s, &["leaf", &container]))?;
    RUNTIME.send(pid, &[Signal::SIGTERM], context.timeout())?;
    place.eventually(&agent, |s| s.value("container_last_shutdown_seconds", &[]))?;
    for mut process in place.processes.drain(..1) {
        process.reap()?;
    }
    for dir in [&*container, "mine/task", "mine"] {
        let dir = place.root.dir().join(dir);
        fs::remove_dir(&dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    place.run("later")?;
    place.eventually(&agent, |s| {
        // What is gone is retained; the folders never were there.
        want_units(s, &["later", "leaf", &container])?;
        let [ends, failed] = ["terminations_total", "start_failures_total"]
            .map(|family| s.sum(family, &[]).unwrap_or_default());
        ensure!((ends, failed) == (1.0, 0.0), "{ends} ends and {failed} failed starts");
        Ok(())
    })?;
    place.stop(agent)?;
    Ok(String::new())
}

/// Pods that come later make the machine a node, and what a kubelet removes may come again: the
/// agent hears of it, and does not look.
fn kubepods_later(context: &Context) -> Result<String> {
    let mut place = Place::make(context, "place-kubepods-later")?;
    place.run("system.slice/ssh.service")?;
    let agent = place.agent()?;
    place.eventually(&agent, |s| want_units(s, &["system.slice/ssh.service"]))?;
    let first = id("4e");
    place.run(&format!("kubepods/burstable/pod{UID}/{first}"))?;
    place.eventually(&agent, |s| {
        want_units(s, &[])?;
        shows(s, &first)
    })?;
    drop(place.processes.pop());
    testbed::cgroup::remove(&place.root.dir().join("kubepods"))?;
    let second = id("5f");
    let slice = format!("kubepods-pod{}.slice", UID.replace('-', "_"));
    place.run(&format!("kubepods.slice/{slice}/cri-containerd-{second}.scope"))?;
    place.eventually(&agent, |s| shows(s, &second))?;
    let walks = crate::agent::walks(agent.address(), context.timeout())?;
    ensure!(walks == super::common::WALKS_AT_START, "{walks} walks");
    place.stop(agent)?;
    Ok(String::new())
}

/// The Pod's container with this id is shown.
fn shows(scrape: &Scrape, id: &str) -> Result<()> {
    scrape.one("container_info", &[("pod_uid", UID), ("container_id", id)]).map(drop)
}

/// A runtime that takes the whole path for a name makes a container beside its Pod's cgroup.
fn beside_the_pod(context: &Context) -> Result<String> {
    let mut place = Place::make(context, "place-beside-the-pod")?;
    let slice = format!("kubepods-burstable-pod{}.slice", UID.replace('-', "_"));
    place.cgroup(&format!("kubepods.slice/kubepods-burstable.slice/{slice}"))?;
    let [older, younger] = ["6a", "7b"].map(id);
    place.run(&format!("{slice}:cri-containerd:{older}"))?;
    let agent = place.agent()?;
    place.run(&format!("{slice}:cri-containerd:{younger}"))?;
    for container in [&older, &younger] {
        place.eventually(&agent, |s| shows(s, container))?;
    }
    place.stop(agent)?;
    Ok(String::new())
}
