//! Series when a container gets another name, or turns out to be none.

use super::fixture::{
    SECOND, Tell as _, exited, full_sample, identity, pod_subject, poor_sample, scrape, started,
    store, who,
};
use crate::cgroup::CgroupId;
use crate::kube::identity::Identity;
use crate::lifecycle::subject::Subject;
use crate::metrics::store::Store;
use crate::reader::Reader as _;

const A: CgroupId = CgroupId(1);
const B: CgroupId = CgroupId(2);
const NOTHING: [f64; 0] = [];
const CPU: &str = "container_cpu_usage_seconds_total";

fn nameless() -> Identity {
    Identity { workload: "uid".into(), image: String::new(), ..identity("uid", "aaaa") }
}

fn rename(store: &mut Store, from: &Identity, to: &Identity) {
    let [from, to] = [from, to].map(|identity| who(A, identity.clone(), SECOND));
    store.renamed(&from, &to, 5 * SECOND);
}

#[test]
fn under_another_name_the_old_series_end_at_once() {
    let mut store = store();
    store.appear(A, &nameless(), SECOND);
    store.tell(A, 2 * SECOND, started());
    store.read(A, &poor_sample(1_000_000));
    rename(&mut store, &nameless(), &identity("web-1", "web"));
    store.tell(A, 2 * SECOND, started());
    store.read(A, &poor_sample(1_500_000));
    let shown = scrape(&mut store);
    assert_eq!(shown.get(CPU, &[]), [1.5]);
    assert_eq!(shown.get(CPU, &[("pod", "web-1")]), [1.5]);
    assert_eq!(shown.get("container_info", &[("pod", "uid")]), NOTHING);
    assert_eq!(shown.get("container_start_time_seconds", &[("pod", "web-1")]).len(), 1);
    assert_eq!(shown.get("terminations_total", &[("cause", "error")]), [0.0], "of one workload");
    store.die(A, exited(9 * SECOND, 1));
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &[("cause", "error"), ("workload", "web")]), [1.0]);
}

#[test]
fn what_was_counted_stays_under_the_old_workload() {
    let mut store = store();
    store.appear(A, &nameless(), SECOND);
    store.die(A, exited(3 * SECOND, 1));
    rename(&mut store, &nameless(), &identity("web-1", "web"));
    // A scraper sees the 0 first.
    scrape(&mut store);
    let shown = scrape(&mut store);
    let errors =
        |workload| shown.get("terminations_total", &[("cause", "error"), ("workload", workload)]);
    assert_eq!((errors("uid"), errors("web")), (vec![1.0], vec![0.0]));
    assert_eq!(shown.get("container_info", &[]).len(), 1);
    // As any workload without a container, it goes in the end.
    store.expire(10_000 * SECOND, |_, _| false);
    assert_eq!(scrape(&mut store).get("terminations_total", &[("workload", "uid")]), NOTHING);
}

#[test]
fn under_the_same_name_the_series_go_on_with_the_workload() {
    let mut store = store();
    let linked = Identity { workload: "web-1".into(), ..identity("web-1", "web") };
    store.appear(B, &linked, SECOND / 2);
    store.read(B, &poor_sample(250_000));
    store.remove(B, SECOND);
    store.appear(A, &linked, SECOND);
    store.tell(A, 2 * SECOND, started());
    store.read(A, &poor_sample(1_000_000));
    rename(&mut store, &linked, &identity("web-1", "web"));
    store.read(A, &poor_sample(1_000_000));
    let shown = scrape(&mut store);
    assert_eq!(shown.get(CPU, &[]), [1.25], "counted once, and the restart before as well");
    assert_eq!(shown.get("container_info", &[("workload", "web")]), [1.0]);
    assert_eq!(shown.get("container_info", &[]).len(), 1);
    assert_eq!(shown.get("container_start_time_seconds", &[]).len(), 1);
    store.die(A, exited(9 * SECOND, 1));
    let shown = scrape(&mut store);
    assert_eq!(shown.get("terminations_total", &[("cause", "error"), ("workload", "web")]), [1.0]);
}

#[test]
fn a_counter_of_others_does_not_fall_when_one_is_taken_back() {
    let mut store = store();
    for cgroup in [A, B] {
        store.appear(cgroup, &identity("web-1", "web"), SECOND);
        store.read(cgroup, &poor_sample(1_000_000));
    }
    store.retracted(&Subject::Container(who(A, identity("web-1", "web"), SECOND)), 2 * SECOND);
    assert_eq!(scrape(&mut store).get(CPU, &[]), [2.0]);
    store.retracted(&Subject::Container(who(B, identity("web-1", "web"), SECOND)), 2 * SECOND);
    assert_eq!(scrape(&mut store).get(CPU, &[]), NOTHING);
    assert_eq!(scrape(&mut store).get("container_info", &[]), NOTHING);
}

#[test]
fn a_pod_under_another_name_is_one_pod() {
    let mut store = store();
    let limits =
        |store: &mut Store, pod| scrape(store).get("pod_memory_limit_bytes", &[("pod", pod)]).len();
    store.read_pod(A, "", "uid", &full_sample());
    assert_eq!((limits(&mut store, "uid"), limits(&mut store, "web-1")), (1, 0));
    store.retracted(&pod_subject(A, "", "uid"), 2 * SECOND);
    assert_eq!((limits(&mut store, "uid"), limits(&mut store, "web-1")), (0, 0));
    store.read_pod(A, "shop", "web-1", &full_sample());
    assert_eq!((limits(&mut store, "uid"), limits(&mut store, "web-1")), (0, 1));
}
