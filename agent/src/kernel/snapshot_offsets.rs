//! Offsets that the cgroup snapshot needs, resolved by name, controller by controller.

use agent_common::snapshot::{
    HAS_BANDWIDTH, HAS_MEMORY, HAS_PIDS, HAS_PRESSURE, HAS_STATISTICS, STATE_MAX, SnapshotLayout,
    VM_EVENTS_MAX,
};

use super::btf::{Btf, BtfError};

/// Size of a pointer and of an `atomic_long_t` on 64-bit kernels.
const WORD_BYTES: u32 = 8;

/// Offsets for the cgroup snapshot, as far as they are known. The CPU time is required. A
/// controller with an unknown field is not read at all, and its error gives the reason.
#[derive(Debug)]
pub struct SnapshotOffsets {
    /// Offsets for the program's `.rodata`.
    pub layout: SnapshotLayout,
    /// Controllers that the iterator leaves out, with the reason.
    pub missing: Vec<(&'static str, BtfError)>,
    /// Elements of `anon`, `file`, `kernel`, `shmem` and `inactive_file` in `memcg_vmstats.state`,
    /// where the kernel's own enums index it (up to Linux 6.1). Later kernels use a table whose
    /// contents no type describes.
    pub state_elements: Option<[u32; 5]>,
}

/// Resolves every field of [`SnapshotLayout`].
///
/// # Errors
/// The kernel's BTF has no CPU time of cgroups.
pub fn resolve(btf: &Btf) -> Result<SnapshotOffsets, BtfError> {
    let cpu_usage = btf.field("cgroup", "bstat.cputime.sum_exec_runtime")?;
    let mut layout =
        SnapshotLayout { cgroup_cpu_usage: cpu_usage.offset_bytes, ..SnapshotLayout::default() };
    let mut missing = Vec::new();
    for (name, bit, controller) in [
        ("cpu", HAS_BANDWIDTH, bandwidth as Resolver),
        ("memory", HAS_MEMORY, memory),
        ("pids", HAS_PIDS, pids),
        ("pressure", HAS_PRESSURE, pressure),
        ("memory statistics", HAS_STATISTICS, statistics),
    ] {
        match controller(btf, &mut layout) {
            Ok(()) => layout.known |= bit as u32,
            Err(error) => missing.push((name, error)),
        }
    }
    let state_elements = state_elements(btf).ok().flatten();
    Ok(SnapshotOffsets { layout, missing, state_elements })
}

type Resolver = fn(&Btf, &mut SnapshotLayout) -> Result<(), BtfError>;

/// Offset of `cgroup.subsys[<controller>]`, after a check that the controller's struct begins with
/// its css.
fn subsystem(btf: &Btf, controller: &str, state: &str) -> Result<u32, BtfError> {
    if btf.field(state, "css")?.offset_bytes != 0 {
        return Err(BtfError::NoMember(state.into(), "css at 0".into()));
    }
    let id = btf.enumerator("cgroup_subsys_id", controller)?;
    btf.element("cgroup", "subsys", id, WORD_BYTES)
}

fn bandwidth(btf: &Btf, layout: &mut SnapshotLayout) -> Result<(), BtfError> {
    let at = |path| btf.field("task_group", path).map(|field| field.offset_bytes);
    layout.cgroup_cpu = subsystem(btf, "cpu_cgrp_id", "task_group")?;
    layout.cpu_quota = at("cfs_bandwidth.quota")?;
    layout.cpu_period = at("cfs_bandwidth.period")?;
    layout.cpu_periods = at("cfs_bandwidth.nr_periods")?;
    layout.cpu_throttled_periods = at("cfs_bandwidth.nr_throttled")?;
    layout.cpu_throttled_time = at("cfs_bandwidth.throttled_time")?;
    Ok(())
}

fn memory(btf: &Btf, layout: &mut SnapshotLayout) -> Result<(), BtfError> {
    let at = |path| btf.field("mem_cgroup", path).map(|field| field.offset_bytes);
    layout.cgroup_memory = subsystem(btf, "memory_cgrp_id", "mem_cgroup")?;
    layout.memory_usage = at("memory.usage")?;
    layout.memory_max = at("memory.max")?;
    layout.memory_watermark = at("memory.watermark")?;
    layout.swap_usage = at("swap.usage")?;
    layout.swap_max = at("swap.max")?;
    let event = |name| {
        let event = btf.enumerator("memcg_memory_event", name)?;
        btf.element("mem_cgroup", "memory_events", event, WORD_BYTES)
    };
    layout.events_high = event("MEMCG_HIGH")?;
    layout.events_max = event("MEMCG_MAX")?;
    layout.events_oom = event("MEMCG_OOM")?;
    layout.events_oom_kill = event("MEMCG_OOM_KILL")?;
    Ok(())
}

fn pids(btf: &Btf, layout: &mut SnapshotLayout) -> Result<(), BtfError> {
    layout.cgroup_pids = subsystem(btf, "pids_cgrp_id", "pids_cgroup")?;
    layout.pids_counter = btf.field("pids_cgroup", "counter")?.offset_bytes;
    layout.pids_limit = btf.field("pids_cgroup", "limit")?.offset_bytes;
    Ok(())
}

fn pressure(btf: &Btf, layout: &mut SnapshotLayout) -> Result<(), BtfError> {
    layout.cgroup_psi = btf.field("cgroup", "psi")?.offset_bytes;
    layout.psi_enabled = btf.field("psi_group", "enabled")?.offset_bytes;
    // `total` is `[NR_PSI_AGGREGATORS][NR_PSI_STATES - 1]`; its first row is PSI_AVGS.
    if btf.enumerator("psi_aggregators", "PSI_AVGS")? != 0 {
        return Err(BtfError::NoMember("psi_group".into(), "total[PSI_AVGS] first".into()));
    }
    let states = ["PSI_CPU_SOME", "PSI_MEM_SOME", "PSI_MEM_FULL", "PSI_IO_SOME", "PSI_IO_FULL"];
    for (place, state) in layout.psi_totals.iter_mut().zip(states) {
        let state = btf.enumerator("psi_states", state)?;
        *place = btf.element("psi_group", "total", state, WORD_BYTES)?;
    }
    Ok(())
}

fn statistics(btf: &Btf, layout: &mut SnapshotLayout) -> Result<(), BtfError> {
    layout.memory_vmstats = btf.field("mem_cgroup", "vmstats")?.offset_bytes;
    let array = |path: &str, room: usize| {
        let array = btf.array("memcg_vmstats", path)?;
        if array.length as usize > room || array.element_bytes != WORD_BYTES {
            let what = format!(
                "{path} with at most {room} elements of {WORD_BYTES} bytes, but {} of {}",
                array.length, array.element_bytes
            );
            return Err(BtfError::NoMember("memcg_vmstats".into(), what));
        }
        Ok((array.offset_bytes, array.length.saturating_mul(WORD_BYTES)))
    };
    (layout.vmstats_state, layout.vmstats_state_bytes) = array("state", STATE_MAX)?;
    (layout.vmstats_events, layout.vmstats_events_bytes) = array("events", VM_EVENTS_MAX)?;
    Ok(())
}

/// Elements of `memcg_vmstats.state`; `None` where the array is shorter than the enums that would
/// index it.
fn state_elements(btf: &Btf) -> Result<Option<[u32; 5]>, BtfError> {
    let state = btf.array("memcg_vmstats", "state")?;
    if btf.enumerator("memcg_stat_item", "MEMCG_NR_STAT")? != state.length {
        return Ok(None);
    }
    let node = |name| btf.enumerator("node_stat_item", name);
    Ok(Some([
        node("NR_ANON_MAPPED")?,
        node("NR_FILE_PAGES")?,
        btf.enumerator("memcg_stat_item", "MEMCG_KMEM")?,
        node("NR_SHMEM")?,
        node("NR_INACTIVE_FILE")?,
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::blob::Blob;
    use crate::kernel::btf::{KIND_ARRAY, KIND_ENUM, KIND_INT, KIND_STRUCT, VMLINUX};
    use std::path::Path;

    /// `psi_group.total` of Linux 7.2, as it is described for a kernel of gcc 14 (`[12]`) and for
    /// one of gcc 16 (`[2][6]`).
    #[test]
    fn pressure_resolves_whatever_the_compiler() {
        let layout = |nested: bool| {
            let mut blob = Blob::new();
            blob.push("u64", KIND_INT, 0, 8, &[64]); // 1
            let (rows, row_type) = if nested { (2, 3) } else { (12, 1) };
            blob.push("", KIND_ARRAY, 0, 0, &[row_type, 1, rows]); // 2
            blob.push("", KIND_ARRAY, 0, 0, &[1, 1, 6]); // 3
            let [psi, enabled, total] = ["psi", "enabled", "total"].map(|name| blob.name(name));
            blob.push("cgroup", KIND_STRUCT, 1, 2048, &[psi, 1, 1272 * 8]);
            let members = [enabled, 1, 8 * 8, total, 2, 240 * 8];
            blob.push("psi_group", KIND_STRUCT, 2, 704, &members);
            let states = ["IO_SOME", "IO_FULL", "MEM_SOME", "MEM_FULL", "CPU_SOME", "CPU_FULL"];
            let values: Vec<u32> = (0..)
                .zip(states)
                .flat_map(|(value, state)| [blob.name(&format!("PSI_{state}")), value])
                .collect();
            blob.push("psi_states", KIND_ENUM, 6, 4, &values);
            let averages = blob.name("PSI_AVGS");
            blob.push("psi_aggregators", KIND_ENUM, 1, 4, &[averages, 0]);
            let mut layout = SnapshotLayout::default();
            pressure(&Btf::parse(blob.bytes()).unwrap(), &mut layout).unwrap();
            layout
        };
        assert_eq!(layout(true).psi_totals, [272, 256, 264, 240, 248]);
        assert_eq!(layout(false), layout(true));
    }

    #[test]
    fn the_running_kernel_resolves() {
        if !Path::new(VMLINUX).exists() {
            println!("SKIPPED: this kernel has no {VMLINUX}");
            return;
        }
        let offsets = resolve(&Btf::from_file(Path::new(VMLINUX)).unwrap()).unwrap();
        assert!(offsets.missing.is_empty(), "{:?}", offsets.missing);
        let bits = HAS_BANDWIDTH | HAS_MEMORY | HAS_PIDS | HAS_PRESSURE | HAS_STATISTICS;
        assert_eq!(u64::from(offsets.layout.known), bits);
    }
}
