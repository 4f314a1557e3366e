//! Reasons: what follows from a fact about a container that has its name. Pure.
//!
//! The kernel half of the lifecycle concludes what happened to a container. Here the Pod comes in
//! as data: why the container was stopped, how far its start has progressed, whether it is a
//! restart, and whether the runtime reports the same.

use std::sync::Arc;

use super::death::Deaths;
use super::fact::{Fact, FactKind, Restart, Termination};
use super::report::Reports;
use super::restart::{self, History};
use super::session::ExecSession;
use super::start::Starts;
use super::start_failure::{Planned, StartFailures};
use super::subject::{PodWho, Who};
use crate::cgroup::CgroupId;
use crate::clock::Now;
use crate::kube::known_pod::KnownPod;
use crate::kube::pods::Pods;

/// A fact with the container that it is about.
pub type Named = (Arc<Who>, Fact);

/// Evidence for a fact, as it stands when the fact comes.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Pods of this node.
    pub pods: &'a Pods,
    /// Exec session of the container's preStop hook, if it has an exec hook.
    pub pre_stop_session: Option<ExecSession>,
    /// Birth of the sandbox of the container's Pod, `CLOCK_BOOTTIME`; `None` if it was not seen.
    pub sandbox_boot_ns: Option<u64>,
    /// Current time.
    pub now: Now,
}

/// Key of a container that stays the same over restarts: its name in its Pod.
///
/// The Pod is known by the UID of its cgroup, which stays the same where a static Pod's mirror gets
/// another UID, or where the container was named before its mirror was there. A Pod that is
/// re-created under the same name, as a StatefulSet's, is another one. A unit in host mode has its
/// path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    pod: String,
    container: String,
}

impl Key {
    fn of(who: &Who) -> Self {
        let pod = who.origin.pod().map_or(&who.identity.pod, |(pod, _)| &pod.uid);
        Self { pod: pod.clone(), container: who.identity.container.clone() }
    }
}

/// State machines of deaths, starts, restarts and reports.
#[derive(Debug)]
pub struct Reasons {
    /// Whether there is a Pod source.
    pods_may_come: bool,
    deaths: Deaths,
    starts: Starts,
    history: History<Key>,
    /// The newest instance of each container whose restart waits for the end before it.
    restarting: Vec<Arc<Who>>,
    reports: Reports,
    failures: StartFailures,
}

impl Reasons {
    /// Reasons for no container yet. `pods_may_come`: there is a Pod source.
    #[must_use]
    pub fn new(pods_may_come: bool) -> Self {
        Self {
            pods_may_come,
            deaths: Deaths::new(pods_may_come),
            starts: Starts::default(),
            history: History::default(),
            restarting: Vec::new(),
            reports: Reports::default(),
            failures: StartFailures::default(),
        }
    }

    /// The agent could not run until now: see [`Deaths::resumed`].
    pub fn resumed(&mut self, now_boot_ns: u64) {
        self.deaths.resumed(now_boot_ns);
    }

    /// Takes in a fact; appends it, and what follows from it, to `out`.
    pub fn take(
        &mut self,
        who: &Arc<Who>,
        fact: Fact,
        evidence: &Evidence<'_>,
        out: &mut Vec<Named>,
    ) {
        let (time_boot_ns, kind) = (fact.time_boot_ns, fact.kind.clone());
        out.push((Arc::clone(who), fact));
        match kind {
            FactKind::Started(started) => {
                self.deaths.started(who, time_boot_ns);
                self.starts.started(who, time_boot_ns, &started);
                self.started(who, time_boot_ns, out);
                self.progress(who, evidence, out);
            }
            FactKind::StopSignal(stop) => {
                self.deaths.stop_signal(
                    who,
                    time_boot_ns,
                    &stop,
                    evidence.pre_stop_session,
                    evidence.pods,
                );
            }
            FactKind::Probed(attempt) => self.deaths.probed(who, &attempt),
            FactKind::StartFailed => self.failures.recorded(who, time_boot_ns),
            FactKind::Ended(end) => {
                self.ended(who, &end, time_boot_ns, out);
                let explained = self.deaths.ended(who, end, evidence.pods, evidence.now);
                self.explained(explained, evidence.pods, evidence.now, out);
            }
            _ => {}
        }
    }

    /// Follows a container's start, after a change of its Pod or when the container is first shown.
    pub fn progress(&mut self, who: &Arc<Who>, evidence: &Evidence<'_>, out: &mut Vec<Named>) {
        let Evidence { pods, sandbox_boot_ns, now, .. } = *evidence;
        let fact = self.starts.progress(who, sandbox_boot_ns, pods, now.wall);
        out.extend(fact.map(|fact| (Arc::clone(who), fact)));
    }

    /// Records the run of a container's preStop hook over HTTP.
    pub fn hooked(&mut self, container: CgroupId, run: ExecSession) {
        self.deaths.hooked(container, run);
    }

    /// Records the end of a Pod's sandbox, by the UID in the name of the Pod's cgroup.
    pub fn sandbox_ended(&mut self, cgroup_uid: &str, time_boot_ns: u64) {
        self.deaths.sandbox_ended(cgroup_uid, time_boot_ns);
    }

    /// Failed starts of containers without a cgroup that a Pod's change reports.
    pub fn pod(&mut self, known: &KnownPod, now: Now) -> Vec<Planned> {
        self.failures.pod(known, now.boot_ns)
    }

    /// Failed starts that were reported a while ago, and that the kernel has no record of.
    pub fn start_failures(&mut self, now: Now) -> Vec<Planned> {
        self.failures.settle(now.boot_ns)
    }

