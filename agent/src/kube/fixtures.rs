//! Pods as the API reports them, for tests.

use super::pod::Pod;
use super::{convert, wire};

/// A Deployment's Pod with an app, an init container and two kinds of sidecar; it is being evicted
/// through the API.
pub(crate) const DEPLOYMENT: &str = include_str!("testdata/deployment.json");
/// The mirror Pod of a static Pod.
pub(crate) const STATIC: &str = include_str!("testdata/static.json");
/// A Pod of a CronJob that has completed.
pub(crate) const CRON_JOB: &str = include_str!("testdata/cronjob.json");
/// A Pod of a Job whose name looks like a CronJob's; it has no status yet.
pub(crate) const JOB: &str = include_str!("testdata/job.json");
/// A StatefulSet's Pod with an ephemeral container.
pub(crate) const STATEFUL_SET: &str = include_str!("testdata/statefulset.json");
/// A Pod evicted under node pressure.
pub(crate) const EVICTED: &str = include_str!("testdata/evicted.json");

/// All of these Pods.
pub(crate) const ALL: [&str; 6] = [DEPLOYMENT, STATIC, CRON_JOB, JOB, STATEFUL_SET, EVICTED];

pub(crate) fn wire_pod(json: &str) -> wire::Pod {
    serde_json::from_str(json).unwrap()
}

pub(crate) fn pod(json: &str) -> Pod {
    convert::pod(&wire_pod(json))
}
