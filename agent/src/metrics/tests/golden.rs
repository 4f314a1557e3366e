//! The whole exposition as a file.

use std::collections::BTreeMap;
use std::path::Path;

use opentelemetry::trace::TraceId;

use super::fixture::{
    SECOND, Tell as _, agent_stats, encode, encode_as, exited, full_sample, identity, killed_after,
    parse, poor_sample, started, text, who,
};
use crate::cgroup::CgroupId;
use crate::event::ExitStatus;
use crate::kube::identity::Identity;
use crate::kube::pod::{Container, Handler, Pod, PreStop, Probe, Resources};
use crate::lifecycle::OpenShutdown;
use crate::lifecycle::fact::{
    Cause, Death, ExecRun, Fact, FactKind, FatalSignal, Misreport, Network, OomFact, OomScope,
    OomVictim, PreStopRun, ProbeAttempt, ProbeKind, ProbeResult, Restart, Sender, StopSignal,
    Termination,
};
use crate::lifecycle::phase::Start;
use crate::lifecycle::trigger::{Source, Trigger};
use crate::metrics::agent::AgentStats;
use crate::metrics::catalog;
use crate::metrics::collector::Collectors;
use crate::metrics::family::{Type, Unit};
use crate::metrics::store::{Store, StoreOptions};
use crate::metrics::variant::{Format, Seen};
use crate::reader::Reader as _;

/// A Deployment with two Pods, of which one went through everything, a Job that is done, and
/// a hostile name.
pub(super) fn node() -> Store {
    node_with(Collectors::ALL)
}

pub(super) fn node_with(collectors: Collectors) -> Store {
    let mut store = Store::new(StoreOptions { collectors, ..StoreOptions::default() });
    let web = identity("web-7d4b9c6f5-abcde", "web");
    store.appear(CgroupId(1), &web, SECOND);
    store.appear(CgroupId(2), &identity("web-7d4b9c6f5-fghij", "web"), SECOND);
    store.read_pod(CgroupId(100), "shop", "web-7d4b9c6f5-abcde", &full_sample());
    encode(&mut store);

    store.tell(CgroupId(1), 2 * SECOND, started());
    store.read(CgroupId(1), &full_sample());
    let oom = OomFact::plain(Some(OomScope::Container), OomVictim::Init, 2);
    store.tell(CgroupId(1), 9 * SECOND, FactKind::Oom(oom));
    let end = Termination {
        cause: Cause::Oom,
        status: Some(ExitStatus::Signal { signal: 9, core: false }),
        fatal: Some(FatalSignal { signal: 9, sender: Sender::Kernel }),
        ..exited(10 * SECOND, 0)
    };
    store.die(CgroupId(1), end);
    store.remove(CgroupId(1), 10 * SECOND);
    store.appear(CgroupId(3), &Identity { container_id: "second".into(), ..web }, 11 * SECOND);
    store.tell(CgroupId(3), 11 * SECOND + 500_000_000, started());
    let [restart, ready, death] = observed();
    store.tell(CgroupId(3), restart.time_boot_ns, restart.kind);
    store.read(CgroupId(3), &full_sample());

    let probe =
        |handler, timeout_s| Some(Box::new(Probe { handler, timeout_s, ..Probe::default() }));
    store.pod(&Pod {
        namespace: "shop".into(),
        name: "web-7d4b9c6f5-abcde".into(),
        uid: "uid".into(),
        containers: vec![Container {
            name: "web".into(),
            restarts: Some(1),
            requests: Resources { cpu_millis: Some(250), memory_bytes: Some(64 << 20) },
            pre_stop: Some(PreStop::Exec),
            liveness: probe(Handler::Http, 1),
            readiness: probe(Handler::Exec, 2),
            ..Container::default()
        }],
        ..Pod::default()
    });
    store.tell(CgroupId(3), ready.time_boot_ns, ready.kind);
    for attempt in attempts() {
        store.tell(CgroupId(3), attempt.end_boot_ns, FactKind::Probed(attempt));
    }
    let report = Misreport { reported: "Error".into(), observed: Cause::Oom };
    store.tell(CgroupId(3), 10 * SECOND, FactKind::Misreported(report));

    store.tell(CgroupId(2), 2 * SECOND, started());
    let stop = StopSignal { signal: 15, sender: Sender::Runtime, ignored: true };
    store.tell(CgroupId(2), 20 * SECOND, FactKind::StopSignal(stop));
    store.tell(CgroupId(2), 50 * SECOND, FactKind::KilledAfterStopSignal);
    store.tell(CgroupId(2), death.time_boot_ns, death.kind);
    store.remove(CgroupId(2), 52 * SECOND);

    let job = Identity {
        role: "unknown",
        workload_kind: "Job".into(),
        workload: "night".into(),
        ..identity("night-x", "job")
    };
    store.appear(CgroupId(4), &job, 30 * SECOND);
    store.tell(CgroupId(4), 30 * SECOND, started());
    store.die(CgroupId(4), exited(31 * SECOND, 3));
    store.read_last(CgroupId(4), &poor_sample(650_000));
    store.remove(CgroupId(4), 31 * SECOND);

    let hostile = Identity {
        pod: "a\\b".into(),
        image: "x\"}\nevil_total 1\n#\0".into(),
        workload: "a\\b".into(),
        workload_kind: "Pod".into(),
        ..identity("", "c")
    };
    store.appear(CgroupId(5), &hostile, 40 * SECOND);
    store.tell(CgroupId(5), 41 * SECOND, FactKind::StartFailed);
    let now = 80 * SECOND;
    let open = [(3, 2_250_000_000, false), (5, 40 * SECOND, true)];
    let open = open.map(|(cgroup, for_ns, killed)| {
        (CgroupId(cgroup), OpenShutdown { since_boot_ns: now - for_ns, killed })
    });
    store.set_terminating(now, open);
    encode(&mut store);
    store
}