    /// Decides what waited for a change of Pods, or for time.
    pub fn settle(&mut self, pods: &Pods, now: Now, out: &mut Vec<Named>) {
        for (key, restart) in self.history.settle(now.boot_ns) {
            self.restarted(&key, restart, out);
        }
        let explained = self.deaths.settle(pods, now);
        self.explained(explained, pods, now, out);
        out.append(&mut self.reports.compare(pods, now.boot_ns));
    }

    /// Decides what waits as it is, since the agent stops.
    pub fn flush(&mut self, pods: &Pods, now: Now, out: &mut Vec<Named>) {
        for (key, restart) in self.history.settle(u64::MAX) {
            self.restarted(&key, restart, out);
        }
        let explained = self.deaths.flush(pods, now);
        self.explained(explained, pods, now, out);
    }

    /// Deadline at which [`Self::settle`] has something to decide, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let deadlines = [self.deaths.deadline(), self.history.deadline(), self.failures.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// Takes over another name of a container, which has been known as `old`. What waits goes on
    /// under the new one; a restart that only the new name shows is appended to `out`.
    pub fn rename(&mut self, old: &Who, who: &Arc<Who>, out: &mut Vec<Named>) {
        self.deaths.rename(who);
        self.reports.rename(who);
        self.starts.retell(who.cgroup);
        for restarting in &mut self.restarting {
            if restarting.cgroup == who.cgroup {
                *restarting = Arc::clone(who);
            }
        }
        let (from, key) = (Key::of(old), Key::of(who));
        if from == key {
            return;
        }
        let (started_boot_ns, ended_boot_ns) = self.history.take(&from);
        if let Some(at) = started_boot_ns {
            self.started(who, at, out);
        }
        if let Some(restart) = ended_boot_ns.and_then(|at| self.history.ended(&key, at)) {
            self.restarted(&key, restart, out);
        }
    }

    /// Takes back a container that is a sandbox: nothing more follows from its facts.
    pub fn retract(&mut self, who: &Who) {
        self.deaths.retract(who.cgroup);
        self.reports.retract(who.cgroup);
        self.restarting.retain(|restarting| restarting.cgroup != who.cgroup);
        self.history.take(&Key::of(who));
        self.forget(who);
    }

    /// Forgets a container whose cgroup is gone.
    pub fn forget(&mut self, who: &Who) {
        self.starts.forget(who.cgroup);
    }

    /// Forgets a Pod whose cgroup is gone, with its last container: none of them comes again.
    pub fn forget_pod(&mut self, pod: &PodWho) {
        self.history.forget(|key| key.pod == pod.cgroup_uid);
    }

    /// Forgets what no fact can follow from any more. A call every few seconds suffices.
    pub fn expire(&mut self, now_boot_ns: u64, pods: &Pods) {
        self.deaths.expire(now_boot_ns);
        self.history.expire(now_boot_ns, |key| pods.waits(&key.pod, &key.container));
    }

    /// Evidence that was forgotten early for want of room, by kind.
    #[must_use]
    pub const fn dropped(&self) -> [(&'static str, u64); 5] {
        [
            ("stop_signal", self.deaths.stops_dropped()),
            ("death", self.deaths.hurried()),
            ("report", self.reports.dropped()),
            ("restart", self.history.dropped()),
            ("start_failure", self.failures.dropped()),
        ]
    }

    fn ended(
        &mut self,
        who: &Arc<Who>,
        end: &Termination,
        time_boot_ns: u64,
        out: &mut Vec<Named>,
    ) {
        let key = Key::of(who);
        if restart::is_final(who, end) {
            self.history.over(&key, time_boot_ns);
            self.restarting.retain(|who| Key::of(who) != key);
        } else if let Some(restart) = self.history.ended(&key, time_boot_ns) {
            self.restarted(&key, restart, out);
        }
    }

    fn started(&mut self, who: &Arc<Who>, time_boot_ns: u64, out: &mut Vec<Named>) {
        let key = Key::of(who);
        for restart in self.history.started(key.clone(), time_boot_ns) {
            if restart.started_boot_ns == time_boot_ns {
                self.starts.restarted(who.cgroup);
                out.extend(restarted(who, restart));
            } else {
                self.restarted(&key, restart, out);
            }
        }
        // A start that is reported late must not take the place of a later one that waits.
        if self.history.waits(&key, time_boot_ns) {
            self.starts.restarted(who.cgroup);
            // The start of one that is renamed is published again.
            if !self.restarting.iter().any(|known| known.cgroup == who.cgroup) {
                self.restarting.push(Arc::clone(who));
            }
        }
    }

    /// Publishes a restart that has waited, for the instance that started then.
    fn restarted(&mut self, key: &Key, restart: Restart, out: &mut Vec<Named>) {
        let is = |who: &Arc<Who>| Key::of(who) == *key;
        if let Some(at) = self.restarting.iter().position(is) {
            out.extend(restarted(&self.restarting.remove(at), restart));
        }
    }

    fn explained(&mut self, explained: Vec<Named>, pods: &Pods, now: Now, out: &mut Vec<Named>) {
        if explained.is_empty() {
            return;
        }
        for (who, fact) in explained {
            if let FactKind::Explained(death) = &fact.kind
                && self.pods_may_come
                && who.origin.pod().is_some()
            {
                self.reports.expect(&who, death.end);
            }
            out.push((who, fact));
        }
        out.append(&mut self.reports.compare(pods, now.boot_ns));
    }
}

fn restarted(who: &Arc<Who>, restart: Restart) -> Option<Named> {
    let kind = FactKind::Restarted(restart);
    let named = (Arc::clone(who), Fact { time_boot_ns: restart.started_boot_ns, kind });
    restart::is_restart(who, restart).then_some(named)
}

#[cfg(test)]
#[path = "reason_tests.rs"]
mod tests;
