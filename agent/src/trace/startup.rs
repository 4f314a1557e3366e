//! The trace of a Pod's startup, and the phases of one container's start. Pure.

use opentelemetry::trace::SpanId;

use super::instance::Instance;
use super::life::{At, Life};
use super::model::{Kind, Trace};
use super::names;
use super::tree::{Tree, attribute, event};

/// The steps of a container's start, as far as they are over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    created_boot_ns: u64,
    running_boot_ns: Option<u64>,
    started_boot_ns: Option<u64>,
    ready_boot_ns: Option<u64>,
    ended_boot_ns: Option<u64>,
    /// End of the last attempt of a probe that is told, where it was never ready.
    probed_boot_ns: Option<u64>,
}

impl Bounds {
    pub(super) fn of(instance: &Instance) -> Self {
        let start = &instance.start;
        let probed = instance.attempts.iter().map(|attempt| attempt.end_boot_ns).max();
        Self {
            probed_boot_ns: probed.filter(|_| start.ready_boot_ns.is_none()),
            created_boot_ns: instance.since_boot_ns(),
            running_boot_ns: start.running_boot_ns,
            started_boot_ns: start.started_boot_ns,
            ready_boot_ns: start.ready_boot_ns,
            ended_boot_ns: instance.ended_boot_ns,
        }
    }

    /// The last step that is over: ready, or an end before that.
    pub(super) fn last_boot_ns(&self) -> u64 {
        let before_ready = self.ended_boot_ns.filter(|_| self.ready_boot_ns.is_none());
        let steps = [
            self.running_boot_ns,
            self.started_boot_ns,
            self.ready_boot_ns,
            self.probed_boot_ns,
            before_ready,
        ];
        steps.into_iter().flatten().max().unwrap_or(self.created_boot_ns)
    }
}

/// Adds the phases from the container's cgroup until it is ready, and the attempts of its probes.
pub(super) fn add_phases(tree: &mut Tree, parent: SpanId, instance: &Instance, bounds: &Bounds) {
    let mut add = |name, from: Option<u64>, to: Option<u64>| {
        let times = from.zip(to)?;
        Some((times, instance.add(tree, parent, name, times, |_| {})))
    };
    add(names::RUNTIME_START, Some(bounds.created_boot_ns), bounds.running_boot_ns);
    let startup = add(names::STARTUP_PROBE, bounds.running_boot_ns, bounds.started_boot_ns);
    let from = bounds.started_boot_ns.or(bounds.running_boot_ns);
    let readiness = add(names::READINESS, from, bounds.ready_boot_ns);
    let whole = ((bounds.created_boot_ns, bounds.last_boot_ns()), parent);
    // Each in the first phase that it lies within. What came after belongs to no start.
    let phases: Vec<_> = startup.into_iter().chain(readiness).chain([whole]).collect();
    for attempt in instance.attempts.iter() {
        let within = |((from, to), _): &&((u64, u64), SpanId)| {
            *from <= attempt.start_boot_ns && attempt.end_boot_ns <= *to
        };
        if let Some((_, phase)) = phases.iter().find(within) {
            instance.add_attempt(tree, *phase, attempt, false);
        }
    }
}

