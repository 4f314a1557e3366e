//! Units of a plain machine: control processes and daemons that fork.

use super::*;

fn systemd() -> Task {
    task(1, HOST, "systemd")
}

fn process(tgid: u32, at: u64, comm: &str) -> Task {
    let key = TaskKey { tgid, start_boot_ns: at };
    Task { key, ..task(tgid, WEB, comm) }
}

fn executes(task: Task) -> Event {
    exec(task.key.start_boot_ns + MS, task, systemd(), &["x"])
}

/// Events of a task's end, after which the cgroup is empty.
fn leaves(at: u64, task: Task, status: ExitStatus) -> [Event; 3] {
    [exit(at, task, status), empty(at + 1, WEB), end(at + 2, task, status)]
}

fn unit() -> Node {
    let mut node = Node::new();
    node.unit(WEB);
    node
}

const FAILED: ExitStatus = ExitStatus::Code(1);

#[test]
fn main_process_follows_those_that_prepare() {
    let mut node = unit();
    let (one, two) = (process(100, SEC, "mkdir"), process(101, SEC + 20 * MS, "wait-for-it"));
    let main = process(102, 5 * SEC, "daemon");
    node.event(&executes(one));
    node.events(&leaves(SEC + 10 * MS, one, EXITED));
    node.event(&executes(two));
    node.events(&leaves(5 * SEC - MS, two, EXITED));
    node.event(&executes(main));
    node.run_to(60 * SEC);
    assert_eq!((node.deaths(), node.starts().len()), (vec![], 1));
    assert_eq!(node.lifecycle.init_of(WEB), Some(main.key));
    assert_eq!(node.out.last(), Some(&Output::SetInit { container: WEB, tgid: 102 }));
    // A reload's control process comes and goes.
    let reload = process(103, 70 * SEC, "kill");
    node.events(&[executes(reload), end(71 * SEC, reload, FAILED)]);
    node.event(&signal(80 * SEC, plain(TERM, systemd(), main)));
    node.events(&leaves(80 * SEC + 200 * MS, main, EXITED));
    node.event(&removed(80 * SEC + 250 * MS, WEB));
    node.run_to(90 * SEC);
    let (_, death) = node.death();
    assert_eq!(death.shutdown_ns(), Some(200 * MS + 2));
    assert_eq!((death.cause, death.status), (Cause::Completed, Some(EXITED)));
}

#[test]
fn daemon_lives_on_when_its_parent_leaves() {
    let mut node = unit();
    let (parent, daemon) = (process(100, SEC, "forkd"), process(101, SEC + 2 * MS, "forkd"));
    node.event(&executes(parent));
    node.runs(&[daemon, process(102, 2 * SEC, "worker")]);
    node.events(&[exit(SEC + 50 * MS, parent, EXITED), end(SEC + 51 * MS, parent, EXITED)]);
    node.run_to(30 * SEC);
    assert_eq!((node.deaths(), node.looks), (vec![], 1));
    assert_eq!(node.lifecycle.init_of(WEB), Some(daemon.key));
    node.event(&signal(40 * SEC, plain(TERM, systemd(), daemon)));
    assert_eq!(node.stops().len(), 1);
    node.events(&leaves(40 * SEC + 200 * MS, daemon, EXITED));
    node.run_to(50 * SEC);
    assert_eq!(node.death().1.shutdown_ns(), Some(200 * MS + 2));
}

#[test]
fn daemon_that_cannot_be_found_ends_with_its_cgroup() {
    let mut node = unit();
    node.tasks_read = false;
    let parent = process(100, SEC, "forkd");
    node.events(&[executes(parent), end(SEC + 50 * MS, parent, EXITED)]);
    node.run_to(30 * SEC);
    assert_eq!((node.deaths(), node.looks), (vec![], 1));
    node.event(&empty(40 * SEC, WEB));
    node.run_to(50 * SEC);
    let (time, death) = node.death();
    assert_eq!((time, death.status, death.end_source), (40 * SEC, None, EndSource::CgroupEmpty));
    assert_eq!(death.cause, Cause::Unknown);
}

#[test]
fn unit_ends_with_its_last_process_and_the_status_of_the_main() {
    // It was stopped, or it failed: what remains is no daemon.
    for (stops, status) in [(true, EXITED), (false, FAILED)] {
        let mut node = unit();
        let main = process(100, SEC, "nginx");
        node.event(&executes(main));
        node.runs(&[process(101, SEC + 2 * MS, "nginx")]);
        if stops {
            node.event(&signal(10 * SEC, plain(TERM, systemd(), main)));
        }
        node.events(&[exit(11 * SEC, main, status), end(11 * SEC, main, status)]);
        node.run_to(12 * SEC);
        assert_eq!((node.deaths(), node.looks), (vec![], 0));
        node.event(&empty(13 * SEC, WEB));
        node.run_to(20 * SEC);
        let (time, death) = node.death();
        assert_eq!((time, death.status), (13 * SEC, Some(status)));
        assert_eq!(death.shutdown_ns(), stops.then_some(3 * SEC));
    }
}

#[test]
fn what_stays_behind_for_good_does_not_keep_a_unit_alive() {
    // KillMode=process: the shims of containerd.
    let mut node = unit();
    let main = process(100, SEC, "containerd");
    node.events(&[executes(main), signal(10 * SEC, plain(TERM, systemd(), main))]);
    node.events(&[exit(11 * SEC, main, EXITED), end(11 * SEC, main, EXITED)]);
    node.run_to(100 * SEC);
    assert_eq!((node.deaths(), node.lifecycle.open_shutdowns(0).count()), (vec![], 0));
    node.run_to(102 * SEC);
    let (time, death) = node.death();
    assert_eq!((time, death.shutdown_ns()), (11 * SEC, Some(SEC)));
}

