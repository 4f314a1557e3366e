//! The kubelet's connections: whose cgroup is observed, and what comes of it.

use std::path::{Path, PathBuf};

use crate::bpf::kubelet::{By, Refusal, Watching, Whose};
use crate::bpf::programs::Programs;
use crate::cgroup::CgroupId;
use crate::cgroup::kubelet::{self, KubeletCgroup};
use crate::escape;
use crate::event::{CgroupMade, EventKind};

/// Time that a restart of the kubelet may take. In between it has no cgroup.
const RESTART_NS: u64 = 60_000_000_000;

/// State of the observation: how, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The collector is switched off.
    Off,
    /// No program can, for this reason in one word, and in words.
    NoProgram(&'static str, String),
    /// The kubelet's cgroup was not found: why, in words.
    NotFound(String),
    /// The kubelet's cgroup was removed at this time since boot, as in a restart.
    Gone(u64),
    /// The kernel refused all ways.
    Refused(Refusal),
    /// The connections of this cgroup are observed.
    Watched(Watching, KubeletCgroup),
}

impl State {
    /// Value of the label `source`.
    pub(super) const fn source(&self) -> &'static str {
        match self {
            Self::Watched(watching, _) => watching.by.name(),
            _ => "none",
        }
    }

    /// Value of the label `reason`: why not more is observed; empty if all is.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "turned_off",
            Self::NoProgram(reason, _) => reason,
            Self::NotFound(_) | Self::Gone(_) => "kubelet_not_found",
            Self::Refused(Refusal { reason, .. }) => reason,
            Self::Watched(watching, _) => watching.reason,
        }
    }

    /// Whether there is a cgroup to attach programs to.
    pub(super) const fn is_found(&self) -> bool {
        matches!(self, Self::Watched(..) | Self::Refused(_))
    }

    /// The state in words, for the landing page.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Off => "not observed: turned off".to_owned(),
            Self::NoProgram(_, why) | Self::NotFound(why) | Self::Refused(Refusal { why, .. }) => {
                format!("not observed: {why}")
            }
            Self::Gone(_) => "not observed: the kubelet's cgroup is gone".to_owned(),
            Self::Watched(Watching { by: By::SockOps, .. }, found) => {
                escape::path(&found.directory)
            }
            Self::Watched(Watching { by: By::Tracepoint, why, .. }, found) => {
                let directory = escape::path(&found.directory);
                let colon = if why.is_empty() { "" } else { ": " };
                format!("{directory}, times alone{colon}{why}")
            }
        }
    }

    /// Tells the log. `expected`: there are Pods whose probes somebody wants to know.
    fn log(&self, expected: bool) {
        match self {
            Self::Off => {}
            Self::Gone(_) => tracing::info!("the kubelet's cgroup is gone: it is awaited"),
            Self::NoProgram(_, why) | Self::NotFound(why) | Self::Refused(Refusal { why, .. }) => {
                if expected {
                    tracing::warn!(why, "network probes are not observed");
                } else {
                    tracing::info!(why, "network probes are not observed");
                }
            }
            Self::Watched(Watching { by, why, .. }, found) => {
                let (by, cgroup) = (by.name(), escape::path(&found.directory));
                if why.is_empty() {
                    tracing::info!(by, cgroup, "the kubelet's connections are observed");
                } else {
                    tracing::warn!(
                        by,
                        cgroup,
                        why,
                        "of the kubelet's connections only the times are observed"
                    );
                }
            }
        }
    }
}

/// The kubelet's cgroup, or why it is not found.
pub(super) type Found = Result<KubeletCgroup, String>;

