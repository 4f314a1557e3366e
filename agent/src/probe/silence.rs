//! Silence: whether the kubelet must have connected to a container, so that its connections are not
//! seen. Pure.
//!
//! Only what is certain counts: a liveness or readiness probe over the network, of a container that
//! runs and whose startup probe, if it has one, has succeeded. The API does not tell when it did, but a
//! container that runs after the longest time that it may take has got over it.

use super::candidate::of_container;
use super::instance::Instances;
use crate::clock::SECOND_NS;
use crate::kube::pod::{Container, Probe};
use crate::kube::pods::Pods;
use crate::lifecycle::fact::ProbeKind;

/// Least time for which a probe has to be due: thirty attempts at the default period.
const LEAST_NS: u64 = 300 * SECOND_NS;
/// Number of its periods, at least. The first attempt after a start of the kubelet comes up to a period
/// late, and one may be skipped while the runtime does not answer.
const PERIODS: u64 = 3;

/// Whether a probe was due for so long, since that time.
pub(super) fn must_have_asked(
    instances: &Instances,
    pods: &Pods,
    since_boot_ns: u64,
    now_boot_ns: u64,
) -> bool {
    instances.running().any(|(who, started_boot_ns)| {
        let known = who.origin.pod().and_then(|(name, _)| pods.of_cgroup(name));
        // The kubelet asks no more of a Pod that it stops.
        let known = known.filter(|known| {
            let pod = &known.pod;
            !pod.is_terminal() && !pod.addresses.is_empty() && known.deletion_noticed().is_none()
        });
        let container = known.and_then(|known| known.pod.container(&who.identity.container));
        container.is_some_and(|container| {
            let from_boot_ns = started_boot_ns.max(since_boot_ns);
            let quiet_ns = now_boot_ns.saturating_sub(from_boot_ns);
            let is_over = |after_ns: u64| {
                now_boot_ns.saturating_sub(started_boot_ns.saturating_add(after_ns))
            };
            waits(container).any(|wait| quiet_ns.min(is_over(wait.begin_ns)) >= wait.longest_ns)
        })
    })
}

/// The longest time without an attempt of a probe.
struct Wait {
    /// Time from the container's start until the probe has begun.
    begin_ns: u64,
    longest_ns: u64,
}

/// Those of a container's probes that are over the network and may not stay away.
fn waits(container: &Container) -> impl Iterator<Item = Wait> {
    let seconds = |s: u64| s.saturating_mul(SECOND_NS);
    let startup = container.startup.as_deref();
    let is_past_startup = startup.is_none() || container.started == Some(true);
    let longest_startup = startup.map_or(0, |probe| {
        let attempts = attempt_s(probe).saturating_mul(probe.failure_threshold.saturating_add(1));
        probe.initial_delay_s.saturating_add(attempts)
    });
    let probes = of_container(container).filter(move |it| {
        let is_lasting = matches!(it.kind, ProbeKind::Liveness | ProbeKind::Readiness);
        // The kubelet connects to no name that it cannot resolve, nor with a header that is none.
        let is_at_pod = it.target.endpoint().is_some_and(|endpoint| endpoint.host.is_none());
        is_past_startup && is_lasting && is_at_pod && it.target.is_sent()
    });
    probes.map(move |it| Wait {
        begin_ns: seconds(longest_startup.saturating_add(it.probe.initial_delay_s)),
        longest_ns: seconds(attempt_s(&it.probe).saturating_mul(PERIODS)).max(LEAST_NS),
    })
}

/// The longest time between two attempts of a probe.
fn attempt_s(probe: &Probe) -> u64 {
    probe.period_s.max(probe.timeout_s)
}
