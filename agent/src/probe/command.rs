//! Commands: exec sessions, some of which are probes. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::candidate::{Candidate, of_container};
use super::counts::Outcome;
use super::instance::{Chosen, Doubt, Instances};
use crate::cgroup::CgroupId;
use crate::clock::SECOND_NS;
use crate::event::{ExitStatus, TaskKey};
use crate::kube::pod::Handler;
use crate::kube::pods::Pods;
use crate::kube::target::Target;
use crate::lifecycle::SETTLE_NS;
use crate::lifecycle::fact::{ExecRun, ProbeAttempt, ProbeResult};
use crate::lifecycle::session::{SessionBegin, SessionEnd};
use crate::signal::SIGKILL;

/// Time for which a connection or a command waits for its Pod or its container: the kubelet probes before
/// the API has a Pod's address.
pub(super) const WAIT_NS: u64 = 10_000_000_000;
/// Limit of commands that run.
const RUNNING_MAX: usize = 2_048;
/// Limit of those in one container, whose processes may pretend to be commands. The kubelet runs a
/// probe once at a time, unless the runtime leaves one behind that goes on after its timeout.
const OF_CONTAINER_MAX: usize = 16;
/// Time by which a runtime may be late to kill a command whose time is up. One that lives longer goes
/// on after its timeout.
const KILL_LATE_NS: u64 = 1_000_000_000;
/// Longest time by which a runtime may be early to kill a command whose time is up, and the least
/// fraction of the timeout that it leaves for that: CRI-O's monitor has timers of whole seconds, which
/// end up to a quarter of one too early (GLib, `g_timeout_add_seconds`).
const KILL_EARLY_NS: u64 = 1_000_000_000;
const KILL_EARLY_FRACTION: u64 = 4;

/// What is known of an exec session's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is a probe's.
    Probe(Chosen),
    /// It is none, for this reason.
    None(Outcome),
    /// Its container or its Pod is not known yet.
    NotYet,
}

impl Meaning {
    /// What a command is that came into a container.
    pub(super) fn of(
        instances: &mut Instances,
        pods: &Pods,
        cgroup: CgroupId,
        begin: &SessionBegin,
    ) -> Self {
        let Some(instance) = instances.get_mut(cgroup) else { return Self::NotYet };
        let who = Arc::clone(&instance.who);
        let Some((pod, name)) = who.origin.pod() else { return Self::None(Outcome::NotAProbe) };
        let Some(known) = pods.of_cgroup(pod) else { return Self::NotYet };
        let container =
            known.container(&name.id).or_else(|| known.pod.container(&who.identity.container));
        let Some(container) = container else { return Self::NotYet };
        let runs = |target: &Target| target.command().is_some_and(|it| it.is_run_by(&begin.argv));
        let hook = container.targets.as_deref().and_then(|targets| targets.pre_stop.as_ref());
        let is_hook = hook.is_some_and(runs);
        let probes: Vec<Candidate<'_>> =
            of_container(container).filter(|it| runs(it.target)).collect();
        if is_hook && (probes.is_empty() || known.deletion_noticed().is_some()) {
            return Self::None(Outcome::Hook);
        }
        if probes.is_empty() {
            return Self::None(Outcome::NotAProbe);
        }
        let start_boot_ns = begin.key.start_boot_ns;
        match instance.choose(known, container, &probes, start_boot_ns, Doubt::default()) {
            Some(chosen) => Self::Probe(chosen),
            None => Self::None(Outcome::Ambiguous),
        }
    }
}

/// A command that runs, or has just ended.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) cgroup: CgroupId,
    begin: SessionBegin,
    end: Option<SessionEnd>,
    /// The probe; `None` while it is not known what it is.
    chosen: Option<Chosen>,
    /// It was told already, when its time was up.
    told: bool,
}

/// The end of a probe's command, or of the time for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) cgroup: CgroupId,
    pub(super) chosen: Chosen,
    pub(super) result: ProbeResult,
    pub(super) start_boot_ns: u64,
    pub(super) end_boot_ns: u64,
    pub(super) run: ExecRun,
}

impl Over {
    /// The attempt as it is told, but for the failures that are left.
    pub(super) const fn made(&self) -> ProbeAttempt {
        ProbeAttempt {
            probe: self.chosen.kind,
            handler: Handler::Exec,
            result: self.result,
            start_boot_ns: self.start_boot_ns,
            end_boot_ns: self.end_boot_ns,
            timeout_s: self.chosen.probe.timeout_s,
            failures_left: None,
            status: None,
            network: None,
            exec: Some(self.run),
        }
    }
}

impl Command {
    /// The time at which something is to be decided, whatever comes: its end is settled, its time is up,
    /// or it has waited long enough for its Pod.
    fn deadline(&self) -> Option<u64> {
        let start_boot_ns = self.begin.key.start_boot_ns;
        match (&self.chosen, &self.end) {
            (None, _) => Some(start_boot_ns.saturating_add(WAIT_NS)),
            (Some(_), Some(end)) => Some(end.time_boot_ns.saturating_add(SETTLE_NS)),
            (Some(_), None) if self.told => None,
            (Some(chosen), None) => {
                let timeout_ns = chosen.probe.timeout_s.saturating_mul(SECOND_NS);
                Some(start_boot_ns.saturating_add(timeout_ns).saturating_add(KILL_LATE_NS))
            }
        }
    }

