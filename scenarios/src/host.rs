//! What this kernel has, and what its release promises.

use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::utsname::uname;
use testbed::catalogue::{self, Family, Release};

/// The programs of the agent, and the release that each is promised from: not attached on a later
/// kernel, it has failed. A new program is entered here.
pub(crate) const PROGRAMS: [(&str, Release); 13] = [
    ("cgroup_mkdir", (5, 10)),
    ("cgroup_rmdir", (5, 10)),
    ("cgroup_notify_populated", (5, 10)),
    ("sched_process_exec", (5, 10)),
    ("sched_process_exec_again", (5, 10)),
    ("sched_process_exit", (5, 10)),
    ("signal_generate", (5, 10)),
    ("mark_victim", (5, 10)),
    ("running_tasks", (5, 10)),
    ("cgroup_iter", (6, 1)),
    ("kubelet_sock_ops", (5, 10)),
    ("kubelet_ingress", (5, 10)),
    ("kubelet_egress", (5, 10)),
];

/// Facts about the kernel and the cgroup hierarchy.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// As `uname -r` says.
    pub(crate) release: String,
    version: Release,
    controllers: Vec<String>,
    cgroup_kill: bool,
}

/// What a scenario cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The memory controller.
    Memory,
    /// The cpu controller.
    Cpu,
    /// The pids controller.
    Pids,
    /// `cgroup.kill`, since 5.14.
    CgroupKill,
}

/// Whether a [`Need`] is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// Yes.
    Yes,
    /// No, and this release does not promise it.
    TooOld(String),
    /// No, though this release can: the host withholds it.
    Withheld(String),
}

impl Host {
    /// Reads them. `cgroup` is a cgroup other than the hierarchy's root.
    pub(crate) fn read(cgroup: &Path) -> Result<Self> {
        let release = uname().context("uname")?.release().to_string_lossy().into_owned();
        let path = cgroup.join("cgroup.controllers");
        let controllers = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?
            .split_ascii_whitespace()
            .map(str::to_owned)
            .collect();
        let version =
            catalogue::release(&release).with_context(|| format!("kernel release {release:?}"))?;
        let cgroup_kill = cgroup.join("cgroup.kill").exists();
        Ok(Self { release, version, controllers, cgroup_kill })
    }

    /// Whether this kernel is of that release or a later one.
    pub(crate) fn is_since(&self, release: Release) -> bool {
        self.version >= release
    }

    /// Whether this host has to show a family. No scenario has a Pod source.
    pub(crate) fn shows(&self, family: &Family) -> bool {
        let host = catalogue::Host { controllers: &self.controllers, release: self.version };
        host.excuse(family).is_none()
    }

    /// Whether this host has it.
    pub(crate) fn has(&self, need: Need) -> Met {
        let controller = match need {
            Need::Memory => "memory",
            Need::Cpu => "cpu",
            Need::Pids => "pids",
            Need::CgroupKill if self.cgroup_kill => return Met::Yes,
            Need::CgroupKill if self.version < (5, 14) => {
                return Met::TooOld("cgroup.kill exists since Linux 5.14".into());
            }
            Need::CgroupKill => return Met::Withheld("there is no cgroup.kill".into()),
        };
        if self.controllers.iter().any(|c| c == controller) {
            Met::Yes
        } else {
            Met::Withheld(format!("no {controller} controller in this cgroup v2 hierarchy"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_thing_is_excused_only_by_the_release() {
        let old = Host {
            release: "5.10.0".into(),
            version: (5, 10),
            controllers: vec!["cpu".into()],
            cgroup_kill: false,
        };
        assert!(matches!(old.has(Need::CgroupKill), Met::TooOld(_)));
        assert!(matches!(old.has(Need::Memory), Met::Withheld(_)));
        assert_eq!(old.has(Need::Cpu), Met::Yes);
        let peak = Family {
            name: "podvitals_container_memory_peak_bytes".into(),
            kind: "gauge".into(),
            needs: vec![catalogue::Need::Linux((5, 19))],
        };
        assert!(!old.shows(&peak));
        let new = Host { version: (6, 1), ..old };
        assert!(matches!(new.has(Need::CgroupKill), Met::Withheld(_)));
        assert!(new.shows(&peak));
    }
}