/// The trace of the startup; `None` if nothing of it was seen.
pub(super) fn trace(life: &mut Life, at: &At) -> Option<Trace> {
    // Without the Pod's spec nobody knows what has to be ready.
    life.expected.as_ref()?;
    // Init containers are tried until they succeed; how an app container is restarted is in a trace of
    // its own.
    let is_first =
        |it: &&Instance| it.start.created_boot_ns.is_some() && (it.start.first || it.is_init());
    let first: Vec<&Instance> = life.instances.iter().filter(is_first).collect();
    let sandbox_boot_ns = first.iter().filter_map(|it| it.start.sandbox_boot_ns).min();
    // Who did not see the sandbox came in the middle, and another agent may have told of it.
    let sandbox_boot_ns = sandbox_boot_ns?;
    let scheduled_boot_ns = first.iter().filter_map(|it| it.start.scheduled_boot_ns).min();
    let initialized_boot_ns = first.iter().filter_map(|it| it.start.initialized_boot_ns).min();
    let mut tree = Tree::new(Kind::Startup, &life.key, "", &life.uid);
    let root = tree.root();
    if let Some(scheduled_boot_ns) = scheduled_boot_ns {
        tree.add(root, names::SANDBOX_CREATION, &[], (scheduled_boot_ns, sandbox_boot_ns), |_| {});
    }
    // The kernel's record of the last init container is exact, the API's condition is not.
    let inits = first.iter().filter(|it| it.is_init());
    let initialized_boot_ns = inits.filter_map(|it| it.ended_boot_ns).max().or(initialized_boot_ns);
    for instance in &first {
        if instance.is_init() {
            add_init(&mut tree, root, instance, at);
        } else {
            let from = initialized_boot_ns.unwrap_or(sandbox_boot_ns).max(sandbox_boot_ns);
            add_container(&mut tree, root, instance, from);
        }
    }
    let start_boot_ns = scheduled_boot_ns.unwrap_or(sandbox_boot_ns).min(sandbox_boot_ns);
    let ended = tree.spans.iter().map(|span| span.end_boot_ns);
    let ready = life.instances.iter().filter_map(|it| it.start.ready_boot_ns);
    let failed = life.failed.iter().map(|(_, time_boot_ns)| *time_boot_ns);
    let steps = ended.chain(ready).chain(failed.clone());
    let end_boot_ns = steps.max().unwrap_or(sandbox_boot_ns).max(start_boot_ns);
    let start_boot_ns = failed.min().map_or(start_boot_ns, |failed| failed.min(start_boot_ns));
    let missing = missing(life);
    tree.add_root(names::POD_STARTUP, (start_boot_ns, end_boot_ns), |span| {
        for (container, time_boot_ns) in &life.failed {
            let container = attribute(names::CONTAINER, container.clone());
            span.events.push(event(names::START_FAILED, *time_boot_ns, vec![container]));
        }
        span.links.extend(life.outside.clone());
        if missing.is_some() && at.last {
            span.attributes.push(attribute(names::INCOMPLETE, true));
        }
        span.error = missing.filter(|_| !at.last);
    });
    let ready = |it: &&Instance| Some((it.who.clone(), it.ready.as_deref()?.clone()));
    let facts = first.iter().filter_map(ready).collect();
    life.started = Some(tree.link());
    Some(Trace {
        kind: Kind::Startup,
        id: tree.id,
        resource: life.resource.clone(),
        spans: tree.spans,
        facts,
    })
}

fn add_init(tree: &mut Tree, root: SpanId, instance: &Instance, at: &At) {
    let begin_boot_ns = instance.since_boot_ns();
    let end_boot_ns = instance.ended_boot_ns.unwrap_or(at.now_boot_ns);
    instance.add(tree, root, names::INIT_CONTAINER, (begin_boot_ns, end_boot_ns), |span| {
        span.attributes.extend(instance.identity());
        span.error = instance.problem();
    });
}

fn add_container(tree: &mut Tree, root: SpanId, instance: &Instance, from_boot_ns: u64) {
    let bounds = Bounds::of(instance);
    let from_boot_ns = from_boot_ns.min(bounds.created_boot_ns);
    let times = (from_boot_ns, bounds.last_boot_ns());
    let container = instance.add(tree, root, names::CONTAINER_STARTUP, times, |span| {
        span.attributes.extend(instance.identity());
        let failed = instance.start_failed_boot_ns();
        span.events.extend(failed.map(|at| event(names::START_FAILED, at, Vec::new())));
        let never_ran = failed.map(|_| "the container's program never ran".to_owned());
        let problem = instance.problem().filter(|_| bounds.ready_boot_ns.is_none());
        let ended = problem.map(|it| format!("ended before it was ready: {it}"));
        span.error = never_ran.or(ended);
    });
    let created = (from_boot_ns, bounds.created_boot_ns);
    instance.add(tree, container, names::PULL_AND_CREATE, created, |_| {});
    add_phases(tree, container, instance, &bounds);
}

/// The containers that were not ready, in words. One that has done its work needs not be.
fn missing(life: &Life) -> Option<String> {
    let expected = life.expected.as_ref()?;
    let done = |it: &&Instance| {
        it.ready.is_some()
            || (it.explained.is_some()
                && it.problem().is_none()
                && it.start_failed_boot_ns().is_none())
    };
    let ready =
        |name: &String| life.instances.iter().filter(|it| it.name() == name).any(|it| done(&it));
    let missing: Vec<&str> =
        expected.iter().filter(|name| !ready(name)).map(String::as_str).collect();
    (!missing.is_empty()).then(|| format!("not ready: {}", missing.join(", ")))
}
