//! Loading and attaching the programs, each on its own: one that the kernel refuses does not take
//! the others with it.

use std::os::fd::AsFd as _;
use std::path::Path;

use agent_common::{
    layout::Layout,
    map,
    snapshot::{self as raw, SnapshotLayout},
};
use anyhow::{Context as _, bail};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, Iter},
};

use super::{
    decode::IteratedTask,
    plan::{self, Choice, Facts, Hook, SUBJECTS, Subject},
    snapshot::Snapshot,
    tasks,
};
use crate::cgroup::CgroupId;
use crate::kernel::{
    btf::{self, BtfError, Parameter},
    capabilities::{self, Capabilities},
    host, memlock,
    offsets::{self, Offsets},
    snapshot_offsets::{self, SnapshotOffsets},
};

/// The kernel side, compiled; empty in a build without its tool chain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/podvitals.bpf.o"));

/// [`Layout`] is nothing but words.
const LAYOUT_WORDS: usize = size_of::<Layout>() / 4;
/// So is [`SnapshotLayout`].
const SNAPSHOT_WORDS: usize = size_of::<SnapshotLayout>() / 4;

/// All that is known of the running kernel before anything is loaded.
pub struct Survey {
    /// How many types the kernel's BTF has.
    pub types: usize,
    /// What each subject's tracepoint gives, in the order of [`SUBJECTS`].
    parameters: Vec<Option<Parameter>>,
    /// Where its fields are.
    pub offsets: Offsets,
    /// Where the figures of cgroups are, or why that is not known.
    pub snapshot: Result<SnapshotOffsets, BtfError>,
    /// What the plan decides from.
    pub facts: Facts,
}

impl Survey {
    /// Looks at the running kernel.
    ///
    /// # Errors
    /// If it has no BTF, or lacks a field that every program needs.
    pub fn read(capabilities: Capabilities) -> Result<Self, BtfError> {
        let types = btf::Btf::from_file(Path::new(btf::VMLINUX))?;
        let offsets = offsets::resolve(&types)?;
        let snapshot = snapshot_offsets::resolve(&types);
        let facts = Facts {
            capabilities,
            lockdown: host::lockdown(),
            memory_offsets: offsets.memory.is_ok(),
            memlock_bytes: memlock::raise(&types),
            snapshot_offsets: snapshot.is_ok(),
            cgroup_iterator: types.has_function("bpf_iter_cgroup"),
        };
        // The types themselves are not kept: the loader needs a copy of its own.
        let parameter = |subject: &Subject| match (subject.hook, subject.parameter) {
            (Hook::Tracepoint(name), Some((n, _))) => types.tracepoint_parameter(name, n),
            _ => None,
        };
        let parameters = SUBJECTS.iter().map(parameter).collect();
        Ok(Self { types: types.len(), parameters, offsets, snapshot, facts })
    }

    /// The same, with the capabilities that this process can raise.
    ///
    /// # Errors
    /// As [`Self::read`]; and if the capabilities do not suffice to load anything.
    pub fn read_raised() -> anyhow::Result<Self> {
        let capabilities =
            capabilities::raise().context("cannot read this process's capabilities")?;
        if !capabilities.can_trace() {
            bail!("CAP_BPF and CAP_PERFMON are needed: run as root, or give the binary both");
        }
        Self::read(capabilities).context("a kernel with CONFIG_DEBUG_INFO_BTF is needed")
    }
}

/// What became of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The subject's name.
    pub name: &'static str,
    /// The program that runs, or why none does.
    pub outcome: Result<&'static str, String>,
    /// What is missing now; empty if nothing is.
    pub lost: &'static str,
}

