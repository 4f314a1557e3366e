//! Orders of records: any order gives the same facts, and any records are safe.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::fact::{OomScope, OomVictim, Sender};
use super::*;
use crate::event::Charged;

/// Records of a shutdown that ends in an OOM kill of the group.
fn oom_death() -> Vec<Event> {
    let kill =
        Signal { origin: SignalOrigin::Kernel, target_dying: true, ..plain(KILL, init(), init()) };
    let mark = |at, victim: Task, count| {
        let levels = vec![oom_level(WEB, 1, count), oom_level(POD, 0, 0)];
        kernel_event(at, oom_record(victim, init(), levels))
    };
    vec![
        exec(SEC, init(), shim(), &["/web"]),
        signal(SEC + 10 * MS, plain(TERM, runc(), init())),
        signal(SEC + 11 * MS, plain(TERM, shim(), init())),
        signal(SEC + 20 * MS, kill),
        mark(SEC + 21 * MS, init(), 1),
        mark(SEC + 22 * MS, task(101, WEB, "child"), 2),
        exit(SEC + 23 * MS, init(), KILLED),
        exit(SEC + 24 * MS, init(), KILLED),
        end(SEC + 25 * MS, init(), KILLED),
        end(SEC + 26 * MS, init(), KILLED),
        empty(SEC + 24 * MS, WEB),
        removed(SEC + 30 * MS, WEB),
    ]
}

/// Records of a shutdown that ends in a SIGKILL after the grace period.
fn killed_death() -> Vec<Event> {
    vec![
        exec(SEC, init(), shim(), &["/web"]),
        signal(SEC + 9 * MS, plain(HUP, runc(), init())),
        signal(SEC + 10 * MS, plain(TERM, runc(), init())),
        signal(SEC + 12 * MS, plain(HUP, task(9, WEB, "sh"), init())),
        deadly(SEC + 20 * MS, KILL, runc(), init()),
        signal(
            SEC + 21 * MS,
            Signal {
                result: SignalResult::Ignored,
                target_dying: true,
                ..plain(KILL, shim(), init())
            },
        ),
        exit(SEC + 23 * MS, init(), KILLED),
        end(SEC + 25 * MS, init(), KILLED),
        empty(SEC + 26 * MS, WEB),
        removed(SEC + 30 * MS, WEB),
    ]
}

fn play(events: &[Event]) -> Node {
    let mut node = Node::new();
    node.made(WEB, false);
    node.events(events);
    node.run_to(2 * SEC);
    node
}

proptest! {
    #[test]
    fn order_of_the_records_of_an_oom_death_does_not_matter(
        events in Just(oom_death()).prop_shuffle(),
    ) {
        let node = play(&events);
        let expected = Termination {
            cause: Cause::Oom,
            status: Some(KILLED),
            stop_boot_ns: Some(SEC + 10 * MS),
            end_boot_ns: SEC + 26 * MS,
            outcome: Outcome::Killed,
            fatal: fatal(KILL, Sender::Kernel),
            end_source: EndSource::ParentNotified,
            init_cpu_ns: Some(7),
        };
        prop_assert_eq!(node.death(), (SEC + 26 * MS, expected));
        let oom = (Some(OomScope::Container), OomVictim::Init, 2);
        prop_assert_eq!(node.oom_kills(), vec![oom]);
        prop_assert_eq!(node.starts().len(), 1);
        prop_assert_eq!(node.stops().len(), 1);
        prop_assert!(node.lifecycle.is_empty() && node.idle());
    }

    #[test]
    fn order_of_the_records_of_a_kill_does_not_matter(
        events in Just(killed_death()).prop_shuffle(),
    ) {
        let node = play(&events);
        let (time, death) = node.death();
        prop_assert_eq!(time, SEC + 25 * MS);
        prop_assert_eq!(death.cause, Cause::KilledAfterGrace);
        prop_assert_eq!(death.shutdown_ns(), Some(15 * MS));
        prop_assert_eq!(death.fatal, fatal(KILL, Sender::Runtime));
        prop_assert_eq!(node.kinds().len(), 4, "{:?}", node.kinds());
        prop_assert!(node.lifecycle.is_empty() && node.idle());
    }

    #[test]
    fn each_of_the_three_end_records_suffices(
        events in Just(killed_death()).prop_shuffle(),
        keep in select(vec![1_u8, 2, 3, 4, 5, 6, 7]),
        with_exit in any::<bool>(),
    ) {
        let events: Vec<Event> = events
            .into_iter()
            .filter(|event| match event.kind {
                EventKind::End(_) => keep & 1 != 0,
                EventKind::CgroupEmpty(_) => keep & 2 != 0,
                EventKind::CgroupRemoved(_) => keep & 4 != 0,
                EventKind::Exit(_) => with_exit,
                _ => true,
            })
            .collect();
        let (time, death) = play(&events).death();
        let expected = match keep {
            1 | 3 | 5 | 7 => (SEC + 25 * MS, EndSource::ParentNotified),
            2 | 6 => (SEC + 26 * MS, EndSource::CgroupEmpty),
            _ => (SEC + 30 * MS, EndSource::CgroupRemoved),
        };
        prop_assert_eq!((time, death.end_source), expected);
        prop_assert_eq!(death.cause, Cause::KilledAfterGrace);
        prop_assert_eq!(death.fatal, fatal(KILL, Sender::Runtime));
        prop_assert_eq!(death.status.is_some(), with_exit || keep & 1 != 0);
    }
}

