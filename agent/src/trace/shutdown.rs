//! The trace of a Pod's shutdown. Pure.

use super::instance::Instance;
use super::life::{At, Life};
use super::model::{Kind, Trace};
use super::names;
use super::tree::{Tree, attribute, event, number};

/// The trace of all ends that are not told yet; `None` if there are none and no deletion is known.
/// Without the root, which the agent sends that sees the Pod's end.
pub(super) fn trace(life: &Life, at: &At, with_root: bool) -> Option<Trace> {
    let ends = || {
        life.instances.iter().filter(|it| !it.told && !it.is_done_init() && it.death().is_some())
    };
    if ends().next().is_none() && (life.deletion.is_none() || !with_root) {
        return None;
    }
    let attempt = if life.shutdowns == 0 { String::new() } else { life.shutdowns.to_string() };
    let mut tree = Tree::new(Kind::Shutdown, &life.key, &attempt, &life.uid);
    let root = tree.root();
    for instance in ends() {
        instance.add_termination(&mut tree, root);
    }
    if with_root {
        add_root(&mut tree, life, at, &ends().collect::<Vec<_>>());
    }
    let explained = |it: &Instance| Some((it.who.clone(), it.explained.as_deref()?.clone()));
    Some(Trace {
        kind: Kind::Shutdown,
        id: tree.id,
        resource: life.resource.clone(),
        facts: ends().filter_map(explained).collect(),
        spans: tree.spans,
    })
}

fn add_root(tree: &mut Tree, life: &Life, at: &At, ends: &[&Instance]) {
    let requested = life.deletion.and_then(|(deletion, _)| deletion.requested_unix_s);
    let requested_boot_ns = requested.and_then(|unix_s| at.wall.boot_ns_of_seconds(unix_s));
    // The root covers the deletion, as it was requested and as the agent learned of it: that may be
    // before anything was stopped, or after the last end, of a Pod that was in its back-off.
    let seen_boot_ns = life.deletion.map(|(_, seen_boot_ns)| seen_boot_ns);
    let deletion = || requested_boot_ns.into_iter().chain(seen_boot_ns);
    let starts = tree.spans.iter().map(|span| span.start_boot_ns);
    let start_boot_ns = starts.chain(deletion()).min().unwrap_or(at.now_boot_ns);
    let ended = tree.spans.iter().map(|span| span.end_boot_ns);
    let end_boot_ns = ended.chain(deletion()).max().unwrap_or(start_boot_ns);
    let problems: Vec<String> =
        ends.iter().filter_map(|it| Some(format!("{}: {}", it.name(), it.problem()?))).collect();
    tree.add_root(names::POD_SHUTDOWN, (start_boot_ns, end_boot_ns), |span| {
        if let Some(death) = ends.iter().find_map(|it| it.death()) {
            span.attributes.push(attribute(names::TRIGGER, death.trigger.label()));
        }
        if let Some((deletion, seen_boot_ns)) = life.deletion {
            let grace = deletion.grace_s.map(|s| attribute(names::DELETION_GRACE, number(s)));
            let grace = grace.into_iter().collect();
            span.events.push(event(names::DELETION_SEEN, seen_boot_ns, grace));
        }
        span.links.extend(life.started.clone());
        span.links.extend(life.restarts.iter().map(|(_, link)| link.clone()));
        span.links.extend(life.outside.clone());
        span.error = (!problems.is_empty()).then(|| problems.join("; "));
    });
}
