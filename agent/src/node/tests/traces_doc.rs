//! Holds docs/TRACES.md against the code; `UPDATE_GOLDEN=1` rewrites it.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::json;

use super::traces::{ALL, kinds};
use super::{KILLED, World, task};
use crate::cgroup::CgroupId;
use crate::event::{Charged, EventKind, ExitStatus, Oom, OomLevel, Resident};
use crate::trace::model::{Kind, Span, Trace};
use crate::trace::names::{self, Name};

const HEAD: &str = "\
# Traces

Generated from the code; a test keeps it up to date.

Podvitals tells how a Pod started, how its containers were restarted and how it was shut down as
OpenTelemetry traces. Each is made after the fact, from the kernel's own times: a span begins and ends when
what it is about did, to the microsecond. What only the API knows (scheduled, deleted, initialized) is whole
seconds of another clock, and is marked ±1 s below. Traces are off until an endpoint is set: how they are
sent, and all settings, is in [OPENTELEMETRY.md](OPENTELEMETRY.md).

";

const TREES: &str = "
## When a trace is complete

- **pod startup**: when every app container and sidecar was ready, or has ended; when the Pod is deleted;
  or 15 minutes after its first container. Needs a Pod source. Of a Pod whose sandbox is older than the
  agent there is none.
- **container restart**: when the next instance is ready, or has ended too; after 15 minutes without.
  Without a Pod source, when it runs. What the Pod's spec does not start again (its `restartPolicy`, a
  container for debugging) is no restart, and waits for the Pod's shutdown.
- **pod shutdown**: when the Pod's last container is removed, its sandbox included, and each end is
  explained (30 s after the end at most). It has the ends that no restart followed: also those of a Pod
  that has done its work, and those that were hours before.

An agent that stops sends what is not complete, with `podvitals.incomplete`; of a shutdown without the
root, which the next agent sends when the Pod is gone. Ids are made from the UID of the Pod and the id of
the container that died, so both send parts of one trace. What happens while no agent runs is in no trace.

## Status

A span has the status `ERROR`, with a description, for an OOM kill, SIGKILL, a fatal signal, an exit code
other than 0, a failed probe and an eviction under pressure, and a startup that did not get ready. An end by
the stop signal, or with exit code 143 after it, is what was asked for. An attempt of a probe has it where
the kubelet stopped the container for it, and not while a container starts. All other spans have no status.

## Links

A trace is linked to those before it of the same Pod (a restart to the last restart of its container, else
to the startup; a shutdown to all of these), and to the span that the Pod's annotation
`tracing.k8s.io/traceparent` names (W3C Trace Context; the key that KEP-5915 proposes, or another one by
`--trace.link-annotation`). Malformed values are ignored and counted in
`podvitals_trace_links_rejected_total`. A linked trace may have been left out.

## What is left out

`--trace.only-abnormal` leaves out traces without an `ERROR`, `--trace.min-duration` those without one that
are shorter. A workload has 60 traces a minute on a node (`--trace.max-per-minute`), and ten minutes' worth
at once: enough for a rollout, and a crash loop cannot flood a receiver. `podvitals_traces_omitted_total`
counts all by reason.

## Exemplars

In OpenMetrics the buckets of the histograms of workloads (shutdowns, grace used, preStop hooks, restart
downtime, startups) name the last trace that was queued for sending and tells of what they counted.

";

/// The Pod of the examples starts; its containers are ready 2 s later.
fn startup(world: &mut World) {
    world.pod["spec"]["containers"] = json!([
        {"name": "web", "image": "web:1", "startupProbe": {},
         "lifecycle": {"preStop": {"sleep": {"seconds": 5}}}},
    ]);
    world.pod["spec"]["initContainers"] = json!([{"name": "migrate", "image": "migrate:1"}]);
    let running = json!({"running": {}});
    world.made(1001, '0', -90_000);
    world.exec(1001, 100, "pause", -89_900);
    world.made(1002, 'a', -89_500);
    world.exec(1002, 200, "migrate", -89_400);
    let status = |name: &str, digit, ready: bool, restarts: u64| {
        json!({"name": name, "containerID": format!("containerd://{}", super::id(digit)),
               "ready": ready, "started": ready, "restartCount": restarts, "state": running})
    };
    world.pod["status"]["initContainerStatuses"] = json!([status("migrate", 'a', false, 0)]);
    world.reported(-89_000);
    world.end(1002, 200, ExitStatus::Code(0), -88_200);
    world.node.tick(world.now(-88_000));
    world.removed(CgroupId(1002), -87_900);
    world.made(1003, 'b', -87_000);
    world.exec(1003, 300, "web", -86_880);
    world.pod["status"]["containerStatuses"] = json!([status("web", 'b', true, 0)]);
    world.reported(-84_000);
}

