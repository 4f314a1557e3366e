//! Room for series: who is shown at the limit, what gives way, and how long what is gone is kept.

use super::fixture::{
    SECOND, Tell as _, encode, exited, full_sample, identity, killed_after, poor_sample, scrape,
    started,
};
use crate::cgroup::CgroupId;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{FactKind, OomFact, OomScope, OomVictim};
use crate::metrics::catalog;
use crate::metrics::store::{Store, StoreOptions};

const NOTHING: [f64; 0] = [];

/// Pods without an owner: each is a workload of its own.
fn bare(number: u64) -> Identity {
    let name = format!("runner-{number:05}");
    Identity {
        pod_uid: format!("uid-{number}"),
        workload_kind: "Pod".into(),
        workload: name.clone(),
        ..identity(&name, "build")
    }
}

fn limited(max_series: usize) -> Store {
    Store::new(StoreOptions { max_series, ..StoreOptions::default() })
}

/// A Pod that lives for a second.
fn live_and_die(store: &mut Store, number: u64, now_boot_ns: u64) {
    let (id, pod) = (CgroupId(10 * number), CgroupId(10 * number + 1));
    let identity = bare(number);
    store.appear(id, &identity, now_boot_ns);
    store.tell(id, now_boot_ns, started());
    store.read(id, &full_sample());
    store.read_pod(pod, &identity.namespace, &identity.pod, &full_sample());
    store.die(id, exited(now_boot_ns + SECOND, 0));
    store.remove(id, now_boot_ns + SECOND);
    store.remove_pod(pod, now_boot_ns + SECOND);
}

/// Series that do not count for the limit.
fn of_node() -> u64 {
    let families = catalog::families().filter(|family| family.scope.labels().is_empty());
    families.map(|family| u64::from(family.series_max)).sum()
}

#[test]
fn the_dead_do_not_keep_the_places_of_the_living() {
    // 1,300 in an hour, a tenth of the default's room, a scrape every five minutes.
    let max_series = 40_000;
    let mut store = limited(max_series);
    let mut now = SECOND;
    for number in 0..1300 {
        live_and_die(&mut store, number, now);
        now += 2769 * SECOND / 1000;
        store.expire(now, |_, _| false);
        if number % 108 == 0 {
            encode(&mut store);
            assert!(store.series() <= max_series as u64 + of_node());
        }
    }
    let db = CgroupId(1_000_001);
    store.appear(db, &identity("shop-db-0", "db"), now);
    store.read(db, &full_sample());
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[("pod", "shop-db-0")]), [1.0]);
    assert_eq!(shown.get("series_dropped_total", &[]), [0.0]);
    assert_eq!(shown.get("containers_hidden", &[]), [0.0]);
    // What lingers has its part, and the youngest of it is there.
    assert_eq!(shown.get("container_info", &[("pod", "runner-01299")]), [1.0]);
    assert!(store.series() <= max_series as u64 / 4 + 200 + of_node(), "{}", store.series());
    assert!(shown.get("retention_evictions_total", &[])[0] > 0.0);
    assert_eq!(
        shown.get("terminations_by_trigger_total", &[("cause", "completed")]).iter().sum::<f64>(),
        1300.0
    );
}

#[test]
fn the_living_take_the_room_of_all_that_lingers() {
    let mut store = limited(3000);
    for number in 0..20 {
        live_and_die(&mut store, number, SECOND + number);
    }
    // Nobody has scraped, nothing has expired, and facts may still come: room is made all the same.
    for number in 100..125 {
        store.appear(CgroupId(10 * number), &bare(number), 3 * SECOND);
    }
    let shown = scrape(&mut store);
    for number in 100..125 {
        let pod = format!("runner-{number:05}");
        assert_eq!(shown.get("container_info", &[("pod", &pod)]), [1.0], "{pod}");
    }
    // What comes late is counted for who it is about, or as dropped.
    let oom = OomFact::plain(Some(OomScope::Node), OomVictim::Init, 1);
    for number in 0..20 {
        store.tell(CgroupId(10 * number), 3 * SECOND, FactKind::Oom(oom.clone()));
    }
    let shown = scrape(&mut store);
    let of = |workload: &str| {
        let labels = [("scope", "node"), ("workload", workload)];
        shown.get("oom_events_total", &labels).iter().sum::<f64>()
    };
    let counted: f64 = (0..20).map(|number| of(&bare(number).workload)).sum();
    let dropped = shown.get("events_dropped_total", &[("reason", "forgotten")]);
    assert_eq!(counted + dropped[0], 20.0);
    assert!(counted < 20.0);
    assert_eq!((100..125).map(|number| of(&bare(number).workload)).sum::<f64>(), 0.0);
    assert_eq!(shown.get("node_oom_events_total", &[("scope", "node")]), [20.0]);
}

#[test]
fn three_thousand_living_containers_are_shown_by_default() {
    let mut store = Store::new(StoreOptions::default());
    for number in 0..3000 {
        let identity = bare(number);
        store.appear(CgroupId(2 * number), &identity, SECOND);
        store.read(CgroupId(2 * number), &full_sample());
        store.read_pod(CgroupId(2 * number + 1), "shop", &identity.pod, &full_sample());
        store.tell(CgroupId(2 * number), SECOND, started());
    }
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[]).len(), 3000);
    assert_eq!(shown.get("pod_cpu_limit_cores", &[]).len(), 3000);
    assert_eq!(shown.get("series_dropped_total", &[]), [0.0]);
}

