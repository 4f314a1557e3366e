//! The store over time: restarts, overlaps, retention, first zeros, limits.

use std::time::Duration;

use super::fixture::{
    SECOND, Shown, Tell as _, encode, exited, full_sample, identity, killed_after, poor_sample,
    scrape, started, store, who,
};
use crate::cgroup::CgroupId;
use crate::cgroup::sample::Sample;
use crate::kube::identity::Identity;
use crate::lifecycle::OpenShutdown;
use crate::lifecycle::fact::{
    Cause, Fact, FactKind, FatalSignal, Misreport, OomFact, OomScope, OomVictim, Restart, Sender,
    StopSignal, Termination,
};
use crate::lifecycle::subject::Subject;
use crate::metrics::store::{Store, StoreOptions};
use crate::reader::Reader as _;

const A: CgroupId = CgroupId(1);
const B: CgroupId = CgroupId(2);
const NOTHING: [f64; 0] = [];
const CPU: &str = "container_cpu_usage_seconds_total";

fn one() -> Store {
    let mut store = store();
    store.appear(A, &identity("web-1", "web"), SECOND);
    store
}

fn info_ids(shown: &Shown) -> Vec<String> {
    let family = shown.0.iter().find(|family| family.name == "podvitals_container_info");
    let lines = family.map(|family| &*family.samples).unwrap_or_default();
    lines.iter().map(|line| line.labels["container_id"].clone()).collect()
}

#[test]
fn what_the_kernel_does_not_say_is_no_series() {
    let mut store = one();
    let shown = scrape(&mut store);
    assert_eq!(shown.get(CPU, &[]), NOTHING);
    store.read(A, &poor_sample(1500));
    let shown = scrape(&mut store);
    assert_eq!(shown.get(CPU, &[]), [0.0015]);
    let others = ["container_cpu_limit_cores", "container_memory_usage_bytes", "container_tasks"];
    for name in others.into_iter().chain(["container_memory_events_total"]) {
        assert_eq!(shown.get(name, &[]), NOTHING, "{name}");
    }
}

#[test]
fn a_limit_with_a_period_of_zero_is_none() {
    let mut store = one();
    let mut sample = full_sample();
    sample.cpu.period_us = Some(0);
    store.read(A, &sample);
    assert_eq!(scrape(&mut store).get("container_cpu_limit_cores", &[]), NOTHING);
}

#[test]
fn counters_go_on_over_restarts() {
    let mut store = one();
    store.read(A, &poor_sample(1_000_000));
    store.read_last(A, &poor_sample(1_250_000));
    store.remove(A, 10 * SECOND);
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.25]);
    store.appear(B, &identity("web-1", "web"), 11 * SECOND);
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.25]);
    store.read(B, &poor_sample(500_000));
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.75]);
    // Later than the removal, and still counted; the first is added to the base afterwards.
    store.read_last(A, &poor_sample(1_500_000));
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0]);
    store.expire(80 * SECOND, |_, _| false);
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0]);
    store.read_last(A, &poor_sample(9_000_000));
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0], "too late");
}

#[test]
fn what_is_told_of_one_that_is_gone_counts_by_its_names() {
    let mut store = one();
    let who = who(A, identity("web-1", "web"), SECOND);
    let subject = Subject::Container(who);
    store.read(A, &poor_sample(1_000_000));
    store.die(A, exited(9 * SECOND, 0));
    store.read_last(A, &poor_sample(1_250_000));
    store.remove(A, 10 * SECOND);
    // Its counters are in the base: nothing is held of it.
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.25]);
    store.read_last(A, &poor_sample(9_000_000));
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.25]);
    let misreport = Misreport { reported: "Error".into(), observed: Cause::Completed };
    let restart = Restart { ended_boot_ns: Some(SECOND), started_boot_ns: 8 * SECOND };
    for kind in [FactKind::Misreported(misreport), FactKind::Restarted(restart)] {
        store.fact(&subject, &Fact { time_boot_ns: 9 * SECOND, kind });
    }
    scrape(&mut store);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("termination_reason_mismatch_total", &[]), [1.0]);
    assert_eq!(shown.get("restart_downtime_seconds_count", &[]), [1.0]);
    assert_eq!(shown.get("container_last_restart_downtime_seconds", &[]), [7.0]);
    assert_eq!(shown.get("events_dropped_total", &[("reason", "forgotten")]), [0.0]);
}

