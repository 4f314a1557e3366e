//! Who a container is and since when it runs.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::expose::{Block, NONE, Value};
use super::subject::Container;
use crate::kube::identity::Identity;

/// Longest label value in bytes. Names of Kubernetes have 253 at most, references of images can
/// have more, and a cgroup's path can have 4095.
const LABEL_BYTES_MAX: usize = 1024;

/// Names.
pub static INFO: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_info",
        kind: Type::Gauge,
        unit: Unit::None,
        scope: Scope::Container,
        labels: &[
            "pod_uid",
            "container_id",
            "image",
            "role",
            "qos",
            "workload_kind",
            "workload",
            "runtime",
        ],
        series_max: 1,
        help: "Always 1: who the newest container of this name is.",
    },
    write: |_, container, to| to.sample(container.info.bytes(), &NONE, Value::Count(1)),
};

/// Start of init.
pub static START_TIME: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_start_time_seconds",
        kind: Type::Gauge,
        unit: Unit::Seconds,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "When the container's own program started, in Unix time.",
    },
    write: |block, container, to| {
        if let Some(start_ns) = container.usage.live().next().and_then(|live| live.start_unix_ns) {
            to.sample(block, &NONE, Value::Nanos(start_ns));
        }
    },
};

/// All labels of `container_info`, of which the first three are the container's own.
pub(super) fn labels(identity: &Identity) -> Block {
    Block::new(&[
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
    ])
}

/// What of a string becomes a label's value.
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
