//! The whole exposition as a file, and the budget of series.

use std::collections::BTreeMap;
use std::path::Path;

use testbed::exposition::Sample;

use super::fixture::{
    SECOND, WALL, encode, encode_as, exited, fact, full_sample, identity, killed_after, parse,
    poor_sample, started, store,
};
use super::format::labels;
use crate::cgroup::CgroupId;
use crate::event::ExitStatus;
use crate::kube::identity::Identity;
use crate::kube::pod::{Container, PreStop, Resources};
use crate::lifecycle::fact::{
    Cause, FactKind, OomFact, OomScope, OomVictim, Sender, StopSignal, Termination,
};
use crate::lifecycle::startup::Start;
use crate::lifecycle::trigger::{Source, Trigger};
use crate::metrics::catalog::{self, Scope, Type, Unit};
use crate::metrics::edition::Format;
use crate::metrics::ending::{Ending, Hook, Ratio};
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

    let says = Container {
        restarts: Some(1),
        requests: Resources { cpu_millis: Some(250), memory_bytes: Some(64 << 20) },
        ..Container::default()
    };
    store.pod_says(["shop", "web-7d4b9c6f5-abcde", "web"], "uid", &says);
    store.has_pre_stop(CgroupId(3), PreStop::Exec);
    let start = Start {
        first: true,
        scheduled_boot_ns: Some(10 * SECOND),
        sandbox_boot_ns: Some(11 * SECOND),
        initialized_boot_ns: Some(12 * SECOND),
        created_boot_ns: Some(13 * SECOND),
        running_boot_ns: Some(13 * SECOND + 250_000_000),
        started_boot_ns: Some(15 * SECOND),
        ready_boot_ns: Some(16 * SECOND),
    };
    store.start(CgroupId(3), &start, true);
    store.reported(CgroupId(3), "Error", &end);

    store.fact(&fact(2, 2 * SECOND, started()), WALL);
    let stop = StopSignal { signal: 15, sender: Sender::Runtime, ignored: true };
    store.fact(&fact(2, 20 * SECOND, FactKind::StopSignal(stop)), WALL);
    store.fact(&fact(2, 50 * SECOND, FactKind::KilledAfterStopSignal), WALL);
    let end = killed_after(31 * SECOND);
    let ending = Ending {
        trigger: Trigger::PodDeletion,
        source: Source::Api,
        grace_s: Some(30),
        ratio: Some(Ratio { used_ns: 31 * SECOND, budget_ns: 28 * SECOND }),
        hook: Some(Hook { handler: PreStop::Exec, duration_ns: Some(2_200_000_000) }),
    };
    store.terminated(&fact(2, 51 * SECOND, FactKind::Terminated(end)), &end, ending, WALL);
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

fn golden(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/metrics/testdata").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (at, (is, expected)) in text.lines().zip(golden.lines()).enumerate() {
        assert_eq!(is, expected, "{file}:{}; UPDATE_GOLDEN=1 rewrites the file", at + 1);
    }
    assert_eq!(text.len(), golden.len(), "{file}; UPDATE_GOLDEN=1 rewrites the file");
}

#[test]
fn families_that_need_pods_are_in_the_catalogue() {
    for name in catalog::NEED_PODS {
        assert!(catalog::families().any(|family| family.name == name), "{name}");
    }
    assert!(catalog::list().contains("podvitals_container_grace_seconds gauge pods\n"));
}

#[test]
fn the_whole_exposition_is_as_in_the_golden_files() {
    let [text, open_metrics] = encode_as(&mut node(), [Format::Text, Format::OpenMetrics]);
    golden("exposition.prom", &text);
    golden("exposition.openmetrics", &open_metrics);
}

#[test]
fn the_samples_are_the_same_in_both_formats() {
    // Some are shown for the first time: 0 in both.
    let mut store = node();
    let stop = StopSignal { signal: 10, sender: Sender::Host, ignored: true };
    store.fact(&fact(3, 60 * SECOND, FactKind::StopSignal(stop)), WALL);
    for _round in 0..2 {
        let [text, open_metrics] = encode_as(&mut store, [Format::Text, Format::OpenMetrics]);
        let samples = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(samples(&text), samples(&open_metrics));
        let (text, open_metrics) =
            (parse(&text, Format::Text), parse(&open_metrics, Format::OpenMetrics));
        assert_eq!(text.len(), open_metrics.len());
        for (family, (text, open_metrics)) in
            catalog::families().zip(text.iter().zip(&open_metrics))
        {
            assert_eq!(text.kind, open_metrics.kind);
            let name = format!("{}{}", family.prefix(), family.open_metrics_name());
            assert_eq!(open_metrics.name, name);
            assert_eq!(open_metrics.unit.as_deref(), family.unit.name());
        }
    }
}

