//! Values that cross the boundary to the kernel as bytes.

use agent_common::{
    layout::Layout,
    map::{TaskWalk, Tracked},
    probes::{Kubelet, ProbesLayout},
    snapshot::SnapshotLayout,
};

/// A value of a map or of an object's read-only data, which aya copies byte by byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: `repr(C)`, integers alone, and no padding: two of 4 bytes.
unsafe impl aya::Pod for Plain<Tracked> {}
// SAFETY: the same: two of 8 bytes, then four of 4.
unsafe impl aya::Pod for Plain<TaskWalk> {}
// SAFETY: the same: each of 4 bytes.
unsafe impl aya::Pod for Plain<Layout> {}
// SAFETY: the same: each of 4 bytes, arrays of them included.
unsafe impl aya::Pod for Plain<SnapshotLayout> {}
// SAFETY: the same: one of 8 bytes, then 16 bytes.
unsafe impl aya::Pod for Plain<Kubelet> {}
// SAFETY: the same: each of 4 bytes.
unsafe impl aya::Pod for Plain<ProbesLayout> {}
