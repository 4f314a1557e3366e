//! The way of an event: kernel records to the lifecycle, its facts to the registry, named facts to
//! their reasons, and all that follows out through [`super::publish`].

use std::sync::Arc;

use super::registry::{Decided, EmptyPod, Forgotten, Route};
use super::tracking::{Met, Tasks, Walk};
use super::{AFTER_BURST_NS, BURST_RECORDS, Node};
use crate::cgroup::CgroupId;
use crate::event::{Connection, Event, EventKind};
use crate::lifecycle::fact::{Fact, FactKind, OomFact};
use crate::lifecycle::reason::{Evidence, Named};
use crate::lifecycle::start_failure::Planned;
use crate::lifecycle::subject::{Subject, Who};
use crate::lifecycle::{Input, Output};
use crate::reader::Reading;

impl Node {
    /// Takes all records that are there.
    pub(super) fn drain(&mut self) {
        let events = self.tracking.drain();
        if events.len() >= BURST_RECORDS {
            let soon_ns = self.now.boot_ns.saturating_add(AFTER_BURST_NS);
            self.next_rescan_ns = self.next_rescan_ns.min(soon_ns);
            if self.tracking.lost_more() {
                let last = events.last().map_or(0, |event| event.time_boot_ns);
                let now_boot_ns = last.max(self.now.boot_ns);
                self.apply(Input::RecordsLost { now_boot_ns });
            }
        }
        // By time: a failed probe comes before the stop that it leads to, and a container before its
        // probes.
        let mut connections = self.tracking.take_connections().into_iter().peekable();
        for event in events {
            let is_before = |it: &Connection| it.end_boot_ns <= event.time_boot_ns;
            while let Some(connection) = connections.next_if(is_before) {
                self.connection(connection);
            }
            self.event(&event);
        }
        for connection in connections {
            self.connection(connection);
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        if self.kubelet.is_concerned(&event.kind) {
            self.look_for_kubelet(true);
        }
        match &event.kind {
            EventKind::CgroupMade(made) => {
                for met in self.tracking.made(made, event.time_boot_ns) {
                    self.met(met);
                }
            }
            EventKind::CgroupRemoved(id) => {
                if !self.tracking.is_no_container(*id) {
                    self.apply(Input::Event(event));
                }
                self.cgroup_removed(*id, event.time_boot_ns);
            }
            // The lifecycle would keep it for a container that may yet come.
            kind if self.concerns_no_container(kind) => {}
            _ => self.apply(Input::Event(event)),
        }
    }

    /// Whether an event is about a cgroup that is known to be no container's. The init of a container
    /// may have moved there.
    fn concerns_no_container(&self, kind: &EventKind) -> bool {
        let (task, cgroup) = kind.about();
        self.tracking.is_no_container(cgroup)
            && !task.is_some_and(|task| self.lifecycle.is_init(task))
    }

    /// A cgroup was met for the first time, or turned out to be another thing than it seemed.
    pub(super) fn met(&mut self, met: Met) {
        match met {
            Met::Nested { cgroup, container } => {
                self.apply(Input::NestedMade { cgroup, container });
            }
            Met::Container { id, pod, origin, birth, oom_seen } => {
                let is_unit = origin.is_unit();
                if let (Some((pod, _)), Some(made)) = (origin.pod(), birth.made_boot_ns()) {
                    self.pods.container_made(pod, made);
                }
                self.registry.insert(id, pod, origin, birth);
                let oom_seen = &oom_seen;
                self.apply(Input::ContainerMade { container: id, pod, birth, is_unit, oom_seen });
                self.resolve_name(id);
            }
            Met::NoContainer(id) => {
                self.apply(Input::NoContainer { container: id });
                self.sampler.forget(id);
                if let Some(who) = self.registry.withdraw(id) {
                    self.reasons.retract(&who);
                    self.probes.retracted(who.cgroup);
                    self.publish.retracted(&Subject::Container(who), self.now.boot_ns);
                }
            }
        }
    }

    /// A cgroup was removed: its files are closed and the kernel side forgets it. Its container
    /// stays until the lifecycle has concluded all about it.
    fn cgroup_removed(&mut self, id: CgroupId, time_boot_ns: u64) {
        let (removed, met) = self.tracking.removed(id, time_boot_ns);
        for id in removed {
            self.sampler.forget(id);
            if let Some(pod) = self.registry.pod_removed(id) {
                self.pod_gone(&pod);
            }
        }
        for met in met {
            self.met(met);
        }
    }

    /// Hands an input to the lifecycle and its outputs to whoever they concern.
    pub(super) fn apply(&mut self, input: Input<'_>) {
        let mut outputs = Vec::new();
        self.lifecycle.apply(input, &mut outputs);
        let mut looks = Vec::new();
        for output in outputs {
            match output {
                Output::Fact { container, fact } => self.fact(container, fact),
                Output::SetInit { container, tgid } => self.tracking.set_init(container, tgid),
                Output::ReadLast { container } => self.read_last(container),
                Output::SessionBegan { container, begin } => self.session_began(container, begin),
                Output::SessionEnded { end, .. } => self.session_ended(end),
                Output::Look { container } => looks.push(container),
                Output::Forget { container } => self.forget(container),
            }
        }
        if !looks.is_empty() {
            self.look(&looks);
        }
    }

    /// Looks which processes run, for the containers that need to know.
    fn look(&mut self, containers: &[CgroupId]) {
        let Tasks { running, complete: tasks_read } = self.running_tasks();
        let records_complete = self.tracking.records_complete();
        for container in containers {
            let container = *container;
            let running = &running;
            self.apply(Input::Looked { container, running, tasks_read, records_complete });
        }
    }

    fn fact(&mut self, container: CgroupId, fact: Fact) {
        match self.registry.fact(container, fact) {
            Route::Named(who, fact) => self.named(&who, fact),
            // Without a source of names, init's name may decide.
            Route::Waits => self.resolve_name(container),
            Route::SandboxEnded(pod, time_boot_ns) => {
                self.reasons.sandbox_ended(&pod, time_boot_ns);
            }
            Route::Nowhere => {}
        }
    }

    /// A fact whose container has its name: what follows from it is published with it.
    pub(super) fn named(&mut self, who: &Arc<Who>, mut fact: Fact) {
        let mut out = Vec::new();
        if let FactKind::Oom(OomFact { triggered_by, .. }) = &mut fact.kind {
            triggered_by.who = triggered_by.container.and_then(|id| self.registry.who(id));
        }
        // Each is looked for only where it is used: a fact is to cost the same on a full node.
        let (pre_stop_session, sandbox_boot_ns) = match &fact.kind {
            FactKind::StopSignal(_) => (self.lifecycle.pre_stop_session(who.cgroup), None),
            FactKind::Started(_) => (None, self.registry.sandbox_boot_ns(who)),
            _ => (None, None),
        };
        let evidence =
            Evidence { pods: &self.pods, pre_stop_session, sandbox_boot_ns, now: self.now };
        self.reasons.take(who, fact, &evidence, &mut out);
        self.publish_all(out);
    }

    /// The Pod of a container has changed, or the container is shown now: its start may have got
    /// further.
    pub(super) fn progress(&mut self, who: &Arc<Who>) {
        let mut out = Vec::new();
        let evidence = Evidence {
            pods: &self.pods,
            pre_stop_session: None,
            sandbox_boot_ns: self.registry.sandbox_boot_ns(who),
            now: self.now,
        };
        self.reasons.progress(who, &evidence, &mut out);
        self.publish_all(out);
    }

    /// Decides what has waited for Pods or for time.
    pub(super) fn settle_reasons(&mut self) {
        let mut out = Vec::new();
        self.reasons.settle(&self.pods, self.now, &mut out);
        self.publish_all(out);
        let failed = self.reasons.start_failures(self.now);
        self.publish_planned(failed);
    }

    pub(super) fn publish_planned(&mut self, failed: Vec<Planned>) {
        for (identity, fact) in failed {
            self.publish.fact(&Subject::Planned(identity), &fact);
        }
    }

    pub(super) fn publish_all(&mut self, facts: Vec<Named>) {
        for (who, fact) in facts {
            if let FactKind::Ended(end) = &fact.kind {
                self.registry.ended(&who, end.end_boot_ns);
            }
            if self.probes_are_known() {
                self.probes.fact(&who, &fact);
            }
            self.publish.fact(&Subject::Container(who), &fact);
        }
    }

    /// Init has exited or ended: its cgroup's counters are read before the runtime removes them.
    fn read_last(&mut self, id: CgroupId) {
        let Some(dir) = self.tracking.tree().path(id) else { return };
        let Some(sample) = self.sampler.read_last(id, &dir) else { return };
        if let Some((subject, sample)) = self.registry.last_sample(id, sample) {
            self.publish.sample(&subject, &sample, Reading::Last);
        }
    }

    /// The lifecycle is done with a container whose cgroup is gone.
    fn forget(&mut self, id: CgroupId) {
        let Some(Forgotten { subject, empty_pod }) = self.registry.forget(id, self.now.boot_ns)
        else {
            return;
        };
        if let Some(subject) = subject {
            if let Subject::Container(who) = &subject {
                self.reasons.forget(who);
                self.probes.gone(who.cgroup, self.now.boot_ns);
            }
            self.publish.gone(&subject, self.now.boot_ns);
        }
        let Some(EmptyPod { subject, last_end_boot_ns, gone }) = empty_pod else { return };
        let kind = FactKind::PodEmpty { last_end_boot_ns };
        let fact = Fact { time_boot_ns: self.now.boot_ns, kind };
        self.publish.fact(&subject, &fact);
        if gone {
            self.pod_gone(&subject);
        }
    }

    /// The cgroup of a Pod is removed, and its last container is forgotten.
    fn pod_gone(&mut self, subject: &Subject) {
        if let Subject::Pod(pod) = subject {
            self.reasons.forget_pod(pod);
        }
        self.publish.gone(subject, self.now.boot_ns);
    }

    /// Looks for the names of all containers that wait for one, or may have a better one.
    pub(super) fn resolve_names(&mut self) {
        self.registry.refresh_links();
        let last_contact = self.options.pods.as_ref().and_then(|(_, at)| at.last_boot_ns());
        self.pods.heard(last_contact);
        for id in self.registry.unsettled_by_age() {
            self.resolve_name(id);
        }
    }

    /// Decides about a container's name, and hands on what has waited with it.
    pub(super) fn resolve_name(&mut self, id: CgroupId) {
        let init_may_come = self.tracking.has_events();
        let now_boot_ns = self.now.boot_ns;
        let decided = self.registry.decide(id, &self.pods, init_may_come, now_boot_ns);
        let Some(Decided { old, old_pod, who, waited }) = decided else { return };
        match (&old, &who) {
            (None, None) => {}
            (None, Some(who)) => self.publish.shown(who),
            (Some(old), None) => {
                self.reasons.retract(old);
                self.probes.retracted(old.cgroup);
                self.publish.retracted(&Subject::Container(Arc::clone(old)), now_boot_ns);
            }
            (Some(old), Some(who)) => {
                self.publish.renamed(old, who, now_boot_ns);
                let mut out = Vec::new();
                self.reasons.rename(old, who, &mut out);
                self.publish_all(out);
            }
        }
        if let Some(pod) = old_pod {
            self.publish.retracted(&pod, now_boot_ns);
        }
        if let Some(who) = who {
            self.spec_known(id);
            for fact in waited.facts {
                self.named(&who, fact);
            }
            self.progress(&who);
            if let Some(last) = waited.last {
                self.publish.sample(&Subject::Container(who), &last, Reading::Last);
            }
        }
        if waited.gone_boot_ns.is_some() {
            self.forget(id);
        }
    }

    /// Tracks the root of the hierarchy, and learns what is below it.
    pub(super) fn begin_tracking(&mut self) {
        let walk = self.tracking.scan(self.now.boot_ns);
        self.sampler.set_snapshot(self.tracking.snapshot());
        self.walked(walk);
        self.resolve_names();
        self.sampler.learn_statistics(self.tracking.tree());
    }

    /// Walks where events do not tell all: no programs, or records lost.
    pub(super) fn rescan_if_needed(&mut self) {
        if self.tracking.tree().is_empty() {
            self.begin_tracking();
        } else if let Some(walk) = self.tracking.rescan_if_blind(self.now.boot_ns) {
            self.walked(walk);
            if self.tracking.tree().is_empty() {
                self.begin_tracking();
            }
        }
    }

    fn walked(&mut self, walk: Walk) {
        let time_boot_ns = self.now.boot_ns;
        for id in walk.gone {
            self.event(&Event { time_boot_ns, kind: EventKind::CgroupRemoved(id) });
        }
        for met in walk.met {
            self.met(met);
        }
        self.find_inits();
        for event in &walk.events {
            self.event(event);
        }
    }

    /// Asks the task iterator for the inits of older containers.
    fn find_inits(&mut self) {
        if !self.tracking.has_events() {
            return;
        }
        let Tasks { running, complete } = self.running_tasks();
        if self.tracking.kernel().is_none() {
            return;
        }
        for task in &running {
            self.apply(Input::Running(task));
        }
        self.apply(Input::WalkDone { tasks_read: complete });
    }

    /// The running processes. If they show that the kernel side cannot be trusted, it is gone.
    fn running_tasks(&mut self) -> Tasks {
        let had_kernel = self.tracking.kernel().is_some();
        let tasks = self.tracking.running_tasks();
        if had_kernel && self.tracking.kernel().is_none() {
            self.sampler.set_snapshot(None);
        }
        tasks
    }
}
