use super::super::fixtures::{self, CRON_JOB, DEPLOYMENT, JOB, STATIC};
use super::super::pod::{Phase, State};
use super::super::rejected::{Reason, Rejected};
use super::*;
use crate::cgroup::path::{Qos, Runtime};

const SECOND: u64 = 1_000_000_000;

fn event(time_boot_ns: u64, kind: PodEventKind) -> PodEvent {
    PodEvent { time_boot_ns, kind }
}

fn listed(time: u64, jsons: &[&str]) -> PodEvent {
    event(time, PodEventKind::Listed(jsons.iter().map(|json| fixtures::pod(json)).collect()))
}

fn applied(time: u64, json: &str) -> PodEvent {
    event(time, PodEventKind::Applied(Box::new(fixtures::pod(json))))
}

fn cgroup(uid: &str) -> PodName {
    PodName { uid: uid.to_owned(), qos: Qos::BestEffort }
}

fn container(digit: &str) -> ContainerName {
    ContainerName { id: digit.repeat(64), runtime: Runtime::Containerd }
}

const WEB: &str = "11111111-2222-3333-4444-555555555555";
const REPORT: &str = "22222222-2222-3333-4444-555555555555";
const HASH: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn a_cgroup_finds_its_pod_and_container() {
    let mut pods = Pods::new();
    assert!(!pods.listed() && pods.is_empty());
    let mut changed = pods.apply(listed(1, &[DEPLOYMENT, STATIC]));
    changed.sort();
    assert_eq!(changed, [WEB, "99999999-2222-3333-4444-555555555555"]);
    assert!(pods.listed());
    let name = |uid: &str, digit: &str| {
        let (known, found) = pods.container(&cgroup(uid), &container(digit))?;
        Some(format!("{}/{}", known.pod.name, found.name))
    };
    assert_eq!(name(WEB, "c").as_deref(), Some("web-7d4b9c6f5-abcde/web"));
    assert_eq!(name(WEB, "d").as_deref(), Some("web-7d4b9c6f5-abcde/web"), "the previous instance");
    assert_eq!(name(WEB, "a").as_deref(), Some("web-7d4b9c6f5-abcde/migrate"));
    assert_eq!(name(WEB, "9"), None, "the sandbox");
    assert_eq!(name(HASH, "e").as_deref(), Some("etcd-n1/etcd"), "a static Pod's cgroup");
    assert_eq!(name("other", "c"), None);
}

#[test]
fn former_ids_are_remembered() {
    let mut pods = Pods::new();
    pods.apply(applied(1, DEPLOYMENT));
    for restart in 0..200 {
        let json = DEPLOYMENT
            .replace(&"d".repeat(64), &format!("{restart:064}"))
            .replace(&"c".repeat(64), &format!("{:064}", restart + 1));
        pods.apply(applied(2 + restart, &json));
    }
    let known = pods.get(WEB).unwrap();
    for (id, name) in [(200, Some("web")), (199, Some("web")), (150, Some("web")), (1, None)] {
        let found = known.container(&format!("{id:064}")).map(|container| container.name.as_str());
        assert_eq!(found, name, "{id}");
    }
}

#[test]
fn a_recreated_mirror_replaces_the_old_one() {
    let mut pods = Pods::new();
    pods.apply(applied(1, STATIC));
    let recreated = STATIC.replace("99999999", "88888888");
    pods.apply(applied(2, &recreated));
    pods.apply(event(3, PodEventKind::Deleted(Box::new(fixtures::pod(STATIC)))));
    assert!(pods.of_cgroup(&cgroup(HASH)).unwrap().pod.uid.starts_with("88888888"));
    // The old mirror is forgotten, and the hash belongs to the new one.
    pods.apply(listed(4 + KEEP_NS, &[&recreated]));
    assert!(pods.of_cgroup(&cgroup(HASH)).unwrap().pod.uid.starts_with("88888888"));
}

#[test]
fn a_mirror_that_is_removed_and_not_made_anew_means_the_end_of_its_static_pod() {
    let mut pods = Pods::new();
    pods.apply(applied(1, STATIC));
    pods.apply(event(3, PodEventKind::Deleted(Box::new(fixtures::pod(STATIC)))));
    let of_hash = |pods: &Pods| pods.of_cgroup(&cgroup(HASH)).unwrap().missing_since();
    assert_eq!(of_hash(&pods).map(|missing| missing.time_boot_ns), Some(3));
    pods.apply(applied(4, &STATIC.replace("99999999", "88888888")));
    assert_eq!(of_hash(&pods), None, "somebody else has removed it");
}

