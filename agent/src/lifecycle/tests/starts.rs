//! Starts: which process is init, and which is not.

use super::super::fact::Sender;
use super::super::session::ExecSessions;
use super::super::who::{is_runtime, is_stage};
use super::*;

fn is_stage_exec(comm: &str, parent: Task, argv: &[&str]) -> bool {
    match exec(0, task(90, WEB, comm), parent, argv).kind {
        EventKind::Exec(exec) => is_stage(&exec),
        _ => false,
    }
}

#[test]
fn first_exec_from_outside_is_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    let started = Started { init: init().key, before_agent: false, is_pause: false };
    let fact = Fact { time_boot_ns: SEC, kind: FactKind::Started(started) };
    assert_eq!(
        node.out,
        [Output::SetInit { container: WEB, tgid: 100 }, Output::Fact { container: WEB, fact }]
    );
    assert_eq!(node.lifecycle.init_of(WEB), Some(init().key));
}

#[test]
fn pause_is_marked() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, task(100, WEB, "pause"), shim(), &["/pause"]));
    assert!(node.starts()[0].is_pause);
}

#[test]
fn stages_of_runtimes_are_known_by_program_and_argument() {
    let argv0s = ["runc", "/usr/bin/runc", "crun", "youki", "/proc/self/exe", "/proc/self/fd/7"];
    let variants = ["/usr/bin/crio-runc", "/usr/bin/crio-crun", "sysbox-runc", "crun-wasm"];
    for argv0 in argv0s.into_iter().chain(variants) {
        assert!(is_stage_exec("x", runc(), &[argv0, "init"]), "{argv0}");
        assert!(!is_stage_exec("x", runc(), &[argv0, "serve"]), "{argv0}");
    }
    for comm in ["runc", "exe", "6", "memfd:runc_clon"] {
        assert!(is_stage_exec(comm, runc(), &["/opt/nvidia/toolkit/wrapper", "init"]), "{comm}");
    }
    assert!(!is_stage_exec("web", runc(), &["/web", "init"]), "the image's own init");
    assert!(!is_stage_exec("systemd", shim(), &["/sbin/init"]));
    assert!(!is_stage_exec("6", runc(), &["6"]), "no argument");
}

#[test]
fn stage_is_known_by_its_short_name_where_argv_is_not_readable_or_cut() {
    assert!(is_stage_exec("exe", runc(), &[]));
    let long = format!("/var/lib/rancher/k3s/data/{}/bin/runc", "0".repeat(64));
    assert!(is_stage_exec("7", runc(), &[&long, "init"]));
    assert!(!is_stage_exec("web", runc(), &[&long, "init"]));
    assert!(!is_stage_exec("web", runc(), &[]));
}

#[test]
fn shim_is_never_the_parent_of_a_stage() {
    assert!(!is_stage_exec("exe", shim(), &["/exe", "init"]));
    assert!(!is_stage_exec("crun", task(51, HOST, "conmon"), &["crun", "init"]));
    assert!(!is_stage_exec("crun", task(51, HOST, "crio-conmon"), &["crun", "init"]));
}

#[test]
fn runtimes_are_known_by_name_and_crun_also_by_its_descriptor() {
    for comm in ["runc", "crun", "3", "memfd:crun_cloned:/proc/self/exe", "runsc", "youki"] {
        assert!(is_runtime(&comm.into()), "{comm}");
    }
    for comm in ["containerd-shim-runc-v2", "conmon", "conmonrs", "runc:[2:INIT]"] {
        assert!(is_runtime(&comm.into()), "{comm}");
    }
    for comm in ["crio-runc", "crio-crun", "crio-conmon", "sysbox-runc", "crun-wasm", "krun"] {
        assert!(is_runtime(&comm.into()), "{comm}");
    }
    for comm in ["", "systemd", "bash", "runcible", "truncate", "memfd:other", "3d"] {
        assert!(!is_runtime(&comm.into()), "{comm}");
    }
}

#[test]
fn stages_before_init_are_neither_init_nor_deaths() {
    let mut node = Node::new();
    node.made(WEB, false);
    let (parent, child) = (task(90, WEB, "runc"), task(91, WEB, "runc:[1:CHILD]"));
    let pid1 = task(92, WEB, "7");
    node.events(&[
        exec(SEC, parent, runc(), &["runc", "init"]),
        exec(SEC + MS, parent, runc(), &["runc", "init"]),
        exit(SEC + 2 * MS, child, ExitStatus::Code(0)),
        end(SEC + 3 * MS, child, ExitStatus::Code(0)),
        exit(SEC + 4 * MS, parent, ExitStatus::Code(0)),
        end(SEC + 5 * MS, parent, ExitStatus::Code(0)),
        exec(SEC + 6 * MS, pid1, runc(), &["runc", "init"]),
    ]);
    node.run_to(3 * SEC);
    assert_eq!(node.out, []);
    // The stage becomes the container's program in the same process.
    let web = Task { comm: "web".into(), ..pid1 };
    node.event(&exec(4 * SEC, web, shim(), &["/web"]));
    assert_eq!(node.starts(), [Started { init: web.key, before_agent: false, is_pause: false }]);
}