/// Look for the kubelet's cgroup: what was found, and at what time.
#[derive(Debug)]
pub(super) struct Look {
    /// The kubelet's cgroup as it is now; `None` if the collector is switched off.
    pub(super) found: Option<Found>,
    /// Flag: there is a source of Pods, which tells of probes.
    pub(super) expected: bool,
    /// Time since boot.
    pub(super) now_boot_ns: u64,
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
            State::Watched(_, found) => Some(found.id),
            _ => None,
        }
    }

    /// The kubelet's cgroup as it is now, or why it is not found.
    pub(super) fn find(&self, root: &Path) -> Found {
        kubelet::find(root, self.given.as_deref())
    }

    /// Whether the kubelet was started again since it was last found: its cgroup is another one.
    pub(super) fn was_restarted(&mut self, found: &Found) -> bool {
        let Ok(found) = found else { return false };
        self.last.replace(found.id).is_some_and(|last| last != found.id)
    }

    /// Looks for the kubelet's cgroup, and observes it as well as it allows now.
    pub(super) fn look(&mut self, look: Look, programs: Option<&mut Programs>) {
        let expected = look.expected;
        let state = self.next(look, programs);
        if state == self.state {
            return;
        }
        state.log(expected);
        self.attached += u64::from(matches!(state, State::Watched(..)));
        self.state = state;
    }

    fn next(&self, look: Look, programs: Option<&mut Programs>) -> State {
        let Some(found) = look.found else { return State::Off };
        let Some(programs) = programs else {
            return State::NoProgram("no_programs", "no programs are loaded".to_owned());
        };
        if let Err((reason, why)) = programs.kubelet_programs() {
            return State::NoProgram(reason, why);
        }
        let found = match found {
            Ok(found) => found,
            Err(why) => {
                if self.cgroup().is_some() {
                    programs.unwatch_kubelet();
                }
                return self.missing(why, look.now_boot_ns);
            }
        };
        let now = match &self.state {
            State::Watched(watching, now) if *now == found => Some(watching),
            _ => None,
        };
        let KubeletCgroup { directory, id, comm } = &found;
        match programs.watch_kubelet(&Whose { directory, cgroup: *id, comm: *comm }, now) {
            Ok(watching) => State::Watched(watching, found),
            // It may be gone again, and is looked for again.
            Err(refusal) => State::Refused(refusal),
        }
    }

    /// State without a cgroup: a restart takes a while, and has nothing to do with where it was
    /// looked for.
    fn missing(&self, why: String, now_boot_ns: u64) -> State {
        match self.state {
            State::Watched(..) => State::Gone(now_boot_ns),
            State::Gone(since) if now_boot_ns.saturating_sub(since) < RESTART_NS => {
                State::Gone(since)
            }
            _ => State::NotFound(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(state: State) -> KubeletWatch {
        KubeletWatch { state, ..KubeletWatch::new(None) }
    }

    fn watched(by: By, reason: &'static str, why: &str) -> State {
        let found = KubeletCgroup { directory: "/kubelet".into(), id: CgroupId(7), comm: [0; 16] };
        State::Watched(Watching { by, reason, why: why.to_owned() }, found)
    }

    #[test]
    fn a_restart_is_no_wrong_place() {
        let why = || "not here".to_owned();
        let gone = watch(watched(By::SockOps, "", "")).missing(why(), 100);
        assert_eq!(gone, State::Gone(100));
        let gone = watch(gone);
        assert_eq!(gone.missing(why(), 99 + RESTART_NS), State::Gone(100));
        assert_eq!(gone.missing(why(), 100 + RESTART_NS), State::NotFound(why()));
        let never = State::NotFound(why());
        assert_eq!(watch(State::Off).missing(why(), 100), never, "at the start");
        assert_eq!(watch(never.clone()).missing(why(), 200), never);
    }

    #[test]
    fn what_is_not_observed_says_why() {
        let whole = watched(By::SockOps, "", "");
        assert_eq!((whole.source(), whole.reason()), ("sock_ops", ""));
        assert_eq!(whole.describe(), "/kubelet");
        let partly = watched(By::Tracepoint, "exclusive_program", "another program");
        assert_eq!((partly.source(), partly.reason()), ("tracepoint", "exclusive_program"));
        assert_eq!(partly.describe(), "/kubelet, times alone: another program");
        let left_out = watched(By::Tracepoint, "no_cap_net_admin", "");
        assert_eq!(left_out.describe(), "/kubelet, times alone");
        let refused = State::Refused(Refusal { reason: "refused_by_kernel", why: "no".to_owned() });
        for (state, reason) in [
            (refused, "refused_by_kernel"),
            (State::NotFound(String::new()), "kubelet_not_found"),
            (State::Gone(1), "kubelet_not_found"),
        ] {
            assert_eq!((state.source(), state.reason()), ("none", reason));
            assert!(state.describe().starts_with("not observed: "), "{state:?}");
        }
    }

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
        let was_restarted = |watch: &mut KubeletWatch| {
            let found = watch.find(root.path());
            watch.was_restarted(&found)
        };
        assert!(!was_restarted(&mut watch), "there is none");
        makes(&place);
        assert!(!was_restarted(&mut watch), "it is the first");
        assert!(!was_restarted(&mut watch));
        // Lost from sight for a while.
        std::fs::rename(&place, &away).unwrap();
        assert!(!was_restarted(&mut watch));
        std::fs::rename(&away, &place).unwrap();
        assert!(!was_restarted(&mut watch), "it is the same");
        // The old one is kept so that its inode's number is not given again.
        std::fs::rename(&place, &away).unwrap();
        assert!(!was_restarted(&mut watch), "it is not there yet");
        makes(&place);
        assert!(was_restarted(&mut watch));
        assert!(!was_restarted(&mut watch));
    }
}
