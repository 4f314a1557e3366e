//! Sandboxes: where one ends before its Pod does, the kubelet stops the Pod's containers and
//! creates all of them again. Pure.

use std::collections::VecDeque;

/// Limit of ends that are remembered: those of the last deaths matter.
const ENDS_MAX: usize = 512;

/// Ends of sandboxes, the newest last.
#[derive(Debug, Default)]
pub(super) struct Sandboxes(VecDeque<(String, u64)>);

impl Sandboxes {
    /// Records the end of a Pod's sandbox, by the UID in the name of the Pod's cgroup.
    pub(super) fn ended(&mut self, cgroup_uid: &str, time_boot_ns: u64) {
        self.0.retain(|(uid, _)| uid != cgroup_uid);
        if self.0.len() >= ENDS_MAX {
            self.0.pop_front();
        }
        self.0.push_back((cgroup_uid.to_owned(), time_boot_ns));
    }

    /// Whether the sandbox of a container that was made at that time has ended: a container is
    /// younger than its sandbox, and the next sandbox is younger than the container.
    pub(super) fn ended_since(&self, cgroup_uid: &str, made_boot_ns: u64) -> bool {
        self.0.iter().any(|(uid, ended)| uid == cgroup_uid && *ended >= made_boot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_end_of_each_sandbox_is_remembered() {
        let mut sandboxes = Sandboxes::default();
        sandboxes.ended("a", 10);
        assert!(sandboxes.ended_since("a", 9), "the container is older than that");
        assert!(!sandboxes.ended_since("a", 11), "its own sandbox is the next");
        assert!(!sandboxes.ended_since("b", 9));
        sandboxes.ended("a", 20);
        assert!(sandboxes.ended_since("a", 11));
        for n in 0..2 * ENDS_MAX as u64 {
            sandboxes.ended(&n.to_string(), n);
        }
        assert_eq!(sandboxes.0.len(), ENDS_MAX);
    }
}
