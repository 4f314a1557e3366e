//! What the scenarios know.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// What the scenarios know.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Pods by their names, as they were seen last.
    pub(super) seen: BTreeMap<String, Value>,
    /// Pods of which each container ran.
    pub(super) ran: Vec<Value>,
    pub(super) told: Vec<Told>,
    /// Pods of which no picture is made: what they show may be wrong.
    pub(super) failed: BTreeSet<String>,
    /// Spans of agents before this one.
    pub(super) earlier: usize,
    pub(super) agents: u32,
}

/// An end of container `main` of a Pod without an owner.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) pod: String,
    pub(super) uid: String,
    /// Whether no restart can have followed.
    pub(super) is_final: bool,
    /// Restarts of the container that the API knew then.
    pub(super) restarts: u64,
    pub(super) end: End,
}

/// How a container ended, says the agent.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// When, in seconds of Unix time.
    pub(crate) unix_s: f64,
    pub(crate) cause: String,
    pub(crate) trigger: String,
    pub(crate) exit_code: String,
    pub(crate) signal: String,
    /// Seconds from the stop signal.
    pub(crate) shutdown: Option<f64>,
    /// Seconds it had.
    pub(crate) grace: Option<f64>,
    pub(crate) grace_used: Option<f64>,
}

impl End {
    /// Seconds from the stop signal to the end.
    pub(crate) fn shutdown(&self) -> Result<f64> {
        self.shutdown.with_context(|| format!("no shutdown time: {self:?}"))
    }

    /// Cause and trigger in one word.
    pub(crate) fn why(&self) -> String {
        format!("{}, {}", self.cause, self.trigger)
    }
}
