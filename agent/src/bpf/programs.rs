//! Kernel side while it runs: the attached programs, and the operations on their maps.

use std::os::fd::AsFd as _;
use std::path::Path;

use agent_common::{map, snapshot as raw};
use anyhow::{Context as _, bail, ensure};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::Iter,
};

use super::decode::IteratedTask;
use super::kernel_log::KernelLog;
use super::kubelet::{
    By, ConnectionCounts, OnCgroup, Probes, REFUSED, Refusal, Watching, Ways, Whose,
};
use super::object::ObjectId;
use super::plan::NO_NET_ADMIN;
use super::ring_memory::RingMemory;
use super::snapshot::Snapshot;
use super::subjects::{Subject, SubjectId, Variant};
use super::tasks::{self, Wanted};
use super::tracked::TrackedMap;
use crate::event::Task;
use crate::kernel::{capabilities::raised, host};

/// Outcome of loading and attaching one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Subject that the outcome is about.
    pub subject: &'static Subject,
    /// Variant of the program that runs, or the reason why none does.
    pub outcome: Result<Variant, String>,
    /// Loss that results from the outcome; empty if there is none.
    pub lost: &'static str,
}

impl Attached {
    /// Value of the label `program`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.subject.id.name()
    }

    /// Whether the program is meant to run here: a way to observe the kubelet is not where another one
    /// does as well, or the better one has been left out on purpose, with its capability.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        match &self.outcome {
            Ok(_) => true,
            Err(why) if self.subject.object == ObjectId::Probes => {
                !self.lost.is_empty() && why != NO_NET_ADMIN
            }
            Err(_) => true,
        }
    }

    /// Name of the program that runs; `None` if none does.
    #[must_use]
    pub fn program(&self) -> Option<&'static str> {
        self.outcome.as_ref().ok().map(|variant| self.subject.program(*variant))
    }
}

/// Whether each creation and removal of a cgroup is reported. If so, no scan has to find cgroups,
/// whatever else is not attached.
#[must_use]
pub fn cgroups_are_reported(attached: &[Attached]) -> bool {
    [SubjectId::CgroupMkdir, SubjectId::CgroupRmdir]
        .into_iter()
        .all(|wanted| attached.iter().any(|it| it.subject.id == wanted && it.outcome.is_ok()))
}

/// Counts of lost and submitted records on the kernel side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records for which the ring buffer had no room.
    pub ring_full: u64,
    /// Cgroups for which the map `TRACKED` had no room.
    pub tracked_full: u64,
    /// Records that were submitted to the ring buffer.
    pub submitted: u64,
    /// Signals that were not reported, since the sender's container had used up its share.
    pub share_signals: u64,
    /// New nested cgroups that were neither tracked nor reported for the same reason.
    pub share_cgroups: u64,
    /// New nested cgroups that were neither, since their container has as many as it may.
    pub nested_full: u64,
}

impl Losses {
    /// Records and cgroups that a walk over the tree can make up for.
    #[must_use]
    pub const fn found_by_a_walk(&self) -> u64 {
        self.ring_full + self.tracked_full + self.share_cgroups
    }
}

/// Processes that the task iterator found.
pub struct RunningTasks {
    /// The processes; one may be listed twice.
    pub tasks: Vec<IteratedTask>,
    /// Flag: the list covers the node, not only this process's PID namespace.
    pub complete: bool,
}

/// Loaded object `core`, with the maps that the agent uses.
struct Core {
    ebpf: Ebpf,
    tracked: TrackedMap,
    counters: PerCpuArray<MapData, u64>,
    task_walk: tasks::State,
    log: KernelLog,
}

/// Loaded object `snapshot`, with the array that its program writes.
struct SnapshotObject {
    ebpf: Ebpf,
    stats: Map,
}

/// Objects that are loaded.
#[derive(Default)]
pub(super) struct Objects {
    core: Option<Core>,
    snapshot: Option<SnapshotObject>,
    probes: Option<Probes>,
}