    /// What is known of it now.
    ///
    /// The runtime's timer begins before the process does, and at its end the runtime kills the process
    /// (CRI, `ExecSync`). So what has lived for the timeout was too late, and so was what was killed
    /// shortly before. What was killed earlier had an end of its own: it, or its container, was out of
    /// memory or was stopped.
    fn over(&self, chosen: Chosen) -> Over {
        let start_boot_ns = self.begin.key.start_boot_ns;
        let timeout_ns = chosen.probe.timeout_s.saturating_mul(SECOND_NS);
        let timeout = start_boot_ns.saturating_add(timeout_ns);
        // Nobody waits for a command that goes on.
        let end_boot_ns = self.end.map_or(timeout, |end| end.time_boot_ns);
        let status = self.end.map(|end| end.status);
        let killed = matches!(status, Some(ExitStatus::Signal { signal: SIGKILL, .. }));
        let early_ns = KILL_EARLY_NS.min(timeout_ns / KILL_EARLY_FRACTION);
        let is_late =
            end_boot_ns >= timeout || (killed && end_boot_ns.saturating_add(early_ns) >= timeout);
        let result = match status {
            None => ProbeResult::Timeout,
            _ if is_late => ProbeResult::Timeout,
            Some(ExitStatus::Code(0)) => ProbeResult::Success,
            Some(_) => ProbeResult::Failure,
        };
        let exit_code = status.map(|status| match status {
            ExitStatus::Code(code) => code,
            ExitStatus::Signal { signal, .. } => {
                u8::try_from(signal).unwrap_or(u8::MAX).saturating_add(128)
            }
        });
        let run = ExecRun {
            exec_boot_ns: Some(self.begin.exec_boot_ns),
            exit_code,
            cpu_ns: self.end.map(|end| end.cpu_ns),
            left_behind: self.end.map_or(0, |end| end.left_behind),
            overran: status.is_none() || end_boot_ns > timeout.saturating_add(KILL_LATE_NS),
        };
        Over { cgroup: self.cgroup, chosen, result, start_boot_ns, end_boot_ns, run }
    }
}

/// All commands that run and may be probes.
#[derive(Debug, Default)]
pub(super) struct Commands {
    running: HashMap<TaskKey, Command>,
}

impl Commands {
    /// Takes in the begin of a command that may be a probe. Returns whether there was room.
    pub(super) fn begin(&mut self, cgroup: CgroupId, begin: SessionBegin) -> bool {
        let of_container = || self.running.iter().filter(|(_, it)| it.cgroup == cgroup);
        if of_container().count() >= OF_CONTAINER_MAX {
            // Of what goes on after its timeout nothing more is told.
            let told = of_container().filter(|(_, it)| it.told);
            let oldest = told.min_by_key(|(key, _)| key.start_boot_ns).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return false };
            self.running.remove(&oldest);
        }
        let has_room = self.running.len() < RUNNING_MAX;
        if has_room {
            let command = Command { cgroup, begin, end: None, chosen: None, told: false };
            self.running.insert(command.begin.key, command);
        }
        has_room
    }

    /// Takes in the end of a command. The first record of it may come before the process has ended for
    /// good, so the last one counts.
    pub(super) fn end(&mut self, end: SessionEnd) {
        if let Some(command) = self.running.get_mut(&end.key)
            && command.end.is_none_or(|known| known.time_boot_ns <= end.time_boot_ns)
        {
            let left_behind = command.end.map_or(0, |known| known.left_behind);
            command.end = Some(SessionEnd { left_behind: end.left_behind.max(left_behind), ..end });
        }
    }

    /// Finds out what commands are of which that is not known yet. Returns what those are that are
    /// none.
    pub(super) fn learn(
        &mut self,
        now_boot_ns: u64,
        mut meaning: impl FnMut(CgroupId, &SessionBegin) -> Meaning,
    ) -> Vec<Outcome> {
        let mut none = Vec::new();
        let mut keep = |command: &mut Command| {
            if command.chosen.is_some() {
                return true;
            }
            let over = command.deadline().is_none_or(|deadline| deadline <= now_boot_ns);
            match meaning(command.cgroup, &command.begin) {
                Meaning::Probe(chosen) => command.chosen = Some(chosen),
                Meaning::None(outcome) => none.push(outcome),
                Meaning::NotYet if over => none.push(Outcome::NoContainer),
                Meaning::NotYet => return true,
            }
            command.chosen.is_some()
        };
        self.running.retain(|_, command| keep(command));
        none
    }

    /// Takes out the commands of probes that are over, the oldest first.
    pub(super) fn over(&mut self, now_boot_ns: u64) -> Vec<Over> {
        let mut all = Vec::new();
        self.running.retain(|_, command| {
            let Some(chosen) = command.chosen else { return true };
            let is_settled = command.end.is_some_and(|end| end.settled);
            let is_due = command.deadline().is_some_and(|deadline| deadline <= now_boot_ns);
            if (is_settled || is_due) && !command.told {
                command.told = true;
                all.push(command.over(chosen));
            }
            command.end.is_none() || !(is_settled || is_due)
        });
        all.sort_by_key(|over| (over.end_boot_ns, over.start_boot_ns));
        all
    }

    /// Forgets the commands of a container whose processes are gone, but for those that have ended.
    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        self.running.retain(|_, command| command.cgroup != cgroup || command.end.is_some());
    }

    /// The time at which the next is over or has to be known.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.running.values().filter_map(Command::deadline).min()
    }
}
