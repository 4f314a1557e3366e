//! Exemplars: which buckets have one, of which fact, and that nothing else depends on them.

use std::collections::BTreeMap;

use opentelemetry::trace::TraceId;
use proptest::prelude::*;
use testbed::exposition::{Family, Sample};

use super::fixture::{
    SECOND, Tell as _, WALL, encode_as, encode_for, exited, identity, killed_after, parse, started,
    store, who,
};
use crate::cgroup::CgroupId;
use crate::kube::identity::Identity;
use crate::kube::pod::PreStop;
use crate::lifecycle::fact::{Death, Fact, FactKind, PreStopRun, Restart, Termination};
use crate::lifecycle::phase::Start;
use crate::metrics::store::{Store, StoreOptions};
use crate::metrics::variant::Format;
use crate::reader::Reader as _;

const BOTH: [Format; 2] = [Format::Text, Format::OpenMetrics];
const WEB: CgroupId = CgroupId(1);

/// A store with one container, of which nothing has been told, after a first scrape.
fn with_web() -> Store {
    let mut store = store();
    store.appear(WEB, &identity("web-1", "web"), SECOND);
    encode_as(&mut store, BOTH);
    store
}

fn traced(store: &mut Store, cgroup: CgroupId, identity: Identity, fact: &Fact, trace: u128) {
    store.traced(&who(cgroup, identity, SECOND), fact, TraceId::from(trace));
}

fn told(store: &mut Store, fact: &Fact) {
    store.tell(WEB, fact.time_boot_ns, fact.kind.clone());
}

/// A death after a shutdown, with a grace period and a preStop hook.
fn death(end: Termination, budget_ns: u64, pre_stop_ns: u64) -> Fact {
    let stop = end.stop_boot_ns.unwrap_or(end.end_boot_ns);
    let run = (stop.saturating_sub(pre_stop_ns), stop);
    let death = Death {
        budget_ns: Some(budget_ns),
        pre_stop: Some(PreStopRun { handler: PreStop::Exec, ran_boot_ns: Some(run) }),
        ..Death::kernel_only(end)
    };
    Fact { time_boot_ns: end.end_boot_ns, kind: FactKind::Explained(death) }
}

fn restart(ended_boot_ns: u64, started_boot_ns: u64) -> Fact {
    let restart = Restart { ended_boot_ns: Some(ended_boot_ns), started_boot_ns };
    Fact { time_boot_ns: started_boot_ns, kind: FactKind::Restarted(restart) }
}

fn ready(scheduled_boot_ns: u64, ready_boot_ns: u64, just_ready: bool) -> Fact {
    let start = Start {
        first: true,
        scheduled_boot_ns: Some(scheduled_boot_ns),
        ready_boot_ns: Some(ready_boot_ns),
        just_ready,
        ..Start::default()
    };
    Fact { time_boot_ns: ready_boot_ns, kind: FactKind::Progressed(start) }
}

fn exemplar_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.contains(" # {")).collect()
}

