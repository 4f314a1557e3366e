//! Traces against what is known of Pods.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use testbed::otlp::{self, Node, Span, Status, Tree, Value};
use xtask::otlp::sound;

use super::{
    known::{End, Known, Told},
    time,
};
use crate::{cluster::text, node};

/// How far from each other the agent's two ways may tell a moment of Unix time: the node's clock may
/// have been set between them.
const SAME_S: f64 = 0.05;
/// How far from each other the agent's two ways may tell a length of time.
const LENGTH_S: f64 = 0.001;
/// How far the agent may tell an exec from where the kernel's trace has it.
const EXEC_S: f64 = 0.05;
/// How much later than its exec the runtime may say that a container has started, on a busy node.
const LATE_S: f64 = 60.0;
/// How far the API's whole seconds, of this machine's clock and the kubelet's, may be from the kernel's.
const API_S: f64 = 2.0;
/// How far a span may be outside of the one above it.
const OUTSIDE_NS: u64 = 0;

/// All traces: they are sound, and all is among them that is known. `execs` are the workload's, by
/// the kernel's trace, in seconds of Unix time.
///
/// # Errors
/// All that is not so.
pub(super) fn all(known: &Known, execs: &[f64], spans: &[Span]) -> Result<Vec<Tree>> {
    let trees = trees(spans, known.agents > 1)?;
    let mut problems = Vec::new();
    let mut note = |what: String, result: Result<()>| {
        if let Err(error) = result {
            problems.push(format!("{what}: {error:#}"));
        }
    };
    for tree in &trees {
        let name = tree.root.span.resource_text("k8s.pod.name");
        let what = format!("trace {} of {name}:\n{}", tree.trace_id, tree.outline());
        note(what, sound(tree).and_then(|()| inside(&tree.root)));
    }
    for pod in &known.ran {
        let [name, uid] = ["/metadata/name", "/metadata/uid"].map(|at| text(pod, at));
        let of_pod = of(&trees, uid.context("a Pod without a UID")?, &["pod startup"]);
        note(format!("startup of {}", name.unwrap_or_default()), startup(pod, &of_pod, execs));
    }
    for told in &known.told {
        note(format!("{told:?}"), end(told, &trees));
    }
    ensure!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    Ok(trees)
}

/// The traces, without those that have no root yet: an agent that ends sends what it has of a Pod's
/// shutdown, and the next one the root.
fn trees(spans: &[Span], has_parts: bool) -> Result<Vec<Tree>> {
    let mut traces: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for span in spans {
        traces.entry(&span.trace_id).or_default().push(span.clone());
    }
    if has_parts {
        traces.retain(|_, spans| {
            spans.iter().any(|span| {
                span.parent_id.is_none() || span.text("podvitals.trace") != "pod shutdown"
            })
        });
    }
    otlp::trees(&traces.into_values().flatten().collect::<Vec<_>>())
}

/// Whether spans lie within the ones above them.
fn inside(node: &Node) -> Result<()> {
    let above = &node.span;
    for Node { span, .. } in &node.children {
        let (from, to) = (above.start_unix_ns, above.end_unix_ns.saturating_add(OUTSIDE_NS));
        ensure!(
            span.start_unix_ns.saturating_add(OUTSIDE_NS) >= from && span.end_unix_ns <= to,
            "{:?} ({} to {}) is not within {:?} ({from} to {to})",
            span.name,
            span.start_unix_ns,
            span.end_unix_ns,
            above.name,
        );
    }
    node.children.iter().try_for_each(inside)
}

/// The traces of these kinds of a Pod.
fn of<'a>(trees: &'a [Tree], uid: &str, kinds: &[&str]) -> Vec<&'a Tree> {
    let of = |tree: &&Tree| {
        let root = &tree.root.span;
        root.text("k8s.pod.uid") == uid && kinds.contains(&root.name.as_str())
    };
    trees.iter().filter(of).collect()
}

fn unix_s(unix_ns: u64) -> f64 {
    unix_ns as f64 / 1e9
}

fn near(what: &str, told: f64, wanted: f64, allowed: f64) -> Result<()> {
    ensure!((told - wanted).abs() <= allowed, "{what}: {told:.4}, not {wanted:.4} ± {allowed}");
    Ok(())
}

/// The one startup of a Pod, as the API and the kernel's trace have it.
fn startup(pod: &Json, traces: &[&Tree], execs: &[f64]) -> Result<()> {
    let &[tree] = traces else { anyhow::bail!("{} traces", traces.len()) };
    let root = &tree.root.span;
    resource(root, pod)?;
    let list =
        |pointer: &str| pod.pointer(pointer).and_then(Json::as_array).cloned().unwrap_or_default();
    let conditions = list("/status/conditions");
    let scheduled = conditions.iter().find(|it| text(it, "/type") == Some("PodScheduled"));
    let scheduled = scheduled.and_then(|it| text(it, "/lastTransitionTime"));
    if let Some(scheduled) = scheduled {
        near("its start", unix_s(root.start_unix_ns), time::unix_s(scheduled)?, API_S)?;
    }
    let containers = list("/status/containerStatuses");
    ensure!(!containers.is_empty(), "a Pod without containers");
    for container in containers {
        let id = text(&container, "/containerID").context("a container without an id")?;
        let id = id.rsplit('/').next().unwrap_or(id);
        let started = text(&container, "/state/running/startedAt").context("no startedAt")?;
        let own = |node: &&Node| {
            node.span.name == "container startup" && node.span.text("container.id") == id
        };
        let one: Vec<&Node> = tree.root.children.iter().filter(own).collect();
        let &[node] = &*one else {
            anyhow::bail!("{} spans of container {id} in\n{}", one.len(), tree.outline())
        };
        ensure!(node.span.text("k8s.container.name") == text(&container, "/name").unwrap_or(""));
        let start = node.children.iter().find(|it| it.span.name == "runtime start");
        let start = start.with_context(|| format!("no runtime start in\n{}", tree.outline()))?;
        let exec = unix_s(start.span.end_unix_ns);
        let traced = execs.iter().min_by(|a, b| (*a - exec).abs().total_cmp(&(*b - exec).abs()));
        near("its exec", exec, *traced.context("no exec in the kernel's trace")?, EXEC_S)?;
        let started = time::unix_s(started)?;
        ensure!(
            (exec - API_S..=exec + LATE_S).contains(&started),
            "its exec: {exec:.4}, and the runtime says {started:.4}"
        );
    }
    Ok(())
}

