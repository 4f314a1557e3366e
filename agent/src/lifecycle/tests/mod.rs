//! Tests as data: kernel records in, facts out.

mod ends;
mod inits;
mod oom_details;
mod ooms;
mod orders;
mod requests;
mod shutdowns;
mod starts;
mod units;

use super::fact::{
    Cause, EndSource, Fact, FactKind, FatalSignal, OomFact, OomScope, OomVictim, Outcome, Sender,
    Started, StopSignal, Termination,
};
use super::subject::Birth;
use super::{Input, Lifecycle, Output, SETTLE_NS};
use crate::cgroup::CgroupId;
use crate::event::{
    End, Event, EventKind, Exec, Exit, ExitStatus, Oom, OomLevel, RunningTask, Signal,
    SignalOrigin, SignalResult, Task, TaskKey,
};

const MS: u64 = 1_000_000;
const SEC: u64 = 1_000 * MS;

const HOST: CgroupId = CgroupId(1);
const ROOT: CgroupId = CgroupId(2);
const QOS: CgroupId = CgroupId(3);
const POD: CgroupId = CgroupId(10);
const WEB: CgroupId = CgroupId(11);
const SIDE: CgroupId = CgroupId(12);
const NESTED: CgroupId = CgroupId(13);

const HUP: u32 = 1;
const INT: u32 = 2;
const QUIT: u32 = 3;
const ABRT: u32 = 6;
const KILL: u32 = 9;
const USR1: u32 = 10;
const SEGV: u32 = 11;
const TERM: u32 = 15;
const CHLD: u32 = 17;
const CONT: u32 = 18;
const STOP: u32 = 19;
const TSTP: u32 = 20;
const URG: u32 = 23;
const WINCH: u32 = 28;

fn task(tgid: u32, cgroup: CgroupId, comm: &str) -> Task {
    let key = TaskKey { tgid, start_boot_ns: u64::from(tgid) * MS };
    Task { key, tid: tgid, cgroup, comm: comm.into() }
}

fn init() -> Task {
    task(100, WEB, "web")
}

fn shim() -> Task {
    task(50, HOST, "containerd-shim")
}

fn runc() -> Task {
    task(60, HOST, "runc")
}

/// Scope, victim and number of kills of an OOM.
type OomKill = (Option<OomScope>, OomVictim, u32);

fn oom_level(cgroup: CgroupId, oom: u64, oom_kill: u64) -> OomLevel {
    OomLevel { cgroup, oom, oom_kill, charged: None }
}

/// Record of an OOM kill of which the kernel tells the counters and no memory.
fn oom_record(victim: Task, current: Task, levels: Vec<OomLevel>) -> EventKind {
    EventKind::Oom(Oom { victim, resident: None, current, levels })
}

fn kernel_event(time_boot_ns: u64, kind: EventKind) -> Event {
    Event { time_boot_ns, kind }
}

fn exec(at: u64, task: Task, parent: Task, argv: &[&str]) -> Event {
    let mut bytes = Vec::new();
    for arg in argv {
        bytes.extend_from_slice(arg.as_bytes());
        bytes.push(0);
    }
    bytes.truncate(64);
    kernel_event(at, EventKind::Exec(Exec { task, parent, argv: bytes }))
}

fn plain(signal: u32, sender: Task, target: Task) -> Signal {
    Signal {
        target,
        sender,
        signal,
        result: SignalResult::Delivered,
        origin: SignalOrigin::User,
        target_dying: false,
        sender_dying: false,
    }
}

fn signal(at: u64, signal: Signal) -> Event {
    kernel_event(at, EventKind::Signal(signal))
}

/// A deadly signal: it has marked its target as dying before `signal_generate` runs.
fn deadly(at: u64, number: u32, sender: Task, target: Task) -> Event {
    signal(at, Signal { target_dying: true, ..plain(number, sender, target) })
}

fn exit(at: u64, task: Task, status: ExitStatus) -> Event {
    let exit = Exit {
        task,
        status,
        parent_cgroup: HOST,
        cpu_runtime_ns: 7,
        children_cpu_ns: 3,
        children: 2,
    };
    kernel_event(at, EventKind::Exit(exit))
}

fn end(at: u64, task: Task, status: ExitStatus) -> Event {
    let end = End { task, status, parent_cgroup: HOST, cpu_runtime_ns: 7, children_cpu_ns: 3 };
    kernel_event(at, EventKind::End(end))
}

fn empty(at: u64, cgroup: CgroupId) -> Event {
    kernel_event(at, EventKind::CgroupEmpty(cgroup))
}

fn removed(at: u64, cgroup: CgroupId) -> Event {
    kernel_event(at, EventKind::CgroupRemoved(cgroup))
}

fn fatal(signal: u32, sender: Sender) -> Option<FatalSignal> {
    Some(FatalSignal { signal, sender })
}

const KILLED: ExitStatus = ExitStatus::Signal { signal: KILL, core: false };

struct Node {
    lifecycle: Lifecycle,
    out: Vec<Output>,
    /// The answer to each look.
    runs: Vec<RunningTask>,
    tasks_read: bool,
    records_complete: bool,
    looks: usize,
}

impl Node {
    fn new() -> Self {
        Self {
            lifecycle: Lifecycle::new(),
            out: Vec::new(),
            runs: Vec::new(),
            tasks_read: true,
            records_complete: false,
            looks: 0,
        }
    }

    /// A new container whose init executes at 1 s.
    fn running() -> Self {
        let mut node = Self::new();
        node.made(WEB, false);
        node.event(&exec(SEC, init(), shim(), &["/web", "--port=80"]));
        node.out.clear();
        node
    }