#[test]
fn later_execs_of_the_same_process_are_still_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, task(100, WEB, "sh"), shim(), &["sh", "-c", "exec /web"]));
    node.event(&exec(2 * SEC, init(), shim(), &["/web"]));
    assert_eq!(node.starts().len(), 1);
    node.event(&end(3 * SEC, init(), ExitStatus::Code(0)));
    node.run_to(4 * SEC);
    assert_eq!(node.death().0, 3 * SEC);
}

#[test]
fn children_of_the_container_are_not_init() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
    // The parent is outside the child's cgroup, and yet inside the container.
    node.event(&exec(SEC, task(101, NESTED, "child"), task(90, WEB, "sh"), &["child"]));
    assert_eq!(node.out, []);
    node.event(&exec(SEC, task(102, NESTED, "web"), shim(), &["/web"]));
    assert_eq!(node.starts()[0].init.tgid, 102, "init may be nested");
}

#[test]
fn reused_pid_is_another_process() {
    let mut node = Node::running();
    let mut other = init();
    other.key.start_boot_ns += SEC;
    node.event(&exec(2 * SEC, other, shim(), &["probe"]));
    node.event(&end(3 * SEC, other, KILLED));
    node.run_to(4 * SEC);
    assert_eq!(node.sessions(), [other.key, other.key], "another's begin and end");
    assert_eq!(node.out, []);
}

#[test]
fn session_has_its_childrens_time_and_leaves_them_to_a_container_that_lives() {
    let session = task(201, WEB, "sh");
    let ended = |events: &[Event]| {
        let mut node = Node::running();
        node.event(&exec(2 * SEC, session, runc(), &["sh"]));
        node.events(events);
        let ends = node.out.iter().filter_map(|output| match output {
            Output::SessionEnded { end, .. } => Some((end.cpu_ns, end.left_behind)),
            _ => None,
        });
        ends.collect::<Vec<_>>()
    };
    let code = ExitStatus::Code(0);
    let [exits, ends] = [exit(3 * SEC, session, code), end(3 * SEC, session, code)];
    assert_eq!(ended(&[exits.clone(), ends]), [(10, 2), (10, 0)], "they have a new parent by then");
    // With init all of the container ends.
    assert_eq!(ended(&[exit(3 * SEC, init(), KILLED), exits]), [(10, 0)]);
}

#[test]
fn exec_session_makes_no_fact() {
    let mut node = Node::running();
    let (stage, probe) = (task(200, WEB, "6"), task(201, WEB, "cat"));
    node.events(&[
        exec(2 * SEC, stage, runc(), &["runc", "init"]),
        exit(2 * SEC + MS, stage, ExitStatus::Code(0)),
        end(2 * SEC + MS, stage, ExitStatus::Code(0)),
        exec(2 * SEC + 2 * MS, probe, runc(), &["cat", "/ready"]),
        exit(2 * SEC + 3 * MS, probe, ExitStatus::Code(1)),
        end(2 * SEC + 3 * MS, probe, ExitStatus::Code(1)),
        deadly(3 * SEC, KILL, shim(), task(202, WEB, "sleep")),
        end(3 * SEC, task(202, WEB, "sleep"), KILLED),
    ]);
    node.run_to(4 * SEC);
    let ends = node.out.iter().filter_map(|output| match output {
        Output::SessionEnded { end, .. } => Some((end.key.tgid, end.settled, end.status)),
        _ => None,
    });
    let (stage_ended, probe_ended) = (ExitStatus::Code(0), ExitStatus::Code(1));
    let expected = [
        (200, false, stage_ended),
        (200, true, stage_ended),
        (201, false, probe_ended),
        (201, true, probe_ended),
    ];
    assert_eq!(ends.collect::<Vec<_>>(), expected);
    assert_eq!(node.sessions().len(), 5, "the runtime's stage begins none");
    assert_eq!(node.out, []);
}