#[test]
fn restart_beside_what_stays_behind_goes_on() {
    let mut node = unit();
    let (main, next) = (process(100, SEC, "containerd"), process(200, 12 * SEC, "containerd"));
    node.events(&[executes(main), signal(10 * SEC, plain(TERM, systemd(), main))]);
    node.events(&[exit(11 * SEC, main, EXITED), end(11 * SEC, main, EXITED), executes(next)]);
    node.run_to(3600 * SEC);
    assert_eq!((node.deaths(), node.lifecycle.init_of(WEB)), (vec![], Some(next.key)));
    // Its end is its own, though it lived shorter than a command before the first.
    node.events(&leaves(3600 * SEC + MS, next, FAILED));
    node.event(&removed(3600 * SEC + 2 * MS, WEB));
    node.run_to(3700 * SEC);
    let (_, death) = node.death();
    assert_eq!((death.status, death.stop_boot_ns), (Some(FAILED), None));
}

#[test]
fn next_process_of_a_unit_may_come_late() {
    let mut node = unit();
    let (before, main) = (process(100, SEC, "mkdir"), process(101, 3 * SEC, "daemon"));
    node.event(&executes(before));
    node.events(&leaves(SEC + 10 * MS, before, EXITED));
    node.run_to(3 * SEC);
    node.event(&executes(main));
    node.run_to(60 * SEC);
    assert_eq!((node.deaths(), node.lifecycle.init_of(WEB)), (vec![], Some(main.key)));
}

#[test]
fn unit_after_which_nobody_is_left_has_ended() {
    // Its cgroup's emptiness is reported late, or not at all.
    let mut node = unit();
    let main = process(100, SEC, "job");
    node.events(&[executes(main), exit(5 * SEC, main, EXITED), end(5 * SEC, main, EXITED)]);
    node.run_to(5 * SEC + 500 * MS);
    node.event(&empty(5 * SEC + 500 * MS, WEB));
    node.run_to(60 * SEC);
    let (time, death) = node.death();
    assert_eq!((node.looks, death.end_source), (1, EndSource::ParentNotified));
    assert_eq!((time, death.status), (5 * SEC, Some(EXITED)));
}

#[test]
fn failed_command_that_may_fail_is_not_the_main_process() {
    let mut node = unit();
    let (before, main) = (process(100, SEC, "false"), process(101, SEC + 20 * MS, "daemon"));
    node.event(&executes(before));
    node.events(&leaves(SEC + 10 * MS, before, FAILED));
    node.event(&executes(main));
    node.run_to(60 * SEC);
    assert_eq!(node.deaths(), []);
    node.events(&leaves(70 * SEC, main, EXITED));
    node.run_to(80 * SEC);
    assert_eq!(node.death().1.cause, Cause::Completed);
}

#[test]
fn crash_is_told_though_a_command_follows_it() {
    let mut node = unit();
    let (main, after) = (process(100, SEC, "daemon"), process(101, 70 * SEC + 5 * MS, "cleanup"));
    node.event(&executes(main));
    node.event(&deadly(70 * SEC, KILL, task(80, HOST, "bash"), main));
    node.events(&leaves(70 * SEC, main, KILLED));
    node.event(&executes(after));
    node.events(&leaves(70 * SEC + 50 * MS, after, EXITED));
    node.run_to(80 * SEC);
    let (time, death) = node.death();
    assert_eq!(death.cause, Cause::KilledWithoutStopSignal);
    assert_eq!((death.status, time), (Some(KILLED), 70 * SEC + 50 * MS + 2));
}

#[test]
fn command_after_a_stop_is_no_main_process() {
    let mut node = unit();
    let (main, after) = (process(100, SEC, "daemon"), process(101, 71 * SEC, "cleanup"));
    node.event(&executes(main));
    node.event(&signal(70 * SEC, plain(TERM, systemd(), main)));
    node.events(&[exit(71 * SEC - MS, main, EXITED), end(71 * SEC - MS, main, EXITED)]);
    node.event(&executes(after));
    node.events(&leaves(71 * SEC + 50 * MS, after, FAILED));
    node.run_to(80 * SEC);
    assert_eq!((node.death().1.status, node.starts().len()), (Some(EXITED), 1));
}

#[test]
fn oom_kill_of_the_main_process_is_its_end() {
    let mut node = unit();
    let (main, after) = (process(100, SEC, "daemon"), process(101, 70 * SEC + 5 * MS, "cleanup"));
    node.event(&executes(main));
    let levels = vec![oom_level(WEB, 1, 1)];
    node.event(&kernel_event(70 * SEC, oom_record(main, main, levels)));
    node.events(&leaves(70 * SEC, main, KILLED));
    node.event(&executes(after));
    node.events(&leaves(70 * SEC + 50 * MS, after, EXITED));
    node.run_to(80 * SEC);
    assert_eq!(node.death().1.cause, Cause::Oom);
}

#[test]
fn container_of_a_runtime_ends_with_its_init() {
    let mut node = Node::running();
    node.runs(&[process(101, SEC + 2 * MS, "left-over")]);
    node.event(&end(10 * SEC, init(), EXITED));
    node.run_to(20 * SEC);
    assert_eq!((node.death().0, node.looks), (10 * SEC, 0));
}
