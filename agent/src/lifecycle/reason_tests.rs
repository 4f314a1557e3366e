//! Reasons as data: facts in any order in, what follows from them out.

use super::*;
use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
use crate::event::TaskKey;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{Cause, EndSource, Outcome, Sender, Started, StopSignal};
use crate::lifecycle::subject::Birth;

fn unit(number: u64, name: &str) -> Arc<Who> {
    let path = format!("system.slice/{name}");
    Arc::new(Who {
        cgroup: CgroupId(number),
        pod_cgroup: None,
        identity: Identity::host_unit(&path, name),
        origin: Origin::Unit(path, name.to_owned()),
        birth: Birth::Seen { boot_ns: number },
    })
}

fn of_pod(number: u64, cgroup_uid: &str, pod_uid: &str) -> Arc<Who> {
    let pod = PodName { uid: cgroup_uid.into(), qos: Qos::Burstable };
    let name = ContainerName { id: number.to_string(), runtime: Runtime::Containerd };
    let identity = Identity {
        pod_uid: pod_uid.into(),
        container: "web".into(),
        ..Identity::fallback(&pod, &name)
    };
    let origin = Origin::Pod(pod, name);
    Arc::new(Who { origin, identity, ..Arc::unwrap_or_clone(unit(number, "")) })
}

fn instance(number: u64) -> Arc<Who> {
    of_pod(number, "uid", "uid")
}

fn started(init: u32) -> FactKind {
    let init = TaskKey { tgid: init, start_boot_ns: 1 };
    FactKind::Started(Started { init, before_agent: false, is_pause: false })
}

fn ended(end_boot_ns: u64) -> FactKind {
    FactKind::Ended(Termination {
        cause: Cause::Completed,
        status: None,
        stop_boot_ns: None,
        end_boot_ns,
        outcome: Outcome::Exited,
        fatal: None,
        end_source: EndSource::ParentNotified,
        init_cpu_ns: None,
    })
}

/// Evidence of Pods, and of nothing else.
fn nothing_more(pods: &Pods) -> Evidence<'_> {
    let now = Now::default();
    Evidence { pods, pre_stop_session: None, sandbox_boot_ns: None, now }
}

/// Facts that are published of these, in their order, without a Pod source.
fn taken(facts: impl IntoIterator<Item = (Arc<Who>, u64, FactKind)>) -> Vec<Named> {
    let (mut reasons, pods) = (Reasons::new(false), Pods::new());
    let evidence = nothing_more(&pods);
    let mut out = Vec::new();
    for (who, time_boot_ns, kind) in facts {
        reasons.take(&who, Fact { time_boot_ns, kind }, &evidence, &mut out);
    }
    out
}

/// Downtimes of the restarts that are published of two instances, of which the first ends so.
fn downtimes(
    [first, second]: [Arc<Who>; 2],
    cause: Cause,
    stop_boot_ns: Option<u64>,
    again_boot_ns: u64,
) -> Vec<Option<u64>> {
    let FactKind::Ended(end) = ended(30) else { unreachable!("an end") };
    let end = FactKind::Ended(Termination { cause, stop_boot_ns, ..end });
    let events = [
        (Arc::clone(&first), 10, started(1)),
        (first, 30, end),
        (second, again_boot_ns, started(2)),
    ];
    let [start, end, again] = &events;
    let orders = [[start, end, again], [start, again, end]];
    let [in_order, late] = orders.map(|order| {
        let out = taken(order.map(Clone::clone));
        let restarts = out.iter().filter_map(|(_, fact)| match &fact.kind {
            FactKind::Restarted(restart) => Some(restart.downtime_ns()),
            _ => None,
        });
        restarts.collect::<Vec<_>>()
    });
    assert_eq!(in_order, late, "the end may be reported after the next start");
    in_order
}