/// What counts in histograms: a restart and a start of one container, and the end of another.
fn observed() -> [Fact; 3] {
    let restart =
        Restart { ended_boot_ns: Some(10 * SECOND), started_boot_ns: 11 * SECOND + 500_000_000 };
    let start = Start {
        first: true,
        scheduled_boot_ns: Some(10 * SECOND),
        sandbox_boot_ns: Some(11 * SECOND),
        initialized_boot_ns: Some(12 * SECOND),
        created_boot_ns: Some(13 * SECOND),
        running_boot_ns: Some(13 * SECOND + 250_000_000),
        started_boot_ns: Some(15 * SECOND),
        ready_boot_ns: Some(16 * SECOND),
        just_ready: true,
    };
    let death = Death {
        trigger: Trigger::PodDeletion,
        source: Source::Api,
        grace_s: Some(30),
        budget_ns: Some(28 * SECOND),
        pre_stop: Some(PreStopRun {
            handler: PreStop::Exec,
            ran_boot_ns: Some((17_800_000_000, 20 * SECOND)),
        }),
        ..Death::kernel_only(killed_after(50_030_000_000, 30_030_000_000))
    };
    [
        Fact { time_boot_ns: restart.started_boot_ns, kind: FactKind::Restarted(restart) },
        Fact { time_boot_ns: 16 * SECOND, kind: FactKind::Progressed(start) },
        Fact { time_boot_ns: death.end.end_boot_ns, kind: FactKind::Explained(death) },
    ]
}

