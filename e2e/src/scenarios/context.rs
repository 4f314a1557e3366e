//! What a scenario works with.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use testbed::{exposition::Wanted, scrape::Scrape};

use xtask::{image::WORKLOAD, stop};

use super::{figure::Figure, kernel, runtime::Runtime};
use crate::{
    agent,
    cluster::{Cluster, text},
    node::{self, Options},
    traces::{End, Traces},
};

/// How long something may take that takes some seconds on an idle machine.
pub(super) const LIMIT: Duration = Duration::from_secs(300);
/// How often the agent is asked: each answer takes the emulated node some 50 ms.
const POLL: Duration = Duration::from_millis(1500);

/// A scenario's view of the cluster.
pub(crate) struct Context<'a> {
    pub(super) cluster: &'a Cluster,
    /// What receives the agent's traces, and is told what the scenario knows.
    pub(super) traces: &'a Traces,
    agent: &'a Mutex<SocketAddr>,
    /// The scenario's, and its Pod's.
    pub(super) name: &'a str,
    runtime: Runtime,
    pub(super) options: &'a Options,
}

/// An act that a workload logged.
#[derive(Debug)]
pub(super) struct Act(Value);

impl Act {
    /// When, in seconds since the node's boot.
    pub(super) fn boot_seconds(&self) -> Result<f64> {
        let ns = self.0.pointer("/boot_ns").and_then(Value::as_u64);
        ns.map(|ns| ns as f64 / 1e9).with_context(|| format!("no boot_ns in {}", self.0))
    }

    /// A number that it tells.
    pub(super) fn number(&self, field: &str) -> Result<f64> {
        let number = self.0.get(field).and_then(Value::as_f64);
        number.with_context(|| format!("no {field} in {}", self.0))
    }
}

/// All acts of a container, in order.
#[derive(Debug)]
pub(super) struct Acts(Vec<Act>);

impl Acts {
    fn parse(lines: &str) -> Self {
        // The runtime's own complaints are no JSON.
        Self(lines.lines().filter_map(|line| serde_json::from_str(line).ok().map(Act)).collect())
    }

    /// The first act of this kind.
    pub(super) fn first(&self, act: &str) -> Result<&Act> {
        let found = self.0.iter().find(|it| text(&it.0, "/act") == Some(act));
        found.with_context(|| format!("no act {act} in {:?}", self.0))
    }

    /// The last act of this kind.
    pub(super) fn last(&self, act: &str) -> Result<&Act> {
        let found = self.0.iter().rev().find(|it| text(&it.0, "/act") == Some(act));
        found.with_context(|| format!("no act {act} in {:?}", self.0))
    }

    /// What the acts of this kind tell in a field.
    pub(super) fn texts(&self, act: &str, field: &str) -> Vec<String> {
        let of_kind = self.0.iter().filter(|it| text(&it.0, "/act") == Some(act));
        of_kind.filter_map(|it| it.0.get(field)?.as_str().map(str::to_owned)).collect()
    }

    /// Seconds from the first `from` to the last `to`.
    pub(super) fn between(&self, from: &str, to: &str) -> Result<f64> {
        Ok(self.last(to)?.boot_seconds()? - self.first(from)?.boot_seconds()?)
    }
}

/// A container `main` of the workload's image.
pub(super) fn main_container(args: &[&str]) -> Value {
    container("main", args)
}

/// A container of the workload's image.
pub(super) fn container(name: &str, args: &[&str]) -> Value {
    json!({ "name": name, "image": WORKLOAD, "args": args })
}

/// The runtime's id of a Pod's first container.
pub(super) fn container_id(pod: &Value) -> Result<&str> {
    let id = text(pod, "/status/containerStatuses/0/containerID").context("no containerID")?;
    Ok(id.rsplit('/').next().unwrap_or(id))
}

/// A value with some fields set or changed.
pub(super) fn with(mut value: Value, fields: &Value) -> Value {
    if let (Some(value), Some(fields)) = (value.as_object_mut(), fields.as_object()) {
        value.extend(fields.clone());
    }
    value
}

impl<'a> Context<'a> {
    pub(super) const fn new(
        cluster: &'a Cluster,
        traces: &'a Traces,
        agent: &'a Mutex<SocketAddr>,
        name: &'a str,
        runtime: Runtime,
        options: &'a Options,
    ) -> Self {
        Self { cluster, traces, agent, name, runtime, options }
    }

    /// A Pod's template, labelled with the scenario's name.
    pub(super) fn template(&self, spec: &Value) -> Value {
        let mut defaults = json!({
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
        });
        if let Some(class) = self.runtime.class() {
            defaults = with(defaults, &json!({ "runtimeClassName": class }));
        }
        json!({ "metadata": { "labels": { "scenario": self.name } }, "spec": with(defaults, spec) })
    }