fn any_cgroup() -> impl Strategy<Value = CgroupId> {
    select(vec![WEB, SIDE, NESTED, POD, HOST, CgroupId(u64::MAX)])
}

fn any_task() -> impl Strategy<Value = Task> {
    let comm = select(vec!["web", "runc", "3", "runc:[2:INIT]", "pause", "containerd-shim", ""]);
    (0..6_u32, any_cgroup(), comm).prop_map(|(tgid, cgroup, comm)| task(tgid, cgroup, comm))
}

fn any_status() -> impl Strategy<Value = ExitStatus> {
    any::<u32>().prop_map(ExitStatus::from_wait_status)
}

fn any_signal() -> impl Strategy<Value = EventKind> {
    let result = select(vec![
        SignalResult::Delivered,
        SignalResult::Ignored,
        SignalResult::AlreadyPending,
        SignalResult::Overflow,
        SignalResult::DeliveredWithoutInfo,
        SignalResult::Unknown(7),
    ]);
    let origin = select(vec![SignalOrigin::User, SignalOrigin::Kernel]);
    let number = prop_oneof![select(vec![HUP, QUIT, TERM, KILL, SEGV]), any::<u32>()];
    let flags = (any::<bool>(), any::<bool>());
    (any_task(), any_task(), number, result, origin, flags).prop_map(
        |(target, sender, signal, result, origin, (target_dying, sender_dying))| {
            EventKind::Signal(Signal {
                target,
                sender,
                signal,
                result,
                origin,
                target_dying,
                sender_dying,
            })
        },
    )
}

fn any_level() -> impl Strategy<Value = OomLevel> {
    let charged = (any::<u64>(), any::<Option<u64>>())
        .prop_map(|(usage_bytes, limit_bytes)| Charged { usage_bytes, limit_bytes });
    (any_cgroup(), 0..4_u64, 0..4_u64, proptest::option::of(charged))
        .prop_map(|(cgroup, oom, oom_kill, charged)| OomLevel { cgroup, oom, oom_kill, charged })
}

fn any_kind() -> impl Strategy<Value = EventKind> {
    let argv = select(vec![b"runc\0init\0".to_vec(), b"/web\0".to_vec(), Vec::new()]);
    let levels = proptest::collection::vec(any_level(), 0..5);
    let left = || (any_task(), any_status(), any_cgroup(), any::<u64>());
    prop_oneof![
        3 => any_signal(),
        2 => (any_task(), any_task(), argv)
            .prop_map(|(task, parent, argv)| EventKind::Exec(Exec { task, parent, argv })),
        2 => left().prop_map(|(task, status, parent_cgroup, cpu_runtime_ns)| {
            EventKind::Exit(Exit { task, status, parent_cgroup, cpu_runtime_ns, children_cpu_ns: 0, children: 1 })
        }),
        2 => left().prop_map(|(task, status, parent_cgroup, cpu_runtime_ns)| {
            EventKind::End(End { task, status, parent_cgroup, cpu_runtime_ns, children_cpu_ns: 0 })
        }),
        2 => (any_task(), any_task(), levels)
            .prop_map(|(victim, current, levels)| oom_record(victim, current, levels)),
        1 => any_cgroup().prop_map(EventKind::CgroupEmpty),
        1 => any_cgroup().prop_map(EventKind::CgroupRemoved),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Made { container: CgroupId, existing: bool, seen: Vec<OomLevel> },
    Unit(CgroupId),
    Runs(Vec<Task>, bool),
    StopSignal(u32),
    Deleted(Option<u64>),
    Nested(CgroupId),
    Running(Task, CgroupId),
    WalkDone(bool),
    Event(Event),
    Tick(u64),
    Flush(u64),
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 0..SEC, 1 => select(vec![0, u64::MAX - 1, u64::MAX])]
}