/// Its container runs out of memory, and is there again after a back-off.
fn restart(world: &mut World) {
    let victim = task(300, CgroupId(1003), "web");
    let level = |cgroup, oom, limit_bytes: Option<u64>| OomLevel {
        cgroup: CgroupId(cgroup),
        oom,
        oom_kill: oom,
        charged: Some(Charged { usage_bytes: 64 << 20, limit_bytes }),
    };
    let oom = Oom {
        victim,
        current: victim,
        resident: Some(Resident { anon_bytes: 63 << 20, file_bytes: 520 << 10, shmem_bytes: 0 }),
        levels: vec![level(1003, 1, Some(64 << 20)), level(world.pod_cgroup.0, 0, None)],
    };
    world.event(-60_000, EventKind::Oom(oom));
    world.end(1003, 300, KILLED, -59_988);
    world.node.tick(world.now(-59_500));
    world.removed(CgroupId(1003), -59_400);
    world.made(1004, 'c', -49_700);
    world.exec(1004, 400, "web", -49_600);
    world.status("c", &json!({"running": {}}), Some(("b", "OOMKilled")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    world.reported(-47_000);
    world.node.tick(world.now(-46_900));
}

/// It is deleted, and ignores its stop signal.
fn shutdown(world: &mut World) {
    world.deleted(-30_000);
    world.reported(-30_000);
    world.ignores(1004, 400, -25_000);
    world.signal(1004, 400, "runc", 9, -20_000);
    world.end(1004, 400, KILLED, -19_985);
    world.node.tick(world.now(-19_000));
    world.removed(CgroupId(1004), -18_900);
    world.removed(CgroupId(1001), -18_500);
}

fn example(trace: &Trace) -> String {
    let mut out = String::new();
    let origin = trace.spans.first().map_or(0, |span| span.start_boot_ns);
    describe(trace, None, 0, origin, &mut out);
    out
}

fn describe(trace: &Trace, parent: Option<&Span>, depth: usize, origin: u64, out: &mut String) {
    let s = |boot_ns: u64| format!("{:.3} s", (boot_ns - origin) as f64 / 1e9);
    let indent = "  ".repeat(depth);
    for span in trace.spans.iter().filter(|span| span.parent == parent.map(|it| it.id)) {
        let times = format!("{} to {}", s(span.start_boot_ns), s(span.end_boot_ns));
        writeln!(out, "{:<34}{times}", format!("{indent}{}", span.name)).unwrap();
        let mut line = |text: String| writeln!(out, "{indent}    {text}").unwrap();
        if let Some(error) = &span.error {
            line(format!("ERROR: {error}"));
        }
        let on_each = [names::TRACE.name, names::POD_UID.name];
        for it in span.attributes.iter().filter(|it| !on_each.contains(&it.key.as_str())) {
            line(format!("{} = {}", it.key, it.value));
        }
        for event in &span.events {
            line(format!("event at {}: {}", s(event.time_boot_ns), event.name));
            for it in &event.attributes {
                line(format!("  {} = {}", it.key, it.value));
            }
        }
        for link in &span.links {
            let to = link.attributes.first().map_or_else(String::new, |it| it.value.to_string());
            line(format!("link to the trace {to:?}"));
        }
        describe(trace, Some(span), depth + 1, origin, out);
    }
}

fn table(title: &str, names: &[Name], out: &mut String) {
    write!(out, "## {title}\n\n| name | meaning |\n|---|---|\n").unwrap();
    for name in names {
        writeln!(out, "| `{}` | {} |", name.name, name.meaning.replace('|', "\\|")).unwrap();
    }
    out.push('\n');
}

#[test]
fn the_document_is_up_to_date() {
    let mut world = World::new(true);
    let sent = world.traced(ALL);
    startup(&mut world);
    restart(&mut world);
    shutdown(&mut world);
    assert_eq!(kinds(&sent), Kind::ALL.map(Kind::name));
    let mut text = HEAD.to_owned();
    table("Spans", &names::SPANS, &mut text);
    table("Attributes of the resource: the Pod", &names::RESOURCE, &mut text);
    table("Attributes of spans and events", &names::ATTRIBUTES, &mut text);
    table("Events", &names::EVENTS, &mut text);
    text.pop();
    text.push_str(TREES);
    text.push_str("## Examples\n\nOne Pod: it starts, runs out of memory once, and ignores SIGTERM when it is deleted.\nOn each span, and left out here: `podvitals.trace` and `k8s.pod.uid`.\n");
    for trace in sent.lock().unwrap().iter() {
        write!(text, "\n### {}\n\n```\n{}```\n", trace.kind.name(), example(trace)).unwrap();
        for span in &trace.spans {
            assert!(names::SPANS.iter().any(|name| name.name == span.name), "{}", span.name);
            let of_events = span.events.iter().flat_map(|event| &event.attributes);
            for it in span.attributes.iter().chain(of_events) {
                let mut known = names::ATTRIBUTES.iter().chain(&names::RESOURCE);
                assert!(known.any(|name| name.name == it.key.as_str()), "{}", it.key);
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/TRACES.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(known, text, "run: UPDATE_GOLDEN=1 cargo test -p agent --lib");
}