#[test]
fn a_forged_mirror_does_not_take_a_static_pods_place() {
    let named = |uid: &str, name: &str| {
        STATIC.replace("99999999", uid).replace("\"etcd-n1\"", &format!("\"{name}\""))
    };
    let forged = named("77777777", "etcd-debug");
    let without_owner = forged.replace("\"ownerReferences\"", "\"x\"");
    let holder = |pods: &Pods| pods.of_cgroup(&cgroup(HASH)).unwrap().pod.name.clone();
    for json in [&forged, &without_owner] {
        let mut pods = Pods::new();
        pods.apply(applied(1, STATIC));
        pods.apply(applied(2, json));
        assert_eq!(holder(&pods), "etcd-n1", "the first keeps it");
        // Its mirror is deleted, and re-created: the place was kept for it.
        pods.apply(event(3, PodEventKind::Deleted(Box::new(fixtures::pod(STATIC)))));
        pods.apply(applied(4, json));
        assert_eq!(holder(&pods), "etcd-n1");
        pods.apply(applied(5, &named("88888888", "etcd-n1")));
        assert!(pods.of_cgroup(&cgroup(HASH)).unwrap().pod.uid.starts_with("88888888"));
    }
    let mut pods = Pods::new();
    pods.apply(listed(1, &[&without_owner, STATIC]));
    assert_eq!(holder(&pods), "etcd-n1", "an owner of kind Node proves more than none");
}

#[test]
fn a_mirror_whose_containers_are_reported_is_no_forged_one() {
    let forged = STATIC
        .replace("99999999", "77777777")
        .replace("\"etcd-n1\"", "\"etcd-debug\"")
        .replace("\"containerID\"", "\"x\"");
    let no_report_yet = STATIC.replace("\"containerID\"", "\"x\"");
    let holder = |pods: &Pods| pods.of_cgroup(&cgroup(HASH)).unwrap().pod.name.clone();
    let mut pods = Pods::new();
    for (time, json, name) in [
        (1, &*forged, "etcd-debug"),
        (2, &no_report_yet, "etcd-debug"),
        (3, STATIC, "etcd-n1"),
        (4, &forged, "etcd-n1"),
        (5, &no_report_yet, "etcd-n1"),
    ] {
        pods.apply(applied(time, json));
        assert_eq!(holder(&pods), name, "{time}");
    }
}

#[test]
fn a_pod_that_is_gone_stays_known_for_a_while() {
    let mut pods = Pods::new();
    pods.apply(listed(SECOND, &[DEPLOYMENT, CRON_JOB]));
    assert_eq!(pods.apply(listed(2 * SECOND, &[DEPLOYMENT])), [REPORT]);
    assert_eq!(pods.len(), 1);
    let known = pods.of_cgroup(&cgroup(REPORT)).unwrap();
    assert_eq!(known.gone.map(|gone| gone.time_boot_ns), Some(2 * SECOND));
    pods.apply(listed(3 * SECOND, &[DEPLOYMENT]));
    assert!(pods.of_cgroup(&cgroup(REPORT)).is_some());
    pods.apply(listed(2 * SECOND + KEEP_NS, &[DEPLOYMENT]));
    assert!(pods.of_cgroup(&cgroup(REPORT)).is_none());
    assert_eq!((pods.len(), pods.dropped()), (1, 0));
}

#[test]
fn a_pod_that_reappears_is_present_again() {
    let mut pods = Pods::new();
    pods.apply(listed(1, &[CRON_JOB]));
    pods.apply(listed(2, &[]));
    assert_eq!(pods.len(), 0);
    assert_eq!(pods.apply(listed(3, &[CRON_JOB])), [REPORT]);
    assert_eq!((pods.len(), pods.get(REPORT).unwrap().gone), (1, None));
    pods.apply(listed(4 + KEEP_NS, &[CRON_JOB]));
    assert_eq!(pods.len(), 1);
}