#[test]
fn a_counter_never_falls() {
    let mut store = one();
    store.read(A, &poor_sample(2_000_000));
    store.read(A, &poor_sample(1_000_000));
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0]);
    store.read(A, &Sample::default());
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0]);
}

#[test]
fn one_info_and_the_gauges_of_the_newest() {
    let mut store = one();
    let next = Identity { container_id: "new".into(), ..identity("web-1", "web") };
    store.read(A, &full_sample());
    store.tell(CgroupId(1), 5 * SECOND, started());
    store.appear(B, &next, 20 * SECOND);
    let shown = scrape(&mut store);
    assert_eq!(info_ids(&shown), ["new"]);
    assert_eq!(shown.get("container_tasks", &[]), NOTHING, "the newest has no sample yet");
    assert_eq!(shown.get("container_start_time_seconds", &[]), NOTHING);
    assert_eq!(shown.get(CPU, &[]), [12.345678]);
    store.read(B, &full_sample());
    store.remove(A, 21 * SECOND);
    let shown = scrape(&mut store);
    assert_eq!(info_ids(&shown), ["new"]);
    assert_eq!(shown.get("container_tasks", &[]), [12.0]);
    assert_eq!(shown.get(CPU, &[]), [24.691356]);
}

#[test]
fn an_older_instance_that_is_named_late_is_not_the_newest() {
    let mut store = store();
    let newer = Identity { container_id: "new".into(), ..identity("web-1", "web") };
    store.appear(B, &newer, 20 * SECOND);
    store.appear(A, &identity("web-1", "web"), 10 * SECOND);
    assert_eq!(info_ids(&scrape(&mut store)), ["new"]);
}

#[test]
fn a_container_keeps_its_identity() {
    let mut store = one();
    store.appear(A, &identity("other", "web"), 2 * SECOND);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[("pod", "web-1")]), [1.0]);
    assert_eq!(shown.get("container_info", &[]).len(), 1);
}

#[test]
fn gauges_vanish_and_the_rest_is_retained() {
    let mut store = one();
    store.read(A, &full_sample());
    store.tell(CgroupId(1), 2 * SECOND, started());
    store.die(CgroupId(1), exited(9 * SECOND, 0));
    store.remove(A, 10 * SECOND);
    for now in [10, 100, 309] {
        store.expire(now * SECOND, |_, _| false);
        let shown = scrape(&mut store);
        assert_eq!(shown.get("container_tasks", &[]), NOTHING);
        assert_eq!(shown.get("container_start_time_seconds", &[]), NOTHING);
        assert_eq!(shown.get(CPU, &[]), [12.345678]);
        assert_eq!(shown.get("container_info", &[]), [1.0]);
        let last = shown.get("container_last_termination_info", &[("exit_code", "0")]);
        assert_eq!(last, [1_700_000_009.0]);
    }
    store.expire(310 * SECOND, |_, _| false);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[]), NOTHING);
    assert_eq!(shown.get("terminations_total", &[("cause", "completed")]), [1.0]);
    store.expire(3609 * SECOND, |_, _| false);
    assert_eq!(scrape(&mut store).get("terminations_total", &[]).len(), 7);
    store.expire(3610 * SECOND, |_, _| false);
    assert_eq!(scrape(&mut store).get("terminations_total", &[]), NOTHING);
}

