//! Collectors `probes` and `probe_phases`: what the kubelet's probes found, and how long they took.
//!
//! A container has one entry for each of its probes, and a workload one for each probe and handler,
//! so that a rollout which changes the handler does not lose counts to and fro.

pub mod container;
pub mod phase;
pub mod source;
pub mod workload;

use crate::kube::pod::{self, Handler};
use crate::lifecycle::fact::{ProbeAttempt, ProbeKind, ProbeResult};

/// Probes of a container's spec, as far as their handler is known.
fn declared(container: &pod::Container) -> impl Iterator<Item = (ProbeKind, &pod::Probe)> {
    let probes = [
        (ProbeKind::Startup, &container.startup),
        (ProbeKind::Liveness, &container.liveness),
        (ProbeKind::Readiness, &container.readiness),
    ];
    let known = probes.into_iter().filter_map(|(kind, probe)| Some((kind, probe.as_deref()?)));
    known.filter(|(_, probe)| probe.handler != Handler::Unknown)
}

/// Duration of an attempt that says something of the container: a connection that was refused says
/// nothing of how long an answer takes.
fn latency_ns(attempt: &ProbeAttempt) -> Option<u64> {
    (attempt.result != ProbeResult::Refused).then(|| attempt.duration_ns())
}