#[test]
fn container_that_is_removed_without_init_failed_to_start() {
    let mut node = Node::new();
    node.made(WEB, false);
    let stage = task(90, WEB, "runc:[2:INIT]");
    node.events(&[
        exec(SEC, stage, runc(), &["runc", "init"]),
        exit(SEC + MS, stage, ExitStatus::Code(1)),
        end(SEC + MS, stage, ExitStatus::Code(1)),
        empty(SEC + MS, WEB),
        removed(SEC + 2 * MS, WEB),
    ]);
    assert_eq!(node.out, []);
    node.run_to(2 * SEC);
    let time_boot_ns = SEC + 2 * MS;
    let fact = Fact { time_boot_ns, kind: FactKind::StartFailed };
    assert_eq!(
        node.out,
        [Output::Fact { container: WEB, fact }, Output::Forget { container: WEB }]
    );
    assert!(node.lifecycle.is_empty() && node.idle());
}

#[test]
fn cgroup_that_never_had_a_process_makes_no_fact() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&removed(SEC, WEB));
    node.run_to(2 * SEC);
    assert_eq!(node.out, [Output::Forget { container: WEB }]);
}

#[test]
fn existing_container_has_the_oldest_process_from_outside_as_init() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
    node.found(task(300, WEB, "probe"), HOST);
    node.found(init(), HOST);
    node.found(task(30, NESTED, "old"), WEB);
    node.found(task(99, WEB, "runc:[1:CHILD]"), HOST);
    node.found(task(301, WEB, "probe"), HOST);
    assert_eq!(node.out, []);
    node.apply(Input::WalkDone { tasks_read: true });
    let started = Started { init: init().key, before_agent: true, is_pause: false };
    let time_boot_ns = init().key.start_boot_ns;
    let fact = Fact { time_boot_ns, kind: FactKind::Started(started) };
    assert_eq!(
        node.out,
        [Output::SetInit { container: WEB, tgid: 100 }, Output::Fact { container: WEB, fact }]
    );
    node.found(task(40, WEB, "older"), HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    assert_eq!(node.starts().len(), 1, "init is known");
}

#[test]
fn events_of_an_existing_container_wait_for_the_walk() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.events(&[
        exec(SEC, task(200, WEB, "probe"), runc(), &["probe"]),
        signal(SEC, plain(TERM, runc(), init())),
        exit(2 * SEC, init(), ExitStatus::Code(0)),
    ]);
    assert_eq!(node.out, [], "the probe is not init");
    node.found(init(), HOST);
    node.apply(Input::WalkDone { tasks_read: true });
    node.event(&end(2 * SEC, init(), ExitStatus::Code(0)));
    node.run_to(3 * SEC);
    assert_eq!(node.starts()[0].init, init().key);
    assert_eq!(node.stops().len(), 1);
    assert_eq!(node.death().1.shutdown_ns(), Some(SEC));
}

#[test]
fn existing_container_without_processes_is_not_started_yet() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.apply(Input::WalkDone { tasks_read: true });
    node.event(&exec(SEC, task(90, WEB, "6"), runc(), &["runc", "init"]));
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    assert_eq!(node.starts(), [Started { init: init().key, before_agent: false, is_pause: false }]);
}

#[test]
fn exec_in_the_race_with_the_walk_becomes_init_after_it() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    node.apply(Input::WalkDone { tasks_read: true });
    assert_eq!(node.starts(), [Started { init: init().key, before_agent: false, is_pause: false }]);
}

#[test]
fn probe_does_not_become_init_where_tasks_are_unreadable() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.event(&exec(SEC, task(200, WEB, "probe"), runc(), &["probe"]));
    node.apply(Input::WalkDone { tasks_read: false });
    node.event(&exec(2 * SEC, task(201, WEB, "probe"), runc(), &["probe"]));
    node.event(&empty(3 * SEC, WEB));
    node.event(&removed(3 * SEC, WEB));
    node.run_to(4 * SEC);
    assert_eq!(node.sessions().len(), 1);
    assert_eq!(node.out, [Output::Forget { container: WEB }]);
}

#[test]
fn existing_container_that_ends_before_the_walk_is_done_still_dies() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.found(init(), HOST);
    node.events(&[end(SEC, init(), ExitStatus::Code(3)), removed(SEC + MS, WEB)]);
    node.run_to(2 * SEC);
    assert_eq!(node.starts().len(), 1);
    assert_eq!(node.death().1.status, Some(ExitStatus::Code(3)));
    assert!(node.lifecycle.is_empty());
}

#[test]
fn birth_reported_after_the_walk_makes_the_container_new() {
    let mut node = Node::new();
    node.made(WEB, true);
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    node.made(WEB, false);
    assert_eq!(node.starts(), [Started { init: init().key, before_agent: false, is_pause: false }]);
    assert_eq!(node.lifecycle.len(), 1);
}