#[test]
fn only_changed_pods_are_returned() {
    let mut pods = Pods::new();
    assert_eq!(pods.apply(listed(1, &[CRON_JOB])).len(), 1);
    assert_eq!(pods.apply(listed(5, &[CRON_JOB])).len(), 0);
    assert_eq!(pods.get(REPORT).unwrap().changed_boot_ns, 5);
    let failed = CRON_JOB.replace("Succeeded", "Failed");
    assert_eq!(pods.apply(listed(6, &[&failed])), [REPORT]);
}

#[test]
fn the_first_report_of_a_deletion_is_kept() {
    let living =
        DEPLOYMENT.replace("deletionTimestamp", "x").replace("deletionGracePeriodSeconds", "y");
    let mut pods = Pods::new();
    pods.apply(listed(1, &[&living]));
    assert_eq!(pods.get(WEB).unwrap().deletion, None);
    pods.apply(applied(7, DEPLOYMENT));
    pods.apply(applied(9, &DEPLOYMENT.replace("Running", "Failed")));
    let at_once = Noticed { time_boot_ns: 7, via: Via::Watch, after_boot_ns: Some(1) };
    assert_eq!(pods.get(WEB).unwrap().deletion_noticed(), Some(at_once));

    let mut pods = Pods::new();
    pods.apply(listed(3, &[DEPLOYMENT]));
    let late = Noticed { time_boot_ns: 3, via: Via::List, after_boot_ns: None };
    assert_eq!(pods.get(WEB).unwrap().deletion_noticed(), Some(late));
}

#[test]
fn statuses_report_containers_that_are_older_than_their_lag() {
    let mut pods = Pods::new();
    pods.apply(applied(10 * SECOND, CRON_JOB));
    pods.apply(applied(10 * SECOND, JOB));
    let known = pods.get(REPORT).unwrap();
    assert!(known.would_report(5 * SECOND) && !known.would_report(6 * SECOND));
    let pending = pods.get("33333333-2222-3333-4444-555555555555").unwrap();
    assert!(!pending.would_report(0));
}

#[test]
fn the_number_of_pods_is_bounded_and_counted() {
    let mut pods = Pods::new();
    let pod = |number: usize| Pod { uid: format!("u{number}"), ..Pod::default() };
    for number in 0..LIVE_MAX + 5 {
        pods.apply(event(1, PodEventKind::Applied(Box::new(pod(number)))));
    }
    assert_eq!((pods.len(), pods.dropped()), (LIVE_MAX, 5));
    pods.apply(event(2, PodEventKind::Listed(Vec::new())));
    assert_eq!((pods.len(), pods.dropped()), (0, 5 + (LIVE_MAX - LINGERING_MAX) as u64));
    assert_eq!(pods.by_uid.len(), LINGERING_MAX);
    pods.apply(event(3, PodEventKind::Applied(Box::default())));
    assert_eq!((pods.len(), pods.dropped()), (0, 6 + (LIVE_MAX - LINGERING_MAX) as u64), "no UID");
}

fn live(number: usize) -> Pod {
    Pod { uid: format!("live{number:05}"), ..Pod::default() }
}

fn evicted(number: usize) -> Pod {
    Pod { phase: Phase::Failed, uid: format!("evicted{number:05}"), ..Pod::default() }
}

fn list(time: u64, pods: Vec<Pod>) -> PodEvent {
    event(time, PodEventKind::Listed(pods))
}

#[test]
fn pods_that_only_linger_take_no_room_from_those_that_live() {
    let mut pods = Pods::new();
    let all = || (0..2100).map(evicted).chain([live(1), live(2)]).collect::<Vec<_>>();
    pods.apply(list(1, all()));
    assert!(pods.get("live00001").is_some(), "the last of the list");
    pods.apply(event(2, PodEventKind::Applied(Box::new(live(3)))));
    assert!(pods.get("live00003").is_some(), "the next of the watch");
    pods.apply(event(2, PodEventKind::Applied(Box::new(Pod { phase: Phase::Running, ..live(2) }))));
    let refused = 2100 - LINGERING_MAX;
    assert_eq!((pods.dropped(), pods.refused()), (refused as u64, refused));
    // The kubelet is asked every few seconds: each Pod is counted once.
    pods.apply(list(3, all()));
    let refused = refused + 1;
    assert_eq!((pods.dropped(), pods.refused()), (refused as u64, refused), "for one that is gone");
    pods.apply(list(4, all()));
    assert_eq!((pods.dropped(), pods.refused()), (refused as u64, refused));
    // One that lived and has failed is worth more than the oldest of the others.
    let ended = Pod { phase: Phase::Failed, ..live(1) };
    pods.apply(event(5, PodEventKind::Applied(Box::new(ended))));
    assert!(pods.get("live00001").is_some());
    assert_eq!((pods.lingering.len(), pods.dropped()), (LINGERING_MAX, refused as u64 + 1));
    pods.apply(list(6, vec![live(2)]));
    assert_eq!((pods.len(), pods.refused()), (1, 0));
}

