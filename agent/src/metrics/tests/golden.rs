//! The whole exposition as a file, and the budget of series.

use std::collections::BTreeMap;
use std::path::Path;

use super::fixture::{
    SECOND, WALL, encode, exited, fact, full_sample, identity, killed_after, poor_sample, started,
    store,
};
use super::format::labels;
use super::parse::parse;
use crate::cgroup::CgroupId;
use crate::event::ExitStatus;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{
    Cause, FactKind, OomFact, OomScope, OomVictim, Sender, StopSignal, Termination,
};
use crate::metrics::catalog::{self, Scope, Type, Unit};
use crate::metrics::shutdown::OpenShutdown;
use crate::metrics::store::Store;

/// A Deployment with two Pods, of which one went through everything, a Job that is done, and
/// a hostile name.
fn node() -> Store {
    let mut store = store();
    let web = identity("web-7d4b9c6f5-abcde", "web");
    store.appear(CgroupId(1), &web, SECOND);
    store.appear(CgroupId(2), &identity("web-7d4b9c6f5-fghij", "web"), SECOND);
    store.pod_sample(CgroupId(100), "shop", "web-7d4b9c6f5-abcde", full_sample());
    encode(&mut store);

    store.fact(&fact(1, 2 * SECOND, started()), WALL);
    store.sample(CgroupId(1), full_sample());
    let oom = OomFact { scope: Some(OomScope::Container), victim: OomVictim::Init, killed: 2 };
    store.fact(&fact(1, 9 * SECOND, FactKind::Oom(oom)), WALL);
    let end = Termination {
        cause: Cause::Oom,
        status: Some(ExitStatus::Signal { signal: 9, core: false }),
        fatal: Some((9, Sender::Kernel)),
        ..exited(0)
    };
    store.fact(&fact(1, 10 * SECOND, FactKind::Terminated(end)), WALL);
    store.gone(CgroupId(1), 10 * SECOND);
    store.appear(CgroupId(3), &Identity { container_id: "second".into(), ..web }, 11 * SECOND);
    store.fact(&fact(3, 11 * SECOND + 500_000_000, started()), WALL);
    store.restarted(CgroupId(3), Some(1_500_000_000));
    store.sample(CgroupId(3), full_sample());

    store.fact(&fact(2, 2 * SECOND, started()), WALL);
    let stop = StopSignal { signal: 15, sender: Sender::Runtime, ignored: true };
    store.fact(&fact(2, 20 * SECOND, FactKind::StopSignal(stop)), WALL);
    store.fact(&fact(2, 50 * SECOND, FactKind::KilledAfterStopSignal), WALL);
    store.fact(&fact(2, 51 * SECOND, FactKind::Terminated(killed_after(31 * SECOND))), WALL);
    store.gone(CgroupId(2), 52 * SECOND);

    let job = Identity {
        role: "unknown",
        workload_kind: "Job".into(),
        workload: "night".into(),
        ..identity("night-x", "job")
    };
    store.appear(CgroupId(4), &job, 30 * SECOND);
    store.fact(&fact(4, 30 * SECOND, started()), WALL);
    store.fact(&fact(4, 31 * SECOND, FactKind::Terminated(exited(3))), WALL);
    store.last_sample(CgroupId(4), &poor_sample(650_000));
    store.gone(CgroupId(4), 31 * SECOND);

    let hostile = Identity {
        pod: "a\\b".into(),
        image: "x\"}\nevil_total 1\n#\0".into(),
        workload: "a\\b".into(),
        workload_kind: "Pod".into(),
        ..identity("", "c")
    };
    store.appear(CgroupId(5), &hostile, 40 * SECOND);
    store.fact(&fact(5, 41 * SECOND, FactKind::StartFailed), WALL);
    let open = [(3, 2_250_000_000, false), (5, 40 * SECOND, true)];
    store.set_open_shutdowns(open.map(|(container, open_ns, killed)| OpenShutdown {
        container: CgroupId(container),
        open_ns,
        killed,
    }));
    encode(&mut store);
    store
}

#[test]
fn the_whole_exposition_is_as_in_the_golden_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/testdata/exposition.prom");
    let text = encode(&mut node());
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (at, (is, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, expected, "line {}; UPDATE_GOLDEN=1 rewrites the file", at + 1);
    }
    assert_eq!(text.len(), golden.len(), "UPDATE_GOLDEN=1 rewrites the file");
}

#[test]
fn the_exposition_is_the_catalogue_in_its_order() {
    let parsed = parse(&encode(&mut node())).unwrap();
    let shown: Vec<_> = parsed.iter().map(|family| family.name.clone()).collect();
    let listed: Vec<_> =
        catalog::families().map(|family| format!("{}{}", family.prefix(), family.name)).collect();
    assert_eq!(shown, listed);
    for (family, parsed) in catalog::families().zip(&parsed) {
        let mut expected: Vec<_> = family.scope.labels().iter().chain(family.labels).collect();
        expected.sort();
        for line in &parsed.lines {
            let mut names: Vec<_> = line.labels.keys().map(String::as_str).collect();
            names.retain(|name| family.kind != Type::Histogram || *name != "le");
            assert_eq!(names, expected.iter().map(|name| **name).collect::<Vec<_>>());
        }
    }
}

#[test]
fn names_say_type_and_unit() {
    for family in catalog::families() {
        let base = family.name.strip_suffix("_total").unwrap_or(family.name);
        assert_eq!(family.name.ends_with("_total"), family.kind == Type::Counter);
        let suffix = match family.unit {
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
            Unit::Cores => "_cores",
            Unit::None => {
                assert!(!["_seconds", "_bytes", "_cores"].iter().any(|unit| base.ends_with(unit)));
                ""
            }
        };
        assert!(base.ends_with(suffix), "{} lacks {suffix}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.help);
        assert!(!family.help.contains("  "), "{}", family.help);
    }
}

#[test]
fn series_are_within_the_budget() {
    assert!(Scope::Container.series_max() <= 48, "{}", Scope::Container.series_max());
    assert!(Scope::Workload.series_max() <= 80, "{}", Scope::Workload.series_max());
    // What the catalogue promises is kept by a container that has everything, and exceeded by none.
    let parsed = parse(&encode(&mut node())).unwrap();
    let mut of_container = 0;
    for (family, parsed) in catalog::families().zip(&parsed) {
        let mut subjects = BTreeMap::<_, u32>::new();
        for line in &parsed.lines {
            let own = |name: &String| family.scope.labels().contains(&name.as_str());
            let mut subject = line.labels.clone();
            subject.retain(|name, _| own(name));
            *subjects.entry(subject).or_default() += 1;
        }
        for count in subjects.values() {
            assert!(*count <= family.series_max, "{}: {count}", family.name);
        }
        let web = [("namespace", "shop"), ("pod", "web-7d4b9c6f5-abcde"), ("container", "web")];
        of_container += subjects.get(&labels(&web)).copied().unwrap_or(0);
    }
    // All but the last shutdown: the one that has everything else had none.
    assert_eq!(of_container, Scope::Container.series_max() - 1);
}

#[test]
fn the_number_of_series_is_told() {
    let mut store = node();
    let parsed = parse(&encode(&mut store)).unwrap();
    let lines: usize = parsed.iter().map(|family| family.lines.len()).sum();
    assert_eq!(store.series(), lines as u64);
    assert_eq!(parsed.last().unwrap().lines[0].value, lines as f64);
}
