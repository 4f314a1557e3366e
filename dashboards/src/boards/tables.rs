//! Tables that several boards have.

use crate::link;
use crate::panel::{self, Cell, Field, Panel};
use crate::query;
use crate::target;
use crate::unit::{CAUSES, NEUTRAL, TRIGGERS, Thresholds, Unit};

/// Last deaths, the newest first: a row for each container and way to die.
pub(super) fn deaths(
    title: &'static str,
    description: &'static str,
    selector: &str,
    of_workload: &str,
    more: &str,
) -> Panel {
    let deaths = query::with_workload(&query::deaths(selector, more), of_workload);
    let columns = [
        ("Value", "When"),
        ("cause", "Cause"),
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
    panel::table(title, description, &columns, "When")
        .size(24, 11)
        .ask(target::table(format!("1000 * topk(100, {deaths})")))
        .field("When", Field::unit(Unit::Moment).wide(165))
        .field("Cause", Field::mapped(CAUSES, Cell::Background).wide(190))
        .field("Pod", Field::link(link::POD).wide(220))
        .field("Exit code", Field::default().wide(85))
        .field("Signal", Field::default().wide(90))
        .field("Sent by", Field::default().wide(115))
        .field("OOM scope", Field::default().wide(95))
        .field("Stop requested by", Field::mapped(TRIGGERS, Cell::Text).wide(165))
        .field("Workload", Field::link(link::SHUTDOWNS))
        .field("Node", Field::link(link::NODE))
        .thresholds(Thresholds { base: NEUTRAL, steps: Vec::new() })
}
