//! Loader of the objects and programs, each on its own: one that the kernel refuses leaves the
//! others as they are.

use std::{fs, io};

use agent_common::{
    map,
    probes::{self, ProbesLayout},
    snapshot::{self as raw, SnapshotLayout},
};
use anyhow::{Context as _, bail};
use aya::{
    Btf, EbpfLoader, Endianness,
    programs::{BtfTracePoint, CgroupSkb, Iter, SockOps},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::kernel_log::KernelLog;
use super::object::{self, ObjectId};
use super::plain::Plain;
use super::plan::{self, Choice, Facts, Skip};
use super::programs::{Attached, Objects, Programs};
use super::ring_memory::RingMemory;
use super::subjects::{Hook, SUBJECTS, Subject, SubjectId};
use super::survey::Survey;
use crate::kernel::{btf::lookup::Parameter, capabilities::raised};
use crate::log;

/// Ring buffer of an object.
pub type Ring = (ObjectId, RingMemory);

/// Loads and attaches the programs of the plan on a node that has `cgroups` cgroups now; returns
/// them with the ring buffers of the loaded objects.
///
/// # Errors
/// If nothing can be loaded at all: no objects, or their maps are refused. A single object or
/// program that is refused is no error; see [`Programs::attached`].
pub fn load(survey: &Survey, cgroups: u64) -> anyhow::Result<(Programs, Vec<Ring>)> {
    object::check()?;
    let facts = &survey.facts;
    let sizes = plan::sizes(facts).map_err(anyhow::Error::msg)?;
    let layout = Plain(survey.offsets.layout);
    let snapshot =
        Plain(survey.snapshot.as_ref().map_or_else(|_| SnapshotLayout::default(), |s| s.layout));
    let sockets = Plain(survey.probes.layout);
    let types = Btf::parse(&survey.attach_types, Endianness::default())
        .context("parsing the reduced BTF of the kernel")?;
    raised(|| {
        let mut loader = loader();
        // No object has relocations against the kernel's types.
        loader
            .btf(None)
            .map_max_entries(raw::SNAPSHOT, plan::snapshot_elements(cgroups))
            .map_max_entries(map::EVENTS, sizes.events_bytes)
            .map_max_entries(probes::CONNECTIONS, sizes.connections_bytes)
            .map_max_entries(probes::ATTEMPTS, sizes.attempts_max)
            .map_max_entries(map::TRACKED, sizes.tracked_max);
        KernelLog::prepare(&mut loader);
        let mut host = Host {
            loader,
            layout: &layout,
            snapshot: &snapshot,
            sockets: &sockets,
            types: &types,
            objects: Objects::default(),
            rings: Vec::new(),
        };
        let (loaded, attached) = carry_out(facts, &survey.parameters, &mut host);
        if loaded == 0 {
            let why = attached.into_iter().find_map(|attached| attached.outcome.err());
            bail!(why.unwrap_or_default());
        }
        Ok((Programs::new(host.objects, attached), host.rings))
    })
}

/// Loader of objects, created without the kernel's types.
///
/// Its creation reads and parses all of the kernel's types (aya 0.14, `EbpfLoader::new`): 26 MB and
/// tens of milliseconds, though [`load`] replaces them at once. It does without them where it
/// cannot open the file. So it is created while this process may open no file, unless another
/// thread might have to open one.
fn loader<'a>() -> EbpfLoader<'a> {
    let limit = if others_open_nothing().unwrap_or(false) {
        getrlimit(Resource::RLIMIT_NOFILE).ok()
    } else {
        None
    };
    let Some((soft, hard)) = limit else { return EbpfLoader::new() };
    // Lowering a soft limit, and raising it again, needs no privilege.
    let lowered = setrlimit(Resource::RLIMIT_NOFILE, 0, hard);
    let loader = EbpfLoader::new();
    if let Err(error) = lowered.and_then(|()| setrlimit(Resource::RLIMIT_NOFILE, soft, hard)) {
        tracing::warn!(%error, "cannot change RLIMIT_NOFILE for the creation of the loader");
    }
    loader
}

/// Whether this thread is alone, but for the one that writes the log.
fn others_open_nothing() -> io::Result<bool> {
    let mut others = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let name = fs::read_to_string(task?.path().join("comm"))?;
        others += usize::from(name.trim_end() != log::THREAD);
    }
    Ok(others == 1)
}

/// Kernel calls of the plan; the tests replace them.
trait Kernel {
    /// Creates an object's maps.
    fn load(&mut self, object: ObjectId) -> anyhow::Result<()>;
    /// Loads and attaches a program of an object whose maps are created.
    fn attach(&mut self, subject: &Subject, program: &'static str) -> anyhow::Result<()>;
}

/// Kernel of this host, with the objects that are loaded into it.
struct Host<'a> {
    loader: EbpfLoader<'a>,
    layout: &'a Plain<agent_common::layout::Layout>,
    snapshot: &'a Plain<SnapshotLayout>,
    sockets: &'a Plain<ProbesLayout>,
    types: &'a Btf,
    objects: Objects,
    rings: Vec<Ring>,
}

