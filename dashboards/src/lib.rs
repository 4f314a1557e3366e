//! Podvitals' Grafana dashboards, as data. `cargo xtask dashboards` writes `dashboards/*.json`.
//!
//! The JSON is Grafana's classic schema. [`board::SCHEMA_VERSION`] is that of Grafana 12 and 13; the
//! options of all panels are those of Grafana 10, which therefore imports it too: Grafana migrates
//! the options of a panel forward from [`panel::PLUGIN_VERSION`], and ignores a schema version that
//! is newer than its own.
//!
//! Queries ask the agent's families and no recording rules, so that a board works as soon as
//! Prometheus scrapes the agent. (With a fall-back, `rule or raw`, Prometheus evaluates both sides
//! whether the rule is there or not, which costs more than the raw query alone.) What keeps them
//! cheap on a large cluster is in [`query`].

pub mod board;
mod boards;
pub mod json;
pub mod layout;
pub mod link;
pub mod panel;
pub mod query;
pub mod target;
pub mod unit;
pub mod variable;

use board::Board;

/// All boards, in the order in which a reader meets them.
#[must_use]
pub fn all() -> Vec<Board> {
    vec![
        boards::why::board(),
        boards::shutdowns::board(),
        boards::probes::board(),
        boards::pod::board(),
        boards::node::board(),
        boards::own::board(),
    ]
}

/// The file of each board below `dashboards/`, and its text.
#[must_use]
pub fn files() -> Vec<(String, String)> {
    all()
        .iter()
        .map(|board| (format!("{}.json", board.uid), format!("{:#}\n", json::of_board(board))))
        .collect()
}
