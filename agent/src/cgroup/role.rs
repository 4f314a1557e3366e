//! Roles of cgroups: the meaning of a directory, from its name, its place and whether it has
//! children. Pure, so that the same tree means the same in whatever order it became known.

use super::CgroupId;
use super::path::{self, Component, ContainerName, PodName};

/// Mode in which the node is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Plain machine on which Pods may yet come: units and Pods, until there is a kubepods
    /// directory outside of all containers.
    Auto,
    /// Kubernetes node: Pods and their containers.
    Kubernetes,
    /// Plain machine: systemd's units and containers of any runtime, those of Pods among them.
    Host,
}

impl Mode {
    const fn shows_pods(self) -> bool {
        !matches!(self, Self::Host)
    }

    const fn shows_units(self) -> bool {
        !matches!(self, Self::Kubernetes)
    }

    /// Name for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Auto => "host, until Pods have cgroups here",
            Self::Kubernetes => "kubernetes",
            Self::Host => "host",
        }
    }
}

/// Role of a cgroup in the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Inner cgroup, which only holds others, or one that is not shown in this mode.
    Inner,
    /// Cgroup of a Pod.
    Pod(PodName),
    /// Cgroup of a Pod's container or sandbox.
    Container(PodName, ContainerName),
    /// Cgroup of a systemd service or scope, of a machine, of a container outside of all Pods, or
    /// any leaf; on a plain machine only.
    Unit,
    /// Cgroup that a container or a unit created within its own.
    Nested {
        /// Cgroup of that container or unit.
        container: CgroupId,
    },
    /// Cgroup of a runtime's monitor, of a mount or of a socket unit; never shown, nor any below
    /// it.
    Skipped,
}

impl Role {
    /// Whether the cgroup is a container's or a unit's own.
    #[must_use]
    pub const fn is_own(&self) -> bool {
        matches!(self, Self::Container(..) | Self::Unit)
    }
}

/// Place of a cgroup in the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Id of the parent.
    pub(super) parent: CgroupId,
    /// Name of the parent's directory.
    pub(super) parent_name: &'a [u8],
    /// Role of the parent.
    pub(super) parent_role: &'a Role,
    /// Flag: the parent is a kubepods directory or that of one of its QoS classes.
    pub(super) in_kubepods: bool,
    /// The Pod whose cgroup or container the parent is or lies in.
    pub(super) pod: Option<&'a PodName>,
    /// Flag: the names say that the parent is, or lies in, a container or a machine.
    pub(super) in_container: bool,
}

/// Role of the cgroup `name` at a place. `is_leaf`: it has no children.
///
/// Below a container of a Pod, and below a container or a machine outside of all Pods, cgroups
/// belong to it, whatever their names: they are its own business, and the names may be a tenant's
/// choice. There is one exception: a kubelet that runs in a container (kind, k3d) makes Pods that are
/// shown as such. Below any other unit, such as a user's manager, a container counts on its own.
pub(super) fn role(mode: Mode, place: Place<'_>, name: &[u8], is_leaf: bool) -> Role {
    let nested = match place.parent_role {
        Role::Skipped => return Role::Skipped,
        Role::Container(..) | Role::Unit => Some(place.parent),
        Role::Nested { container } => Some(*container),
        Role::Inner | Role::Pod(_) => None,
    };
    let nested = nested.map(|container| Role::Nested { container });
    if let Some(pod) = place.pod {
        return nested.unwrap_or_else(|| in_pod(pod, name));
    }
    if mode.shows_pods()
        && let Some(role) = pod_or_container(place, name)
    {
        return role;
    }
    if let Some(nested) = nested {
        return if place.in_container { nested } else { in_unit(place, name).unwrap_or(nested) };
    }
    match in_slice(place, name, is_leaf) {
        Role::Unit if !mode.shows_units() => Role::Inner,
        role => role,
    }
}

/// Whether a cgroup looks like a container's and is in no known form, so that it is not shown.
pub(super) fn is_unclassified(role: &Role, place: Place<'_>, name: &[u8], is_leaf: bool) -> bool {
    let is_open = match role {
        // Between a Pod and its containers there may be a directory of the runtime's.
        Role::Inner if place.pod.is_some() => return is_leaf,
        Role::Inner | Role::Nested { .. } => place.pod.is_none() && !place.in_container,
        Role::Pod(_) | Role::Container(..) | Role::Unit | Role::Skipped => false,
    };
    is_open
        && is_leaf
        && !may_hold_containers(name)
        && path::has_container_id(name)
        && path::container(name).is_none()
}

/// Whether a directory of this name is neither a container's, a machine's nor a systemd unit's: it
/// may yet turn out to hold some.
#[must_use]
pub fn is_plain(name: &[u8]) -> bool {
    path::component(name, b"") == Component::Other
        && ![&b".service"[..], b".scope"].iter().any(|suffix| name.ends_with(suffix))
}

fn in_pod(pod: &PodName, name: &[u8]) -> Role {
    if path::is_monitor(name) {
        return Role::Skipped;
    }
    let container = path::container(name);
    container.map_or(Role::Inner, |container| Role::Container(pod.clone(), container))
}

fn pod_or_container(place: Place<'_>, name: &[u8]) -> Option<Role> {
    let parent = if place.in_kubepods { place.parent_name } else { b"" };
    path::pod(name, parent).map(Role::Pod).or_else(|| {
        let (pod, container) = path::pod_container(name)?;
        Some(Role::Container(pod, container))
    })
}

/// Role below a unit that is no container; `None` for a cgroup of the unit itself.
fn in_unit(place: Place<'_>, name: &[u8]) -> Option<Role> {
    match path::component(name, place.parent_name) {
        Component::Container(_) | Component::PodContainer(..) | Component::Machine => {
            Some(Role::Unit)
        }
        Component::Monitor => Some(Role::Skipped),
        Component::Kubepods | Component::Pod(_) | Component::Other => None,
    }
}

/// Role outside of all containers and units.
fn in_slice(place: Place<'_>, name: &[u8], is_leaf: bool) -> Role {
    // Units that have a cgroup but no lifecycle of interest (systemd.unit(5)).
    const DULL: [&[u8]; 4] = [b".mount", b".automount", b".swap", b".socket"];
    match path::component(name, place.parent_name) {
        Component::Monitor => return Role::Skipped,
        Component::Container(_) | Component::PodContainer(..) | Component::Machine => {
            return Role::Unit;
        }
        Component::Kubepods | Component::Pod(_) => return Role::Inner,
        Component::Other => {}
    }
    if DULL.iter().any(|suffix| name.ends_with(suffix)) {
        Role::Skipped
    } else if name.ends_with(b".service") || name.ends_with(b".scope") {
        Role::Unit
    } else if may_hold_containers(name) || path::is_podman_pod(name, place.parent_name) || !is_leaf
    {
        Role::Inner
    } else {
        Role::Unit
    }
}

/// Whether a directory of this name is made to hold others: a slice, and those that runtimes and
/// kubelets with the cgroupfs driver create. They may be empty.
fn may_hold_containers(name: &[u8]) -> bool {
    const HOLDERS: [&[u8]; 8] = [
        b"docker",
        b"libpod_parent",
        b"lxc",
        b"lxc.payload",
        b"machine",
        b"ecs",
        b"burstable",
        b"besteffort",
    ];
    name.ends_with(b".slice") || name.starts_with(b"libpod_pod_") || HOLDERS.contains(&name)
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;
