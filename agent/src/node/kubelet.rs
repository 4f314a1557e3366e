//! The kubelet's connections: whose cgroup is observed, and what comes of it.

use std::path::{Path, PathBuf};

use crate::bpf::kubelet::{By, Whose};
use crate::bpf::programs::Programs;
use crate::cgroup::CgroupId;
use crate::cgroup::kubelet::{self, KubeletCgroup};
use crate::escape;
use crate::event::{CgroupMade, EventKind};

/// State of the observation: how, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The collector is switched off.
    Off,
    /// No program can, for this reason in one word, and in words.
    NoProgram(&'static str, String),
    /// The kubelet's cgroup was not found: why, in words.
    NotFound(String),
    /// The kernel refused to attach the programs.
    Refused(String),
    /// The connections of this cgroup are observed; and why not by the better way, in one word.
    Watched(By, KubeletCgroup, &'static str),
}

impl State {
    /// Value of the label `source`.
    pub(super) const fn source(&self) -> &'static str {
        match self {
            Self::Watched(by, ..) => by.name(),
            _ => "none",
        }
    }

    /// Value of the label `reason`: why not more is observed; empty if all is.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "turned_off",
            Self::NoProgram(reason, _) => reason,
            Self::NotFound(_) => "kubelet_not_found",
            Self::Refused(_) => "refused_by_kernel",
            Self::Watched(_, _, why) => why,
        }
    }

    /// The state in words, for the landing page.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Off => "not observed: turned off".to_owned(),
            Self::NoProgram(_, why) | Self::NotFound(why) | Self::Refused(why) => {
                format!("not observed: {why}")
            }
            Self::Watched(By::SockOps, found, _) => escape::path(&found.directory),
            Self::Watched(By::Tracepoint, found, _) => {
                format!("{}, times alone", escape::path(&found.directory))
            }
        }
    }
}

/// Watch over the kubelet's cgroup: it is removed and made again when the kubelet is restarted, and
/// the programs go with it.
pub(super) struct KubeletWatch {
    given: Option<PathBuf>,
    state: State,
    /// The kubelet's cgroup when it was last found, whether it was observed or not.
    last: Option<CgroupId>,
    /// Times that programs were attached to a cgroup.
    attached: u64,
}

impl KubeletWatch {
    pub(super) const fn new(given: Option<PathBuf>) -> Self {
        Self { given, state: State::Off, last: None, attached: 0 }
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Times that programs were attached.
    pub(super) const fn attached(&self) -> u64 {
        self.attached
    }

    /// Whether an event may have made another cgroup the kubelet's.
    pub(super) fn is_concerned(&self, kind: &EventKind) -> bool {
        match kind {
            EventKind::CgroupMade(CgroupMade { name, .. }) => {
                // Where the kernel side does not tell names, any may be.
                let may_be = |name: &Vec<u8>| kubelet::may_be(name, self.given.as_deref());
                name.as_ref().is_none_or(may_be)
            }
            EventKind::CgroupRemoved(id) => self.cgroup() == Some(*id),
            _ => false,
        }
    }

    fn cgroup(&self) -> Option<CgroupId> {
        match &self.state {
            State::Watched(_, found, _) => Some(found.id),
            _ => None,
        }
    }

    /// Whether the kubelet was started again since it was last found: its cgroup is another one.
    pub(super) fn was_restarted(&mut self, root: &Path) -> bool {
        let Ok(found) = kubelet::find(root, self.given.as_deref()) else { return false };
        self.last.replace(found.id).is_some_and(|last| last != found.id)
    }

    /// Looks for the kubelet's cgroup, and observes it if it is another than before.
    pub(super) fn look(&mut self, root: &Path, off: bool, programs: Option<&mut Programs>) {
        let state = self.next(root, off, programs);
        if state == self.state {
            return;
        }
        match &state {
            State::Watched(by, found, _) => tracing::info!(
                by = by.name(),
                cgroup = escape::path(&found.directory),
                "the kubelet's connections are observed"
            ),
            State::Off => {}
            State::NoProgram(_, why) | State::NotFound(why) | State::Refused(why) => {
                tracing::info!(why, "network probes are not observed");
            }
        }
        self.state = state;
    }

    fn next(&mut self, root: &Path, off: bool, programs: Option<&mut Programs>) -> State {
        if off {
            return State::Off;
        }
        let Some(programs) = programs else {
            return State::NoProgram("no_programs", "no programs are loaded".to_owned());
        };
        if let Err((reason, why)) = programs.kubelet_programs() {
            return State::NoProgram(reason, why);
        }
        let found = match kubelet::find(root, self.given.as_deref()) {
            Ok(found) => found,
            Err(why) => {
                if self.cgroup().is_some() {
                    programs.unwatch_kubelet();
                }
                return State::NotFound(format!("the kubelet's cgroup is {why}"));
            }
        };
        if let State::Watched(_, now, _) = &self.state
            && *now == found
        {
            return self.state.clone();
        }
        let KubeletCgroup { directory, id, comm } = &found;
        match programs.watch_kubelet(&Whose { directory, cgroup: *id, comm: *comm }) {
            Ok(by) => {
                self.attached += 1;
                State::Watched(by, found, programs.not_on_cgroup())
            }
            // It may be gone again, and is looked for again.
            Err(error) => State::Refused(format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_cgroup_is_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("system.slice/kubelet.service");
        let away = root.path().join("away");
        let makes = |directory: &Path| {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(directory.join("cgroup.events"), "populated 1\n").unwrap();
        };
        let mut watch = KubeletWatch::new(None);
        assert!(!watch.was_restarted(root.path()), "there is none");
        makes(&place);
        assert!(!watch.was_restarted(root.path()), "it is the first");
        assert!(!watch.was_restarted(root.path()));
        // Lost from sight for a while.
        std::fs::rename(&place, &away).unwrap();
        assert!(!watch.was_restarted(root.path()));
        std::fs::rename(&away, &place).unwrap();
        assert!(!watch.was_restarted(root.path()), "it is the same");
        // The old one is kept so that its inode's number is not given again.
        std::fs::rename(&place, &away).unwrap();
        assert!(!watch.was_restarted(root.path()), "it is not there yet");
        makes(&place);
        assert!(watch.was_restarted(root.path()));
        assert!(!watch.was_restarted(root.path()));
    }
}
