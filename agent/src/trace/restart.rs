//! The trace of a container's restart. Pure.

use super::instance::Instance;
use super::life::Life;
use super::model::{Kind, Link, Trace};
use super::names;
use super::startup::{self, Bounds};
use super::tree::{Tree, attribute};

/// The trace of a death and of the instance that followed, as far as it came; and the link to it.
pub(super) fn trace(
    life: &Life,
    dead: &Instance,
    next: Option<&Instance>,
    complete: bool,
) -> (Trace, Link) {
    let mut tree = Tree::new(Kind::Restart, &life.key, &dead.who.identity.container_id, &life.uid);
    let root = tree.root();
    let ended_boot_ns = dead.ended_boot_ns.unwrap_or_default();
    let begin_boot_ns = dead.death().map_or(ended_boot_ns, |death| dead.termination_boot_ns(death));
    dead.add_termination(&mut tree, root);
    // The failed probes for which it was stopped come before the termination.
    let begins = tree.spans.iter().map(|span| span.start_boot_ns);
    let begin_boot_ns = begins.chain([begin_boot_ns]).min().unwrap_or(begin_boot_ns);
    let ends = tree.spans.iter().map(|span| span.end_boot_ns);
    let mut end_boot_ns = ends.chain([ended_boot_ns]).max().unwrap_or(ended_boot_ns);
    if let Some(next) = next {
        let created_boot_ns = next.since_boot_ns();
        let back_off = (ended_boot_ns, created_boot_ns);
        next.add(&mut tree, root, names::BACK_OFF, back_off, |_| {});
        let bounds = Bounds::of(next);
        startup::add_phases(&mut tree, root, next, &bounds);
        end_boot_ns = end_boot_ns.max(created_boot_ns).max(bounds.last_boot_ns());
    }
    let identity = &dead.who.identity;
    tree.add_root(names::CONTAINER_RESTART, (begin_boot_ns, end_boot_ns), |span| {
        span.attributes.push(attribute(names::CONTAINER, identity.container.clone()));
        if let Some(death) = dead.death() {
            span.attributes.push(attribute(names::CAUSE, death.end.cause.label()));
            span.attributes.push(attribute(names::TRIGGER, death.trigger.label()));
        }
        if !complete {
            span.attributes.push(attribute(names::INCOMPLETE, true));
        }
        let before = life.restarts.iter().find(|(name, _)| *name == identity.container);
        span.links.extend(before.map(|(_, link)| link.clone()).or_else(|| life.started.clone()));
        span.links.extend(life.outside.clone());
        span.error = dead.problem();
    });
    let link = tree.link();
    let explained = dead.explained.as_deref().map(|fact| (&dead.who, fact));
    let restarted = next.and_then(|next| Some((&next.who, next.restarted.as_deref()?)));
    let facts = explained.into_iter().chain(restarted);
    let trace = Trace {
        kind: Kind::Restart,
        id: tree.id,
        resource: life.resource.clone(),
        spans: tree.spans,
        facts: facts.map(|(who, fact)| (who.clone(), fact.clone())).collect(),
    };
    (trace, link)
}