impl Kernel for Host<'_> {
    fn load(&mut self, object: ObjectId) -> anyhow::Result<()> {
        // One loader for all objects: each creation may parse all of the kernel's types. So it has
        // to be set which object must have which variables.
        let has = |name| object.variables().contains(&name);
        let ebpf = self
            .loader
            .override_global(map::LAYOUT, self.layout, has(map::LAYOUT))
            .override_global(raw::SNAPSHOT_LAYOUT, self.snapshot, has(raw::SNAPSHOT_LAYOUT))
            .override_global(probes::PROBES_LAYOUT, self.sockets, has(probes::PROBES_LAYOUT))
            .load(object.bytes())
            .context("the kernel refused the object's maps (CAP_BPF is needed)")?;
        self.rings.extend(self.objects.add(object, ebpf)?.map(|ring| (object, ring)));
        Ok(())
    }

    fn attach(&mut self, subject: &Subject, program: &'static str) -> anyhow::Result<()> {
        let object =
            self.objects.get_mut(subject.object).context("the subject's object is not loaded")?;
        let program = object
            .program_mut(program)
            .with_context(|| format!("the object has no program {program}"))?;
        match subject.hook {
            Hook::Tracepoint(tracepoint) => {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(tracepoint, self.types)?;
                // That of sockets is attached once the kubelet's cgroup is known: it would cost
                // every connection of the node before.
                if subject.object != ObjectId::Probes {
                    program.attach()?;
                }
            }
            Hook::SockOps => {
                let program: &mut SockOps = program.try_into()?;
                program.load()?;
            }
            Hook::Packets => {
                let program: &mut CgroupSkb = program.try_into()?;
                program.load()?;
            }
            Hook::TaskIterator => {
                let program: &mut Iter = program.try_into()?;
                program.load("task", self.types)?;
            }
            Hook::CgroupIterator => {
                let program: &mut Iter = program.try_into()?;
                program.load("cgroup", self.types)?;
            }
        }
        Ok(())
    }
}

/// Carries out the plan; returns the number of loaded objects, and the outcome of each subject.
fn carry_out(
    facts: &Facts,
    parameters: &[Option<Parameter>],
    kernel: &mut impl Kernel,
) -> (usize, Vec<Attached>) {
    let objects = ObjectId::ALL.map(|object| {
        let loaded = plan::choose_object(object, facts).and_then(|()| {
            kernel.load(object).map_err(|error| {
                let why = reason(&format!("{error:#}"));
                Skip::Unfit(format!("the object {} is not loaded: {why}", object.name()))
            })
        });
        (object, loaded)
    });
    let of = |wanted| objects.iter().find(|(object, _)| *object == wanted).map(|(_, it)| it);
    let mut attached: Vec<Attached> = Vec::with_capacity(SUBJECTS.len());
    for (subject, parameter) in SUBJECTS.iter().zip(parameters) {
        let not = |why: String, lost| Attached { subject, outcome: Err(why), lost };
        attached.push(match of(subject.object) {
            Some(Ok(())) => {
                let mut tried = attach(facts, subject, parameter.as_ref(), kernel);
                // It is for where the kubelet's cgroup does not take those before it: nothing is lost
                // yet.
                if subject.id == SubjectId::InetSockSetState && all_on_cgroup(&attached) {
                    tried.lost = "";
                }
                tried
            }
            Some(Err(Skip::Unfit(why))) => not(why.clone(), subject.lost),
            Some(Err(Skip::Off)) | None => not("turned off".to_owned(), ""),
        });
    }
    (objects.iter().filter(|(_, loaded)| loaded.is_ok()).count(), attached)
}

/// Whether all programs on the kubelet's cgroup are loaded.
fn all_on_cgroup(attached: &[Attached]) -> bool {
    attached.iter().filter(|it| it.subject.hook.is_on_cgroup()).all(|it| it.outcome.is_ok())
}

fn attach(
    facts: &Facts,
    subject: &'static Subject,
    parameter: Option<&Parameter>,
    kernel: &mut impl Kernel,
) -> Attached {
    let (first, second) = match plan::choose(subject, facts, parameter) {
        Choice::Skip(why) => return Attached { subject, outcome: Err(why), lost: subject.lost },
        Choice::Load { first, second } => (first, second),
    };
    let mut refused = String::new();
    for variant in [Some(first), second].into_iter().flatten() {
        let program = subject.program(variant);
        match kernel.attach(subject, program) {
            Ok(()) => {
                return Attached {
                    subject,
                    outcome: Ok(variant),
                    lost: subject.lost_with(variant),
                };
            }
            Err(error) => {
                tracing::debug!(
                    program,
                    error = format!("{error:#}"),
                    "the kernel refused a program"
                );
                if refused.is_empty() {
                    refused = reason(&format!("{error:#}"));
                }
            }
        }
    }
    Attached { subject, outcome: Err(refused), lost: subject.lost }
}

/// Summary of a load error: the call that failed and the end of the verifier's log. The log can
/// have thousands of lines, and ends with the refused instruction, the reason and statistics; or it
/// has a line `Reason:` with a longer explanation after it (7.3).
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

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