fn any_step() -> impl Strategy<Value = Step> {
    let seen = proptest::collection::vec(any_level(), 0..3);
    prop_oneof![
        3 => (any_cgroup(), any::<bool>(), seen)
            .prop_map(|(container, existing, seen)| Step::Made { container, existing, seen }),
        1 => any_cgroup().prop_map(Step::Unit),
        1 => (proptest::collection::vec(any_task(), 0..4), any::<bool>())
            .prop_map(|(tasks, complete)| Step::Runs(tasks, complete)),
        1 => select(vec![HUP, QUIT, KILL, 0]).prop_map(Step::StopSignal),
        1 => proptest::option::of(any_time()).prop_map(Step::Deleted),
        1 => any_cgroup().prop_map(Step::Nested),
        1 => (any_task(), any_cgroup()).prop_map(|(task, parent)| Step::Running(task, parent)),
        1 => any::<bool>().prop_map(Step::WalkDone),
        20 => (any_time(), any_kind())
            .prop_map(|(at, kind)| Step::Event(kernel_event(at, kind))),
        3 => any_time().prop_map(Step::Tick),
        1 => any_time().prop_map(Step::Flush),
    ]
}

fn run(steps: &[Step]) -> Node {
    let mut node = Node::new();
    for step in steps {
        match step {
            Step::Made { container, existing, seen } => {
                node.made_seen(*container, *existing, seen);
            }
            Step::Unit(cgroup) => node.unit(*cgroup),
            Step::Runs(tasks, complete) => {
                node.runs(tasks);
                node.records_complete = *complete;
                node.tasks_read = tasks.len() != 1;
            }
            Step::StopSignal(signal) => {
                node.apply(Input::KnownStopSignal { container: WEB, signal: *signal });
            }
            Step::Deleted(Some(at)) => {
                let (since_boot_ns, noticed_boot_ns) = (at.saturating_sub(SEC), *at);
                node.apply(Input::KillBegins { container: WEB, since_boot_ns, noticed_boot_ns });
            }
            Step::Deleted(None) => node.apply(Input::NoKill { container: WEB }),
            Step::Nested(cgroup) => {
                node.apply(Input::NestedMade { cgroup: *cgroup, container: WEB });
            }
            Step::Running(task, parent) => node.found(*task, *parent),
            Step::WalkDone(tasks_read) => {
                node.apply(Input::WalkDone { tasks_read: *tasks_read });
            }
            Step::Event(event) => node.event(event),
            Step::Tick(now) => node.tick(*now),
            Step::Flush(now) => node.apply(Input::Flush { now_boot_ns: *now }),
        }
        node.lifecycle.check();
    }
    node
}

impl Lifecycle {
    /// Invariants that hold at any time.
    fn check(&self) {
        let due: Vec<_> = self.due.iter().map(|(time, id)| (*id, *time)).collect();
        let mut deadlines: Vec<_> = self
            .containers
            .iter()
            .filter_map(|(id, entry)| Some((entry.container.deadline()?, *id)))
            .collect();
        deadlines.sort_unstable();
        let deadlines: Vec<_> = deadlines.into_iter().map(|(time, id)| (id, time)).collect();
        assert_eq!(due, deadlines);
        assert!(self.inits.len() <= self.containers.len());
        assert_eq!(
            self.pods.values().sum::<usize>(),
            self.containers.values().filter(|entry| entry.container.pod().is_some()).count()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_input_gives_the_same_answer_and_at_most_one_death_a_container(
        steps in proptest::collection::vec(any_step(), 0..60),
    ) {
        let (one, other) = (run(&steps), run(&steps));
        prop_assert_eq!(&one.out, &other.out);
        // Between two that forget it, a container starts once, stops once and dies once.
        let mut seen: Vec<(CgroupId, u8)> = Vec::new();
        for output in &one.out {
            match output {
                Output::Forget { container } => seen.retain(|(id, _)| id != container),
                Output::ReadLast { container } => {
                    prop_assert!(!seen.contains(&(*container, 3)), "read after its death");
                }
                Output::Fact { container, fact: Fact { kind, .. } } => {
                    let index = match kind {
                        FactKind::Started(_) => 0,
                        FactKind::StopSignal(_) => 1,
                        FactKind::KilledAfterStopSignal => 2,
                        FactKind::Ended(_) => 3,
                        FactKind::StartFailed => 4,
                        FactKind::Oom(_) => continue,
                        other => panic!("the kernel half does not conclude {other:?}"),
                    };
                    prop_assert!(!seen.contains(&(*container, index)), "{:#?}", one.out);
                    prop_assert!(index == 0 || index == 4 || seen.contains(&(*container, 0)));
                    seen.push((*container, index));
                }
                Output::SetInit { .. }
                | Output::Look { .. }
                | Output::SessionBegan { .. }
                | Output::SessionEnded { .. } => {}
            }
        }
    }
}
