//! Collector `info`: the identity of a container and the start of its program.

use super::collector::Collector;
use super::expose::{Block, NONE, StateFamily, Value};
use super::family::{Family, Scope};
use super::usage::Usage;
use crate::kube::identity::Identity;

/// Longest label value in bytes. Names of Kubernetes have 253 at most, references of images can
/// have more, and a cgroup's path can have 4095.
const LABEL_BYTES_MAX: usize = 1024;

/// Identity of the newest container of a name.
pub static INFO: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_info",
        Scope::Container,
        "Information about the newest container of this name; always 1.",
    )
    .of(Collector::Info)
    .labels(
        &[
            "pod_uid",
            "container_id",
            "image",
            "role",
            "qos",
            "workload_kind",
            "workload",
            "runtime",
        ],
        1,
    ),
    write: |_, info, to| to.sample(info.labels.bytes(), &NONE, Value::Count(1)),
};

/// Start of init.
pub static START_TIME: StateFamily<Usage> = StateFamily {
    family: Family::gauge(
        "container_start_time_seconds",
        Scope::Container,
        "Start time of the container's own program since unix epoch in seconds.",
    )
    .of(Collector::Info),
    write: |block, usage, to| {
        if let Some(start) = usage.live().next().and_then(|live| live.start_boot_ns) {
            to.sample(block, &NONE, Value::Moment(start));
        }
    },
};

/// State of `container_info`: all its labels, of which the first three are the container's own.
#[derive(Debug, Default)]
pub struct OfContainer {
    labels: Block,
}

impl OfContainer {
    /// Takes over the identity of the newest container.
    pub fn identify(&mut self, identity: &Identity) {
        self.labels = Block::new(&[
            ("namespace", &identity.namespace),
            ("pod", &identity.pod),
            ("container", &identity.container),
            ("pod_uid", &identity.pod_uid),
            ("container_id", &identity.container_id),
            ("image", &identity.image),
            ("role", identity.role),
            ("qos", identity.qos),
            ("workload_kind", &identity.workload_kind),
            ("workload", &identity.workload),
            ("runtime", identity.runtime),
        ]);
    }
}

/// The part of a string that becomes a label's value.
pub(super) fn prefix(value: &str) -> &str {
    if value.len() <= LABEL_BYTES_MAX {
        return value;
    }
    // A character has four bytes at most.
    (LABEL_BYTES_MAX - 3..=LABEL_BYTES_MAX).rev().find_map(|end| value.get(..end)).unwrap_or("")
}

/// The identity with values of a length that Prometheus can be asked to keep.
pub(super) fn cut(identity: &Identity) -> Identity {
    let cut = |value: &String| prefix(value).to_owned();
    Identity {
        namespace: cut(&identity.namespace),
        pod: cut(&identity.pod),
        container: cut(&identity.container),
        pod_uid: cut(&identity.pod_uid),
        container_id: cut(&identity.container_id),
        image: cut(&identity.image),
        role: identity.role,
        qos: identity.qos,
        runtime: identity.runtime,
        workload_kind: cut(&identity.workload_kind),
        workload: cut(&identity.workload),
    }
}