impl Objects {
    /// Takes over a loaded object, and returns its ring buffer, if it has one.
    ///
    /// # Errors
    /// If a map is missing or of another type.
    pub(super) fn add(
        &mut self,
        object: ObjectId,
        mut ebpf: Ebpf,
    ) -> anyhow::Result<Option<RingMemory>> {
        let mut take =
            |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        match object {
            ObjectId::Core => {
                let ring = RingMemory::of(take(map::EVENTS)?)?;
                let tracked = TrackedMap::new(HashMap::try_from(take(map::TRACKED)?)?);
                let counters = PerCpuArray::try_from(take(map::COUNTERS)?)?;
                let task_walk = Array::try_from(take(map::TASK_WALK)?)?;
                let log = KernelLog::of(&mut ebpf);
                self.core = Some(Core { ebpf, tracked, counters, task_walk, log });
                Ok(Some(ring))
            }
            ObjectId::Snapshot => {
                let stats = take(raw::SNAPSHOT)?;
                self.snapshot = Some(SnapshotObject { ebpf, stats });
                Ok(None)
            }
            ObjectId::Probes => {
                let (probes, ring) = Probes::new(ebpf)?;
                self.probes = Some(probes);
                Ok(Some(ring))
            }
        }
    }

    /// An object, if it is loaded.
    pub(super) fn get_mut(&mut self, object: ObjectId) -> Option<&mut Ebpf> {
        match object {
            ObjectId::Core => self.core.as_mut().map(|it| &mut it.ebpf),
            ObjectId::Snapshot => self.snapshot.as_mut().map(|it| &mut it.ebpf),
            ObjectId::Probes => self.probes.as_mut().map(|it| &mut it.ebpf),
        }
    }
}

/// Kernel side while it runs: dropping it detaches all programs.
///
/// Each operation raises the capabilities that it needs, for as long as it takes.
pub struct Programs {
    objects: Objects,
    /// Outcome of each subject, in the order of [`SUBJECTS`](super::subjects::SUBJECTS).
    pub attached: Vec<Attached>,
}

impl Programs {
    pub(super) const fn new(objects: Objects, attached: Vec<Attached>) -> Self {
        Self { objects, attached }
    }

    fn of(&self, subject: SubjectId) -> Option<&Attached> {
        self.attached.iter().find(|attached| attached.subject.id == subject)
    }

    /// Hands on what the programs say about their decisions to the log, with the feature
    /// `kernel-log`.
    pub fn drain_log(&mut self) {
        if let Some(core) = &mut self.objects.core {
            core.log.drain();
        }
    }

    /// Whether a subject is observed.
    #[must_use]
    pub fn is_attached(&self, subject: SubjectId) -> bool {
        self.of(subject).is_some_and(|attached| attached.outcome.is_ok())
    }

    /// Whether events are reported at all: their object is loaded.
    #[must_use]
    pub const fn has_events(&self) -> bool {
        self.objects.core.is_some()
    }

    /// The tracked cgroups; `None` if no events are reported.
    pub fn tracked(&mut self) -> Option<&mut TrackedMap> {
        self.objects.core.as_mut().map(|core| &mut core.tracked)
    }

