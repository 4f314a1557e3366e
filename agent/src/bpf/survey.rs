//! Survey of the running kernel, before anything is loaded.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::plan::Facts;
use super::subjects::{Hook, SUBJECTS, Subject};
use crate::kernel::{
    btf::{self, Btf, BtfError, lookup::Parameter, reduced::Wanted},
    capabilities::{self, Capabilities},
    host, memlock,
    offsets::{self, Offsets},
    probes_offsets::{self, ProbesOffsets},
    snapshot_offsets::{self, SnapshotOffsets},
};

/// Facts about the running kernel, its offsets and the types to attach by.
pub struct Survey {
    /// Number of types in the kernel's BTF.
    pub types: usize,
    /// Reduced BTF for the loader: the types that programs are attached by, under the same ids.
    pub(super) attach_types: Vec<u8>,
    /// Type of each subject's parameter, in the order of [`SUBJECTS`].
    pub(super) parameters: Vec<Option<Parameter>>,
    /// Offsets of the kernel's fields.
    pub offsets: Offsets,
    /// Offsets of the cgroups' stats, or the reason why they are not known.
    pub snapshot: Result<SnapshotOffsets, BtfError>,
    /// Offsets of sockets, as far as they are known.
    pub(super) probes: ProbesOffsets,
    /// Facts from which the plan decides.
    pub facts: Facts,
}

impl Survey {
    /// Surveys the running kernel. The kernel's types are read once, here, and freed before
    /// anything is loaded.
    ///
    /// # Errors
    /// If the kernel has no BTF, or lacks a field that every program needs.
    pub fn read(capabilities: Capabilities) -> Result<Self, BtfError> {
        let types = Btf::from_file(Path::new(btf::VMLINUX))?;
        let offsets = offsets::resolve(&types)?;
        let snapshot = snapshot_offsets::resolve(&types);
        let probes = probes_offsets::resolve(&types);
        let facts = Facts {
            capabilities,
            lockdown: host::lockdown(),
            memory_offsets: offsets.memory.is_ok(),
            memlock_bytes: capabilities::raised(|| memlock::raise(&types)),
            snapshot_offsets: snapshot.is_ok(),
            cgroup_iterator: types.has_function("bpf_iter_cgroup"),
            sock_ops_offsets: probes.sock_ops.is_ok(),
            sock_offsets: probes.sock.is_ok(),
            off: Vec::new(),
        };
        let parameter = |subject: &Subject| match (subject.hook, subject.parameter) {
            (Hook::Tracepoint(name), Some((n, _))) => types.tracepoint_parameter(name, n),
            _ => None,
        };
        let parameters = SUBJECTS.iter().map(parameter).collect();
        let wanted: Vec<_> = SUBJECTS.iter().filter_map(|it| attach_type(it.hook)).collect();
        let attach_types = types.reduced(&wanted);
        Ok(Self { types: types.len(), attach_types, parameters, offsets, snapshot, probes, facts })
    }

    /// Surveys the running kernel with the capabilities of this process.
    ///
    /// # Errors
    /// As [`Self::read`]; and if the capabilities do not suffice to load anything.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let capabilities =
            Capabilities::read().context("cannot read this process's capabilities")?;
        if !capabilities.can_trace() {
            bail!("CAP_BPF and CAP_PERFMON are needed: run as root, or give the binary both");
        }
        Self::read(capabilities).context("a kernel with CONFIG_DEBUG_INFO_BTF is needed")
    }
}

/// Type whose id the kernel requires with a program (aya's `BtfTracePoint::load`, `Iter::load`).
fn attach_type(hook: Hook) -> Option<Wanted> {
    Some(match hook {
        Hook::Tracepoint(name) => Wanted::Typedef(format!("btf_trace_{name}")),
        Hook::TaskIterator => Wanted::Function("bpf_iter_task".into()),
        Hook::CgroupIterator => Wanted::Function("bpf_iter_cgroup".into()),
        Hook::SockOps | Hook::Packets => return None,
    })
}