    fn apply(&mut self, input: Input<'_>) {
        self.lifecycle.apply(input, &mut self.out);
        let is_look = |output: &mut Output| matches!(output, Output::Look { .. });
        for look in self.out.extract_if(.., is_look).collect::<Vec<_>>() {
            let Output::Look { container } = look else { continue };
            self.looks += 1;
            let running = &*self.runs;
            let (tasks_read, records_complete) = (self.tasks_read, self.records_complete);
            let looked = Input::Looked { container, running, tasks_read, records_complete };
            self.lifecycle.apply(looked, &mut self.out);
        }
    }

    fn made(&mut self, container: CgroupId, existing: bool) {
        self.made_seen(container, existing, &[]);
    }

    fn made_seen(&mut self, container: CgroupId, existing: bool, oom_seen: &[OomLevel]) {
        let pod = Some(POD);
        let birth = Birth::new((!existing).then_some(SEC / 2), SEC / 2);
        self.apply(Input::ContainerMade { container, pod, birth, is_unit: false, oom_seen });
    }

    /// A new unit of a plain machine.
    fn unit(&mut self, container: CgroupId) {
        let birth = Birth::Seen { boot_ns: SEC / 2 };
        let made =
            Input::ContainerMade { container, pod: None, birth, is_unit: true, oom_seen: &[] };
        self.apply(made);
    }

    /// From now on these processes run, with parents outside.
    fn runs(&mut self, tasks: &[Task]) {
        let outside = |task: &Task| RunningTask { task: *task, parent_cgroup: HOST };
        self.runs = tasks.iter().map(outside).collect();
    }

    fn event(&mut self, event: &Event) {
        self.apply(Input::Event(event));
    }

    fn events(&mut self, events: &[Event]) {
        for event in events {
            self.event(event);
        }
    }

    fn found(&mut self, task: Task, parent_cgroup: CgroupId) {
        self.apply(Input::Running(&RunningTask { task, parent_cgroup }));
    }

    /// Takes out the begins and ends of exec sessions; returns whose they are.
    fn sessions(&mut self) -> Vec<TaskKey> {
        let is_session = |output: &mut Output| {
            matches!(output, Output::SessionBegan { .. } | Output::SessionEnded { .. })
        };
        let taken = self.out.extract_if(.., is_session);
        taken
            .filter_map(|output| match output {
                Output::SessionBegan { begin, .. } => Some(begin.key),
                Output::SessionEnded { end, .. } => Some(end.key),
                _ => None,
            })
            .collect()
    }

    fn tick(&mut self, now_boot_ns: u64) {
        self.apply(Input::Tick { now_boot_ns });
    }

    /// Ticks as the owner does: at each deadline, up to `now_boot_ns`.
    fn run_to(&mut self, now_boot_ns: u64) {
        while let Some(deadline) = self.lifecycle.next_deadline()
            && deadline <= now_boot_ns
        {
            let looks = self.looks;
            self.tick(deadline);
            // The answer to a look may settle something that was due before.
            let looked = self.looks > looks;
            assert!(self.lifecycle.next_deadline() > Some(deadline) || self.idle() || looked);
        }
        self.tick(now_boot_ns);
    }

    fn idle(&self) -> bool {
        self.lifecycle.next_deadline().is_none()
    }

    /// The container that the last fact is about.
    fn last_subject(&self) -> Option<CgroupId> {
        self.out.iter().rev().find_map(|output| match output {
            Output::Fact { container, .. } => Some(*container),
            _ => None,
        })
    }

    fn facts(&self) -> Vec<Fact> {
        self.out
            .iter()
            .filter_map(|output| match output {
                Output::Fact { fact, .. } => Some(fact.clone()),
                _ => None,
            })
            .collect()
    }

    fn kinds(&self) -> Vec<FactKind> {
        self.facts().into_iter().map(|fact| fact.kind).collect()
    }

    fn starts(&self) -> Vec<Started> {
        self.kinds()
            .into_iter()
            .filter_map(|kind| if let FactKind::Started(s) = kind { Some(s) } else { None })
            .collect()
    }

    fn stops(&self) -> Vec<(u64, StopSignal)> {
        self.facts()
            .into_iter()
            .filter_map(|fact| match fact.kind {
                FactKind::StopSignal(stop) => Some((fact.time_boot_ns, stop)),
                _ => None,
            })
            .collect()
    }

    fn ooms(&self) -> Vec<OomFact> {
        self.kinds()
            .into_iter()
            .filter_map(|kind| if let FactKind::Oom(oom) = kind { Some(oom) } else { None })
            .collect()
    }

    /// Scope, victim and number of kills of each OOM.
    fn oom_kills(&self) -> Vec<OomKill> {
        self.ooms().into_iter().map(|oom| (oom.scope, oom.victim, oom.killed)).collect()
    }

    fn deaths(&self) -> Vec<(u64, Termination)> {
        self.facts()
            .into_iter()
            .filter_map(|fact| match fact.kind {
                FactKind::Ended(termination) => Some((fact.time_boot_ns, termination)),
                _ => None,
            })
            .collect()
    }

    /// The only death.
    fn death(&self) -> (u64, Termination) {
        let deaths = self.deaths();
        assert_eq!(deaths.len(), 1, "{:#?}", self.out);
        deaths[0]
    }
}

const EXITED: ExitStatus = ExitStatus::Code(0);

fn term() -> Signal {
    plain(TERM, runc(), init())
}

fn death_of(events: &[Event]) -> (u64, Termination) {
    let mut node = Node::running();
    node.made(SIDE, false);
    node.events(events);
    node.run_to(60 * SEC);
    node.death()
}