/// The kernel side while it runs: dropping it detaches everything.
pub struct Programs {
    /// Owns programs and links.
    ebpf: Ebpf,
    tracked: HashMap<MapData, u64, [u32; 2]>,
    counters: PerCpuArray<MapData, u64>,
    task_walk: Array<MapData, tasks::Words>,
    figures: aya::maps::Map,
    /// Each subject's fate, in the order of [`SUBJECTS`].
    pub attached: Vec<Attached>,
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

/// Whether this build has a kernel side at all.
///
/// # Errors
/// If not, with the remedy.
pub fn check_object() -> anyhow::Result<()> {
    if OBJECT.is_empty() {
        bail!(
            "this binary was built without its kernel side: build it with `cargo xtask build`, or \
             set AGENT_EBPF_OBJECT to a ready object"
        );
    }
    Ok(())
}

/// Loads what the plan says and attaches it, on a node that has `cgroups` now.
///
/// # Errors
/// If nothing can be loaded at all: no object, no BTF, maps refused. That one program is refused is
/// no error; see [`Programs::attached`].
pub fn load(survey: &Survey, cgroups: u64) -> anyhow::Result<(Programs, RingBuf<MapData>)> {
    check_object()?;
    let sizes = plan::sizes(&survey.facts).map_err(anyhow::Error::msg)?;
    let layout = survey.offsets.layout;
    let snapshot =
        survey.snapshot.as_ref().map_or_else(|_| SnapshotLayout::default(), |s| s.layout);
    // SAFETY: both are `repr(C)` and consist of `u32` alone, so they have no padding.
    let (words, snapshot_words) = unsafe {
        (
            std::mem::transmute::<Layout, [u32; LAYOUT_WORDS]>(layout),
            std::mem::transmute::<SnapshotLayout, [u32; SNAPSHOT_WORDS]>(snapshot),
        )
    };
    let figures_max =
        if survey.facts.cgroup_iterator { plan::snapshot_elements(cgroups) } else { 1 };
    // A second parser of the same file: aya's finds functions and types for the loader but keeps
    // the members to itself.
    let types = Btf::from_sys_fs().context("cannot read the kernel's BTF")?;
    let mut ebpf = EbpfLoader::new()
        .btf(Some(&types))
        .override_global(map::LAYOUT, words.as_slice(), true)
        .override_global(raw::SNAPSHOT_LAYOUT, snapshot_words.as_slice(), true)
        // Without the iterator the array is of no use, and its memory is charged all the same.
        .map_max_entries(raw::SNAPSHOT, figures_max)
        .map_max_entries(map::EVENTS, sizes.events_bytes)
        .map_max_entries(map::TRACKED, sizes.tracked_max)
        .load(OBJECT)
        .context("the kernel refused the maps (CAP_BPF is needed)")?;
    let take = |ebpf: &mut Ebpf, name| {
        ebpf.take_map(name).with_context(|| format!("the object has no map {name}"))
    };
    let tracked = HashMap::try_from(take(&mut ebpf, map::TRACKED)?)?;
    let counters = PerCpuArray::try_from(take(&mut ebpf, map::COUNTERS)?)?;
    let ring = RingBuf::try_from(take(&mut ebpf, map::EVENTS)?)?;
    let task_walk = Array::try_from(take(&mut ebpf, map::TASK_WALK)?)?;
    let figures = take(&mut ebpf, raw::SNAPSHOT)?;

    let subjects = SUBJECTS.iter().zip(&survey.parameters);
    let attached = subjects
        .map(|(subject, parameter)| {
            attach(&mut ebpf, &types, &survey.facts, subject, parameter.as_ref())
        })
        .collect();
    Ok((Programs { ebpf, tracked, counters, task_walk, figures, attached }, ring))
}

fn attach(
    ebpf: &mut Ebpf,
    types: &Btf,
    facts: &Facts,
    subject: &Subject,
    parameter: Option<&Parameter>,
) -> Attached {
    let attached = |outcome, lost| Attached { name: subject.name, outcome, lost };
    let (first, second) = match plan::choose(subject, facts, parameter) {
        Choice::Skip(why) => return attached(Err(why), subject.lost),
        Choice::Load { first, second } => (first, second),
    };
    let mut refused = String::new();
    for program in [Some(first), second].into_iter().flatten() {
        match attach_program(ebpf, types, subject.hook, program) {
            Ok(()) => {
                let whole = subject.untyped.is_none() || subject.typed != program;
                return attached(Ok(program), if whole { "" } else { subject.lost_typed });
            }
            Err(error) => {
                tracing::debug!(program, error = format!("{error:#}"), "the kernel refused");
                if refused.is_empty() {
                    refused = reason(&format!("{error:#}"));
                }
            }
        }
    }
    attached(Err(refused), subject.lost)
}

fn attach_program(ebpf: &mut Ebpf, types: &Btf, hook: Hook, name: &str) -> anyhow::Result<()> {
    let program = ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
    match hook {
        Hook::Tracepoint(tracepoint) => {
            let program: &mut BtfTracePoint = program.try_into()?;
            program.load(tracepoint, types)?;
            program.attach()?;
        }
        Hook::TaskIterator => {
            let program: &mut Iter = program.try_into()?;
            program.load("task", types)?;
        }
        Hook::CgroupIterator => {
            let program: &mut Iter = program.try_into()?;
            program.load("cgroup", types)?;
        }
    }
    Ok(())
}

/// What matters of an error: the call that failed and the verifier's last words. Its log can have
/// thousands of lines, and ends with the instruction that it refused, why, and its statistics; or
/// it says `Reason:` and explains itself at length (7.3).
fn reason(text: &str) -> String {
    const STATISTICS: [&str; 4] = ["processed ", "verification time ", "stack depth ", "subprog "];
    let mut lines = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty());
    let call = lines.next().unwrap_or_default();
    let log: Vec<_> =
        lines.filter(|line| !STATISTICS.iter().any(|s| line.starts_with(s))).collect();
    let explained = log.iter().rposition(|line| *line == "Reason:").map(|at| at.saturating_add(1));
    let last = match explained {
        Some(at) => log.get(at..).unwrap_or_default().get(..1).unwrap_or_default(),
        None => log.get(log.len().saturating_sub(2)..).unwrap_or_default(),
    };
    let whole =
        std::iter::once(&call).chain(last).copied().map(str::trim).collect::<Vec<_>>().join("; ");
    whole.chars().take(400).collect()
}

