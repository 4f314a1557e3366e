//! Deaths, from the records and the Pod to what is shown: when each is explained, and as what.

use super::*;

#[test]
fn a_deletion_explains_a_death_at_once_with_its_grace_period() {
    let mut world = World::new(true);
    world.runs();
    world.deleted(-4000);
    world.reported(-4000);
    world.terminate(1002, 200, "runc", -3900);
    world.end(1002, 200, ExitStatus::Code(0), -1400);
    assert_eq!(world.trigger().as_deref(), Some("pod_deletion"));
    assert_eq!(world.value("container_grace_seconds", ""), Some(10.0));
    assert_eq!(world.value("container_last_shutdown_grace_used_ratio", ""), Some(0.25));
    assert_eq!(world.value("shutdown_grace_used_ratio_count", "Deployment"), Some(1.0));
    let labels = "cause=\"completed\",trigger=\"pod_deletion\"";
    assert_eq!(world.value("terminations_by_trigger_total", labels), Some(1.0));
}

#[test]
fn an_exec_pre_stop_hook_is_measured_and_taken_off() {
    let mut world = World::new(true);
    world.pod["spec"]["containers"][0]["lifecycle"] = json!({"preStop": {"exec": {}}});
    world.runs();
    assert_eq!(world.value("prestop_duration_seconds_count", "handler=\"exec\""), Some(0.0));
    // A probe's session, before the deletion.
    world.exec(1002, 201, "probe", -6500);
    world.end(1002, 201, ExitStatus::Code(0), -6400);
    world.deleted(-6000);
    world.reported(-6000);
    world.exec(1002, 202, "drain", -5900);
    world.end(1002, 202, ExitStatus::Code(0), -3850);
    world.terminate(1002, 200, "runc", -3800);
    world.end(1002, 200, ExitStatus::Code(0), -1800);
    assert_eq!(world.trigger().as_deref(), Some("pod_deletion"));
    assert_eq!(world.value("prestop_duration_seconds_sum", "handler=\"exec\""), Some(2.05));
    // 2 s of 10 less 2.
    assert_eq!(world.value("container_last_shutdown_grace_used_ratio", ""), Some(0.25));
}

#[test]
fn a_failed_probe_is_inferred_when_the_container_is_there_again() {
    let mut world = World::new(true);
    world.runs();
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, KILLED, -2000);
    assert_eq!(world.trigger(), None, "it waits for the API");
    world.made(1003, 'b', -1500);
    world.exec(1003, 300, "web", -1400);
    assert_eq!(world.shown("container_restarts_total").len(), 1);
    world.status("b", &json!({"running": {}}), Some(("a", "Error")));
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 1.into();
    world.reported(-1000);
    assert_eq!(world.trigger().as_deref(), Some("liveness"));
    assert_eq!(world.value("container_grace_seconds", ""), Some(4.0), "the probe's own");
    assert_eq!(world.value("container_restarts_total", ""), Some(1.0));
    assert_eq!(world.value("container_last_restart_downtime_seconds", ""), Some(0.6));
    assert_eq!(world.shown("termination_reason_mismatch_total").len(), 0);
}

#[test]
fn the_kubelets_eviction_is_known_by_the_reason_that_comes_last() {
    let mut world = World::new(true);
    world.runs();
    world.terminate(1002, 200, "runc", -3000);
    world.end(1002, 200, KILLED, -2000);
    assert_eq!(world.trigger(), None);
    let id = format!("containerd://{}", id('a'));
    let ended = json!({"terminated": {"containerID": id, "exitCode": 137, "reason": "OOMKilled"}});
    world.status("a", &ended, None);
    world.pod["status"]["phase"] = "Failed".into();
    world.pod["status"]["reason"] = "Evicted".into();
    world.reported(-1500);
    assert_eq!(world.trigger().as_deref(), Some("node_pressure"));
    assert_eq!(world.value("container_grace_seconds", ""), None);
    assert_eq!(world.shown("shutdown_grace_used_ratio_count").len(), 0);
    // The runtime says OOMKilled, and the kernel saw none.
    let mismatch = "reported=\"OOMKilled\",observed=\"";
    assert_eq!(world.value("termination_reason_mismatch_total", mismatch), Some(1.0));
}

#[test]
fn an_unexplained_death_is_unknown_after_a_timeout_or_when_the_agent_stops() {
    let mut world = World::new(true);
    world.runs_since(-45_000);
    world.terminate(1002, 200, "runc", -31_500);
    world.end(1002, 200, KILLED, -30_500);
    assert_eq!(world.trigger().as_deref(), Some("unknown"));

    let mut world = World::new(true);
    world.runs();
    world.terminate(1002, 200, "runc", -2500);
    world.end(1002, 200, KILLED, -1500);
    assert_eq!(world.trigger(), None);
    assert!(world.node.next_wakeup(NOW.boot_ns) <= Duration::from_millis(28_500));
    world.node.stop(NOW);
    assert_eq!(world.trigger().as_deref(), Some("unknown"));
}

#[test]
fn without_a_source_nothing_waits() {
    let mut world = World::new(false);
    world.made(1002, 'a', -8500);
    world.exec(1002, 200, "web", -8250);
    world.terminate(1002, 200, "runc", -600);
    world.end(1002, 200, KILLED, -500);
    assert_eq!(world.trigger().as_deref(), Some("unknown"));
    let mut world = World::new(false);
    world.made(1002, 'a', -8500);
    world.exec(1002, 200, "web", -8250);
    world.end(1002, 200, ExitStatus::Code(3), -500);
    assert_eq!(world.trigger().as_deref(), Some("none"));
}

#[test]
fn an_end_without_a_stop_request_is_explained_at_once() {
    let mut world = World::new(true);
    world.runs();
    world.end(1002, 200, ExitStatus::Code(3), -500);
    assert_eq!(world.trigger().as_deref(), Some("none"));
    let mut world = World::new(true);
    world.runs();
    // A hand on the host: not Kubernetes.
    world.terminate(1002, 200, "bash", -800);
    world.end(1002, 200, ExitStatus::Code(0), -500);
    assert_eq!(world.trigger().as_deref(), Some("none"));
}

#[test]
fn the_apis_stop_signal_counts_from_anybody_outside() {
    for (told, open) in [(false, 0), (true, 1)] {
        let mut world = World::new(true);
        if told {
            world.pod["spec"]["containers"][0]["lifecycle"] = json!({"stopSignal": "SIGUSR1"});
        }
        world.runs();
        let signal = Signal {
            target: task(200, CgroupId(1002), "web"),
            sender: task(60, HOST, "bash"),
            signal: 10,
            result: SignalResult::Delivered,
            origin: SignalOrigin::User,
            target_dying: false,
            sender_dying: false,
        };
        world.event(-500, EventKind::Signal(signal));
        assert_eq!(world.shown("container_terminating_seconds").len(), open);
    }
}
