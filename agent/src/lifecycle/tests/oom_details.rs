//! OOMs in detail: the limit that was hit, the victim's memory, and whose allocation led to it.

use super::super::fact::{OomOrigin, OomTrigger};
use super::*;
use crate::event::{Charged, Comm, Resident};

const PAGE: u64 = 4096;

fn charged(cgroup: CgroupId, counters: (u64, u64), limit_bytes: Option<u64>) -> OomLevel {
    // Less than the limit by a page: what did not fit was not charged.
    let usage_bytes = limit_bytes.map_or(90 * PAGE, |limit| limit - PAGE);
    let charged = Some(Charged { usage_bytes, limit_bytes });
    OomLevel { charged, ..oom_level(cgroup, counters.0, counters.1) }
}

fn resident(anon_bytes: u64) -> Resident {
    Resident { anon_bytes, file_bytes: 2 * PAGE, shmem_bytes: PAGE }
}

fn record(at: u64, victim: Task, anon_bytes: u64, current: Task, levels: Vec<OomLevel>) -> Event {
    let resident = Some(resident(anon_bytes));
    kernel_event(at, EventKind::Oom(Oom { victim, resident, current, levels }))
}

/// The OOMs of a container `WEB` beside `SIDE` in one Pod, and of one in another Pod.
fn ooms_of(events: &[Event]) -> Vec<OomFact> {
    let mut node = Node::running();
    node.made(SIDE, false);
    node.event(&exec(SEC, task(110, SIDE, "side"), shim(), &["/side"]));
    node.events(events);
    node.run_to(60 * SEC);
    node.ooms()
}

#[test]
fn the_limit_is_that_of_the_closest_level_that_rose() {
    let limits = [Some(16 * PAGE), Some(32 * PAGE), None, Some(999 * PAGE)];
    let of = |rises: [u64; 4]| {
        let cgroups = [WEB, POD, QOS, ROOT];
        let levels = cgroups.into_iter().zip(rises).zip(limits);
        let levels = levels
            .map(|((cgroup, oom), limit)| charged(cgroup, (oom, u64::from(cgroup == WEB)), limit));
        let ooms = ooms_of(&[record(2 * SEC, init(), PAGE, init(), levels.collect())]);
        assert_eq!(ooms.len(), 1);
        (ooms[0].scope, ooms[0].limit_bytes, ooms[0].usage_bytes)
    };
    use OomScope::{Container, Node, Pod};
    assert_eq!(of([1, 0, 0, 0]), (Some(Container), Some(16 * PAGE), Some(15 * PAGE)));
    assert_eq!(of([1, 1, 0, 1]), (Some(Container), Some(16 * PAGE), Some(15 * PAGE)));
    assert_eq!(of([0, 1, 0, 0]), (Some(Pod), Some(32 * PAGE), Some(31 * PAGE)));
    assert_eq!(of([0, 0, 0, 1]), (Some(Node), Some(999 * PAGE), Some(998 * PAGE)), "all Pods'");
    assert_eq!(of([0, 0, 1, 0]), (Some(Node), None, None), "raised since: no limit, no usage");
    assert_eq!(of([0, 0, 0, 0]), (Some(Node), None, None), "the node's own memory");
}

#[test]
fn a_limit_that_was_not_read_is_not_known() {
    let levels = vec![oom_level(WEB, 1, 1), oom_level(POD, 0, 0)];
    let record = kernel_event(2 * SEC, oom_record(init(), init(), levels));
    let ooms = ooms_of(&[record]);
    assert_eq!((ooms[0].scope, ooms[0].limit_bytes), (Some(OomScope::Container), None));
    assert_eq!((ooms[0].usage_bytes, ooms[0].resident), (None, None));
}

#[test]
fn a_nested_limit_is_the_one_that_was_hit() {
    let mut node = Node::running();
    node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
    let victim = task(101, NESTED, "job");
    let levels = vec![
        charged(NESTED, (1, 1), Some(8 * PAGE)),
        charged(WEB, (1, 0), Some(16 * PAGE)),
        charged(POD, (0, 0), None),
    ];
    node.event(&record(2 * SEC, victim, PAGE, victim, levels));
    node.run_to(3 * SEC);
    let oom = &node.ooms()[0];
    assert_eq!((oom.scope, oom.limit_bytes), (Some(OomScope::Container), Some(8 * PAGE)));
}

