//! Embedded BPF objects, loaded one by one.
//!
//! Objects share no map. aya creates every map of an object when it loads it, and could use the map
//! of another only through a pin in a BPF file system, which would outlive the agent. So a map that
//! two objects need is in both, and the agent fills both; the ring of an object is one more to wait
//! for.

use agent_common::{map, probes, snapshot};
use anyhow::bail;

/// One BPF object: programs and maps that are loaded together, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectId {
    /// Object of the events of cgroups and processes, and of the task iterator.
    Core,
    /// Object of the cgroup iterator: the stats of all cgroups.
    Snapshot,
    /// Object of the kubelet's connections.
    Probes,
}

/// Bytes of the compiled object of that name, from `build.rs`.
macro_rules! embedded {
    ($name:literal) => {{
        static BYTES: &[u8] =
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o"));
        BYTES
    }};
}

impl ObjectId {
    /// List of all objects, in the order in which they are loaded.
    pub const ALL: [Self; 3] = [Self::Core, Self::Snapshot, Self::Probes];

    /// Name of the object in logs and errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Snapshot => "snapshot",
            Self::Probes => "probes",
        }
    }

    /// Read-only variables of the object, which the agent has to fill.
    pub(super) const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Core => &[map::LAYOUT],
            Self::Snapshot => &[map::LAYOUT, snapshot::SNAPSHOT_LAYOUT],
            Self::Probes => &[map::LAYOUT, probes::PROBES_LAYOUT],
        }
    }

    /// Bytes of the compiled object; empty in a build without the eBPF tool chain.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Core => embedded!("core"),
            Self::Snapshot => embedded!("snapshot"),
            Self::Probes => embedded!("probes"),
        }
    }
}

/// Checks that this build has a kernel side.
///
/// # Errors
/// If an object is empty; the error names the remedy.
pub fn check() -> anyhow::Result<()> {
    if ObjectId::ALL.iter().any(|object| object.bytes().is_empty()) {
        bail!(
            "this binary was built without its kernel side: build it with `cargo xtask build`, or \
             with AGENT_EBPF_OBJECT set to a folder of ready objects"
        );
    }
    Ok(())
}
