//! Tables that several boards have.

use crate::link;
use crate::panel::{self, Cell, Field, Panel};
use crate::query;
use crate::target;
use crate::unit::{CAUSES, NEUTRAL, TRIGGERS, Thresholds, Unit};

/// Last deaths, the newest first: a row for each container and way to die. `known` are columns that
/// the board has one value of.
pub(super) fn deaths(
    title: &'static str,
    description: &'static str,
    (selector, of_workload, more): (&str, &str, &str),
    known: &[&str],
) -> Panel {
    let deaths = query::with_workload(&query::deaths(selector, more), of_workload);
    let listed = format!("topk(100, {deaths})");
    let mut columns = vec![
        ("Value #A", "When"),
        ("cause", "Cause"),
        ("Value #B", "Times"),
        ("namespace", "Namespace"),
        ("pod", "Pod"),
        ("container", "Container"),
        ("exit_code", "Exit code"),
        ("signal", "Signal"),
        ("sender", "Sent by"),
        ("scope", "OOM scope"),
        ("trigger", "Stop requested by"),
        ("workload", "Workload"),
        ("node", "Node"),
        ("cluster", "Cluster"),
    ];
    columns.retain(|(name, _)| !known.contains(name));
    let is_there = |name| !known.contains(&name);
    let traces = if is_there("pod") { link::TRACES } else { link::TRACES_OF_POD };
    let mut panel = panel::table(title, description, &columns, "When")
        .size(24, 11)
        .ask(target::table(format!("1000 * {listed}")))
        .ask(target::table(query::times(&listed, selector, more)))
        .thresholds(Thresholds { base: NEUTRAL, steps: Vec::new() })
        .field("When", Field { links: traces.to_vec(), ..Field::unit(Unit::Moment).wide(150) })
        .field("Cause", Field::mapped(CAUSES, Cell::Background).wide(190))
        .field("Times", Field::count().wide(60))
        .field("Exit code", Field::default().wide(80))
        .field("Signal", Field::default().wide(80))
        .field("Sent by", Field::default().wide(110))
        .field("OOM scope", Field::default().wide(90))
        .field("Stop requested by", Field::mapped(TRIGGERS, Cell::Text).wide(140))
        .field("Workload", Field::link(link::SHUTDOWNS));
    if is_there("pod") {
        let link = if is_there("node") { link::POD } else { link::POD_OF_NODE };
        panel = panel.field("Pod", Field::link(link).wide(205));
    }
    if is_there("node") {
        panel = panel.field("Node", Field::link(link::NODE));
    }
    panel
}