    /// Losses since the start, summed over all CPUs.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let Some(core) = &self.objects.core else { return Losses::default() };
        let sum =
            |index| core.counters.get(&index, 0).map_or(0, |values| values.iter().copied().sum());
        raised(|| Losses {
            ring_full: sum(map::COUNTER_LOST_RING_FULL),
            tracked_full: sum(map::COUNTER_LOST_TRACKED_FULL),
            submitted: sum(map::COUNTER_SUBMITTED),
            share_signals: sum(map::COUNTER_SHARE_SIGNAL),
            share_cgroups: sum(map::COUNTER_SHARE_CGROUP),
            nested_full: sum(map::COUNTER_NESTED_FULL),
        })
    }

    /// Whether there are programs for the kubelet's connections.
    ///
    /// # Errors
    /// There are none: why, in one word and in words.
    pub fn kubelet_programs(&self) -> Result<(), (&'static str, String)> {
        match self.kubelet_by() {
            Some(_) => Ok(()),
            None => Err(("no_programs", self.no_tracepoint())),
        }
    }

    /// The way in which the kubelet's connections are meant to be observed; `None` where there are no
    /// programs that could.
    #[must_use]
    pub fn kubelet_by(&self) -> Option<By> {
        match self.on_cgroup() {
            Some(_) => Some(By::SockOps),
            None => self.by_tracepoint().map(|_| By::Tracepoint),
        }
    }

    /// Names of the programs on the kubelet's cgroup, if all are loaded.
    fn on_cgroup(&self) -> Option<OnCgroup> {
        let name = |id| self.of(id).and_then(Attached::program);
        Some(OnCgroup {
            sock_ops: name(SubjectId::KubeletSockOps)?,
            ingress: name(SubjectId::KubeletIngress)?,
            egress: name(SubjectId::KubeletEgress)?,
        })
    }

    /// Name of the tracepoint's program, if it is loaded.
    fn by_tracepoint(&self) -> Option<&'static str> {
        self.of(SubjectId::InetSockSetState).and_then(Attached::program)
    }

    /// Why the tracepoint's program is not loaded, in words.
    fn no_tracepoint(&self) -> String {
        let why = self.of(SubjectId::InetSockSetState).map(|it| it.outcome.clone());
        why.and_then(Result::err).unwrap_or_default()
    }

    /// Why the programs on the kubelet's cgroup are not loaded, in one word.
    fn not_on_cgroup(&self) -> &'static str {
        match self.of(SubjectId::KubeletSockOps).map(|it| &it.outcome) {
            Some(Err(why)) if why == NO_NET_ADMIN => "no_cap_net_admin",
            _ => REFUSED,
        }
    }

    /// Observes the connections of the kubelet in this cgroup, and of no other any more. `now`: how
    /// those of this cgroup are observed already. Programs of others, which come and go, decide
    /// whether ours can be on it, so it is to be called now and then.
    ///
    /// # Errors
    /// Why they are not observed.
    pub fn watch_kubelet(
        &mut self,
        whose: &Whose<'_>,
        now: Option<&Watching>,
    ) -> Result<Watching, Refusal> {
        let ways = Ways {
            on_cgroup: self.on_cgroup().ok_or_else(|| self.not_on_cgroup()),
            tracepoint: self.by_tracepoint().ok_or_else(|| self.no_tracepoint()),
        };
        let probes = self.objects.probes.as_mut();
        let none = || Refusal { reason: REFUSED, why: "the object is not loaded".to_owned() };
        probes.ok_or_else(none).and_then(|probes| raised(|| probes.watch(ways, whose, now)))
    }

    /// Whether a program runs now: it is loaded, and if it is one for the kubelet's connections, it is
    /// attached, for which the kubelet has to be there.
    #[must_use]
    pub fn runs(&self, attached: &Attached) -> bool {
        let Some(program) = attached.program() else { return false };
        let probes = self.objects.probes.as_ref();
        attached.subject.object != ObjectId::Probes
            || probes.is_some_and(|probes| probes.is_attached(program))
    }

    /// Whether a program that is not attached should be. Where the kubelet is not found there is
    /// nothing to attach those for it to; and that of the tracepoint is for where others are not loaded.
    #[must_use]
    pub fn is_missed(&self, attached: &Attached, kubelet_found: bool) -> bool {
        let waits = attached.subject.object == ObjectId::Probes && attached.outcome.is_ok();
        let is_spare =
            attached.subject.id == SubjectId::InetSockSetState && self.on_cgroup().is_some();
        attached.is_wanted() && (!waits || (kubelet_found && !is_spare))
    }

    /// Observes no connections any more.
    pub fn unwatch_kubelet(&mut self) {
        if let Some(probes) = &mut self.objects.probes {
            raised(|| probes.detach());
        }
    }

    /// Counts of the kubelet's connections since the start; `None` if their object is not loaded.
    #[must_use]
    pub fn connection_counts(&self) -> Option<ConnectionCounts> {
        self.objects.probes.as_ref().map(|probes| raised(|| probes.counts()))
    }

    /// Binds the cgroup iterator to all cgroups below a root.
    ///
    /// # Errors
    /// If the iterator is not loaded, or the kernel refuses the mapping or the link.
    pub fn snapshot(&mut self, root: &Path) -> anyhow::Result<Snapshot> {
        let program = self.running(SubjectId::CgroupIter)?;
        let object = self.objects.snapshot.as_ref().context("the snapshot object is not loaded")?;
        let Map::Array(stats) = &object.stats else {
            bail!("the object's map {} is not an array", raw::SNAPSHOT)
        };
        let program: &Iter = object
            .ebpf
            .program(program)
            .with_context(|| format!("no program {program}"))?
            .try_into()?;
        let program = program.fd()?.as_fd();
        raised(|| Snapshot::new(program, stats, root))
    }

    /// Runs the task iterator; returns the processes in tracked cgroups whose parents are outside,
    /// and the reader itself.
    ///
    /// # Errors
    /// If the iterator is not loaded or cannot be read.
    pub fn running_tasks(&mut self) -> anyhow::Result<RunningTasks> {
        self.tasks(Wanted::Inits)
    }

    /// Runs the task iterator; returns the processes that may be the kubelet, which are in no
    /// container of a Pod.
    ///
    /// # Errors
    /// As [`Self::running_tasks`]; and if it does not see all processes of the node.
    pub fn kubelet_tasks(&mut self) -> anyhow::Result<Vec<Task>> {
        let RunningTasks { tasks, complete } = self.tasks(Wanted::Kubelet)?;
        ensure!(complete, "only the processes of this PID namespace are seen");
        Ok(tasks.iter().filter(|it| !it.is_reader).map(|it| it.running.task).collect())
    }

    fn tasks(&mut self, wanted: Wanted) -> anyhow::Result<RunningTasks> {
        let program = self.running(SubjectId::RunningTasks)?;
        let whole = self.of(SubjectId::RunningTasks).map(|it| &it.outcome);
        let whole = whole == Some(&Ok(Variant::Untyped));
        let core = self.objects.core.as_mut().context("the core object is not loaded")?;
        let program =
            core.ebpf.program_mut(program).with_context(|| format!("no program {program}"))?;
        let program: &mut Iter = program.try_into()?;
        raised(|| {
            if whole {
                let tasks = tasks::walk(program, &mut core.task_walk, wanted)?;
                return Ok(RunningTasks { tasks, complete: true });
            }
            let complete = host::is_in_first_pid_namespace();
            let tasks = tasks::visible(program, &mut core.task_walk, wanted)?;
            Ok(RunningTasks { tasks, complete })
        })
    }

    /// Name of a subject's program that runs.
    fn running(&self, subject: SubjectId) -> anyhow::Result<&'static str> {
        let attached = self.of(subject).context("unknown subject")?;
        match &attached.outcome {
            Ok(variant) => Ok(attached.subject.program(*variant)),
            Err(why) => bail!("{} is not loaded: {why}", subject.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::subjects::SUBJECTS;

    /// Outcomes where all subjects but these are attached.
    fn without(missing: &[SubjectId]) -> Vec<Attached> {
        let outcome = |subject: &Subject| {
            if missing.contains(&subject.id) { Err("why".into()) } else { Ok(Variant::Typed) }
        };
        let attached = |subject| Attached { subject, outcome: outcome(subject), lost: "" };
        SUBJECTS.iter().map(attached).collect()
    }

    /// Tracepoints alone report cgroups: where the cgroup iterator is not loaded (before Linux 6.1,
    /// and under lockdown), no scan is needed; only the stats come from another source.
    #[test]
    fn only_the_tracepoints_of_cgroups_report_cgroups() {
        assert!(cgroups_are_reported(&without(&[])));
        assert!(cgroups_are_reported(&without(&[SubjectId::CgroupIter])));
        assert!(cgroups_are_reported(&without(&[SubjectId::CgroupNotifyPopulated])));
        assert!(cgroups_are_reported(&without(&[SubjectId::RunningTasks, SubjectId::MarkVictim])));
        assert!(!cgroups_are_reported(&without(&[SubjectId::CgroupMkdir])));
        assert!(!cgroups_are_reported(&without(&[SubjectId::CgroupRmdir])));
        assert!(!cgroups_are_reported(&[]), "no programs");
    }
}