#[test]
fn events_before_their_container_are_kept_for_it() {
    let mut node = Node::new();
    node.event(&exec(SEC, init(), shim(), &["/web"]));
    node.event(&end(SEC + MS, init(), ExitStatus::Code(0)));
    assert_eq!(node.out, []);
    node.made(WEB, false);
    node.run_to(2 * SEC);
    assert_eq!(node.starts().len(), 1);
    assert_eq!(node.death().0, SEC + MS);
    assert_eq!(node.lifecycle.unmatched(), 0);
}

#[test]
fn events_of_unknown_cgroups_are_counted_and_bounded() {
    let mut node = Node::new();
    for at in 0..100 {
        node.event(&empty(SEC + at, CgroupId(999)));
    }
    assert_eq!(node.lifecycle.unmatched(), 36);
    node.tick(3 * SEC);
    assert_eq!(node.lifecycle.unmatched(), 100);
}

#[test]
fn sessions_are_bounded_and_forget_the_ended_first() {
    let mut sessions = ExecSessions::default();
    let key = |tgid| TaskKey { tgid, start_boot_ns: 0 };
    sessions.insert(key(0), 0);
    for tgid in 1..1000 {
        sessions.insert(key(tgid), SEC);
        sessions.ended(key(tgid), SEC);
    }
    assert_eq!((sessions.len(), sessions.dropped()), (256, 744));
    sessions.insert(key(1000), SEC + SETTLE_NS);
    assert_eq!(sessions.len(), 1);
}

#[test]
fn sessions_without_room_are_counted_and_stay_so() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, task(100, WEB, "web"), shim(), &["/web"]));
    for tgid in 1_000..1_300 {
        node.event(&exec(2 * SEC, task(tgid, WEB, "sh"), shim(), &["sh"]));
    }
    let counted = [("exec_session", 44), ("oom_counter", 0)];
    assert_eq!(node.lifecycle.dropped(), counted);
    node.event(&end(3 * SEC, task(100, WEB, "web"), ExitStatus::Code(0)));
    node.event(&removed(3 * SEC, WEB));
    node.run_to(5 * SEC);
    assert!(node.lifecycle.is_empty());
    assert_eq!(node.lifecycle.dropped(), counted);
}

#[test]
fn senders_are_classified_by_cgroup_first() {
    let cases = [
        (runc(), Sender::Runtime),
        (task(61, HOST, "3"), Sender::Runtime),
        (task(1, HOST, "systemd"), Sender::Host),
        (task(61, WEB, "runc"), Sender::SameContainer),
        (task(61, NESTED, "runc"), Sender::SameContainer),
        (task(61, SIDE, "runc"), Sender::OtherContainer),
        (init(), Sender::Own),
    ];
    for (sender, expected) in cases {
        let mut node = Node::running();
        node.made(SIDE, false);
        node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
        node.event(&deadly(2 * SEC, ABRT, sender, init()));
        node.event(&end(2 * SEC, init(), ExitStatus::Signal { signal: ABRT, core: true }));
        node.run_to(3 * SEC);
        assert_eq!(node.death().1.fatal, fatal(ABRT, expected), "{sender:?}");
    }
}

#[test]
fn many_short_lived_nested_cgroups_are_forgotten() {
    let mut node = Node::running();
    for id in 1_000..2_000 {
        node.apply(Input::NestedMade { cgroup: CgroupId(id), container: WEB });
        node.event(&empty(2 * SEC, CgroupId(id)));
        node.event(&removed(2 * SEC, CgroupId(id)));
    }
    assert_eq!(node.out, [], "a nested cgroup's end is not the container's");
    node.event(&empty(3 * SEC, CgroupId(1_000)));
    node.tick(5 * SEC);
    assert_eq!(node.lifecycle.unmatched(), 1, "long forgotten");
}

#[test]
fn events_before_their_nested_cgroup_are_kept_for_it() {
    let mut node = Node::new();
    node.made(WEB, false);
    node.event(&exec(SEC, task(100, NESTED, "web"), shim(), &["/web"]));
    assert_eq!(node.out, []);
    node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
    assert_eq!(node.starts().len(), 1);
}

#[test]
fn events_that_find_no_room_before_init_is_known_are_counted() {
    let mut node = Node::new();
    node.made(WEB, true);
    for at in 0..100 {
        node.event(&signal(SEC + at, term()));
    }
    let dropped = node.lifecycle.early_dropped();
    assert!((1..100).contains(&dropped), "{dropped}");
    node.event(&removed(2 * SEC, WEB));
    node.run_to(3 * SEC);
    assert!(node.lifecycle.is_empty());
    assert_eq!(node.lifecycle.early_dropped(), dropped, "they stay counted when it is gone");
}
