//! Kernel records to the lifecycle, and its answers to whoever they concern.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirEntryExt as _;

use super::Node;
use crate::cgroup::CgroupId;
use crate::event::{CgroupMade, Event, EventKind};
use crate::clock;
use crate::lifecycle::{Input, Output};

impl Node {
    /// Takes all records that are there.
    pub(super) fn drain(&mut self) {
        let mut events = Vec::new();
        if let Some(kernel) = &mut self.kernel {
            kernel.ring.drain(&mut events);
        }
        for event in &events {
            self.event(event);
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match &event.kind {
            EventKind::CgroupMade(made) => self.cgroup_made(made, event.time_boot_ns),
            EventKind::CgroupRemoved(id) => {
                self.apply(Input::Event(event));
                self.cgroup_removed(*id);
            }
            _ => self.apply(Input::Event(event)),
        }
    }

    fn cgroup_made(&mut self, made: &CgroupMade, time_boot_ns: u64) {
        let name = made.name.clone().or_else(|| self.name_on_disk(made.parent, made.cgroup));
        let Some(name) = name else {
            // Gone before it could be looked up, on a kernel that does not tell names.
            self.unresolved += 1;
            return;
        };
        self.insert(made.cgroup, made.parent, &name, false, Some(time_boot_ns));
    }

    /// The name of a cgroup's directory, found by its inode number.
    fn name_on_disk(&self, parent: CgroupId, id: CgroupId) -> Option<Vec<u8>> {
        let entries = std::fs::read_dir(self.tree.path(parent)?).ok()?;
        let entry = entries.flatten().find(|entry| entry.ino() == id.0)?;
        Some(entry.file_name().as_bytes().to_vec())
    }

    /// A cgroup was removed: its files are closed and the kernel side forgets it. Its container
    /// stays until the lifecycle has published all about it.
    pub(super) fn cgroup_removed(&mut self, id: CgroupId) {
        let now = clock::boot_ns();
        for (id, _) in self.tree.remove_subtree(id) {
            self.reader.forget(id);
            self.store.pod_gone(id, now);
            if let Some(kernel) = &mut self.kernel {
                kernel.programs.untrack(id);
            }
        }
    }

    /// Tells the lifecycle and does what it answers.
    pub(super) fn apply(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.lifecycle.apply(input, &mut outputs);
        for output in outputs {
            match output {
                Output::Fact(fact) => self.fact(fact),
                Output::SetInit { container, tgid } => {
                    if let Some(kernel) = &mut self.kernel
                        && let Err(error) = kernel.programs.set_init(container, tgid)
                    {
                        // The container may be gone already.
                        tracing::debug!(%container, error = format!("{error:#}"), "no init set");
                    }
                }
                Output::ReadLast { container } => self.read_last(container),
                Output::Forget { container } => self.forget(container),
            }
        }
    }
}