#[test]
fn a_unit_that_a_timer_starts_again_is_no_restart() {
    const SECOND: u64 = 1_000_000_000;
    let soon = SECOND;
    let units = |name| [unit(1, name), unit(2, name)];
    let backup = |cause, stop, again| downtimes(units("backup.service"), cause, stop, again);
    assert_eq!(backup(Cause::Completed, None, soon), [], "it had done its work");
    assert_eq!(backup(Cause::Error, None, soon), [Some(soon - 30)], "Restart=on-failure");
    assert_eq!(backup(Cause::Completed, Some(20), soon), [Some(soon - 30)], "systemctl restart");
    assert_eq!(backup(Cause::Error, None, 3600 * SECOND), [], "by a timer, or by hand");
    assert_eq!(backup(Cause::Completed, Some(20), 3600 * SECOND), []);
    // A container beside Kubernetes is one as long as it has its id.
    let docker = format!("docker-{}.scope", "a".repeat(64));
    let docker = |again| downtimes(units(&docker), Cause::Completed, None, again);
    assert_eq!(docker(3600 * SECOND), [Some(3600 * SECOND - 30)]);
    let of_pod = downtimes([instance(1), instance(2)], Cause::Completed, None, 3600 * SECOND);
    assert_eq!(of_pod, [Some(3600 * SECOND - 30)]);
}

/// Containers that wait for their names are reported in any order.
#[test]
fn a_start_that_is_reported_late_is_not_taken_for_a_later_restart() {
    let out = taken([
        (instance(1), 10, started(1)),
        (instance(3), 50, started(3)),
        (instance(2), 30, started(2)),
        (instance(2), 40, ended(40)),
        (instance(4), 70, started(4)),
        (instance(3), 60, ended(60)),
    ]);
    let restarts: Vec<_> = out
        .iter()
        .filter_map(|(who, fact)| match &fact.kind {
            FactKind::Restarted(restart) => Some((who.cgroup.0, restart.ended_boot_ns)),
            _ => None,
        })
        .collect();
    assert_eq!(restarts, [(2, None), (3, Some(40)), (4, Some(60))]);
}

/// A mirror Pod that is deleted comes again with another UID; the static Pod goes on.
#[test]
fn a_static_pods_restart_has_its_downtime_whatever_its_mirror_is_called() {
    let restarts = |[first, second]: [Arc<Who>; 2]| {
        let out = taken([
            (Arc::clone(&first), 10, started(1)),
            (first, 30, ended(30)),
            (second, 75, started(2)),
        ]);
        let downtime = |(_, fact): &Named| match &fact.kind {
            FactKind::Restarted(restart) => restart.downtime_ns(),
            _ => None,
        };
        out.iter().filter_map(downtime).collect::<Vec<_>>()
    };
    assert_eq!(restarts([of_pod(1, "hash", "mirror-1"), of_pod(2, "hash", "mirror-2")]), [45]);
    assert_eq!(restarts([of_pod(1, "hash", "hash"), of_pod(2, "hash", "mirror-2")]), [45]);
    // A StatefulSet's next Pod has a cgroup of its own.
    assert!(restarts([of_pod(1, "uid-1", "uid-1"), of_pod(2, "uid-2", "uid-2")]).is_empty());
}

#[test]
fn evidence_that_finds_no_room_is_counted() {
    let (mut reasons, pods) = (Reasons::new(true), Pods::new());
    let evidence = nothing_more(&pods);
    let mut out = Vec::new();
    let mut take = |reasons: &mut Reasons, number, kind| {
        let uid = format!("{number:08x}-2222-3333-4444-555555555555");
        reasons.take(
            &of_pod(number, &uid, &uid),
            Fact { time_boot_ns: 50, kind },
            &evidence,
            &mut out,
        );
    };
    let stop = StopSignal { signal: 15, sender: Sender::Runtime, ignored: false };
    for number in 0..1100 {
        take(&mut reasons, number, FactKind::StopSignal(stop));
    }
    let by_kind = |reasons: &Reasons, kind| {
        reasons.dropped().into_iter().find(|(known, _)| *known == kind).unwrap().1
    };
    assert_eq!((by_kind(&reasons, "stop_signal"), by_kind(&reasons, "death")), (76, 0));
    for number in 0..600 {
        let FactKind::Ended(end) = ended(60) else { unreachable!() };
        let end = Termination { stop_boot_ns: Some(50), ..end };
        take(&mut reasons, number, FactKind::Ended(end));
    }
    // Those without a stop signal do not wait.
    assert_eq!(by_kind(&reasons, "death"), 600 - 76 - 512);
    // Those whose death is explained are no loss.
    for number in 2000..2012 {
        take(&mut reasons, number, FactKind::StopSignal(stop));
    }
    assert_eq!(by_kind(&reasons, "stop_signal"), 76);
}
