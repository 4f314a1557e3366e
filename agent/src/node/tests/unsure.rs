//! What is not concluded where the evidence has a gap: a deletion without a time, a signal from before
//! the agent, a mirror that is re-created or forged.

use serde_json::json;

use super::*;

impl World {
    /// A deletion that was requested 10 s ago by that clock.
    fn deleted_by_clock(&mut self, skew_s: i64) {
        let unix_s = (NOW.wall.unix_ns(self.at(-10_000)) / SECOND).cast_signed() + skew_s;
        let deadline = jiff::Timestamp::from_second(unix_s + 10).unwrap();
        self.pod["metadata"]["deletionTimestamp"] = deadline.to_string().into();
        self.pod["metadata"]["deletionGracePeriodSeconds"] = 10.into();
    }

    /// The container has ended, and nothing follows.
    fn is_terminated(&mut self, exit_code: u8) {
        let id = format!("containerd://{}", id('a'));
        let end = json!({"containerID": id, "exitCode": exit_code, "reason": "Completed"});
        self.status("a", &json!({"terminated": end}), None);
    }

    /// A container that is older than the agent, found that long ago.
    fn is_found(&mut self, ms: i64) {
        self.finds_running(ms);
        self.status("a", &json!({"running": {}}), None);
        self.source(PodEventKind::Listed(vec![self.told()]), ms + 100);
    }
}

#[test]
fn a_deletion_whose_time_is_not_known_is_no_failed_probe() {
    // The clock of the API is wrong and the watch is broken; or the watch was held up on its way.
    for (skew_s, broken) in [(3600, true), (-3600, true), (0, false)] {
        let mut world = World::new(true);
        world.runs_since(-30_000);
        world.reported(-12_000);
        world.terminate(1002, 200, "runc", -9900);
        world.end(1002, 200, ExitStatus::Code(0), -9000);
        world.deleted_by_clock(skew_s);
        if broken {
            world.source(PodEventKind::Failed("connection reset".into()), -8000);
        }
        world.reported(-3000);
        world.is_terminated(0);
        world.reported(-2900);
        assert_eq!(world.trigger().as_deref(), Some("pod_deletion"), "{skew_s}");
        assert_eq!(world.value("container_grace_seconds", ""), Some(10.0), "the deletion's");
    }
}

#[test]
fn a_container_that_is_there_again_was_not_deleted_before() {
    let mut world = World::new(true);
    world.runs_since(-30_000);
    world.terminate(1002, 200, "runc", -9900);
    world.end(1002, 200, ExitStatus::Code(0), -9000);
    world.deleted_by_clock(3600);
    world.status("b", &json!({"running": {}}), Some(("a", "Completed")));
    world.source(PodEventKind::Listed(vec![world.told()]), -3000);
    assert_eq!(world.trigger().as_deref(), Some("liveness"));
}

#[test]
fn a_missing_pod_in_which_a_container_is_made_is_not_gone() {
    for (made, trigger) in [(true, None), (false, Some("pod_deletion"))] {
        let mut world = World::new(true);
        world.runs_since(-30_000);
        world.source(PodEventKind::Listed(Vec::new()), -20_000);
        world.terminate(1002, 200, "runc", -18_000);
        world.end(1002, 200, ExitStatus::Code(0), -17_500);
        if made {
            world.made(1003, 'b', -17_000);
        }
        world.node.tick(world.now(-1000));
        assert_eq!(world.trigger().as_deref(), trigger);
        world.status("b", &json!({"running": {}}), Some(("a", "Completed")));
        world.source(PodEventKind::Listed(vec![world.told()]), -500);
        let trigger = if made { "liveness" } else { "pod_deletion" };
        assert_eq!(world.trigger().as_deref(), Some(trigger));
    }
}

#[test]
fn a_signal_from_before_the_agent_may_have_stopped_it() {
    for (found_ms, exit_code, reason, trigger) in [
        (-9000, 0, "Evicted", "node_pressure"),
        (-9000, 0, "Terminated", "node_shutdown"),
        (-9000, 143, "DeadlineExceeded", "deadline"),
        (-9000, 0, "", "unknown"),
        (-9000, 143, "", "unknown"),
        (-9000, 3, "", "none"),
        // No stop takes that long.
        (-60_000, 0, "", "none"),
    ] {
        let mut world = World::new(true);
        world.is_found(found_ms);
        world.end(1002, 200, ExitStatus::Code(exit_code), -4000);
        if reason.is_empty() {
            world.status("b", &json!({"running": {}}), Some(("a", "Error")));
        } else {
            world.is_terminated(exit_code);
            world.pod["status"]["phase"] = "Failed".into();
            world.pod["status"]["reason"] = reason.into();
        }
        world.reported(-2000);
        assert_eq!(world.trigger().as_deref(), Some(trigger), "{found_ms} {exit_code} {reason}");
    }
}

