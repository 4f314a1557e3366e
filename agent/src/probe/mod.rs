//! Probes: what the kubelet's connections and commands were, and what came of them. Pure: no I/O, no
//! clock.
//!
//! The kernel side reports connections of the kubelet, and the lifecycle reports commands that come into
//! containers. A connection is a probe's if its address and its first bytes are those of a probe in the
//! spec of one container that runs; a command is if its arguments are. Where several probes of a container
//! are alike, their state and their schedule tell ([`instance`], [`schedule`]), or nothing does. What is
//! not certain is no attempt, and is counted.

mod addresses;
mod answer;
mod body;
mod candidate;
mod command;
mod counts;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod first_bytes;
mod frames;
mod head;
mod hooks;
mod instance;
mod localhost;
mod open;
mod owner;
mod redirect;
mod request;
mod rhythm;
mod schedule;
mod silence;
mod targets;
#[cfg(test)]
mod tests;
mod thresholds;
mod unanswered;
mod verdict;

use std::collections::VecDeque;
use std::sync::Arc;

use self::command::{Commands, Meaning, Over, WAIT_NS};
pub use self::counts::{Counts, Outcome};
use self::hooks::{Hooks, Known};
use self::instance::{Chosen, Instances};
use self::localhost::{Halves, Part};
use self::open::{Attempt, Open};
use self::request::Request;
use self::targets::{Found, Match, Targets};
use self::unanswered::{Next, Unanswered};
use crate::cgroup::CgroupId;
use crate::event::{Connection, Ending};
use crate::kube::pod::{Handler, Pod};
use crate::kube::pods::Pods;
use crate::lifecycle::fact::{Fact, FactKind, ProbeAttempt};
use crate::lifecycle::session::{ExecSession, SessionBegin, SessionEnd};
use crate::lifecycle::subject::Who;

/// A fact with the container that it is about.
pub type Probed = (Arc<Who>, Fact);

/// Limit of connections that wait.
const WAITING_MAX: usize = 512;

/// State of all probes on the node.
#[derive(Debug, Default)]
pub struct Probes {
    targets: Targets,
    instances: Instances,
    open: Open,
    halves: Halves,
    unanswered: Unanswered,
    commands: Commands,
    /// Connections whose Pod or container is not known yet, the oldest first.
    waiting: VecDeque<Connection>,
    /// Whether something was learned that they may have waited for.
    news: bool,
    hooks: Hooks,
    connections: Counts,
    sessions: Counts,
}

impl Probes {
    /// State of no probe yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a Pod, as it is now.
    pub fn pod(&mut self, pod: &Pod) {
        self.targets.insert(pod);
        self.news = true;
    }

    /// Takes in a fact about a container that has its name.
    pub fn fact(&mut self, who: &Arc<Who>, fact: &Fact) {
        match &fact.kind {
            FactKind::Started(started) => {
                self.instances.started(who, fact.time_boot_ns, started.before_agent);
                self.news = true;
            }
            FactKind::Ended(end) => self.instances.ended(who, end.end_boot_ns),
            _ => {}
        }
    }

    /// Takes in the removal of a container's cgroup.
    pub fn gone(&mut self, cgroup: CgroupId, now_boot_ns: u64) {
        self.instances.gone(cgroup, now_boot_ns);
        self.commands.forget(cgroup);
    }

    /// Takes a container back: it is a sandbox, or none.
    pub fn retracted(&mut self, cgroup: CgroupId) {
        self.instances.forget(cgroup);
        self.commands.forget(cgroup);
    }

    /// The kubelet was started again, at that time or before. `seen_from_start`: all its attempts are
    /// seen.
    pub fn kubelet_restarted(&mut self, now_boot_ns: u64, seen_from_start: bool) {
        self.instances.kubelet_restarted(now_boot_ns, seen_from_start);
    }

    /// Attempts before that time may not have been seen: a container that starts before may have been asked
    /// already.
    pub const fn unseen_until(&mut self, time_boot_ns: u64) {
        self.instances.unseen_until(time_boot_ns);
    }