    /// The scenario's Pod.
    pub(super) fn pod(&self, spec: &Value) -> Value {
        let mut pod = self.template(spec);
        if let Some(metadata) = pod.pointer_mut("/metadata") {
            *metadata = with(metadata.take(), &json!({ "name": self.name }));
        }
        with(pod, &json!({ "apiVersion": "v1", "kind": "Pod" }))
    }

    /// Makes the scenario's Pod, and waits until it runs.
    pub(super) fn run_pod(&self, spec: &Value) -> Result<Value> {
        self.cluster.apply(&self.pod(spec).to_string())?;
        self.running()
    }

    /// Waits until the scenario's Pod runs, with all its containers started.
    pub(super) fn running(&self) -> Result<Value> {
        self.cluster.wait(&format!("Pod {} runs", self.name), LIMIT, || {
            let Some(pod) = self.look()? else { return Ok(None) };
            let phase = text(&pod, "/status/phase").unwrap_or_default();
            if matches!(phase, "Failed" | "Succeeded") {
                bail!("it is {phase} already: {}", pod.pointer("/status").unwrap_or(&Value::Null));
            }
            let statuses = pod.pointer("/status/containerStatuses").and_then(Value::as_array);
            let all = statuses.is_some_and(|all| {
                all.iter().all(|status| status.pointer("/state/running").is_some())
            });
            if phase == "Running" && all {
                self.traces.ran(&pod);
                return Ok(Some(pod));
            }
            Ok(None)
        })
    }

    /// The scenario's Pod, if there is one.
    fn look(&self) -> Result<Option<Value>> {
        let pod = self.cluster.pod(self.name)?;
        pod.iter().for_each(|pod| self.traces.saw(self.name, pod));
        Ok(pod)
    }

