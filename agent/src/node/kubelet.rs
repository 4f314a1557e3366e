//! The kubelet's connections: whose cgroup is observed, and what comes of it.

use std::path::{Path, PathBuf};

use super::search::Search;
use super::silence::Silence;
use crate::bpf::kubelet::{By, Refusal, Watching, Whose};
use crate::bpf::programs::Programs;
use crate::cgroup::CgroupId;
use crate::cgroup::kubelet::{self, Known, KubeletCgroup, Learned};
use crate::cgroup::tree::Tree;
use crate::escape;
use crate::event::{CgroupMade, EventKind, Task};

/// Time that a restart of the kubelet may take. In between it has no cgroup.
const RESTART_NS: u64 = 60_000_000_000;

/// Limit of the places where its process was.
const LEARNED_MAX: usize = 4;

/// Remedy where the kubelet's cgroup is not found, or is another one.
const REMEDY: &str = "name it with --kubelet.cgroup";

/// The kubelet's cgroup is not found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// Reason why its cgroup is not found, in words.
    pub(super) why: String,
    /// Flag: it may be found in some seconds.
    pub(super) soon: bool,
}

/// State of the observation: how, or why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The collector is switched off.
    Off,
    /// No program can, for this reason in one word, and in words.
    NoProgram(&'static str, String),
    /// The kubelet's cgroup was not found.
    NotFound(Missing),
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
            Self::NoProgram(_, why)
            | Self::NotFound(Missing { why, .. })
            | Self::Refused(Refusal { why, .. }) => format!("not observed: {why}"),
            Self::Gone(_) => "not observed: the kubelet's cgroup is gone".to_owned(),
            Self::Watched(Watching { by: By::SockOps, .. }, found) => describe(found),
            Self::Watched(Watching { by: By::Tracepoint, why, .. }, found) => {
                let found = describe(found);
                let colon = if why.is_empty() { "" } else { ": " };
                format!("{found}, times alone{colon}{why}")
            }
        }
    }

    /// Tells the log. `expected`: there are Pods whose probes somebody wants to know.
    fn log(&self, expected: bool) {
        match self {
            Self::Off => {}
            Self::Gone(_) => tracing::info!("the kubelet's cgroup is gone: it is awaited"),
            Self::NoProgram(_, why)
            | Self::NotFound(Missing { why, .. })
            | Self::Refused(Refusal { why, .. }) => {
                let soon = matches!(self, Self::NotFound(Missing { soon: true, .. }));
                if expected && !soon {
                    tracing::warn!(why, "network probes are not observed");
                } else {
                    tracing::info!(why, "network probes are not observed");
                }
            }
            Self::Watched(Watching { by, why, .. }, found) => {
                let (by, cgroup) = (by.name(), escape::path(&found.directory));
                let how = found.how.describe();
                if why.is_empty() {
                    tracing::info!(by, cgroup, how, "the kubelet's connections are observed");
                } else {
                    tracing::warn!(
                        by,
                        cgroup,
                        how,
                        why,
                        "of the kubelet's connections only the times are observed"
                    );
                }
            }
        }
    }
}

/// A cgroup and how it was found, for people.
fn describe(found: &KubeletCgroup) -> String {
    format!("{}, found {}", escape::path(&found.directory), found.how.describe())
}

/// The kubelet's cgroup, or why it is not found.
pub(super) type Found = Result<KubeletCgroup, Missing>;

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

/// What is said of a cgroup without connections.
const SILENT: &str = "not one connection is seen, though probes are due";

/// Watch over the kubelet's cgroup: it is removed and made again when the kubelet is restarted, and
/// the programs go with it.
pub(super) struct KubeletWatch {
    given: Option<PathBuf>,
    search: Search,
    /// Where the search has found the kubelet's process, the first place first: it may come back there.
    learned: Vec<Learned>,
    /// Time since when it is not where it was.
    lost_boot_ns: Option<u64>,
    state: State,
    silence: Silence,
    /// The kubelet's cgroup when it was last found, whether it was observed or not.
    last: Option<CgroupId>,
    /// Times that programs were attached to a cgroup.
    attached: u64,
}

impl KubeletWatch {
    pub(super) const fn new(given: Option<PathBuf>) -> Self {
        Self {
            given,
            search: Search::new(),
            learned: Vec::new(),
            lost_boot_ns: None,
            state: State::Off,
            silence: Silence::new(),
            last: None,
            attached: 0,
        }
    }

    pub(super) const fn state(&self) -> &State {
        &self.state
    }