#[test]
fn pods_that_only_linger_take_little_memory() {
    let mut pods = Pods::new();
    let heavy = |number: usize| {
        let images = (0..40).map(|_| Container { image: "i".repeat(1000), ..Container::default() });
        Pod { containers: images.collect(), ..evicted(number) }
    };
    for number in 0..500 {
        pods.apply(event(1 + number as u64, PodEventKind::Applied(Box::new(heavy(number)))));
    }
    let kept: usize = pods.by_uid.values().map(|known| known.size_bytes()).sum();
    assert_eq!(kept, pods.lingering_bytes);
    assert!(kept <= LINGERING_BYTES_MAX && kept > LINGERING_BYTES_MAX * 9 / 10, "{kept}");
    assert_eq!(pods.dropped() as usize, 500 - pods.len());
    assert!(pods.get("evicted00499").is_some() && pods.get("evicted00000").is_none());
    // One of another size, one that runs again, and none at all.
    let lighter = Pod { phase: Phase::Succeeded, ..evicted(499) };
    pods.apply(event(1000, PodEventKind::Applied(Box::new(lighter))));
    let again = Pod { phase: Phase::Running, ..heavy(498) };
    pods.apply(event(1001, PodEventKind::Applied(Box::new(again))));
    let kept: usize =
        pods.by_uid.values().filter(|it| it.lingers()).map(|known| known.size_bytes()).sum();
    assert_eq!(kept, pods.lingering_bytes);
    pods.apply(event(1002, PodEventKind::Listed(Vec::new())));
    pods.apply(event(1003 + 2 * KEEP_NS, PodEventKind::Listed(Vec::new())));
    assert_eq!((pods.by_uid.len(), pods.lingering_bytes), (0, 0));
}

#[test]
fn a_pod_that_found_no_room_is_taken_when_there_is_some() {
    let mut pods = Pods::new();
    let from = |first: usize| (first..=LIVE_MAX).map(live).collect::<Vec<_>>();
    pods.apply(list(1, from(0)));
    let last = format!("live{LIVE_MAX:05}");
    assert!(pods.get(&last).is_none() && pods.warned);
    assert_eq!((pods.dropped(), pods.refused()), (1, 1));
    pods.apply(event(2, PodEventKind::Deleted(Box::new(live(0)))));
    assert_eq!(pods.apply(list(3, from(1))), [last]);
    assert_eq!((pods.dropped(), pods.refused()), (1, 0));
}

#[test]
fn a_failed_pod_lives_while_a_container_of_it_runs() {
    let container = |state| Container { state, ..Container::default() };
    let running = State::Running { started_unix_s: None };
    let pod = |states: Vec<State>| Pod {
        containers: states.into_iter().map(container).collect(),
        ..evicted(1)
    };
    let waiting = State::Waiting { reason: "ContainerCreating".into() };
    assert!(known_pod::lingers(&pod(vec![waiting.clone(), State::Unknown])));
    assert!(!known_pod::lingers(&pod(vec![waiting.clone(), running])));
    let pending = Pod { phase: Phase::Pending, ..pod(vec![waiting]) };
    assert!(!known_pod::lingers(&pending));
}

#[test]
fn what_an_interrupted_watch_has_missed_comes_late() {
    let deletion = |gap_ms: u64| {
        let mut pods = Pods::new();
        let living = DEPLOYMENT.replace("deletionTimestamp", "x");
        pods.apply(listed(SECOND, &[&living]));
        pods.apply(event(2 * SECOND, PodEventKind::Failed("reset".into())));
        pods.apply(applied(9 * SECOND, &living.replace("Running", "Pending")));
        pods.apply(applied(9 * SECOND + gap_ms * 1_000_000, DEPLOYMENT));
        let noticed = pods.get(WEB).unwrap().deletion_noticed().unwrap();
        (noticed.via, noticed.after_boot_ns)
    };
    assert_eq!(deletion(10), (Via::List, Some(SECOND)), "as all that was missed");
    assert_eq!(deletion(5000), (Via::Watch, Some(9 * SECOND)));
}

