//! Start of the kernel side, as far as this host allows it.

use std::path::Path;

use agent_common::{map::EVENTS_BYTES, snapshot::HAS_STATISTICS};
use anyhow::Context as _;

use super::kubelet::By;
use super::load;
use super::object::ObjectId;
use super::plan::{self, Sizes};
use super::programs::Programs;
use super::ring::Rings;
use super::survey::Survey;
use crate::cgroup::{files::Parts, snapshot::parts, statistics::Elements};
use crate::kernel::{capabilities, cgroup_mount, snapshot_offsets::SnapshotOffsets};

/// Kernel side of the agent, where it could be loaded.
pub struct Kernel {
    /// Attached programs and their maps.
    pub programs: Programs,
    /// Ring buffers of the programs' records.
    pub rings: Rings,
    /// Parts of a sample that an iterator run provides, so that their files need not be read.
    pub covered: Parts,
    /// Elements of an iterator run from which `memory.stat` is read.
    pub elements: Elements,
}

/// Loads and attaches the programs that this host allows, without the objects that are `off`, and
/// drops the capabilities that are no longer needed. `None`, with the reason in the log, if nothing
/// could be loaded.
pub fn start(root: &Path, off: Vec<ObjectId>) -> Option<Kernel> {
    let kernel = match load_kernel(root, off) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "no kernel events, only stats from cgroup files; see `podvitals check`"
            );
            None
        }
    };
    match capabilities::drop_unneeded(to_reattach(kernel.as_ref().map(|it| &it.programs))) {
        Ok(kept) => tracing::debug!(
            permitted = %kept.sets.permitted,
            dropped = %kept.dropped,
            "no capability is effective"
        ),
        Err(error) => tracing::warn!(%error, "capabilities cannot be dropped"),
    }
    kernel
}

/// Whether a program may have to be attached again, which needs a capability for as long as the agent
/// runs.
pub(crate) fn to_reattach(programs: Option<&Programs>) -> capabilities::Kubelet {
    match programs.and_then(Programs::kubelet_by) {
        Some(By::SockOps) => capabilities::Kubelet::Watched,
        Some(By::Tracepoint) | None => capabilities::Kubelet::Unwatched,
    }
}

/// Surveys the host, decides, and loads.
fn load_kernel(root: &Path, off: Vec<ObjectId>) -> anyhow::Result<Kernel> {
    let mut survey = Survey::of_this_process()?;
    survey.facts.off = off;
    if let Err(error) = &survey.offsets.memory {
        tracing::warn!(%error, "the scope of OOM kills is not reported on this kernel");
    }
    for (lost, error) in &survey.offsets.missing {
        tracing::warn!(%error, lost, "a detail of OOM kills is not reported on this kernel");
    }
    if let Ok(Sizes { events_bytes, tracked_max, .. }) = plan::sizes(&survey.facts)
        && events_bytes < EVENTS_BYTES
    {
        tracing::warn!(
            events_bytes,
            tracked_max,
            memlock_bytes = survey.facts.memlock_bytes,
            "little locked memory: small maps lose events sooner in a burst, and count them; {}",
            plan::MEMLOCK_REMEDY
        );
    }
    let (programs, rings) = load::load(&survey, cgroup_mount::descendants(root))?;
    for attached in &programs.attached {
        let (program, lost) = (attached.name(), attached.lost);
        match &attached.outcome {
            Ok(_) if lost.is_empty() => {}
            Ok(_) => tracing::warn!(program, lost, "attached in part"),
            Err(why) if !attached.is_wanted() && lost.is_empty() => {
                tracing::debug!(program, why, "not attached");
            }
            Err(why) if lost.is_empty() => tracing::info!(program, why, "not attached"),
            Err(why) => tracing::warn!(program, why, lost, "not attached"),
        }
    }
    let rings = Rings::new(rings).context("cannot poll the ring buffers")?;
    let (covered, elements) = match &survey.snapshot {
        Ok(snapshot) => (parts(snapshot.layout.known.into()), elements(snapshot)),
        Err(_) => (Parts::NONE, Elements::none()),
    };
    Ok(Kernel { programs, rings, covered, elements })
}

/// Elements of the arrays behind `memory.stat`, as far as the kernel's types describe them.
fn elements(snapshot: &SnapshotOffsets) -> Elements {
    const WORD_BYTES: u32 = 8;
    let layout = &snapshot.layout;
    if u64::from(layout.known) & HAS_STATISTICS == 0 {
        return Elements::none();
    }
    let [state, events] =
        [layout.vmstats_state_bytes, layout.vmstats_events_bytes].map(|bytes| bytes / WORD_BYTES);
    Elements::new(state, events, snapshot.state_elements)
}

impl Kernel {
    /// Waits until a program wakes the agent: with an urgent record, or with many that can wait.
    pub async fn woken(&self) {
        self.rings.woken().await;
    }

    /// Number of subjects that are observed.
    #[must_use]
    pub fn attached(&self) -> usize {
        self.programs.attached.iter().filter(|attached| attached.outcome.is_ok()).count()
    }

    /// Whether creations and removals of cgroups go unreported: their tracepoints are not attached.
    #[must_use]
    pub fn is_blind(&self) -> bool {
        !super::programs::cgroups_are_reported(&self.programs.attached)
    }
}