#[test]
fn the_memory_is_that_of_the_most_important_victim() {
    let level = |kills| vec![charged(WEB, (1, kills), Some(99 * PAGE))];
    let by = task(103, WEB, "greedy");
    let mut events = vec![
        record(2 * SEC, task(101, WEB, "big"), 50 * PAGE, by, level(1)),
        record(2 * SEC + MS, init(), 7 * PAGE, by, level(2)),
        record(2 * SEC + 2 * MS, task(102, WEB, "small"), 3 * PAGE, by, level(3)),
    ];
    let ooms = ooms_of(&events);
    assert_eq!((ooms[0].victim, ooms[0].killed), (OomVictim::Init, 3));
    assert_eq!(ooms[0].resident, Some(resident(7 * PAGE)));
    assert_eq!(ooms[0].comm, init().comm);
    events.reverse();
    assert_eq!(ooms_of(&events), ooms, "in any order");
    // Of several with one role, the one that the OOM killer chose first.
    events.remove(1);
    let ooms = ooms_of(&events);
    assert_eq!((ooms[0].victim, ooms[0].resident), (OomVictim::Child, Some(resident(50 * PAGE))));
    assert_eq!(ooms[0].comm, Comm::from("big"));
}

#[test]
fn a_second_mark_of_one_victim_does_not_replace_its_memory() {
    // With a group the first victim is taken again, when much of its memory may be gone.
    let level = |kills| vec![charged(WEB, (1, kills), Some(99 * PAGE))];
    let ooms = ooms_of(&[
        record(2 * SEC, init(), 50 * PAGE, init(), level(1)),
        record(2 * SEC + MS, init(), PAGE, init(), level(2)),
    ]);
    assert_eq!(ooms[0].resident, Some(resident(50 * PAGE)));
}

#[test]
fn the_allocation_is_told_by_where_it_was_made() {
    let level = || vec![charged(WEB, (0, 1), None), charged(POD, (1, 0), Some(99 * PAGE))];
    let elsewhere = CgroupId(7_001);
    let of = |current: Task| {
        let mut node = Node::running();
        node.apply(Input::NestedMade { cgroup: NESTED, container: WEB });
        node.made(SIDE, false);
        let birth = Birth::Seen { boot_ns: SEC };
        let (container, pod, oom_seen) = (elsewhere, Some(CgroupId(7_000)), &[][..]);
        node.apply(Input::ContainerMade { container, pod, birth, is_unit: false, oom_seen });
        node.event(&record(2 * SEC, init(), PAGE, current, level()));
        node.run_to(3 * SEC);
        node.ooms()[0].triggered_by.clone()
    };
    let by = |origin, comm: &str, container| {
        let comm = Comm::from(comm);
        OomTrigger { origin, comm, container, who: None }
    };
    let (same, pod) = (OomOrigin::SameContainer, OomOrigin::SamePod);
    let (other, host) = (OomOrigin::OtherContainer, OomOrigin::Host);
    assert_eq!(of(task(120, WEB, "a")), by(same, "a", Some(WEB)));
    assert_eq!(of(task(120, NESTED, "b")), by(same, "b", Some(WEB)));
    assert_eq!(of(task(120, SIDE, "c")), by(pod, "c", Some(SIDE)));
    assert_eq!(of(task(120, elsewhere, "d")), by(other, "d", Some(elsewhere)));
    assert_eq!(of(task(120, HOST, "runc")), by(host, "runc", None));
}

#[test]
fn units_without_a_pod_have_none_in_common() {
    let mut node = Node::new();
    for (container, tgid) in [(WEB, 100), (SIDE, 110)] {
        let birth = Birth::Seen { boot_ns: SEC };
        let (pod, oom_seen) = (None, &[][..]);
        node.apply(Input::ContainerMade { container, pod, birth, is_unit: true, oom_seen });
        node.event(&exec(SEC, task(tgid, container, "unit"), shim(), &["/unit"]));
    }
    let (victim, current) = (task(100, WEB, "unit"), task(110, SIDE, "unit"));
    node.event(&record(2 * SEC, victim, PAGE, current, vec![charged(WEB, (0, 1), None)]));
    node.run_to(3 * SEC);
    assert_eq!(node.ooms()[0].triggered_by.origin, OomOrigin::OtherContainer);
}

#[test]
fn the_first_record_has_the_allocation_that_led_to_the_oom() {
    // The second allocation found the same limit while the first was worked off.
    let level = |kills| vec![charged(WEB, (2, kills), Some(99 * PAGE))];
    let (first, second) = (task(102, WEB, "first"), task(104, WEB, "second"));
    let mut events = vec![
        record(2 * SEC, task(101, WEB, "x"), PAGE, first, level(1)),
        record(2 * SEC + MS, task(103, WEB, "y"), PAGE, second, level(2)),
    ];
    for _ in 0..2 {
        let ooms = ooms_of(&events);
        assert_eq!((ooms.len(), ooms[0].killed), (1, 2));
        assert_eq!(ooms[0].triggered_by.comm, Comm::from("first"));
        events.reverse();
    }
}
