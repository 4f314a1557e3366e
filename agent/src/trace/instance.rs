//! A container instance, with what the stream of facts has told of it. Pure.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::trace::SpanId;

use super::attempts::{self, Attempts};
use super::model::{Span, SpanEvent};
use super::names::{self, Name};
use super::problem;
use super::tree::{Tree, attribute, event, number};
use crate::event::ExitStatus;
use crate::kube::pod::Role;
use crate::lifecycle::fact::{
    Cause, Death, Fact, FactKind, OomFact, OomVictim, Outcome, ProbeAttempt, StopSignal,
};
use crate::lifecycle::phase::Start;
use crate::lifecycle::subject::Who;
use crate::signal;

/// Limit of an instance's OOMs that are kept: the first ones give way.
const OOMS_MAX: usize = 8;

/// A container instance.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) who: Arc<Who>,
    /// Progress of its start; all `None` for one that is older than the agent.
    pub(super) start: Start,
    /// The fact that it was ready for the first time.
    pub(super) ready: Option<Box<Fact>>,
    /// The fact that it is a restart.
    pub(super) restarted: Option<Box<Fact>>,
    stop: Option<(u64, StopSignal)>,
    sigkill_boot_ns: Option<u64>,
    ooms: Vec<(u64, OomFact)>,
    start_failed_boot_ns: Option<u64>,
    reported: Option<String>,
    /// Attempts of its probes.
    pub(super) attempts: Attempts,
    pub(super) ended_boot_ns: Option<u64>,
    /// The fact of its death, once that is explained.
    pub(super) explained: Option<Box<Fact>>,
    /// Whether its end is part of a trace already.
    pub(super) told: bool,
    /// When its cgroup was gone.
    pub(super) gone_boot_ns: Option<u64>,
}

impl Instance {
    pub(super) fn new(who: &Arc<Who>) -> Self {
        Self {
            who: Arc::clone(who),
            start: Start::default(),
            ready: None,
            restarted: None,
            stop: None,
            sigkill_boot_ns: None,
            ooms: Vec::new(),
            start_failed_boot_ns: None,
            reported: None,
            attempts: Attempts::default(),
            ended_boot_ns: None,
            explained: None,
            told: false,
            gone_boot_ns: None,
        }
    }

