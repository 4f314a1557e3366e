//! Candidates: the probes that a container has. Pure.

use crate::kube::pod::{Container, Probe};
use crate::kube::target::Target;
use crate::lifecycle::fact::ProbeKind;

/// A probe of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) kind: ProbeKind,
    pub(super) probe: Probe,
    pub(super) target: &'a Target,
}

/// The probes of a container that have a target.
pub(super) fn of_container(container: &Container) -> impl Iterator<Item = Candidate<'_>> {
    let targets = container.targets.as_deref();
    let all = [
        (ProbeKind::Startup, &container.startup, targets.and_then(|it| it.startup.as_ref())),
        (ProbeKind::Liveness, &container.liveness, targets.and_then(|it| it.liveness.as_ref())),
        (ProbeKind::Readiness, &container.readiness, targets.and_then(|it| it.readiness.as_ref())),
    ];
    all.into_iter().filter_map(|(kind, probe, target)| {
        Some(Candidate { kind, probe: **probe.as_ref()?, target: target? })
    })
}
