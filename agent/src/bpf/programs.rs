//! The kernel side while it runs: what is attached, and the operations on its maps.

use std::os::fd::AsFd as _;
use std::path::Path;

use agent_common::{
    map::{self, Tracked},
    snapshot as raw,
};
use anyhow::{Context as _, bail};
use aya::{
    Ebpf,
    maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf},
    programs::Iter,
};

use super::decode::IteratedTask;
use super::object::ObjectId;
use super::plain::Plain;
use super::snapshot::Snapshot;
use super::subjects::{Subject, SubjectId, Variant};
use super::tasks;
use crate::cgroup::CgroupId;
use crate::kernel::{capabilities::raised, host};

/// What became of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Which.
    pub subject: &'static Subject,
    /// The program of it that runs, or why none does.
    pub outcome: Result<Variant, String>,
    /// What is missing now; empty if nothing is.
    pub lost: &'static str,
}

impl Attached {
    /// The value of the label `program`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.subject.id.name()
    }

    /// The name of the program that runs.
    #[must_use]
    pub fn program(&self) -> Option<&'static str> {
        self.outcome.as_ref().ok().map(|variant| self.subject.program(*variant))
    }
}

/// Whether every cgroup that is made or removed is told. Nothing else that is not attached leaves
/// something to be found by looking around.
#[must_use]
pub fn cgroups_are_told(attached: &[Attached]) -> bool {
    [SubjectId::CgroupMkdir, SubjectId::CgroupRmdir]
        .into_iter()
        .all(|wanted| attached.iter().any(|it| it.subject.id == wanted && it.outcome.is_ok()))
}

/// What was lost on the kernel side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Records for which the ring had no room.
    pub ring_full: u64,
    /// Cgroups for which the map had no room.
    pub tracked_full: u64,
    /// Records that reached the ring.
    pub submitted: u64,
}

/// What the task iterator found.
pub struct RunningTasks {
    /// The processes; one may be there twice.
    pub tasks: Vec<IteratedTask>,
    /// They are all that there are, not only those of this process's PID namespace.
    pub complete: bool,
}

/// The object of that name, with the maps that the agent uses.
struct Core {
    ebpf: Ebpf,
    tracked: HashMap<MapData, u64, Plain<Tracked>>,
    counters: PerCpuArray<MapData, u64>,
    task_walk: tasks::State,
}

/// The same.
struct SnapshotObject {
    ebpf: Ebpf,
    stats: Map,
}

/// The objects that are loaded.
#[derive(Default)]
pub(super) struct Objects {
    core: Option<Core>,
    snapshot: Option<SnapshotObject>,
}

impl Objects {
    /// Takes over a loaded object, and gives the ring that is to be waited for, if it has one.
    ///
    /// # Errors
    /// If a map is missing or of another kind.
    pub(super) fn add(
        &mut self,
        object: ObjectId,
        mut ebpf: Ebpf,
    ) -> anyhow::Result<Option<RingBuf<MapData>>> {
        let mut take =
            |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        match object {
            ObjectId::Core => {
                let ring = RingBuf::try_from(take(map::EVENTS)?)?;
                let tracked = HashMap::try_from(take(map::TRACKED)?)?;
                let counters = PerCpuArray::try_from(take(map::COUNTERS)?)?;
                let task_walk = Array::try_from(take(map::TASK_WALK)?)?;
                self.core = Some(Core { ebpf, tracked, counters, task_walk });
                Ok(Some(ring))
            }
            ObjectId::Snapshot => {
                let stats = take(raw::SNAPSHOT)?;
                self.snapshot = Some(SnapshotObject { ebpf, stats });
                Ok(None)
            }
        }
    }

    /// An object, if it is loaded.
    pub(super) fn get_mut(&mut self, object: ObjectId) -> Option<&mut Ebpf> {
        match object {
            ObjectId::Core => self.core.as_mut().map(|it| &mut it.ebpf),
            ObjectId::Snapshot => self.snapshot.as_mut().map(|it| &mut it.ebpf),
        }
    }
}

/// The kernel side while it runs: dropping it detaches everything.
///
/// Each operation raises the capabilities that it needs, for as long as it takes.
pub struct Programs {
    objects: Objects,
    /// Each subject's fate, in the order of [`SUBJECTS`](super::subjects::SUBJECTS).
    pub attached: Vec<Attached>,
}

impl Programs {
    pub(super) const fn new(objects: Objects, attached: Vec<Attached>) -> Self {
        Self { objects, attached }
    }

    fn of(&self, subject: SubjectId) -> Option<&Attached> {
        self.attached.iter().find(|attached| attached.subject.id == subject)
    }

    /// Whether a subject is observed.
    #[must_use]
    pub fn is_attached(&self, subject: SubjectId) -> bool {
        self.of(subject).is_some_and(|attached| attached.outcome.is_ok())
    }

    /// Whether events come at all: their object is loaded.
    #[must_use]
    pub const fn has_events(&self) -> bool {
        self.objects.core.is_some()
    }

    /// Tells the kernel side that all that is made below a cgroup matters, but not its own tasks.
    ///
    /// # Errors
    /// If the map is full.
    pub fn track_root(&mut self, cgroup: CgroupId) -> anyhow::Result<()> {
        let Some(core) = &mut self.objects.core else { return Ok(()) };
        let root = Plain(Tracked { init_tgid: 0, is_root: 1 });
        raised(|| core.tracked.insert(cgroup.0, root, 0))
            .context("the kernel refused to track a cgroup")
    }