#[test]
fn what_came_while_the_agent_was_away_comes_late() {
    let living = DEPLOYMENT.replace("deletionTimestamp", "x");
    let mut pods = Pods::new();
    pods.apply(listed(SECOND, &[&living]));
    pods.resumed(40 * SECOND);
    pods.apply(applied(40 * SECOND, &living.replace("Running", "Pending")));
    pods.apply(applied(40 * SECOND + 10, DEPLOYMENT));
    let noticed = pods.get(WEB).unwrap().deletion_noticed().unwrap();
    assert_eq!((noticed.via, noticed.after_boot_ns), (Via::List, Some(SECOND)));
}

#[test]
fn a_deletion_is_never_taken_back_but_absence_is() {
    let living = DEPLOYMENT.replace("deletionTimestamp", "x");
    let mut pods = Pods::new();
    pods.apply(listed(1, &[&living]));
    pods.apply(listed(2, &[]));
    let known = pods.get(WEB).unwrap();
    assert_eq!((known.deletion_noticed(), known.missing_since().is_some()), (None, true));
    pods.apply(listed(3, &[&living]));
    let known = pods.get(WEB).unwrap();
    assert_eq!((known.deletion_noticed(), known.missing_since()), (None, None));
    pods.apply(applied(4, DEPLOYMENT));
    // A server that lags behind.
    pods.apply(listed(5, &[&living]));
    let known = pods.get(WEB).unwrap();
    assert_eq!(known.deletion_noticed().unwrap().time_boot_ns, 4);
    assert_eq!(known.deletion_grace_s(), fixtures::pod(DEPLOYMENT).deletion.unwrap().grace_s);
}

#[test]
fn a_failure_is_no_change_of_pods() {
    let mut pods = Pods::new();
    pods.apply(listed(1, &[CRON_JOB]));
    assert!(pods.apply(event(2, PodEventKind::Failed("refused".into()))).is_empty());
    for (last_contact, failing) in
        [(None, Some("refused")), (Some(1), Some("refused")), (Some(2), None)]
    {
        assert_eq!((pods.failing(last_contact), pods.len()), (failing, 1));
    }
    pods.apply(listed(3, &[CRON_JOB]));
    assert_eq!(pods.failing(None), None);
}

#[test]
fn a_pod_whose_item_cannot_be_read_is_not_gone() {
    let mut pods = Pods::new();
    pods.apply(listed(1, &[DEPLOYMENT, CRON_JOB]));
    let uid = fixtures::pod(DEPLOYMENT).uid;
    let mut rejected = Rejected::default();
    rejected.add(Reason::Malformed, Some(&uid), String::new);
    pods.apply(event(2, PodEventKind::Rejected(Box::new(rejected))));
    pods.apply(listed(2, &[]));
    assert_eq!(pods.get(&uid).unwrap().gone, None, "it is in the list");
    assert_eq!(pods.len(), 1, "the other is gone");
    pods.apply(listed(3, &[]));
    assert_eq!(
        pods.get(&uid).unwrap().gone.map(|gone| gone.time_boot_ns),
        Some(3),
        "now it is not"
    );
    assert_eq!(pods.rejections().counts().next(), Some(("malformed", 1)));
}

#[test]
fn what_a_healthy_source_does_not_report_is_not_there() {
    let mut pods = Pods::new();
    let made = 100 * SECOND;
    let asked = |pods: &Pods| pods.would_report(pods.get(REPORT).unwrap(), made);
    pods.apply(listed(made, &[CRON_JOB]));
    assert!(!asked(&pods), "it may be newer than the list");
    for (heard, reported) in [(None, false), (Some(made + 5 * SECOND), false)] {
        pods.heard(heard);
        assert_eq!(asked(&pods), reported, "{heard:?}");
    }
    // A refusal is no contact.
    pods.apply(event(made + 10 * SECOND, PodEventKind::Failed("refused".into())));
    pods.heard(Some(made + 9 * SECOND));
    assert!(!asked(&pods));
    pods.heard(Some(made + 60 * SECOND));
    assert!(asked(&pods), "a bookmark");
    pods.apply(listed(made + 61 * SECOND, &[]));
    assert!(!pods.would_report(pods.get(REPORT).unwrap(), made + 30 * SECOND), "it is gone");
}