/// OpenMetrics: no family may have a sample that another could have, and no name should look like
/// one with a suffix.
#[test]
fn names_clash_with_no_suffix() {
    let suffixes = |kind| match kind {
        Type::Counter => &["_total", "_created"][..],
        Type::Gauge => &[""],
        Type::Histogram => &["_bucket", "_sum", "_count", "_created"],
    };
    let confusing = ["_total", "_created", "_bucket", "_sum", "_count", "_gsum", "_gcount"];
    let mut names = BTreeMap::new();
    for family in catalog::families() {
        let name = format!("{}{}", family.prefix(), family.open_metrics_name());
        assert!(!confusing.iter().any(|suffix| name.ends_with(suffix)), "{name}");
        // A gauge here, see [`Type::name`].
        let info = ["podvitals_container_info", "podvitals_build_info"];
        let last_end = "podvitals_container_last_termination_info";
        assert!(!name.ends_with("_info") || info.contains(&&*name) || name == last_end, "{name}");
        for suffix in suffixes(family.kind) {
            let other = names.insert(format!("{name}{suffix}"), family.name);
            assert_eq!(other, None, "{name}{suffix}");
        }
    }
    for family in catalog::families() {
        let name = format!("{}{}", family.prefix(), family.open_metrics_name());
        let owner = names.get(&name);
        assert!(owner.is_none_or(|owner| *owner == family.name), "{name}");
    }
}

#[test]
fn the_exposition_is_the_catalogue_in_its_order() {
    let parsed = parse(&encode(&mut node()), Format::Text);
    let shown: Vec<_> = parsed.iter().map(|family| family.name.clone()).collect();
    let listed: Vec<_> =
        catalog::families().map(|family| format!("{}{}", family.prefix(), family.name)).collect();
    assert_eq!(shown, listed);
    for (family, parsed) in catalog::families().zip(&parsed) {
        let mut expected: Vec<_> = family.scope.labels().iter().chain(family.labels).collect();
        expected.sort();
        for line in &parsed.samples {
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
        let units = [Unit::Seconds, Unit::Bytes, Unit::Cores].map(|unit| unit.name().unwrap());
        let suffix = units.into_iter().find(|unit| base.ends_with(&format!("_{unit}")));
        assert_eq!(suffix, family.unit.name(), "{}", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains('\n'), "{}", family.help);
        assert!(!family.help.contains("  "), "{}", family.help);
    }
}

#[test]
fn series_are_within_the_budget() {
    assert!(Scope::Container.series_max() <= 48, "{}", Scope::Container.series_max());
    // What a workload can have at most: each handler, each signal by each sender, each OOM.
    assert_eq!(Scope::Workload.series_max(), 116);
    // What the catalogue promises is kept by a container that has everything, and exceeded by none.
    let parsed = parse(&encode(&mut node()), Format::Text);
    let mut of_container = 0;
    for (family, parsed) in catalog::families().zip(&parsed) {
        let mut subjects = BTreeMap::<_, u32>::new();
        for line in &parsed.samples {
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
    // What a workload has that went through everything in the usual ways.
    let of_workload = |kind: &str, name: &str, container: &str| {
        let labels = [("workload_kind", kind), ("workload", name), ("container", container)];
        let is_its = |sample: &&Sample| sample.has(&labels);
        // Not `container_info`, which names the workload as well.
        let families = catalog::families().zip(&parsed);
        let of_scope = families.filter(|(family, _)| family.scope == Scope::Workload);
        of_scope.map(|(_, parsed)| parsed.samples.iter().filter(is_its).count()).sum::<usize>()
    };
    assert_eq!(of_workload("Deployment", "web", "web"), 77);
    // And one to which nothing happened that is not born with it.
    assert_eq!(of_workload("Pod", "a\\b", "c"), 49);
    // All but the three of the last shutdown: the one that has everything else had none.
    assert_eq!(of_container, Scope::Container.series_max() - 3);
}

#[test]
fn the_number_of_series_is_told() {
    let mut store = node();
    let parsed = parse(&encode(&mut store), Format::Text);
    let lines: usize = parsed.iter().map(|family| family.samples.len()).sum();
    assert_eq!(store.series(), lines as u64);
    assert_eq!(parsed.last().unwrap().samples[0].value, lines as f64);
}
