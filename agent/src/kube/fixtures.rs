//! Pods as the API tells them, for tests.

use super::pod::Pod;
use super::{convert, wire};

/// An app, an init container and two kinds of sidecar; it is being evicted through the API.
pub(crate) const DEPLOYMENT: &str = include_str!("testdata/deployment.json");
/// The mirror of a static Pod.
pub(crate) const STATIC: &str = include_str!("testdata/static.json");
/// A CronJob's, done.
pub(crate) const CRON_JOB: &str = include_str!("testdata/cronjob.json");
/// A Job's whose name looks like a CronJob's; it has no status yet.
pub(crate) const JOB: &str = include_str!("testdata/job.json");
/// With an ephemeral container.
pub(crate) const STATEFUL_SET: &str = include_str!("testdata/statefulset.json");
/// Evicted under pressure.
pub(crate) const EVICTED: &str = include_str!("testdata/evicted.json");

/// All of them.
pub(crate) const ALL: [&str; 6] = [DEPLOYMENT, STATIC, CRON_JOB, JOB, STATEFUL_SET, EVICTED];

pub(crate) fn wire_pod(json: &str) -> wire::Pod {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn pod(json: &str) -> Pod {
    convert::pod(&wire_pod(json))
}
