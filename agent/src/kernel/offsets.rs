//! Offsets of the running kernel's fields, resolved by name, all or none.

use agent_common::layout::{HAS_CHARGED, HAS_RESIDENT, Layout, RESIDENT_IS_TYPED};

use super::btf::{Btf, BtfError};

/// Size of a pointer and of an `atomic_long_t` on the 64-bit kernels that Podvitals runs on.
const WORD_BYTES: u32 = 8;

/// Offsets that the programs need.
#[derive(Debug)]
pub struct Offsets {
    /// Offsets for the programs' `.rodata`.
    pub layout: Layout,
    /// Availability of the memory hierarchy's counters: missing on a kernel without memory cgroups.
    /// Everything else is required.
    pub memory: Result<(), BtfError>,
    /// Details of OOM kills that are left out, with the reason.
    pub missing: Vec<(&'static str, BtfError)>,
}

/// Resolves every field of [`Layout`].
///
/// # Errors
/// The kernel lacks one of the required fields, or has two answers. Then no program may be loaded,
/// since a wrong offset reads garbage without an error.
pub fn resolve(btf: &Btf) -> Result<Offsets, BtfError> {
    let at = |name: &str, path: &str| btf.field(name, path).map(|f| f.offset_bytes);
    let mut layout = Layout {
        task_tgid: at("task_struct", "tgid")?,
        task_pid: at("task_struct", "pid")?,
        task_comm: at("task_struct", "comm")?,
        task_start_boottime: at("task_struct", "start_boottime")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_real_parent: at("task_struct", "real_parent")?,
        task_cgroups: at("task_struct", "cgroups")?,
        task_signal: at("task_struct", "signal")?,
        task_exit_state: at("task_struct", "exit_state")?,
        task_exit_code: at("task_struct", "exit_code")?,
        task_tasks: at("task_struct", "tasks")?,
        task_children: at("task_struct", "children")?,
        task_mm: at("task_struct", "mm")?,
        task_sum_exec_runtime: at("task_struct", "se.sum_exec_runtime")?,
        task_real_cred: at("task_struct", "real_cred")?,
        cred_uid: at("cred", "uid.val")?,
        cred_user_ns: at("cred", "user_ns")?,
        user_ns_level: at("user_namespace", "level")?,
        mm_arg_start: at("mm_struct", "arg_start")?,
        mm_arg_end: at("mm_struct", "arg_end")?,
        signal_live: at("signal_struct", "live")?,
        signal_flags: at("signal_struct", "flags")?,
        signal_group_exit_code: at("signal_struct", "group_exit_code")?,
        signal_sum_sched_runtime: at("signal_struct", "sum_sched_runtime")?,
        signal_cutime: at("signal_struct", "cutime")?,
        signal_cstime: at("signal_struct", "cstime")?,
        siginfo_code: at("kernel_siginfo", "si_code")?,
        css_set_dfl_cgrp: at("css_set", "dfl_cgrp")?,
        css_set_memory: 0,
        cgroup_self_parent: at("cgroup", "self.parent")?,
        cgroup_kn: at("cgroup", "kn")?,
        cgroup_root: at("cgroup", "root")?,
        cgroup_root_hierarchy_id: at("cgroup_root", "hierarchy_id")?,
        kernfs_id: at("kernfs_node", "id")?,
        kernfs_name: at("kernfs_node", "name")?,
        css_cgroup: at("cgroup_subsys_state", "cgroup")?,
        css_parent: at("cgroup_subsys_state", "parent")?,
        memcg_local_oom: 0,
        memcg_local_oom_kill: 0,
        memcg_usage: 0,
        memcg_max: 0,
        mm_anon: 0,
        mm_file: 0,
        mm_shmem: 0,
        known: 0,
    };
    let memory = resolve_memory(btf, &mut layout);
    let mut missing = Vec::new();
    for (name, flag, details) in [
        ("the limit that was hit", HAS_CHARGED, resolve_charged as Resolver),
        ("the victim's memory", HAS_RESIDENT, resolve_resident),
    ] {
        match details(btf, &mut layout) {
            Ok(()) => layout.known |= flag,
            Err(error) => missing.push((name, error)),
        }
    }
    Ok(Offsets { layout, memory, missing })
}

type Resolver = fn(&Btf, &mut Layout) -> Result<(), BtfError>;

/// Usage and limit of a memory cgroup.
fn resolve_charged(btf: &Btf, layout: &mut Layout) -> Result<(), BtfError> {
    layout.memcg_usage = btf.number("mem_cgroup", "memory.usage", WORD_BYTES)?;
    layout.memcg_max = btf.number("mem_cgroup", "memory.max", WORD_BYTES)?;
    Ok(())
}

/// Resident memory of a process: `rss_stat` is a struct with an array of `atomic_long_t` up to Linux
/// 6.1, later an array of `percpu_counter`. The enum that counts its elements has no name.
fn resolve_resident(btf: &Btf, layout: &mut Layout) -> Result<(), BtfError> {
    let number = |path: &str| btf.number("mm_struct", path, WORD_BYTES);
    let is_struct = number("rss_stat.count[0]").is_ok();
    let at = |name| {
        let element = btf.enumerator("", name)?;
        if is_struct {
            number(&format!("rss_stat.count[{element}]"))
        } else {
            number(&format!("rss_stat[{element}].count"))
        }
    };
    layout.mm_anon = at("MM_ANONPAGES")?;
    layout.mm_file = at("MM_FILEPAGES")?;
    layout.mm_shmem = at("MM_SHMEMPAGES")?;
    if !is_struct {
        layout.known |= RESIDENT_IS_TYPED;
    }
    Ok(())
}

fn resolve_memory(btf: &Btf, layout: &mut Layout) -> Result<(), BtfError> {
    let css = btf.field("mem_cgroup", "css")?;
    if css.offset_bytes != 0 {
        // The programs use one pointer for the css and the memory cgroup.
        return Err(BtfError::NoMember("mem_cgroup".into(), "css at 0".into()));
    }
    let controller = btf.enumerator("cgroup_subsys_id", "memory_cgrp_id")?;
    layout.css_set_memory = btf.element("css_set", "subsys", controller, WORD_BYTES)?;
    let event = |name| {
        let event = btf.enumerator("memcg_memory_event", name)?;
        btf.element("mem_cgroup", "memory_events_local", event, WORD_BYTES)
    };
    layout.memcg_local_oom = event("MEMCG_OOM")?;
    layout.memcg_local_oom_kill = event("MEMCG_OOM_KILL")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::btf::blob::Blob;
    use crate::kernel::btf::{
        KIND_ARRAY, KIND_ENUM, KIND_INT, KIND_STRUCT, VMLINUX, lookup::Parameter,
    };
    use std::path::Path;

    /// `mm_struct.rss_stat` as Linux 6.1 and as 6.12 have it.
    #[test]
    fn resident_memory_resolves_in_both_shapes() {
        let layout = |per_cpu: bool| {
            let mut blob = Blob::new();
            blob.push("s64", KIND_INT, 0, 8, &[64]); // 1
            let [count, lock, rss_stat] = ["count", "lock", "rss_stat"].map(|name| blob.name(name));
            if per_cpu {
                let members = [lock, 1, 0, count, 1, 8 * 8];
                blob.push("percpu_counter", KIND_STRUCT, 2, 40, &members); // 2
                blob.push("", KIND_ARRAY, 0, 0, &[2, 1, 4]); // 3
            } else {
                blob.push("", KIND_ARRAY, 0, 0, &[1, 1, 4]); // 2
                blob.push("mm_rss_stat", KIND_STRUCT, 1, 32, &[count, 2, 0]); // 3
            }
            blob.push("mm_struct", KIND_STRUCT, 1, 1088, &[rss_stat, 3, 720 * 8]);
            let names = ["MM_FILEPAGES", "MM_ANONPAGES", "MM_SWAPENTS", "MM_SHMEMPAGES"];
            let values: Vec<u32> =
                (0..).zip(names).flat_map(|(value, name)| [blob.name(name), value]).collect();
            blob.push("", KIND_ENUM, 4, 4, &values);
            let mut layout = Layout::default();
            resolve_resident(&Btf::parse(blob.bytes()).unwrap(), &mut layout).unwrap();
            ([layout.mm_file, layout.mm_anon, layout.mm_shmem], layout.known)
        };
        assert_eq!(layout(false), ([720, 728, 744], 0));
        assert_eq!(layout(true), ([728, 768, 848], RESIDENT_IS_TYPED));
    }

    #[test]
    fn a_kernel_that_counts_otherwise_tells_no_memory() {
        let mut blob = Blob::new();
        blob.push("s64", KIND_INT, 0, 8, &[64]);
        let [anon, rss_stat] = ["MM_ANONPAGES", "rss_stat"].map(|name| blob.name(name));
        blob.push("", KIND_ENUM, 1, 4, &[anon, 1]);
        blob.push("mm_struct", KIND_STRUCT, 1, 1088, &[rss_stat, 1, 720 * 8]);
        let mut layout = Layout::default();
        let error = resolve_resident(&Btf::parse(blob.bytes()).unwrap(), &mut layout).unwrap_err();
        assert!(error.to_string().contains("mm_struct.rss_stat[1].count"), "{error}");
    }

    #[test]
    fn the_running_kernel_resolves() {
        if !Path::new(VMLINUX).exists() {
            println!("SKIPPED: this kernel has no {VMLINUX}");
            return;
        }
        let btf = Btf::from_file(Path::new(VMLINUX)).unwrap();
        let offsets = resolve(&btf).unwrap();
        offsets.memory.unwrap();
        assert!(offsets.missing.is_empty(), "{:?}", offsets.missing);
        assert_eq!(offsets.layout.known & !RESIDENT_IS_TYPED, HAS_CHARGED | HAS_RESIDENT);
        assert_ne!(offsets.layout.task_tgid, offsets.layout.task_pid);
        assert_eq!(
            btf.tracepoint_parameter("signal_generate", 2),
            Some(Parameter::StructPointer("task_struct".into()))
        );
        assert_eq!(btf.tracepoint_parameter("no_such_tracepoint", 0), None);
    }
}
