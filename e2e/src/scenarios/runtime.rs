//! Low-level runtimes of the node, which differ in the cgroups that they make.

/// The low-level runtime that makes a Pod's containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// The node's default. The container's processes are in the cgroup that has its name.
    Runc,
    /// With systemd's driver the processes are in a cgroup `container` below that one.
    Crun,
}

impl Runtime {
    /// All of them; the first is the node's default.
    pub(super) const ALL: [Self; 2] = [Self::Runc, Self::Crun];

    /// Name of the RuntimeClass; `None` is the node's default.
    pub(super) const fn class(self) -> Option<&'static str> {
        match self {
            Self::Runc => None,
            Self::Crun => Some("crun"),
        }
    }

    /// Cgroup of the processes below the container's own, with this driver of the kubelet.
    pub(super) fn below(self, cgroup_driver: &str) -> &'static str {
        // src/libcrun/cgroup-systemd.c: the subgroup is `container` unless an annotation names it;
        // cgroup-cgroupfs.c has none.
        match (self, cgroup_driver) {
            (Self::Crun, "systemd") => "container",
            _ => "",
        }
    }
}