/// A container's end, in the trace of the restart or of the shutdown that followed.
fn end(told: &Told, trees: &[Tree]) -> Result<()> {
    let kinds = ["pod shutdown", "container restart"];
    let kinds = if told.is_final { &kinds[..1] } else { &kinds[..] };
    let of_pod = of(trees, &told.uid, kinds);
    let restarts = of(trees, &told.uid, &["container restart"]);
    let restarts = restarts.iter().filter(|it| it.root.span.text("k8s.container.name") == "main");
    let restarts = restarts.count() as u64;
    ensure!(restarts >= told.restarts, "{restarts} restarts");
    let mut found = Vec::new();
    for tree in &of_pod {
        for (_, node) in tree.nodes() {
            let Node { span, .. } = node;
            if span.name == "container termination"
                && span.text("k8s.container.name") == "main"
                && (unix_s(span.end_unix_ns) - told.end.unix_s).abs() <= SAME_S
            {
                found.push((tree, node));
            }
        }
    }
    let &[(tree, node)] = &*found else {
        let outlines: Vec<_> = of_pod.iter().map(|tree| tree.outline()).collect();
        anyhow::bail!("{} spans of it in {outlines:?}", found.len())
    };
    let root = &tree.root.span;
    let who = serde_json::json!({ "metadata": {
        "namespace": "default", "name": told.pod, "uid": told.uid,
    } });
    resource(root, &who)?;
    termination(&told.end, node).with_context(|| tree.outline())?;
    let is_fault = |span: &Span| matches!(span.status, Status::Error(_));
    ensure!(is_fault(root) || !is_fault(&node.span), "its root has no error");
    Ok(())
}

fn termination(end: &End, node: &Node) -> Result<()> {
    let span = &node.span;
    let attribute = |key: &str| span.attributes.get(key).map(Value::to_string).unwrap_or_default();
    let same = |what: &str, told: String, wanted: &str| -> Result<()> {
        ensure!(told == wanted, "{what}: {told:?}, not {wanted:?}");
        Ok(())
    };
    same("cause", attribute("podvitals.cause"), &end.cause)?;
    same("trigger", attribute("podvitals.trigger"), &end.trigger)?;
    if is_by_probe(end) {
        same("trigger's source", attribute("podvitals.trigger.source"), "probe")?;
    }
    same("exit code", attribute("process.exit.code"), &end.exit_code)?;
    same("signal", attribute("podvitals.signal"), &end.signal)?;
    let event = span.event("end").context("no event of the end")?;
    ensure!(event.unix_ns == span.end_unix_ns, "the end is not at the end");
    let has_error = matches!(span.status, Status::Error(_));
    ensure!(has_error == is_fault(end), "{:?}", span.status);
    let grace = node.children.iter().find(|it| it.span.name == "grace period");
    ensure!(grace.is_some() == end.shutdown.is_some(), "a grace period, or none");
    if let (Some(Node { span: grace, .. }), Some(shutdown)) = (grace, end.shutdown) {
        near("grace period, s", grace.duration_ns() as f64 / 1e9, shutdown, LENGTH_S)?;
        let used = match grace.attributes.get("podvitals.grace.used_ratio") {
            Some(Value::Double(used)) => Some(*used),
            _ => None,
        };
        ensure!(used.is_some() == end.grace_used.is_some(), "grace used: {used:?}");
        if let (Some(used), Some(wanted)) = (used, end.grace_used) {
            near("grace used", used, wanted, LENGTH_S)?;
        }
    }
    Ok(())
}

/// Whether a probe that failed led to the end. Its attempts were seen, and nothing was inferred.
fn is_by_probe(end: &End) -> bool {
    matches!(&*end.trigger, "liveness" | "startup")
}

/// Whether the end is a fault, as docs/TRACES.md has it.
fn is_fault(end: &End) -> bool {
    if is_by_probe(end) || matches!(&*end.trigger, "node_pressure" | "deadline") {
        return true;
    }
    match &*end.cause {
        "completed" | "unknown" => false,
        "error" => end.shutdown.is_none() || end.exit_code != "143",
        "signal" => end.shutdown.is_none(),
        _ => true,
    }
}

/// The resource of a Pod without an owner, which is its own workload.
fn resource(span: &Span, pod: &Json) -> Result<()> {
    let of = |pointer: &str| text(pod, pointer).unwrap_or_default();
    let name = of("/metadata/name");
    for (key, wanted) in [
        ("service.name", "podvitals"),
        ("k8s.node.name", node::NAME),
        ("k8s.namespace.name", of("/metadata/namespace")),
        ("k8s.pod.name", name),
        ("k8s.pod.uid", of("/metadata/uid")),
        ("podvitals.workload.kind", "Pod"),
        ("podvitals.workload.name", name),
    ] {
        let told = span.resource_text(key);
        ensure!(told == wanted, "{key} is {told:?}, not {wanted:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