#[test]
fn a_probe_that_fails_again_is_still_the_probe() {
    let mut world = World::new(true);
    world.runs_since(-30_000);
    for (cgroup, digit, next, ms) in [(1002, 'a', 'b', -20_000), (1003, 'b', 'c', -10_000)] {
        let tgid = u32::try_from(cgroup).unwrap();
        let tgid = if cgroup == 1002 { 200 } else { tgid };
        world.terminate(cgroup, tgid, "runc", ms);
        world.end(cgroup, tgid, ExitStatus::Code(0), ms + 500);
        world.made(cgroup + 1, next, ms + 1000);
        world.exec(cgroup + 1, u32::try_from(cgroup).unwrap() + 1, "web", ms + 1100);
        let (last, next) = (digit.to_string(), next.to_string());
        world.status(&next, &json!({"running": {}}), Some((&last, "Completed")));
        world.reported(ms + 1500);
        assert_eq!(world.trigger().as_deref(), Some("liveness"), "{digit}");
    }
    let labels = "cause=\"completed\",trigger=\"liveness\"";
    assert_eq!(world.value("terminations_by_trigger_total", labels), Some(2.0));
}

#[test]
fn what_the_kubelet_ended_is_deleted_afterwards() {
    // By a DaemonSet's controller, at once.
    let mut world = World::new(true);
    world.runs();
    world.terminate(1002, 200, "runc", -4000);
    world.end(1002, 200, ExitStatus::Code(0), -3900);
    world.is_terminated(0);
    world.pod["status"]["phase"] = "Failed".into();
    world.pod["status"]["reason"] = "Evicted".into();
    world.reported(-3890);
    world.deleted(-3880);
    world.reported(-3880);
    assert_eq!(world.trigger().as_deref(), Some("node_pressure"));
}

#[test]
fn containers_that_are_stopped_one_after_the_other_are_not_stopped_together() {
    // The second stop comes before the first container runs again, or after it.
    for (second_ms, trigger) in [(-19_500, "restart_other"), (-10_000, "liveness")] {
        let mut world = World::new(true);
        let containers = &mut world.pod["spec"]["containers"];
        let mut other = containers[0].clone();
        other["name"] = "other".into();
        containers.as_array_mut().unwrap().push(other);
        world.made(1002, 'a', -40_000);
        world.exec(1002, 200, "web", -39_900);
        world.made(1003, 'b', -39_000);
        world.exec(1003, 300, "other", -38_900);
        let status = |name: &str, digit: char, last: Option<char>| {
            let id = |digit: char| format!("containerd://{}", id(digit));
            let last = last.map(|last| json!({"terminated": {"containerID": id(last)}}));
            json!({"name": name, "containerID": id(digit), "restartCount": 0, "started": true,
                   "state": {"running": {}}, "lastState": last})
        };
        let tell = |world: &mut World, statuses: Value, ms| {
            world.pod["status"]["containerStatuses"] = statuses;
            world.reported(ms);
        };
        tell(&mut world, json!([status("web", 'a', None), status("other", 'b', None)]), -35_000);
        world.terminate(1002, 200, "runc", -20_000);
        if second_ms < -19_000 {
            world.terminate(1003, 300, "runc", second_ms);
        }
        world.end(1002, 200, ExitStatus::Code(0), -19_000);
        world.made(1004, 'c', -18_000);
        world.exec(1004, 400, "web", -17_900);
        let web = status("web", 'c', Some('a'));
        tell(&mut world, json!([web, status("other", 'b', None)]), -17_000);
        if second_ms > -19_000 {
            world.terminate(1003, 300, "runc", second_ms);
        }
        world.end(1003, 300, ExitStatus::Code(0), -9000);
        world.made(1005, 'd', -8000);
        world.exec(1005, 500, "other", -7900);
        tell(&mut world, json!([web, status("other", 'd', Some('b'))]), -7000);
        let labels = format!("cause=\"completed\",trigger=\"{trigger}\"");
        let counted = world.value("terminations_by_trigger_total", &labels);
        assert_eq!(counted, Some(2.0), "{trigger}");
    }
}

#[test]
fn a_mirror_that_is_recreated_restarts_nothing() {
    let mut world = World::new(true);
    world.pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": UID, "kubernetes.io/config.mirror": UID
    });
    world.pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}]);
    world.pod["metadata"]["uid"] = "mirror-0".into();
    world.status("a", &json!({"running": {}}), None);
    world.pod["status"]["containerStatuses"][0]["restartCount"] = 3.into();
    world.made(1002, 'a', -8500);
    world.exec(1002, 200, "web", -8250);
    world.reported(-7000);
    for (mirror, restarts) in [("mirror-1", 3), ("mirror-2", 3), ("mirror-3", 4)] {
        world.source(PodEventKind::Deleted(Box::new(world.told())), -5000);
        world.pod["metadata"]["uid"] = mirror.into();
        world.pod["status"]["containerStatuses"][0]["restartCount"] = restarts.into();
        world.reported(-4500);
        let shown = world.value("container_restarts_total", "");
        assert_eq!(shown, Some(f64::from(restarts)), "{mirror}");
    }
}

#[test]
fn a_forged_mirror_gets_no_container_by_the_log_link_of_another_pod() {
    let mut world = World::new(true);
    let dir = world.dir.path().join("logs");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("etcd-n1_kube-system_web-{}.log", id('a'))), "").unwrap();
    world.pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": UID, "kubernetes.io/config.mirror": UID
    });
    world.pod["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n", "controller": true}]);
    world.pod["metadata"]["uid"] = "forged".into();
    world.reported(-20_000);
    world.made(1002, 'a', -19_000);
    world.exec(1002, 200, "web", -18_500);
    world.node.tick(world.now(0));
    let info = world.shown("container_info");
    assert_eq!(info.len(), 1, "{info:?}");
    let own = "namespace=\"kube-system\",pod=\"etcd-n1\",container=\"web\"";
    assert!(info[0].contains(own), "{info:?}");
}