/// The text without its exemplars.
fn without(text: &str) -> String {
    let line = |line: &str| match line.split_once(" # {trace_id=") {
        Some((sample, _)) => format!("{sample}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn samples_of(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn each_histogram_names_the_trace_of_its_observation() {
    let mut store = with_web();
    let killed = death(killed_after(51 * SECOND, 31 * SECOND + 123), 28 * SECOND, 2_200_000_000);
    let facts = [killed, restart(51 * SECOND, 52 * SECOND + 1), ready(SECOND, 9 * SECOND, true)];
    for (fact, trace) in facts.iter().zip(0xa..) {
        told(&mut store, fact);
        traced(&mut store, WEB, identity("web-1", "web"), fact, trace);
    }
    let [text, open_metrics] = encode_as(&mut store, BOTH);
    assert_eq!(exemplar_lines(&text), [""; 0]);
    // Ready and grace came with their first event: this scraper is shown them at 0 first.
    let labels =
        "namespace=\"shop\",workload_kind=\"Deployment\",workload=\"web\",container=\"web\"";
    let expected = |lines: &[(&str, &str)]| {
        let line = |(bucket, rest): &(&str, &str)| {
            format!("podvitals_{}", bucket.replacen('{', &format!("_bucket{{{labels},"), 1)) + rest
        };
        lines.iter().map(line).collect::<Vec<_>>()
    };
    let a = " # {trace_id=\"0000000000000000000000000000000a\"} ";
    let b = " # {trace_id=\"0000000000000000000000000000000b\"} 1.000000001 1700000052.000000001";
    let c = " # {trace_id=\"0000000000000000000000000000000c\"} 8 1700000009";
    let shutdown = format!("{a}31.000000123 1700000051");
    let used = format!("{a}1.107142861 1700000051");
    let hook = format!("{a}2.2 1700000051");
    let shutdown =
        ("shutdown_duration_seconds{outcome=\"killed\",le=\"60.0\"} 1", shutdown.as_str());
    let downtime = ("restart_downtime_seconds{le=\"3.0\"} 1", b);
    assert_eq!(exemplar_lines(&open_metrics), expected(&[shutdown, downtime]));
    assert_eq!(samples_of(&without(&open_metrics)), samples_of(&text));
    let [text, open_metrics] = encode_as(&mut store, BOTH);
    let all = [
        shutdown,
        ("shutdown_grace_used_ratio{le=\"+Inf\"} 1", &used),
        ("prestop_duration_seconds{handler=\"exec\",le=\"3.0\"} 1", &hook),
        downtime,
        ("startup_duration_seconds{le=\"15.0\"} 1", c),
    ];
    assert_eq!(exemplar_lines(&open_metrics), expected(&all));
    assert_eq!(samples_of(&without(&open_metrics)), samples_of(&text));
}

#[test]
fn who_is_shown_a_histogram_before_its_first_event_is_shown_no_exemplar() {
    let mut store = store();
    store.appear(WEB, &identity("web-1", "web"), SECOND);
    let fact = restart(SECOND, 3 * SECOND);
    told(&mut store, &fact);
    traced(&mut store, WEB, identity("web-1", "web"), &fact, 7);
    let readers = [(Some(1), Format::OpenMetrics), (None, Format::OpenMetrics)];
    let [scraper, human] = encode_for(&mut store, 0, readers);
    assert_eq!((exemplar_lines(&scraper).len(), exemplar_lines(&human).len()), (0, 1));
    parse(&scraper, Format::OpenMetrics);
    let [scraper, human] = encode_for(&mut store, 0, readers);
    assert_eq!((exemplar_lines(&scraper).len(), exemplar_lines(&human).len()), (1, 1));
    // A second scraper comes when the first has seen it.
    let [second] = encode_for(&mut store, 0, [(Some(2), Format::OpenMetrics)]);
    assert_eq!(exemplar_lines(&second), [""; 0]);
    parse(&second, Format::OpenMetrics);
}

#[test]
fn a_trace_that_comes_minutes_after_the_container_went_finds_its_workload() {
    let mut store = with_web();
    let fact = death(exited(10 * SECOND, 0), 30 * SECOND, 0);
    let fact = match fact.kind {
        FactKind::Explained(mut death) => {
            death.end.stop_boot_ns = Some(8 * SECOND);
            Fact { kind: FactKind::Explained(death), ..fact }
        }
        _ => fact,
    };
    told(&mut store, &fact);
    store.remove(WEB, 11 * SECOND);
    store.expire(400 * SECOND, |_, _| false);
    assert_eq!(store.containers(), 0, "the container is forgotten");
    let others = identity("db-1", "db");
    traced(&mut store, WEB, Identity { workload: "db".into(), ..others }, &fact, 1);
    traced(&mut store, WEB, identity("web-1", "web"), &fact, 2);
    encode_as(&mut store, BOTH);
    let [text, open_metrics] = encode_as(&mut store, BOTH);
    let lines = exemplar_lines(&open_metrics);
    assert_eq!(lines.len(), 3, "shutdown, grace and preStop: {lines:?}");
    assert!(lines.iter().all(|line| line.contains("2\"} ")), "{lines:?}");
    // After an hour the workload is gone as well: nothing comes of a trace.
    store.expire(4000 * SECOND, |_, _| false);
    traced(&mut store, WEB, identity("web-1", "web"), &fact, 3);
    let [after] = encode_as(&mut store, [Format::OpenMetrics]);
    assert!(text.contains("workload=\"web\"") && !after.contains("workload=\"web\""));
}

#[test]
fn a_container_under_a_better_name_has_its_exemplars_there() {
    let mut store = store();
    let provisional = Identity {
        workload_kind: "Pod".into(),
        workload: "web-1".into(),
        ..identity("web-1", "web")
    };
    let old = who(WEB, provisional.clone(), SECOND);
    store.shown(&old);
    store.renamed(&old, &who(WEB, identity("web-1", "web"), SECOND), 2 * SECOND);
    let fact = restart(SECOND, 3 * SECOND);
    told(&mut store, &fact);
    // The trace may hold who it was at the beginning.
    traced(&mut store, WEB, provisional, &fact, 1);
    encode_as(&mut store, BOTH);
    let [open_metrics] = encode_as(&mut store, [Format::OpenMetrics]);
    let lines = exemplar_lines(&open_metrics);
    assert!(matches!(&*lines, [line] if line.contains("workload=\"web\"")), "{lines:?}");
}

#[test]
fn what_was_not_counted_has_no_exemplar() {
    let mut store = Store::new(StoreOptions { max_series: 100, ..StoreOptions::default() });
    store.appear(WEB, &identity("web-1", "web"), SECOND);
    let hidden = CgroupId(2);
    store.appear(hidden, &identity("web-2", "web"), SECOND);
    encode_as(&mut store, BOTH);
    assert_eq!((store.containers(), store.hidden()), (1, 1));
    let (shown, other) = (restart(SECOND, 3 * SECOND), restart(SECOND, 4 * SECOND));
    told(&mut store, &shown);
    store.tell(hidden, other.time_boot_ns, other.kind.clone());
    // Of a container without room, of a bucket that counts nothing, of a fact that is no observation.
    traced(&mut store, hidden, identity("web-2", "web"), &other, 1);
    traced(&mut store, WEB, identity("web-1", "web"), &restart(SECOND, 60 * SECOND), 2);
    traced(&mut store, WEB, identity("web-1", "web"), &ready(1, 5, true), 3);
    let end = FactKind::Ended(killed_after(51 * SECOND, 31 * SECOND));
    for kind in [end, started(), FactKind::StartFailed] {
        let fact = Fact { time_boot_ns: 51 * SECOND, kind };
        traced(&mut store, WEB, identity("web-1", "web"), &fact, 4);
    }
    let [text, open_metrics] = encode_as(&mut store, BOTH);
    assert_eq!(exemplar_lines(&open_metrics), [""; 0]);
    assert_eq!(samples_of(&open_metrics), samples_of(&text));
    traced(&mut store, WEB, identity("web-1", "web"), &shown, 5);
    let [open_metrics] = encode_as(&mut store, [Format::OpenMetrics]);
    assert_eq!(exemplar_lines(&open_metrics).len(), 1);
}

/// A fact, and whether a trace of it was queued.
fn any_fact() -> impl Strategy<Value = (Fact, bool)> {
    let end = 1_000 * SECOND..2_000 * SECOND;
    let long = 0..400 * SECOND;
    let fact = (0..6_u8, end, long.clone(), long).prop_map(|(kind, end, long, other)| {
        let exit = exited(end, 1);
        let after = Termination { stop_boot_ns: Some(end - long), ..exit };
        match kind {
            0 => death(killed_after(end, long), other, other / 10),
            1 => death(after, 30 * SECOND, other),
            2 => death(exit, 30 * SECOND, 0),
            3 => restart(end - long, end),
            4 => ready(end - long, end, other % 2 == 0),
            _ => Fact { time_boot_ns: end, kind: FactKind::Ended(after) },
        }
    });
    (fact, any::<bool>())
}

/// What a fact is in the histograms: the family, a label of its own and the value, by the words of
/// docs/METRICS.md.
fn observations(fact: &Fact) -> Vec<(&'static str, &'static str, f64)> {
    let seconds = |from: u64, to: u64| (to - from) as f64 / 1e9;
    match &fact.kind {
        FactKind::Explained(Death { end, budget_ns, pre_stop, .. }) => {
            let mut all = Vec::new();
            if let Some(stop) = end.stop_boot_ns {
                let used = seconds(stop, end.end_boot_ns);
                all.push(("shutdown_duration_seconds", end.outcome.label(), used));
                if let Some(budget_ns) = budget_ns.filter(|budget| *budget > 0) {
                    all.push(("shutdown_grace_used_ratio", "", used / seconds(0, budget_ns)));
                }
            }
            if let Some((begin, end)) = pre_stop.and_then(|run| run.ran_boot_ns) {
                all.push(("prestop_duration_seconds", "exec", seconds(begin, end)));
            }
            all
        }
        FactKind::Restarted(Restart { ended_boot_ns: Some(ended), started_boot_ns }) => {
            vec![("restart_downtime_seconds", "", seconds(*ended, *started_boot_ns))]
        }
        FactKind::Progressed(start) if start.just_ready => {
            let (from, to) = (start.scheduled_boot_ns.unwrap(), start.ready_boot_ns.unwrap());
            vec![("startup_duration_seconds", "", seconds(from, to))]
        }
        _ => Vec::new(),
    }
}

/// The bucket of a family that a value is in.
fn bucket<'a>(families: &'a [Family], (name, own, value): (&str, &str, f64)) -> &'a Sample {
    let of = |sample: &&Sample| {
        let its =
            own.is_empty() || sample.has(&[("outcome", own)]) || sample.has(&[("handler", own)]);
        its && sample.name == format!("podvitals_{name}_bucket")
    };
    let mut buckets = families.iter().flat_map(|family| &family.samples).filter(of);
    buckets.find(|sample| value <= sample.label("le").parse().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens and is traced: both formats have the same samples, those of a store without
    /// traces, and each bucket names the newest of the traces that tell of an observation in it.
    #[test]
    fn nothing_but_exemplars_depends_on_traces(facts in prop::collection::vec(any_fact(), 0..40)) {
        let (mut plain, mut store) = (with_web(), with_web());
        for (at, (fact, is_traced)) in facts.iter().enumerate() {
            told(&mut plain, fact);
            told(&mut store, fact);
            if *is_traced {
                traced(&mut store, WEB, identity("web-1", "web"), fact, at as u128 + 1);
            }
            if at % 7 == 0 {
                let [text, open_metrics] = encode_as(&mut store, BOTH);
                let [plain_text, plain_open_metrics] = encode_as(&mut plain, BOTH);
                prop_assert_eq!(&text, &plain_text);
                prop_assert_eq!(without(&open_metrics), plain_open_metrics);
            }
        }
        encode_as(&mut plain, BOTH);
        encode_as(&mut store, BOTH);
        let [text, open_metrics] = encode_as(&mut store, BOTH);
        let [plain_text, plain_open_metrics] = encode_as(&mut plain, BOTH);
        prop_assert_eq!(&text, &plain_text);
        prop_assert_eq!(without(&open_metrics), plain_open_metrics);
        let bare = without(&open_metrics);
        prop_assert_eq!(samples_of(&bare), samples_of(&text));
        prop_assert_eq!(store.series(), plain.series());

        let families = parse(&open_metrics, Format::OpenMetrics);
        let mut newest = BTreeMap::new();
        for (at, (fact, _)) in facts.iter().enumerate().filter(|(_, (_, is_traced))| *is_traced) {
            for observation in observations(fact) {
                let key = format!("{:?}", bucket(&families, observation).labels) + observation.0;
                let new = (fact.time_boot_ns, format!("{:032x}", at + 1), observation.2);
                let known = newest.entry(key).or_insert_with(|| new.clone());
                if known.0 <= new.0 {
                    *known = new;
                }
            }
        }
        let shown = exemplar_lines(&open_metrics).len();
        prop_assert_eq!(shown, newest.len());
        for family in &families {
            let name = family.name.trim_start_matches("podvitals_");
            for sample in family.samples.iter().filter(|sample| sample.exemplar.is_some()) {
                let exemplar = sample.exemplar.as_ref().unwrap();
                let (time, trace, value) = &newest[&(format!("{:?}", sample.labels) + name)];
                prop_assert_eq!(&exemplar.labels["trace_id"], trace);
                prop_assert!((exemplar.value - value).abs() < 1e-6, "{exemplar:?}: {value}");
                let unix_s = WALL.unix_ns(*time) as f64 / 1e9;
                prop_assert!((exemplar.unix_s - unix_s).abs() < 1e-6, "{exemplar:?}: {unix_s}");
            }
        }
    }
}