#[test]
fn what_was_refused_is_shown_when_there_is_room() {
    let mut store = limited(300);
    for number in 0..5 {
        store.appear(CgroupId(number), &bare(number), SECOND + number);
        store.tell(CgroupId(number), 9 * SECOND, started());
        store.tell(CgroupId(number), 9 * SECOND, FactKind::StartFailed);
    }
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[]).len(), 3);
    assert_eq!(shown.get("containers_hidden", &[]), [2.0]);
    assert_eq!((store.containers(), store.hidden()), (3, 2));
    let dropped = shown.get("series_dropped_total", &[]);
    assert!(dropped[0] > 0.0);
    assert_eq!(shown.get("events_dropped_total", &[("reason", "hidden")]), [2.0]);
    // They have fewer series than expected: there is room for the oldest who waits, with its start.
    assert_eq!(store.expire(20 * SECOND, |_, _| false), [CgroupId(3)]);
    let shown = scrape(&mut store);
    let start = shown.get("container_start_time_seconds", &[("pod", "runner-00003")]);
    assert_eq!(start, [1_700_000_009.0]);
    assert_eq!(shown.get("containers_hidden", &[]), [1.0]);
    assert!(store.expire(25 * SECOND, |_, _| false).is_empty());
    assert_eq!(scrape(&mut store).get("series_dropped_total", &[]), dropped, "counted once");
    // One goes: its place is taken.
    store.remove(CgroupId(0), 30 * SECOND);
    assert_eq!(store.expire(31 * SECOND, |_, _| false), [CgroupId(4)]);
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_info", &[("pod", "runner-00000")]), NOTHING);
    assert_eq!(shown.get("containers_hidden", &[]), [0.0]);
    store.appear(CgroupId(9), &bare(9), SECOND);
    assert_eq!(store.hidden(), 1);
    // One that is gone waits no more.
    store.remove(CgroupId(9), 40 * SECOND);
    assert_eq!(store.hidden(), 0);
}

#[test]
fn series_that_grow_beyond_the_limit_are_left_out_and_counted() {
    let mut store = limited(420);
    for number in 0..4 {
        store.appear(CgroupId(number), &bare(number), SECOND);
        store.read(CgroupId(number), &poor_sample(1000));
    }
    encode(&mut store);
    store.appear(CgroupId(4), &bare(4), SECOND);
    store.appear(CgroupId(5), &bare(5), SECOND);
    encode(&mut store);
    assert_eq!(store.hidden(), 0);
    // Now all have everything.
    let mut dropped = Vec::new();
    for _scrape in 0..3 {
        for number in 0..6 {
            store.read(CgroupId(number), &full_sample());
            let oom = OomFact::plain(None, OomVictim::Child, 1);
            store.tell(CgroupId(number), 2 * SECOND, FactKind::Oom(oom));
            store.die(CgroupId(number), killed_after(9 * SECOND, SECOND));
        }
        let shown = scrape(&mut store);
        assert!(store.series() <= 420 + of_node(), "{}", store.series());
        assert_eq!(shown.get("container_info", &[]).len(), 6);
        for family in &shown.0 {
            // A histogram is whole.
            let count = |suffix: &str| {
                let name = format!("{}{suffix}", family.name);
                family.samples.iter().filter(|sample| sample.name == name).count()
            };
            assert_eq!(count("_sum"), count("_count"), "{}", family.name);
        }
        dropped.push(shown.get("series_dropped_total", &[])[0]);
    }
    assert!(dropped[1] > 0.0, "counted from the scrape after on");
    assert_eq!(dropped[1], dropped[2], "and once");
    // What is left out comes back when there is room.
    for number in 0..3 {
        store.remove(CgroupId(number), 10 * SECOND);
    }
    let shown = scrape(&mut store);
    assert_eq!(shown.get("container_tasks", &[]).len(), 3);
    assert_eq!(
        shown.get("oom_events_total", &[("scope", "unknown"), ("workload", "runner-00005")]).len(),
        1
    );
}

#[test]
fn what_the_api_knows_as_waiting_is_kept_and_gives_way_last() {
    let mut store = limited(1400);
    let waits = |pod: &str, container: &str| (pod, container) == ("uid-0", "build");
    for number in 0..3 {
        live_and_die(&mut store, number, (1 + number) * SECOND);
    }
    let pods = |store: &mut Store| {
        let shown = scrape(store);
        (0..3)
            .filter(|number| {
                let pod = format!("runner-{number:05}");
                shown.get("container_last_termination_info", &[("pod", &pod)]).len() == 1
            })
            .collect::<Vec<_>>()
    };
    store.expire(500 * SECOND, waits);
    assert_eq!(pods(&mut store), [0, 1, 2], "longer than the longest back-off");
    store.expire(4000 * SECOND, waits);
    assert_eq!(pods(&mut store), [0], "a back-off of any length");
    let of_workload =
        |store: &mut Store| scrape(store).get("terminations_total", &[("cause", "completed")]);
    assert_eq!(of_workload(&mut store), [1.0], "its workload as well");
    for number in 3..5 {
        live_and_die(&mut store, number, 4000 * SECOND);
    }
    for number in 100..114 {
        store.appear(CgroupId(10 * number), &bare(number), 4001 * SECOND);
        store.expire(4002 * SECOND, waits);
    }
    assert_eq!(pods(&mut store), [0], "the others gave way before");
    // It does not wait any more, and was last known to at 4,002 s.
    store.expire(4600 * SECOND, |_, _| false);
    assert_eq!(pods(&mut store), [0]);
    store.expire(4603 * SECOND, |_, _| false);
    assert!(pods(&mut store).is_empty());
}