    /// Forgets what has been kept long enough; appends what is overdue to `out`. A call every few seconds
    /// suffices.
    pub fn expire(&mut self, pods: &Pods, now_boot_ns: u64, out: &mut Vec<Probed>) {
        self.targets.expire(pods);
        self.instances.expire(pods, now_boot_ns);
        for (who, kind, since_boot_ns) in self.instances.take_overdue(now_boot_ns) {
            let kind = FactKind::ProbeOverdue(kind);
            out.push((who, Fact { time_boot_ns: since_boot_ns, kind }));
        }
    }

    /// Takes in a connection of the kubelet that has ended, or has no answer; appends what follows to
    /// `out`.
    pub fn connection(&mut self, connection: Connection, pods: &Pods, out: &mut Vec<Probed>) {
        if connection.ending == Ending::Open {
            return self.unanswered.open(connection);
        }
        // A probe asks once at a time: what it asked before is over.
        self.tell_unanswered(pods, connection.start_boot_ns, out);
        let was_told = self.unanswered.ended(&connection);
        let is_hook =
            || matches!(request::read(&connection.sent), Request::Get(get) if get.is_hook());
        if !was_told || is_hook() {
            self.ended(connection, pods, out);
        }
    }

    /// Tells of the connections without an answer whose probe's time is up.
    fn tell_unanswered(&mut self, pods: &Pods, now_boot_ns: u64, out: &mut Vec<Probed>) {
        for connection in self.unanswered.due(now_boot_ns) {
            let known = Known { targets: &self.targets, instances: &self.instances, pods };
            match Next::of(&connection, known, now_boot_ns) {
                Next::Tell { timeout_s } => {
                    self.unanswered.told(&connection);
                    self.ended(unanswered::given_up(connection, timeout_s), pods, out);
                }
                Next::Look(at) => self.unanswered.keep(connection, at),
                Next::Leave => {}
            }
        }
    }

    fn ended(&mut self, connection: Connection, pods: &Pods, out: &mut Vec<Probed>) {
        let part = match self.targets.localhost_timeout_s(&connection, pods) {
            Some(timeout_s) => self.halves.take(connection, timeout_s),
            None => Part::Whole { connection, joined: false },
        };
        match part {
            Part::Whole { connection, joined } => {
                let outcome = self.decide(connection, pods, out);
                if joined {
                    self.connections.add(outcome.unwrap_or(Outcome::Probe));
                }
            }
            Part::Waits { dropped: true } => self.connections.add(Outcome::NoRoom),
            Part::Waits { dropped: false } => {}
            Part::Late => self.connections.add(Outcome::Probe),
        }
    }