impl Programs {
    /// Tells the kernel side that all that is made below a cgroup matters, but not its own tasks.
    ///
    /// # Errors
    /// If the map is full.
    pub fn track_root(&mut self, cgroup: CgroupId) -> anyhow::Result<()> {
        self.tracked.insert(cgroup.0, [0, 1], 0).context("the kernel refused to track a cgroup")
    }

    /// Tells the kernel side that a cgroup matters. An init that it knows already stays.
    ///
    /// # Errors
    /// If the map is full.
    pub fn track(&mut self, cgroup: CgroupId) -> anyhow::Result<()> {
        /// Only if the key is new (include/uapi/linux/bpf.h).
        const BPF_NOEXIST: u64 = 1;
        match self.tracked.insert(cgroup.0, [0, 0], BPF_NOEXIST) {
            Ok(()) => Ok(()),
            Err(error) => match self.tracked.get(&cgroup.0, 0) {
                Ok(_) => Ok(()),
                Err(_) => Err(error).context("the kernel refused to track a cgroup"),
            },
        }
    }

    /// Tells the kernel side which process is a container's init.
    ///
    /// # Errors
    /// If the cgroup is not tracked any more.
    pub fn set_init(&mut self, cgroup: CgroupId, tgid: u32) -> anyhow::Result<()> {
        /// Only if the key exists: a removed cgroup must not come back.
        const BPF_EXIST: u64 = 2;
        self.tracked
            .insert(cgroup.0, [tgid, 0], BPF_EXIST)
            .context("the kernel refused to set a container's init")
    }

    /// Forgets a removed cgroup.
    pub fn untrack(&mut self, cgroup: CgroupId) {
        // It may be gone already.
        let _ = self.tracked.remove(&cgroup.0);
    }

    /// What was lost since the start.
    #[must_use]
    pub fn losses(&self) -> Losses {
        let sum =
            |index| self.counters.get(&index, 0).map_or(0, |values| values.iter().copied().sum());
        Losses {
            ring_full: sum(map::COUNTER_LOST_RING_FULL),
            tracked_full: sum(map::COUNTER_LOST_TRACKED_FULL),
            submitted: sum(map::COUNTER_SUBMITTED),
        }
    }

    /// Binds the cgroup iterator to all cgroups below a root.
    ///
    /// # Errors
    /// If it is not loaded, or the kernel refuses.
    pub fn snapshot(&mut self, root: &Path) -> anyhow::Result<Snapshot> {
        let aya::maps::Map::Array(figures) = &self.figures else {
            bail!("the object's map {} is no array", raw::SNAPSHOT)
        };
        let program = self.ebpf.program("cgroup_figures").context("no program cgroup_figures")?;
        let program: &Iter = program.try_into()?;
        Snapshot::new(program.fd()?.as_fd(), figures, root)
    }

    /// Runs the task iterator: the processes in tracked cgroups whose parents are outside, and the
    /// reader itself.
    ///
    /// # Errors
    /// If the iterator is not loaded or cannot be read.
    pub fn running_tasks(&mut self) -> anyhow::Result<RunningTasks> {
        const WALK: &str = "running_tasks";
        let attached = self.attached.iter().find(|attached| attached.name == WALK);
        let name = match attached.map(|attached| &attached.outcome) {
            Some(Ok(program)) => *program,
            Some(Err(why)) => bail!("the task iterator is not loaded: {why}"),
            None => bail!("no subject {WALK}"),
        };
        let program = self.ebpf.program_mut(name).with_context(|| format!("no program {name}"))?;
        let program: &mut Iter = program.try_into()?;
        if name == WALK {
            let tasks = tasks::walk(program, &mut self.task_walk)?;
            return Ok(RunningTasks { tasks, complete: true });
        }
        Ok(RunningTasks {
            tasks: tasks::run(program)?,
            complete: host::is_in_first_pid_namespace(),
        })
    }
}

/// What the task iterator found.
pub struct RunningTasks {
    /// The processes; one may be there twice.
    pub tasks: Vec<IteratedTask>,
    /// They are all that there are, not only those of this process's PID namespace.
    pub complete: bool,
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_verifiers_last_words_are_kept() {
        let log = "the call failed: Verifier output: 0: R1=ctx\n1: (79) r2 = *(u64 *)(r1 +0)\n\
                   access beyond struct task_struct at off 99999 size 4\n\
                   verification time 10 usec\nstack depth 0\nprocessed 2 insns\n";
        assert_eq!(
            reason(log),
            "the call failed: Verifier output: 0: R1=ctx; 1: (79) r2 = *(u64 *)(r1 +0); access \
             beyond struct task_struct at off 99999 size 4"
        );
        let explained = "the call failed: Verifier output: 0: R1=ctx()\nReason:\n  R1 is an integer.\n\
                         At:\n  signal_generate @ mod.rs:2095:9\nsubprog 0 insns_self 41\n";
        assert_eq!(
            reason(explained),
            "the call failed: Verifier output: 0: R1=ctx(); R1 is an integer."
        );
        assert_eq!(reason("short"), "short");
        assert_eq!(reason(""), "");
    }
}
