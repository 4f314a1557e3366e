//! What the API says of a container and the kernel does not know: what it was promised.

use super::catalog::{Family, Scope, StateFamily, Type, Unit};
use super::expose::{Exposition, NONE, Value};
use super::subject::Container;
use crate::kube::pod;

/// `resources.requests.cpu`.
pub static CPU: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_cpu_request_cores",
        kind: Type::Gauge,
        unit: Unit::Cores,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "CPU that the container was promised; absent without a source of Pods.",
    },
    write: |block, container, to| {
        let cpu = |requests: pod::Resources| Some(Value::Ratio(requests.cpu_millis?, 1000));
        write(block, container, to, cpu);
    },
};

/// `resources.requests.memory`.
pub static MEMORY: StateFamily<Container> = StateFamily {
    family: Family {
        name: "container_memory_request_bytes",
        kind: Type::Gauge,
        unit: Unit::Bytes,
        scope: Scope::Container,
        labels: &[],
        series_max: 1,
        help: "Memory that the container was promised; absent without a source of Pods.",
    },
    write: |block, container, to| {
        let memory = |requests: pod::Resources| requests.memory_bytes.map(Value::Count);
        write(block, container, to, memory);
    },
};

/// Like the other gauges, it goes with the cgroup.
fn write(
    block: &[u8],
    container: &Container,
    to: &mut Exposition,
    get: fn(pod::Resources) -> Option<Value>,
) {
    if container.usage.live().next().is_some()
        && let Some(value) = get(container.requests)
    {
        to.sample(block, &NONE, value);
    }
}
