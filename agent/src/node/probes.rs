//! The way of a probe: the kubelet's connections, and commands in containers, to attempts.

use super::Node;
use super::kubelet::{Found, Look, State};
use crate::cgroup::CgroupId;
use crate::event::Connection;
use crate::lifecycle::session::{SessionBegin, SessionEnd};
use crate::probe::Probed;

impl Node {
    /// Looks for the kubelet's cgroup, whose connections are observed. `told`: an event tells that it
    /// may be another one now.
    pub(super) fn look_for_kubelet(&mut self, told: bool) {
        let found = self.options.probes.then(|| self.find_kubelet(told));
        let restarted = found.as_ref().is_some_and(|found| self.kubelet.was_restarted(found));
        let (expected, now_boot_ns) = (self.probes_are_known(), self.now.boot_ns);
        let look = Look { found, expected, now_boot_ns };
        let was_watched = self.kubelet.is_watched();
        self.kubelet.look(look, self.tracking.programs_mut());
        match (was_watched, self.kubelet.is_watched()) {
            (false, true) => self.probes.unseen_until(self.now.boot_ns),
            (_, false) if self.kubelet.may_be_watched() => self.probes.unseen_until(u64::MAX),
            (true, true) | (_, false) => {}
        }
        if restarted {
            // A kubelet needs longer to its first attempt than an event to come here.
            let seen_from_start = told && !matches!(self.kubelet.state(), State::Refused(_));
            self.probes.kubelet_restarted(self.now.boot_ns, seen_from_start);
        }
    }

    fn find_kubelet(&mut self, told: bool) -> Found {
        let found = self.kubelet.find(&self.options.cgroup_root);
        // Events come in bursts, and what has begun a moment ago is not taken. Without Pods there is
        // nothing to observe.
        let now_boot_ns = self.now.boot_ns;
        if told
            || !self.tracking.tree().has_kubepods()
            || !self.kubelet.is_searched_for(&found, now_boot_ns)
        {
            return found;
        }
        let tasks = self.tracking.kubelet_tasks();
        self.kubelet.search(tasks.as_deref(), self.tracking.tree());
        self.kubelet.find(&self.options.cgroup_root)
    }

    /// Notes that no connection of the kubelet is seen, if there must have been some.
    pub(super) fn listen_to_kubelet(&mut self) {
        let Self { kubelet, probes, pods, now, .. } = self;
        kubelet.listen(now.boot_ns, |since| probes.must_have_asked(pods, since, now.boot_ns));
    }

    /// Takes in a connection of the kubelet that has ended; those before it have come before it.
    pub fn connection(&mut self, connection: Connection) {
        tracing::debug!(%connection, "a connection of the kubelet");
        self.kubelet.heard(self.now.boot_ns);
        if !self.probes_are_known() {
            return;
        }
        let mut out = Vec::new();
        self.probes.connection(connection, &self.pods, &mut out);
        self.probed(out);
    }

    pub(super) fn session_began(&mut self, container: CgroupId, begin: SessionBegin) {
        if self.probes_are_known() {
            self.probes.session_began(container, begin);
        }
    }

    pub(super) fn session_ended(&mut self, end: SessionEnd) {
        let SessionEnd { key, cpu_ns, left_behind, settled, .. } = end;
        tracing::debug!(pid = key.tgid, cpu_ns, left_behind, settled, "an exec session has ended");
        self.probes.session_ended(end);
    }

    /// Decides what has waited for Pods, for containers or for time.
    pub(super) fn settle_probes(&mut self) {
        let mut out = Vec::new();
        self.probes.settle(&self.pods, self.now.boot_ns, &mut out);
        self.probed(out);
    }

    pub(super) fn probed(&mut self, attempts: Vec<Probed>) {
        for (who, fact) in attempts {
            self.named(&who, fact);
        }
        for (container, run) in self.probes.take_hooks() {
            self.reasons.hooked(container, run);
        }
    }

    /// Whether there is a source that knows which probes containers have. Without one nothing is kept
    /// for them.
    pub(super) const fn probes_are_known(&self) -> bool {
        self.options.pods.is_some()
    }
}