    /// Tells the kernel side that a cgroup matters. An init that it knows already stays.
    ///
    /// # Errors
    /// If the map is full.
    pub fn track(&mut self, cgroup: CgroupId) -> anyhow::Result<()> {
        /// Only if the key is new (include/uapi/linux/bpf.h).
        const BPF_NOEXIST: u64 = 1;
        let Some(Core { tracked, .. }) = &mut self.objects.core else { return Ok(()) };
        raised(|| match tracked.insert(cgroup.0, Plain(Tracked::default()), BPF_NOEXIST) {
            Ok(()) => Ok(()),
            Err(error) => match tracked.get(&cgroup.0, 0) {
                Ok(_) => Ok(()),
                Err(_) => Err(error).context("the kernel refused to track a cgroup"),
            },
        })
    }

    /// The same for many, as far as there is room.
    ///
    /// # Errors
    /// As [`Self::track`].
    pub fn track_all(&mut self, cgroups: impl Iterator<Item = CgroupId>) -> anyhow::Result<()> {
        raised(|| {
            for cgroup in cgroups {
                self.track(cgroup)?;
            }
            Ok(())
        })
    }

    /// Tells the kernel side which process is a container's init.
    ///
    /// # Errors
    /// If the cgroup is not tracked any more.
    pub fn set_init(&mut self, cgroup: CgroupId, tgid: u32) -> anyhow::Result<()> {
        /// Only if the key exists: a removed cgroup must not come back.
        const BPF_EXIST: u64 = 2;
        let Some(core) = &mut self.objects.core else { return Ok(()) };
        let container = Plain(Tracked { init_tgid: tgid, is_root: 0 });
        raised(|| core.tracked.insert(cgroup.0, container, BPF_EXIST))
            .context("the kernel refused to set a container's init")
    }

    /// Forgets a removed cgroup.
    pub fn untrack(&mut self, cgroup: CgroupId) {
        let Some(core) = &mut self.objects.core else { return };
        // It may be gone already.
        let _ = raised(|| core.tracked.remove(&cgroup.0));
    }

    /// What was lost since the start.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let Some(core) = &self.objects.core else { return Losses::default() };
        let sum =
            |index| core.counters.get(&index, 0).map_or(0, |values| values.iter().copied().sum());
        raised(|| Losses {
            ring_full: sum(map::COUNTER_LOST_RING_FULL),
            tracked_full: sum(map::COUNTER_LOST_TRACKED_FULL),
            submitted: sum(map::COUNTER_SUBMITTED),
        })
    }

    /// Binds the cgroup iterator to all cgroups below a root.
    ///
    /// # Errors
    /// If it is not loaded, or the kernel refuses.
    pub fn snapshot(&mut self, root: &Path) -> anyhow::Result<Snapshot> {
        let program = self.running(SubjectId::CgroupStats)?;
        let object = self.objects.snapshot.as_ref().context("its object is not loaded")?;
        let Map::Array(stats) = &object.stats else {
            bail!("the object's map {} is no array", raw::SNAPSHOT)
        };
        let program: &Iter =
            object.ebpf.program(program).context("its program is missing")?.try_into()?;
        let program = program.fd()?.as_fd();
        raised(|| Snapshot::new(program, stats, root))
    }

    /// Runs the task iterator: the processes in tracked cgroups whose parents are outside, and the
    /// reader itself.
    ///
    /// # Errors
    /// If the iterator is not loaded or cannot be read.
    pub fn running_tasks(&mut self) -> anyhow::Result<RunningTasks> {
        let program = self.running(SubjectId::RunningTasks)?;
        let whole = self.of(SubjectId::RunningTasks).map(|it| &it.outcome);
        let whole = whole == Some(&Ok(Variant::Untyped));
        let core = self.objects.core.as_mut().context("its object is not loaded")?;
        let program = core.ebpf.program_mut(program).context("its program is missing")?;
        let program: &mut Iter = program.try_into()?;
        raised(|| {
            if whole {
                let tasks = tasks::walk(program, &mut core.task_walk)?;
                return Ok(RunningTasks { tasks, complete: true });
            }
            let complete = host::is_in_first_pid_namespace();
            Ok(RunningTasks { tasks: tasks::run(program)?, complete })
        })
    }

    /// The name of a subject's program that runs.
    fn running(&self, subject: SubjectId) -> anyhow::Result<&'static str> {
        let attached = self.of(subject).context("it is not known")?;
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

    /// All are attached but these.
    fn without(missing: &[SubjectId]) -> Vec<Attached> {
        let outcome = |subject: &Subject| {
            if missing.contains(&subject.id) { Err("why".into()) } else { Ok(Variant::Typed) }
        };
        let attached = |subject| Attached { subject, outcome: outcome(subject), lost: "" };
        SUBJECTS.iter().map(attached).collect()
    }

    /// Where the iterator over cgroups is not loaded (before Linux 6.1, and under lockdown), nothing
    /// is to be found by looking around: only its stats come from elsewhere.
    #[test]
    fn only_the_tracepoints_of_cgroups_tell_of_cgroups() {
        assert!(cgroups_are_told(&without(&[])));
        assert!(cgroups_are_told(&without(&[SubjectId::CgroupStats])));
        assert!(cgroups_are_told(&without(&[SubjectId::CgroupNotifyPopulated])));
        assert!(cgroups_are_told(&without(&[SubjectId::RunningTasks, SubjectId::MarkVictim])));
        assert!(!cgroups_are_told(&without(&[SubjectId::CgroupMkdir])));
        assert!(!cgroups_are_told(&without(&[SubjectId::CgroupRmdir])));
        assert!(!cgroups_are_told(&[]), "no programs");
    }
}