    /// Value of the label `reason`: why not more is observed; empty if all is.
    pub(super) const fn reason(&self) -> &'static str {
        if self.silence.is_noted() { "no_connections" } else { self.state.reason() }
    }

    /// The state in words, for the landing page.
    pub(super) fn describe(&self) -> String {
        let state = self.state.describe();
        if self.silence.is_noted() {
            return format!("{state}; but {SILENT}: if it is not the kubelet's, {REMEDY}");
        }
        state
    }

    /// Whether the kubelet's connections are observed.
    pub(super) const fn is_watched(&self) -> bool {
        matches!(self.state, State::Watched(..))
    }

    /// Whether they may be, now or later.
    pub(super) const fn may_be_watched(&self) -> bool {
        !matches!(self.state, State::Off | State::NoProgram(..))
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
                name.as_ref().is_none_or(|name| self.known().may_be(name))
            }
            EventKind::CgroupRemoved(id) => self.cgroup() == Some(*id),
            _ => false,
        }
    }

    fn cgroup(&self) -> Option<CgroupId> {
        self.current().map(|found| found.id)
    }

    const fn current(&self) -> Option<&KubeletCgroup> {
        match &self.state {
            State::Watched(_, found) => Some(found),
            _ => None,
        }
    }

    fn known(&self) -> Known<'_> {
        Known {
            given: self.given.as_deref(),
            learned: &self.learned,
            current: self.current(),
            is_silent: self.silence.is_noted(),
        }
    }

    /// The kubelet's cgroup as it is now, or why it is not found.
    pub(super) fn find(&self, root: &Path) -> Found {
        kubelet::find(root, self.known()).map_err(|why| {
            if self.given.is_some() {
                return Missing { why, soon: false };
            }
            let (more, soon) = self.search.explain();
            Missing { why: format!("{why}{more}: {REMEDY}"), soon }
        })
    }

    /// Whether the kubelet is to be looked for by its process: it is in no known place, or seems to be
    /// elsewhere now. One that has been found has the time of a restart to come back.
    pub(super) fn is_searched_for(&mut self, found: &Found, now_boot_ns: u64) -> bool {
        let is_there = found.as_ref().is_ok_and(KubeletCgroup::is_populated);
        if is_there || self.given.is_some() {
            self.lost_boot_ns = None;
            return self.given.is_none() && self.silence.is_noted();
        }
        let lost_boot_ns = *self.lost_boot_ns.get_or_insert(now_boot_ns);
        let was_found = self.last.is_some();
        !was_found || now_boot_ns.saturating_sub(lost_boot_ns) >= RESTART_NS
    }

    /// Takes in the processes that may be the kubelet; `None` if they cannot be seen.
    pub(super) fn search(&mut self, tasks: Option<&[Task]>, tree: &Tree) {
        let Some(found) = self.search.look(tasks, tree) else { return };
        if !self.learned.contains(&found) {
            self.learned.truncate(LEARNED_MAX - 1);
            self.learned.push(found);
        }
    }

    /// A connection of the kubelet was seen, or one may have been missed.
    pub(super) fn heard(&mut self, now_boot_ns: u64) {
        if self.silence.heard(now_boot_ns) {
            tracing::info!("connections of the kubelet are seen");
        }
    }

    /// Notes that no connection is seen. `is_due`: whether there must have been one since that time.
    pub(super) fn listen(&mut self, now_boot_ns: u64, is_due: impl FnOnce(u64) -> bool) {
        let State::Watched(_, found) = &self.state else { return };
        if self.silence.is_new(now_boot_ns, is_due) {
            let (cgroup, how) = (escape::path(&found.directory), found.how.describe());
            let remedy = format!("if it is not the kubelet's, {REMEDY}");
            tracing::warn!(cgroup, how, remedy, "of this cgroup, {SILENT}");
        }
    }

    /// Whether the kubelet was started again since it was last found: its cgroup is another one.
    pub(super) fn was_restarted(&mut self, found: &Found) -> bool {
        let Ok(found) = found else { return false };
        self.last.replace(found.id).is_some_and(|last| last != found.id)
    }

    /// Looks for the kubelet's cgroup, and observes it as well as it allows now.
    pub(super) fn look(&mut self, look: Look, programs: Option<&mut Programs>) {
        let expected = look.expected;
        let now_boot_ns = look.now_boot_ns;
        let state = self.next(look, programs);
        if state == self.state {
            return;
        }
        state.log(expected);
        self.silence.begin(now_boot_ns);
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
        let KubeletCgroup { directory, id, comm, .. } = &found;
        match programs.watch_kubelet(&Whose { directory, cgroup: *id, comm: *comm }, now) {
            Ok(watching) => State::Watched(watching, found),
            // It may be gone again, and is looked for again.
            Err(refusal) => State::Refused(refusal),
        }
    }

    /// State without a cgroup: a restart takes a while, and has nothing to do with where it was
    /// looked for.
    fn missing(&self, why: Missing, now_boot_ns: u64) -> State {
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
#[path = "kubelet_tests.rs"]
mod tests;