#[test]
fn a_short_retention_does_not_mix_up_keys() {
    let mut store =
        Store::new(StoreOptions { retention: Duration::ZERO, ..StoreOptions::default() });
    store.appear(A, &identity("web-1", "web"), SECOND);
    store.remove(A, 2 * SECOND);
    store.expire(3 * SECOND, |_, _| false);
    store.appear(B, &identity("web-2", "web"), 4 * SECOND);
    store.read(A, &poor_sample(7_000_000));
    store.expire(90 * SECOND, |_, _| false);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[("pod", "web-1")]), NOTHING);
    assert_eq!(shown.get("container_info", &[("pod", "web-2")]), [1.0]);
    assert_eq!(shown.get(CPU, &[]), NOTHING);
}

#[test]
fn events_are_at_zero_before_they_happen() {
    let mut store = one();
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &[]), [0.0; 7]);
    assert_eq!(shown.get("oom_events_total", &[]), [0.0; 9]);
    assert_eq!(shown.get("node_oom_events_total", &[]), [0.0; 3]);
    assert_eq!(shown.get("container_restarts_total", &[]), [0.0]);
    assert_eq!(shown.get("shutdown_duration_seconds_count", &[]), [0.0; 2]);
    assert_eq!(shown.get("restart_downtime_seconds_count", &[]), [0.0]);
    let ignored = [("signal", "SIGTERM"), ("sender", "runtime")];
    assert_eq!(shown.get("stop_signal_ignored_total", &ignored), [0.0]);
    assert_eq!(shown.get("fatal_signals_total", &[]), NOTHING);
}

#[test]
fn what_is_made_by_its_first_event_is_at_zero_for_one_scrape() {
    let mut store = one();
    encode(&mut store);
    let crash = Termination {
        cause: Cause::Signal,
        fatal: Some(FatalSignal { signal: 11, sender: Sender::Kernel }),
        ..exited(5 * SECOND, 0)
    };
    store.die(CgroupId(1), crash);
    let unknown = OomFact::plain(None, OomVictim::Child, 1);
    store.tell(CgroupId(1), 5 * SECOND, FactKind::Oom(unknown));
    let segv = [("signal", "SIGSEGV"), ("sender", "kernel")];
    for expected in [0.0, 1.0, 1.0] {
        let shown = scrape(&mut store);
        assert_eq!(shown.get("fatal_signals_total", &segv), [expected]);
        assert_eq!(shown.get("oom_events_total", &[("scope", "unknown")]), [expected]);
        assert_eq!(shown.get("node_oom_events_total", &[("scope", "unknown")]), [expected]);
        assert_eq!(shown.get("terminations_total", &[("cause", "signal")]), [1.0]);
    }
}

#[test]
fn a_kill_at_the_end_of_the_default_grace_period_has_a_bucket_of_its_own() {
    let mut store = one();
    for shutdown_ms in [29_990, 30_030, 30_500] {
        store.die(CgroupId(1), killed_after(100 * SECOND, shutdown_ms * 1_000_000));
    }
    scrape(&mut store);
    let shown = scrape(&mut store);
    let killed =
        |le| shown.get("shutdown_duration_seconds_bucket", &[("outcome", "killed"), ("le", le)]);
    assert_eq!(["10.0", "30.0", "31.0", "60.0"].map(killed), [[0.0], [1.0], [3.0], [3.0]]);
}

#[test]
fn a_life_between_two_scrapes_is_seen_as_an_increase() {
    let mut store = one();
    store.die(CgroupId(1), killed_after(2 * SECOND, SECOND / 2));
    store.remove(A, 3 * SECOND);
    let cause = [("cause", "killed_after_grace")];
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &cause), [0.0]);
    assert_eq!(shown.get("shutdown_duration_seconds_sum", &[]), [0.0, 0.0]);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &cause), [1.0]);
    let killed = [("outcome", "killed")];
    assert_eq!(shown.get("shutdown_duration_seconds_sum", &killed), [0.5]);
    let bucket = [("outcome", "killed"), ("le", "0.3")];
    assert_eq!(shown.get("shutdown_duration_seconds_bucket", &bucket), [0.0]);
    let bucket = [("outcome", "killed"), ("le", "1.0")];
    assert_eq!(shown.get("shutdown_duration_seconds_bucket", &bucket), [1.0]);
}

