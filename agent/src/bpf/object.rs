//! The BPF objects that are embedded: one for each collector, loaded one by one.
//!
//! They share no map. aya makes every map of an object when it loads it, and could be given the map
//! of another only by a pin in a BPF file system, which would outlive the agent. So a map that two
//! would need is in both, and the agent fills both; a ring of an object is one more to wait for.

use agent_common::{map, snapshot};
use anyhow::bail;

/// Programs and maps that are loaded together, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectId {
    /// What happens to cgroups and processes, and the processes that are there already.
    Core,
    /// The stats of all cgroups.
    Snapshot,
}

/// The bytes of an object of that name, which `build.rs` has put there.
macro_rules! embedded {
    ($name:literal) => {{
        static BYTES: &[u8] =
            aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/", $name, ".bpf.o"));
        BYTES
    }};
}

impl ObjectId {
    /// All of them, in the order in which they are loaded.
    pub const ALL: [Self; 2] = [Self::Core, Self::Snapshot];

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Snapshot => "snapshot",
        }
    }

    /// The read-only variables that it has, and that the agent has to fill.
    pub(super) const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Core => &[map::LAYOUT],
            Self::Snapshot => &[map::LAYOUT, snapshot::SNAPSHOT_LAYOUT],
        }
    }

    /// Its compiled form; empty in a build without the eBPF tool chain.
    pub(super) fn bytes(self) -> &'static [u8] {
        match self {
            Self::Core => embedded!("core"),
            Self::Snapshot => embedded!("snapshot"),
        }
    }
}

/// Whether this build has a kernel side at all.
///
/// # Errors
/// If not, with the remedy.
pub fn check() -> anyhow::Result<()> {
    if ObjectId::ALL.iter().any(|object| object.bytes().is_empty()) {
        bail!(
            "this binary was built without its kernel side: build it with `cargo xtask build`, or \
             set AGENT_EBPF_OBJECT to a folder of ready objects"
        );
    }
    Ok(())
}
