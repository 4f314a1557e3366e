//! What this kernel has, and what its release promises.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use nix::sys::utsname::uname;

/// The programs of the agent, and the release that each is promised from: not attached on a later
/// kernel, it has failed. A new program is entered here.
pub(crate) const PROGRAMS: [(&str, Release); 10] = [
    ("cgroup_mkdir", (5, 10)),
    ("cgroup_rmdir", (5, 10)),
    ("cgroup_notify_populated", (5, 10)),
    ("sched_process_exec", (5, 10)),
    ("sched_process_exec_again", (5, 10)),
    ("sched_process_exit", (5, 10)),
    ("signal_generate", (5, 10)),
    ("mark_victim", (5, 10)),
    ("running_tasks", (5, 10)),
    ("cgroup_figures", (6, 1)),
];

/// The first two numbers of a kernel's release.
pub(crate) type Release = (u32, u32);

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
        let version = version(&release).with_context(|| format!("kernel release {release:?}"))?;
        let cgroup_kill = cgroup.join("cgroup.kill").exists();
        Ok(Self { release, version, controllers, cgroup_kill })
    }

    /// Whether this kernel is of that release or a later one.
    pub(crate) fn is_since(&self, release: Release) -> bool {
        self.version >= release
    }

    /// Whether this host meets a condition of the agent's catalogue. What the catalogue says that a
    /// kernel of this release has, has to be there.
    pub(crate) fn meets(&self, need: &str) -> Result<bool> {
        match need.split_once('=') {
            Some(("linux", release)) => {
                let since = version(release).with_context(|| format!("the need {need:?}"))?;
                Ok(self.is_since(since))
            }
            Some(("controller", name)) => Ok(self.controllers.iter().any(|it| it == name)),
            // No scenario has a Pod source.
            None if need == "pods" => Ok(false),
            _ => bail!("the catalogue has an unknown need: {need:?}"),
        }
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

fn version(release: &str) -> Option<Release> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(version("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("7.3+deb13-amd64"), Some((7, 3)));
        assert_eq!(version("next"), None);
    }

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
        assert!(old.meets("controller=cpu").unwrap() && !old.meets("controller=memory").unwrap());
        assert!(old.meets("linux=5.10").unwrap() && !old.meets("linux=5.19").unwrap());
        assert!(!old.meets("pods").unwrap());
        assert!(old.meets("luck").is_err() && old.meets("linux=new").is_err());
        let new = Host { version: (6, 1), ..old };
        assert!(matches!(new.has(Need::CgroupKill), Met::Withheld(_)));
        assert!(new.meets("linux=5.19").unwrap());
    }
}