#[test]
fn facts_may_follow_the_removal() {
    let mut store = one();
    encode(&mut store);
    store.remove(A, 10 * SECOND);
    store.expire(69 * SECOND, |_, _| false);
    let cpu = Termination { init_cpu_ns: Some(2_500_000), ..exited(10 * SECOND, 1) };
    store.die(CgroupId(1), cpu);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &[("cause", "error")]), [1.0]);
    assert_eq!(shown.get(CPU, &[]), [0.0025], "init's own CPU time when nothing else came");
}

#[test]
fn the_last_termination_is_the_last() {
    let mut store = one();
    store.appear(B, &identity("web-1", "web"), 20 * SECOND);
    store.die(CgroupId(2), killed_after(30 * SECOND, SECOND));
    store.die(CgroupId(1), exited(19 * SECOND, 0));
    let shown = scrape(&mut store);
    let name = "container_last_termination_info";
    assert_eq!(shown.get(name, &[]).len(), 1);
    let labels = [
        ("cause", "killed_after_grace"),
        ("trigger", "unknown"),
        ("exit_code", ""),
        ("signal", "SIGKILL"),
        ("sender", "runtime"),
        ("scope", ""),
    ];
    assert_eq!(shown.get(name, &labels), [1_700_000_030.0]);
    assert_eq!(shown.get("container_last_shutdown_seconds", &[]), [1.0]);
}

#[test]
fn the_last_termination_has_the_scope_of_its_own_oom() {
    let mut store = one();
    let name = "container_last_termination_info";
    let oom = |scope, victim| FactKind::Oom(OomFact::plain(Some(scope), victim, 1));
    let died = |end| Termination {
        cause: Cause::Oom,
        fatal: Some(FatalSignal { signal: 9, sender: Sender::Kernel }),
        ..exited(end, 0)
    };
    store.tell(CgroupId(1), 4 * SECOND, oom(OomScope::Pod, OomVictim::Init));
    store.tell(CgroupId(1), 5 * SECOND, oom(OomScope::Container, OomVictim::Child));
    store.die(CgroupId(1), died(6 * SECOND));
    let expected = [("cause", "oom"), ("sender", "kernel"), ("scope", "pod")];
    assert_eq!(scrape(&mut store).get(name, &expected), [1_700_000_006.0]);
    // The next instance's OOM, while this one's death waits for its reason.
    store.tell(CgroupId(1), 9 * SECOND, oom(OomScope::Node, OomVictim::Init));
    store.die(CgroupId(1), died(8 * SECOND));
    let unknown = [("cause", "oom"), ("scope", "unknown")];
    assert_eq!(scrape(&mut store).get(name, &unknown), [1_700_000_008.0]);
    store.die(CgroupId(1), exited(10 * SECOND, 1));
    let other = [("cause", "error"), ("sender", ""), ("scope", "")];
    assert_eq!(scrape(&mut store).get(name, &other), [1_700_000_010.0]);
}

#[test]
fn only_an_ignored_stop_signal_counts() {
    let mut store = one();
    encode(&mut store);
    let stop = StopSignal { signal: 15, sender: Sender::Runtime, ignored: false };
    store.tell(CgroupId(1), 3 * SECOND, FactKind::StopSignal(stop));
    assert_eq!(scrape(&mut store).get("stop_signal_ignored_total", &[]), [0.0]);
    let stop = StopSignal { ignored: true, ..stop };
    store.tell(CgroupId(1), 3 * SECOND, FactKind::StopSignal(stop));
    assert_eq!(scrape(&mut store).get("stop_signal_ignored_total", &[]), [1.0]);
}