    /// Cgroup below the container's own where the runtime should put the processes; else empty.
    pub(super) fn below(&self) -> &'static str {
        self.runtime.below(&self.options.cgroup_driver)
    }

    /// Path of the processes' cgroup below that of the Pod's first container, as the node has it.
    pub(super) fn cgroup_below(&self, pod: &Value) -> Result<String> {
        let id = container_id(pod)?;
        let list = format!(
            "cd /sys/fs/cgroup && find . -path '*{id}*' -name cgroup.procs -exec grep -l . {{}} +"
        );
        let found = self.cluster.node_exec(&list)?.text;
        let mut cgroups = found.lines().filter_map(|file| file.strip_suffix("/cgroup.procs"));
        let (Some(cgroup), None) = (cgroups.next(), cgroups.next()) else {
            bail!("not one cgroup with processes of {id}: {found:?}");
        };
        let below = cgroup.split_once(id).map_or("", |(_, below)| below);
        Ok(below.trim_start_matches(".scope").trim_start_matches('/').to_owned())
    }

    /// Asks for the Pod's end, and waits until the API has forgotten it.
    pub(super) fn delete(&self, options: &[&str]) -> Result<()> {
        let mut args = vec!["delete", "pod", self.name, "--wait=false"];
        args.extend(options);
        self.cluster.kubectl(&args)?;
        self.gone()
    }

    /// Waits until the API has forgotten the Pod.
    pub(super) fn gone(&self) -> Result<()> {
        self.cluster.wait(&format!("Pod {} is gone", self.name), LIMIT, || {
            Ok(self.cluster.pod(self.name)?.is_none().then_some(()))
        })
    }

    /// Waits for something that the API says of the node.
    pub(super) fn node_until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        self.cluster.wait(&format!("the node: {what}"), LIMIT, || {
            let node = self.cluster.read(&format!("/api/v1/nodes/{}", node::NAME))?;
            Ok(node.as_ref().and_then(&mut look))
        })
    }

    /// Waits for something that the API says of the scenario's Pod.
    pub(super) fn pod_until<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Value) -> Option<T>,
    ) -> Result<T> {
        self.cluster.wait(&format!("Pod {}: {what}", self.name), LIMIT, || {
            Ok(self.look()?.as_ref().and_then(&mut look))
        })
    }

    /// Does something that ends a container, and gives what that had logged until its end.
    pub(super) fn acts_until_end(
        &self,
        pod: &str,
        container: &str,
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Acts> {
        // Only who follows already is sure to see the last line. Just after a restart of the runtime
        // the kubelet has nothing but a complaint to give.
        let (mut follower, mut lines, mut text) =
            self.cluster.wait(&format!("{pod}'s log has an act"), LIMIT, || {
                let args = ["logs", "--follow", pod, "--container", container];
                let mut follower = self.cluster.kubectl_child(&args)?;
                let output = follower.take_stdout().context("kubectl logs without an output")?;
                let mut lines = BufReader::new(output);
                let mut text = String::new();
                while lines.read_line(&mut text).context("kubectl logs")? > 0 {
                    if !Acts::parse(&text).0.is_empty() {
                        return Ok(Some((follower, lines, text)));
                    }
                }
                follower.wait(LIMIT)?;
                Ok(None)
            })?;
        act()?;
        loop {
            if lines.read_line(&mut text).context("kubectl logs")? == 0 {
                break;
            }
        }
        follower.wait(LIMIT)?;
        Ok(Acts::parse(&text))
    }

    /// What a container that is still known has logged.
    pub(super) fn acts(&self, pod: &str, container: &str) -> Result<Acts> {
        Ok(Acts::parse(&self.cluster.kubectl(&["logs", pod, "--container", container])?))
    }

    /// What the container before the one that runs now had logged.
    pub(super) fn acts_before(&self, pod: &str, container: &str) -> Result<Acts> {
        let args = ["logs", pod, "--container", container, "--previous"];
        Ok(Acts::parse(&self.cluster.kubectl(&args)?))
    }

    /// Where the agent serves.
    pub(super) fn agent(&self) -> SocketAddr {
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a new agent is Ready, for all who ask from now on.
    pub(super) fn wait_new_agent(&self) -> Result<()> {
        let address = agent::ready(self.cluster)?;
        *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = address;
        self.traces.new_agent(self.cluster, address)
    }

    /// One answer of the agent.
    pub(super) fn scrape(&self) -> Result<Scrape> {
        Scrape::parse(&self.cluster.fetch(self.agent(), "/metrics")?)
    }

    /// Asks the agent until it says what is wanted; then that, else what was wrong at last.
    pub(super) fn eventually<T>(&self, mut want: impl FnMut(&Scrape) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let error = match self.scrape().and_then(|scrape| want(&scrape)) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            stop::check()?;
            self.cluster.check()?;
            if Instant::now() >= deadline {
                return Err(error.context(format!("for {} s", LIMIT.as_secs())));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Labels of the scenario's container `main`.
    pub(super) const fn labels(&self) -> [(&'static str, &'a str); 3] {
        [("namespace", "default"), ("pod", self.name), ("container", "main")]
    }

    /// Labels of the same as a workload: a Pod without an owner is its own.
    pub(super) const fn workload(&self) -> [(&'static str, &'a str); 4] {
        self.workload_of("Pod")
    }

    /// Labels of container `main` of a workload with the scenario's name.
    pub(super) const fn workload_of(&self, kind: &'static str) -> [(&'static str, &'a str); 4] {
        [
            ("namespace", "default"),
            ("workload_kind", kind),
            ("workload", self.name),
            ("container", "main"),
        ]
    }

    /// Waits until the agent has published the end of `main`: how it ended, as labels, and how
    /// long the shutdown took.
    pub(super) fn ended(&self) -> Result<End> {
        let labels = self.labels();
        let end = self.eventually(|scrape| {
            let last = scrape.one("container_last_termination_info", &labels)?;
            let label = |name| last.label(name).to_owned();
            Ok(End {
                unix_s: last.value,
                cause: label("cause"),
                trigger: label("trigger"),
                exit_code: label("exit_code"),
                signal: label("signal"),
                shutdown: scrape.sum("container_last_shutdown_seconds", &labels),
                grace: scrape.sum("container_grace_seconds", &labels),
                grace_used: scrape.sum("container_last_shutdown_grace_used_ratio", &labels),
            })
        })?;
        self.traces.ended(self.name, self.look()?.as_ref(), &end)?;
        Ok(end)
    }

    /// A shutdown as the agent has told it, beside the kernel's; it took `at_least_s`, by what the
    /// workload did meanwhile.
    pub(super) fn shutdown(&self, end: &End, at_least_s: f64) -> Result<Figure> {
        kernel::shutdown(self.cluster, end.unix_s, end.shutdown()?, at_least_s)
    }
}

/// Fails unless a sum is this.
pub(super) fn want(scrape: &Scrape, family: &str, labels: Wanted<'_>, wanted: f64) -> Result<()> {
    let found = scrape.value(family, labels)?;
    ensure!(found == wanted, "{family}{labels:?} is {found}, wanted {wanted}");
    Ok(())
}

/// Some labels and some more.
pub(super) fn and<'a>(
    labels: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [labels, more].concat()
}
