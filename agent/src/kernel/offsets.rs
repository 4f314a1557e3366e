//! Offsets of the running kernel's fields, resolved by name, all or none.

use agent_common::layout::Layout;

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
        task_mm: at("task_struct", "mm")?,
        task_sum_exec_runtime: at("task_struct", "se.sum_exec_runtime")?,
        mm_arg_start: at("mm_struct", "arg_start")?,
        mm_arg_end: at("mm_struct", "arg_end")?,
        signal_live: at("signal_struct", "live")?,
        signal_flags: at("signal_struct", "flags")?,
        signal_group_exit_code: at("signal_struct", "group_exit_code")?,
        signal_sum_sched_runtime: at("signal_struct", "sum_sched_runtime")?,
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
    };
    let memory = resolve_memory(btf, &mut layout);
    Ok(Offsets { layout, memory })
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
    use crate::kernel::btf::{VMLINUX, lookup::Parameter};
    use std::path::Path;

    #[test]
    fn the_running_kernel_resolves() {
        if !Path::new(VMLINUX).exists() {
            println!("SKIPPED: this kernel has no {VMLINUX}");
            return;
        }
        let btf = Btf::from_file(Path::new(VMLINUX)).unwrap();
        let offsets = resolve(&btf).unwrap();
        offsets.memory.unwrap();
        assert_ne!(offsets.layout.task_tgid, offsets.layout.task_pid);
        assert_eq!(
            btf.tracepoint_parameter("signal_generate", 2),
            Some(Parameter::StructPointer("task_struct".into()))
        );
        assert_eq!(btf.tracepoint_parameter("no_such_tracepoint", 0), None);
    }
}