#[test]
fn restarts_and_downtime() {
    let mut store = one();
    encode(&mut store);
    let restart = Restart { ended_boot_ns: Some(SECOND), started_boot_ns: 3 * SECOND };
    store.tell(A, 3 * SECOND, FactKind::Restarted(restart));
    let unseen = Restart { ended_boot_ns: None, started_boot_ns: 9 * SECOND };
    store.tell(A, 9 * SECOND, FactKind::Restarted(unseen));
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_restarts_total", &[]), [2.0]);
    assert_eq!(shown.get("container_last_restart_downtime_seconds", &[]), [2.0]);
    assert_eq!(shown.get("restart_downtime_seconds_count", &[]), [1.0]);
}

#[test]
fn a_shutdown_is_open_until_it_is_not() {
    let mut store = one();
    let now = 40 * SECOND;
    let open = OpenShutdown { since_boot_ns: 9 * SECOND, killed: false };
    store.set_terminating(now, [(A, open), (B, open)]);
    let name = "container_terminating_seconds";
    assert_eq!(scrape(&mut store).get(name, &[("killed", "false")]), [31.0]);
    // The old one is still stopping while the new one runs.
    store.appear(B, &identity("web-1", "web"), 50 * SECOND);
    store.set_terminating(now, [(A, OpenShutdown { killed: true, ..open })]);
    assert_eq!(scrape(&mut store).get(name, &[("killed", "true")]), [31.0]);
    store.die(CgroupId(1), killed_after(60 * SECOND, SECOND));
    assert_eq!(scrape(&mut store).get(name, &[]), NOTHING);
    store.set_terminating(now, [(A, open)]);
    store.set_terminating(now, []);
    assert_eq!(scrape(&mut store).get(name, &[]), NOTHING);
}

#[test]
fn pods_come_and_go() {
    let mut store = store();
    store.read_pod(A, "shop", "db-0", &full_sample());
    let name = "pod_memory_events_total";
    assert_eq!(scrape(&mut store).get(name, &[("event", "oom_kill")]), [2.0]);
    store.remove_pod(A, 10 * SECOND);
    store.read_pod(B, "shop", "db-0", &full_sample());
    let shown = scrape(&mut store);
    assert_eq!(shown.get(name, &[("event", "oom_kill")]), [4.0]);
    assert_eq!(shown.get("pod_cpu_limit_cores", &[]), [0.5]);
    store.remove_pod(B, 20 * SECOND);
    store.expire(90 * SECOND, |_, _| false);
    let shown = scrape(&mut store);
    assert_eq!(shown.get(name, &[("event", "oom_kill")]), [4.0]);
    assert_eq!(shown.get("pod_cpu_limit_cores", &[]), NOTHING);
    store.expire(320 * SECOND, |_, _| false);
    assert_eq!(scrape(&mut store).get(name, &[]), NOTHING);
}

#[test]
fn a_crash_loop_does_not_pile_up() {
    let mut store = store();
    for container in 0..1000 {
        store.appear(CgroupId(container), &identity("web-1", "web"), SECOND + container);
        store.read(CgroupId(container), &poor_sample(1000));
        store.remove(CgroupId(container), SECOND + container);
    }
    assert_eq!(scrape(&mut store).get(CPU, &[]), [1.0]);
    store.die(CgroupId(0), exited(SECOND, 0));
    assert_eq!(scrape(&mut store).get("terminations_total", &[]), [0.0; 7]);
    store.expire(2000 * SECOND, |_, _| false);
    store.expire(9000 * SECOND, |_, _| false);
    assert_eq!(store.containers(), 0);
    assert_eq!(scrape(&mut store).get("terminations_total", &[]), NOTHING);
}

#[test]
fn long_and_hostile_names_are_cut_and_stay_apart() {
    let mut store = store();
    for (container, name) in (0..).zip(["é".repeat(5000), "a\0".into(), "a\u{fffd}".into()]) {
        store.appear(CgroupId(container), &identity(&name, &name), SECOND);
    }
    let shown = scrape(&mut store);
    let family = shown.0.iter().find(|family| family.name == "podvitals_container_info").unwrap();
    assert_eq!(family.samples.len(), 2, "two names that would be written alike are one");
    assert!(family.samples.iter().all(|line| line.labels["pod"].len() <= 1024));
}
