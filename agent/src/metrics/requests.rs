//! Collector `requests`: `resources.requests` of containers.

use super::collector::Collector;
use super::expose::{NONE, StateFamily, Value};
use super::family::{Family, Need, Scope};
use crate::kube::pod::Resources;

/// `resources.requests.cpu`.
pub static CPU: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_cpu_request_cores",
        Scope::Container,
        "CPU request of the container.",
    )
    .of(Collector::Requests)
    .needs(&[Need::Pods]),
    write: |block, requests, to| {
        if let Some(millis) = requests.0.cpu_millis {
            to.sample(block, &NONE, Value::Ratio(millis, 1000));
        }
    },
};

/// `resources.requests.memory`.
pub static MEMORY: StateFamily<OfContainer> = StateFamily {
    family: Family::gauge(
        "container_memory_request_bytes",
        Scope::Container,
        "Memory request of the container.",
    )
    .of(Collector::Requests)
    .needs(&[Need::Pods]),
    write: |block, requests, to| {
        if let Some(bytes) = requests.0.memory_bytes {
            to.sample(block, &NONE, Value::Count(bytes));
        }
    },
};

/// Requests of a container that is there.
#[derive(Debug, Default)]
pub struct OfContainer(Resources);

impl OfContainer {
    /// Takes over the spec's requests.
    pub const fn request(&mut self, requests: Resources) {
        self.0 = requests;
    }

    /// Gives the requests up with the last cgroup of the container, like the other gauges.
    pub fn gone(&mut self) {
        self.0 = Resources::default();
    }
}