    pub(super) fn fact(&mut self, fact: &Fact) {
        let time_boot_ns = fact.time_boot_ns;
        match &fact.kind {
            FactKind::Progressed(start) => {
                self.start = *start;
                if start.just_ready {
                    self.ready = Some(Box::new(fact.clone()));
                }
            }
            FactKind::StopSignal(stop) => {
                self.stop.get_or_insert((time_boot_ns, *stop));
            }
            FactKind::KilledAfterStopSignal => {
                self.sigkill_boot_ns.get_or_insert(time_boot_ns);
            }
            FactKind::Oom(oom) => {
                if self.ooms.len() >= OOMS_MAX {
                    self.ooms.remove(0);
                }
                self.ooms.push((time_boot_ns, oom.clone()));
            }
            FactKind::Ended(end) => self.ended_boot_ns = Some(end.end_boot_ns),
            FactKind::Explained(death) => {
                self.ended_boot_ns = Some(death.end.end_boot_ns);
                self.explained = Some(Box::new(fact.clone()));
            }
            FactKind::Restarted(_) => self.restarted = Some(Box::new(fact.clone())),
            FactKind::StartFailed => self.start_failed_boot_ns = Some(time_boot_ns),
            FactKind::Misreported(report) => self.reported = Some(report.reported.clone()),
            FactKind::Probed(attempt) => self.attempts.add(attempt),
            FactKind::Started(_)
            | FactKind::DeletionSeen(_)
            | FactKind::ProbeOverdue(_)
            | FactKind::PodEmpty { .. } => {}
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.who.identity.container
    }

    pub(super) fn death(&self) -> Option<&Death> {
        match &self.explained.as_deref()?.kind {
            FactKind::Explained(death) => Some(death),
            _ => None,
        }
    }

    /// When the instance was made, or found.
    pub(super) fn since_boot_ns(&self) -> u64 {
        self.who.birth.since_boot_ns()
    }

    /// Whether it is of an init container.
    pub(super) fn is_init(&self) -> bool {
        self.who.identity.role == Role::Init.label()
    }

    /// Whether it ended as an init container should.
    pub(super) fn is_done_init(&self) -> bool {
        self.is_init() && self.death().is_some_and(|death| death.end.cause == Cause::Completed)
    }

    /// When the attempt to start it failed.
    pub(super) const fn start_failed_boot_ns(&self) -> Option<u64> {
        self.start_failed_boot_ns
    }

    /// When its termination began: with the kubelet's decision, the stop signal, SIGKILL or the OOM
    /// kill, whichever was the first.
    pub(super) fn termination_boot_ns(&self, death: &Death) -> u64 {
        let fatal_oom = (death.end.cause == Cause::Oom)
            .then(|| self.ooms.iter().rev().find(|(_, oom)| oom.victim == OomVictim::Init))
            .flatten()
            .map(|(time_boot_ns, _)| *time_boot_ns);
        let begins = [
            death.kill_begin_boot_ns,
            death.end.stop_boot_ns,
            self.stop.map(|(time_boot_ns, _)| time_boot_ns),
            self.sigkill_boot_ns,
            fatal_oom,
            Some(death.end.end_boot_ns),
        ];
        begins.into_iter().flatten().min().unwrap_or(death.end.end_boot_ns)
    }

    /// What went wrong with its end, in words.
    pub(super) fn problem(&self) -> Option<String> {
        let death = self.death()?;
        let oom = self.ooms.last().map(|(_, oom)| oom);
        problem::of_death(death, oom, self.stop.is_some_and(|(_, stop)| stop.ignored))
    }

    /// Adds a span about the container below `parent`, filled in by `fill`. Returns its id.
    pub(super) fn add(
        &self,
        tree: &mut Tree,
        parent: SpanId,
        name: Name,
        times_boot_ns: (u64, u64),
        fill: impl FnOnce(&mut Span),
    ) -> SpanId {
        let parts = [self.name(), &*self.who.identity.container_id];
        tree.add(parent, name, &parts, times_boot_ns, |span| {
            span.attributes.push(attribute(names::CONTAINER, self.name().to_owned()));
            fill(span);
        })
    }

    /// Attributes that say which instance of the container it is.
    pub(super) fn identity(&self) -> Vec<KeyValue> {
        let identity = &self.who.identity;
        let mut attributes = vec![
            attribute(names::CONTAINER_ID, identity.container_id.clone()),
            attribute(names::ROLE, identity.role),
        ];
        if !identity.image.is_empty() {
            attributes.push(attribute(names::IMAGE, identity.image.clone()));
        }
        attributes
    }

    /// Adds the span of an attempt of a probe below `parent`.
    pub(super) fn add_attempt(
        &self,
        tree: &mut Tree,
        parent: SpanId,
        attempt: &ProbeAttempt,
        is_fault: bool,
    ) {
        let times = (attempt.start_boot_ns, attempt.end_boot_ns);
        // Of two probes that begin at once, and of attempts of one, each has an id of its own.
        let begin = attempt.start_boot_ns.to_string();
        let parts = [self.name(), &self.who.identity.container_id, attempt.probe.label(), &*begin];
        tree.add(parent, names::PROBE_ATTEMPT, &parts, times, |span| {
            span.attributes.push(attribute(names::CONTAINER, self.name().to_owned()));
            attempts::describe(attempt, span);
            span.error = attempts::problem(attempt).filter(|_| is_fault);
        });
    }

    /// Adds the spans of the attempts for which the kubelet stopped it, if it did. They come before
    /// the termination, which begins with that decision.
    fn add_fatal_attempts(
        &self,
        tree: &mut Tree,
        parent: SpanId,
        death: &Death,
        begin_boot_ns: u64,
    ) {
        for attempt in self.attempts.fatal(death.trigger, begin_boot_ns) {
            self.add_attempt(tree, parent, attempt, true);
        }
    }

    /// Adds the span of its termination below `parent`, with what happened in it.
    pub(super) fn add_termination(&self, tree: &mut Tree, parent: SpanId) {
        let Some(death) = self.death() else { return };
        let end = &death.end;
        let begin_boot_ns = self.termination_boot_ns(death);
        self.add_fatal_attempts(tree, parent, death, begin_boot_ns);
        let times = (begin_boot_ns, end.end_boot_ns);
        let termination = self.add(tree, parent, names::TERMINATION, times, |span| {
            span.attributes.extend(self.identity());
            span.attributes.extend(self.of_death(death));
            span.events = self.events(death, begin_boot_ns);
            span.error = self.problem();
        });
        if let Some(run) = death.pre_stop
            && let Some(times) = run.ran_boot_ns
        {
            self.add(tree, termination, names::PRE_STOP, times, |span| {
                span.attributes.push(attribute(names::HANDLER, run.handler.label()));
            });
        }
        if let Some(stop_boot_ns) = end.stop_boot_ns {
            let times = (stop_boot_ns, end.end_boot_ns);
            self.add(tree, termination, names::GRACE_PERIOD, times, |span| self.grace(death, span));
        }
    }

    fn grace(&self, death: &Death, span: &mut Span) {
        if let Some(grace_s) = death.grace_s {
            span.attributes.push(attribute(names::GRACE, number(grace_s)));
        }
        if let Some((used_ns, budget_ns)) = death.grace_used_ns().filter(|(_, of)| *of > 0) {
            let ratio = used_ns as f64 / budget_ns as f64;
            span.attributes.push(attribute(names::GRACE_USED, ratio));
        }
        if death.end.outcome == Outcome::Killed {
            span.error = self.problem();
        }
    }

    fn of_death(&self, death: &Death) -> Vec<KeyValue> {
        let end = &death.end;
        let mut attributes = vec![
            attribute(names::CAUSE, end.cause.label()),
            attribute(names::TRIGGER, death.trigger.label()),
            attribute(names::TRIGGER_SOURCE, death.source.label()),
        ];
        if let Some(ExitStatus::Code(code)) = end.status {
            attributes.push(attribute(names::EXIT_CODE, i64::from(code)));
        }
        if let Some(fatal) = end.fatal {
            attributes.push(attribute(names::SIGNAL, signal::name(fatal.signal)));
            attributes.push(attribute(names::SENDER, fatal.sender.label()));
        }
        if let Some(grace_s) = death.grace_s {
            attributes.push(attribute(names::GRACE, number(grace_s)));
        }
        if let Some(reported) = &self.reported {
            attributes.push(attribute(names::REPORTED, reported.clone()));
        }
        attributes
    }

    /// What happened from `begin_boot_ns` on, in the order of time.
    fn events(&self, death: &Death, begin_boot_ns: u64) -> Vec<SpanEvent> {
        let mut events: Vec<SpanEvent> = Vec::new();
        for (time_boot_ns, oom) in &self.ooms {
            events.push(event(names::OOM_KILL, *time_boot_ns, problem::of_oom(oom)));
        }
        if let Some((time_boot_ns, stop)) = &self.stop {
            let attributes = vec![
                attribute(names::SIGNAL, signal::name(stop.signal)),
                attribute(names::SENDER, stop.sender.label()),
                attribute(names::IGNORED, stop.ignored),
            ];
            events.push(event(names::STOP_SIGNAL, *time_boot_ns, attributes));
        }
        if let Some(time_boot_ns) = self.sigkill_boot_ns {
            events.push(event(names::SIGKILL, time_boot_ns, Vec::new()));
        }
        let cause = vec![attribute(names::CAUSE, death.end.cause.label())];
        events.push(event(names::END, death.end.end_boot_ns, cause));
        events.retain(|event| event.time_boot_ns >= begin_boot_ns);
        events.sort_by_key(|event| event.time_boot_ns);
        events
    }
}