/// Attempts of a container with a liveness probe over HTTP and a readiness probe with a command.
fn attempts() -> [ProbeAttempt; 5] {
    let at = |ms: u64| 17 * SECOND + ms * 1_000_000;
    let http = ProbeAttempt {
        probe: ProbeKind::Liveness,
        handler: Handler::Http,
        result: ProbeResult::Success,
        start_boot_ns: at(0),
        end_boot_ns: at(4),
        timeout_s: 1,
        failures_left: Some(3),
        status: Some(200),
        network: Some(Network {
            connected_boot_ns: Some(at(1)),
            first_byte_boot_ns: Some(at(3)),
            connections: 1,
        }),
        exec: None,
    };
    let timeout = ProbeAttempt {
        result: ProbeResult::Timeout,
        end_boot_ns: at(1001),
        failures_left: Some(1),
        status: None,
        network: Some(Network { connected_boot_ns: Some(at(1)), ..Network::default() }),
        ..http
    };
    let refused = ProbeAttempt {
        result: ProbeResult::Refused,
        end_boot_ns: at(0) + 80_000,
        failures_left: Some(0),
        network: Some(Network::default()),
        ..timeout
    };
    let unknown = ProbeAttempt { result: ProbeResult::Unknown, failures_left: None, ..http };
    let command = ProbeAttempt {
        probe: ProbeKind::Readiness,
        handler: Handler::Exec,
        end_boot_ns: at(130),
        timeout_s: 2,
        status: None,
        network: None,
        exec: Some(ExecRun {
            exec_boot_ns: Some(at(30)),
            exit_code: Some(0),
            cpu_ns: Some(62_500_000),
            left_behind: 1,
            overran: false,
        }),
        ..http
    };
    [http, timeout, command, unknown, refused]
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
fn the_whole_exposition_is_as_in_the_golden_files() {
    let [text, open_metrics] = encode_as(&mut node(), [Format::Text, Format::OpenMetrics]);
    golden("exposition.prom", &text);
    golden("exposition.openmetrics", &open_metrics);
}

/// Property: without an exporter of traces the exposition is the same, but for its families and the
/// number of series.
#[test]
fn without_traces_there_are_no_families_about_them() {
    let is_about_traces = |line: &&str| {
        let of = line.split_whitespace().find(|word| word.starts_with("podvitals_"));
        of.is_some_and(|name| name.starts_with("podvitals_trace"))
    };
    let series = |line: &&str| !line.starts_with("podvitals_series ");
    for format in [Format::Text, Format::OpenMetrics] {
        let exposition = |traces| {
            let mut store = node();
            let generation = store.next_generation(0);
            let stats = AgentStats { traces, ..agent_stats() };
            text(&store.encode(generation, &stats, format).for_reader(Seen::ALL, |chunk| chunk))
        };
        let (with, without) = (exposition(agent_stats().traces), exposition(None));
        let about: Vec<_> = with.lines().filter(is_about_traces).collect();
        let samples = about.iter().filter(|line| !line.starts_with('#')).count();
        assert_eq!(samples, 1 + 4 + 6 + 1 + 1 + 1 + 4 + 1, "{about:?}");
        let rest: Vec<_> =
            with.lines().filter(|line| !is_about_traces(line)).filter(series).collect();
        assert_eq!(without.lines().filter(series).collect::<Vec<_>>(), rest);
    }
}

/// `cargo xtask metrics` serves this file to real Prometheuses, and asks them for its exemplars.
#[test]
fn with_traces_there_are_exemplars_and_nothing_else() {
    let mut store = node();
    for (fact, trace) in observed().iter().zip([0xa1, 0xa2, 0xa3_u128]) {
        // The first is gone.
        let (cgroup, pod) =
            if trace == 0xa3 { (2, "web-7d4b9c6f5-fghij") } else { (3, "web-7d4b9c6f5-abcde") };
        let who = who(CgroupId(cgroup), identity(pod, "web"), SECOND);
        store.traced(&who, fact, TraceId::from(trace << 120 | trace));
    }
    let [text, open_metrics] = encode_as(&mut store, [Format::Text, Format::OpenMetrics]);
    golden("exposition.prom", &text);
    golden("exposition-traced.openmetrics", &open_metrics);
    let with = open_metrics.lines().filter(|line| line.contains(" # {")).count();
    assert_eq!(with, 5, "each histogram has one");
    parse(&open_metrics, Format::OpenMetrics);
}

#[test]
fn the_samples_are_the_same_in_both_formats() {
    // Some are shown for the first time: 0 in both.
    let mut store = node();
    let stop = StopSignal { signal: 10, sender: Sender::Host, ignored: true };
    store.tell(CgroupId(3), 60 * SECOND, FactKind::StopSignal(stop));
    for _generation in 0..2 {
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
        let info =
            ["podvitals_container_info", "podvitals_build_info", "podvitals_probe_source_info"];
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