    /// Decides what a connection was, or has it wait. Returns what it was.
    fn decide(
        &mut self,
        connection: Connection,
        pods: &Pods,
        out: &mut Vec<Probed>,
    ) -> Option<Outcome> {
        if let Some(outcome) = self.try_connection(&connection, pods, false, out) {
            self.connections.add(outcome);
            return Some(outcome);
        }
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.connections.add(Outcome::NoRoom);
        }
        self.waiting.push_back(connection);
        None
    }

    /// Takes in the begin of an exec session.
    pub fn session_began(&mut self, cgroup: CgroupId, begin: SessionBegin) {
        self.news = true;
        if !self.commands.begin(cgroup, begin) {
            self.sessions.add(Outcome::NoRoom);
        }
    }

    /// Takes in the end of an exec session.
    pub fn session_ended(&mut self, end: SessionEnd) {
        self.news = true;
        self.commands.end(end);
    }

    /// Decides what has waited for Pods, containers or time; appends what follows to `out`.
    pub fn settle(&mut self, pods: &Pods, now_boot_ns: u64, out: &mut Vec<Probed>) {
        self.tell_unanswered(pods, now_boot_ns, out);
        if std::mem::take(&mut self.news) {
            for connection in std::mem::take(&mut self.waiting) {
                self.decide(connection, pods, out);
            }
        }
        for half in self.halves.over(now_boot_ns) {
            match half {
                Some(connection) => drop(self.decide(connection, pods, out)),
                None => self.connections.add(Outcome::Abandoned),
            }
        }
        let is_over = |it: &Connection| it.end_boot_ns.saturating_add(WAIT_NS) <= now_boot_ns;
        while self.waiting.front().is_some_and(is_over)
            && let Some(over) = self.waiting.pop_front()
        {
            let outcome = self.try_connection(&over, pods, true, out).unwrap_or_else(|| {
                let mut of_pods = self.targets.pods(over.remote.ip(), over.start_boot_ns, pods);
                of_pods.next().map_or(Outcome::NotAProbe, |_| Outcome::NoContainer)
            });
            self.connections.add(outcome);
        }
        let instances = &mut self.instances;
        let meaning =
            |cgroup: CgroupId, begin: &SessionBegin| Meaning::of(instances, pods, cgroup, begin);
        for outcome in self.commands.learn(now_boot_ns, meaning) {
            self.sessions.add(outcome);
        }
        for attempt in self.open.over(now_boot_ns) {
            self.attempt(&attempt, out);
        }
        for over in self.commands.over(now_boot_ns) {
            self.command(&over, out);
        }
    }

    /// Deadline at which [`Self::settle`] has something to decide, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let waiting = self.waiting.front().map(|it| it.end_boot_ns.saturating_add(WAIT_NS));
        let news = self.news.then_some(0);
        let (open, halves) = (self.open.deadline(), self.halves.deadline());
        let (unanswered, commands) = (self.unanswered.deadline(), self.commands.deadline());
        let all = [waiting, news, open, halves, unanswered, commands];
        all.into_iter().flatten().min()
    }

    /// Whether the kubelet must have connected to a container since that time, by its probes and their
    /// periods.
    #[must_use]
    pub fn must_have_asked(&self, pods: &Pods, since_boot_ns: u64, now_boot_ns: u64) -> bool {
        silence::must_have_asked(&self.instances, pods, since_boot_ns, now_boot_ns)
    }

    /// Takes the preStop hooks over HTTP that were seen since the last call, each with its container.
    pub fn take_hooks(&mut self) -> Vec<(CgroupId, ExecSession)> {
        self.hooks.take()
    }

    /// What became of the kubelet's connections.
    #[must_use]
    pub const fn connections(&self) -> &Counts {
        &self.connections
    }

    /// What became of exec sessions.
    #[must_use]
    pub const fn sessions(&self) -> &Counts {
        &self.sessions
    }

    /// Totals of what is not watched for want of room, by kind.
    #[must_use]
    pub const fn dropped(&self) -> [(&'static str, u64); 3] {
        [
            ("probe_address", self.targets.dropped()),
            ("probe_attempt", self.open.dropped().saturating_add(self.unanswered.dropped())),
            ("probe_container", self.instances.dropped()),
        ]
    }

    /// What a connection was; `None` if that is not known yet. `is_last`: it has waited long enough.
    fn try_connection(
        &mut self,
        connection: &Connection,
        pods: &Pods,
        is_last: bool,
        out: &mut Vec<Probed>,
    ) -> Option<Outcome> {
        let request = request::read(&connection.sent);
        if let Request::Get(get) = &request
            && get.is_hook()
            && !self.targets.may_ask(connection, &request, pods)
        {
            let Self { hooks, targets, instances, .. } = self;
            hooks.in_clear(connection, get, &Known { targets, instances, pods });
            return Some(Outcome::Hook);
        }
        let (targets, instances) = (&self.targets, &self.instances);
        let found = || targets.find(connection, &request, pods);
        let is_known = || matches!(found(), Match::Probes { .. });
        let others_are_due = |attempt: &Attempt| {
            let Match::Probes { found, .. } = found() else { return false };
            let Some(instance) = instances.get(attempt.cgroup) else { return false };
            let mut probes = found.iter().flat_map(|found| &found.probes);
            probes.any(|it| {
                it.kind != attempt.chosen.kind && instance.is_due(it.kind, connection.start_boot_ns)
            })
        };
        if let Some(attempt) = self.open.take(connection, &request, is_known, others_are_due) {
            return Some(self.go_on(attempt, connection, &request, out));
        }
        if !is_last && matches!(&request, Request::Get(get) if get.is_sent_on()) {
            // What it follows on may be reported later: a server may close late.
            return None;
        }
        let (found, has_rival) = match self.targets.find(connection, &request, pods) {
            Match::Nobody => return None,
            Match::NoProbe => {
                let Self { hooks, targets, instances, .. } = self;
                let known = Known { targets, instances, pods };
                let is_hook = hooks.in_secret(connection, &request, &known);
                return Some(if is_hook { Outcome::Hook } else { Outcome::NotAProbe });
            }
            Match::OtherRequest => return Some(Outcome::OtherRequest),
            Match::Probes { found, has_rival } => (found, has_rival),
        };
        let known = Known { targets: &self.targets, instances: &self.instances, pods };
        let there = known.there(connection, &found);
        let [(cgroup, found)] = *there else {
            return (!there.is_empty()).then_some(Outcome::Ambiguous);
        };
        let Found { known, container, probes } = found;
        let instance = self.instances.get_mut(cgroup)?;
        let start_boot_ns = connection.start_boot_ns;
        let doubt = owner::doubt(connection, &request, found, has_rival);
        let Some(chosen) = instance.choose(known, container, probes, start_boot_ns, doubt) else {
            return Some(Outcome::Ambiguous);
        };
        let Chosen { probe, .. } = chosen;
        let answer = answer::read(&request, probe.handler == Handler::Grpc, &connection.received);
        let verdict =
            verdict::of(probe.handler, connection, answer, start_boot_ns, probe.timeout_s);
        let Some(verdict) = verdict else { return Some(Outcome::Abandoned) };
        self.keep_or_tell(Attempt::new(cgroup, chosen, connection, &request, verdict), out);
        Some(Outcome::Probe)
    }

    /// Goes on with an attempt of several connections.
    fn go_on(
        &mut self,
        mut attempt: Attempt,
        connection: &Connection,
        request: &Request,
        out: &mut Vec<Probed>,
    ) -> Outcome {
        let handler = attempt.next_handler(request);
        let answer = answer::read(request, handler == Handler::Grpc, &connection.received);
        let timeout_s = attempt.chosen.probe.timeout_s;
        let verdict = verdict::of(handler, connection, answer, attempt.start_boot_ns, timeout_s);
        let outcome = match verdict {
            Some(verdict) => {
                attempt.go_on(connection, request, verdict);
                Outcome::Probe
            }
            None => Outcome::Abandoned,
        };
        if outcome == Outcome::Probe {
            self.keep_or_tell(attempt, out);
        }
        outcome
    }

    fn keep_or_tell(&mut self, attempt: Attempt, out: &mut Vec<Probed>) {
        let over = if attempt.open_until_boot_ns().is_some() {
            // What it goes on with may be here already.
            self.news |= !self.waiting.is_empty();
            self.open.keep(attempt)
        } else {
            vec![attempt]
        };
        for attempt in over {
            self.attempt(&attempt, out);
        }
    }

    fn attempt(&mut self, attempt: &Attempt, out: &mut Vec<Probed>) {
        let is_error = attempt.verdict.is_error;
        self.tell(attempt.cgroup, attempt.chosen, attempt.made(), is_error, out);
    }

    fn command(&mut self, over: &Over, out: &mut Vec<Probed>) {
        self.sessions.add(Outcome::Probe);
        self.tell(over.cgroup, over.chosen, over.made(), false, out);
    }

    fn tell(
        &mut self,
        cgroup: CgroupId,
        chosen: Chosen,
        made: ProbeAttempt,
        is_error: bool,
        out: &mut Vec<Probed>,
    ) {
        let Some(instance) = self.instances.get_mut(cgroup) else { return };
        let failures_left = if is_error {
            instance.error(chosen, made.start_boot_ns)
        } else {
            instance.take(chosen, made.result, made.start_boot_ns)
        };
        let made = ProbeAttempt { failures_left, ..made };
        let fact = Fact { time_boot_ns: made.end_boot_ns, kind: FactKind::Probed(made) };
        out.push((Arc::clone(&instance.who), fact));
    }
}
