//! Writing the exposition: our store against the two crates that everybody uses.

use std::collections::BTreeMap;
use std::sync::Arc;

use agent::cgroup::CgroupId;
use agent::cgroup::path::Origin;
use agent::cgroup::sample::{MemoryEvents, Pressure, Sample as Usage};
use agent::clock::WallOffset;
use agent::event::{ExitStatus, TaskKey};
use agent::kube::identity::Identity;
use agent::lifecycle::fact::{
    Cause, Death, EndSource, Fact, FactKind, Outcome, Started, Termination,
};
use agent::lifecycle::subject::{Birth, Subject, Who};
use agent::metrics::agent::AgentStats;
use agent::metrics::store::{Store, StoreOptions};
use agent::metrics::variant::{Format, Seen};
use agent::reader::{Reader as _, Reading};
use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use prometheus::{Encoder as _, TextEncoder};
use prometheus_client::encoding::text as client_text;
use testbed::exposition::{Exposition, Format as TextFormat, Histogram, Kind, Labels, Sample};

use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, cpu_seconds};

pub(super) const HOW: &str = "CPU time. A store with facts and samples of as many containers as give \
    20,000 series, written as text; the crates hold the same series, and each text is parsed and \
    compared with ours before it is timed. The crate prometheus is timed with gather(), as an \
    exporter needs it.";

const SERIES: u64 = 20_000;

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let wall = WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 };
    let stats = AgentStats { wall, ..AgentStats::default() };
    let mut store = filled(&stats)?;
    let text = encode(&mut store, &stats).concat();
    let shown =
        Exposition::parse(std::str::from_utf8(&text).context("not UTF-8")?, TextFormat::Text)?;

    let plain = plain::registry(&shown)?;
    let plain_text = plain::encode(&plain, 0)?;
    let read = std::str::from_utf8(&plain_text).context("not UTF-8")?;
    same("prometheus", &shown, read, TextFormat::Text)?;
    let client = client::registry(&shown)?;
    let client_text = client::encode(&client, 0)?;
    same("prometheus-client", &shown, &client_text, TextFormat::OpenMetrics)?;

    let (mut a, mut b, mut c) = (Series::default(), Series::default(), Series::default());
    let mut floor = Series::default();
    for _ in 0..args.pick(60, 10) {
        a.push(cpu_seconds(|| encode(&mut store, &stats)));
        b.push(cpu_seconds(|| plain::encode(&plain, plain_text.len())));
        c.push(cpu_seconds(|| client::encode(&client, client_text.len())));
        floor.push(cpu_seconds(|| copy(&text)));
    }
    let ratio = a.median() / c.median();
    let what = format!("{} series, {} KiB", shown.samples().count(), text.len() / 1024);
    Ok(vec![
        Line::new(format!("{what}; prometheus-client"), a.ms())
            .peer(c.ms())
            .ratio(ratio)
            .goal("≤ 1/10", Verdict::goal(ratio <= 0.1))
            .because(format!(
                "to copy the ready text into new chunks of memory alone takes {:.3} of the peer's \
                 time; each runs with the caches that the others have left",
                floor.median() / c.median()
            )),
        Line::new("the same; prometheus", a.ms()).peer(b.ms()).ratio(a.median() / b.median()),
        Line::new("the same; a copy of the ready text", a.ms())
            .peer(floor.ms())
            .ratio(a.median() / floor.median()),
    ])
}

/// The ready text, copied into new memory chunk by chunk: no encoder can be below it.
fn copy(text: &[u8]) -> Vec<Bytes> {
    const PIECE_BYTES: usize = 64 << 10;
    text.chunks(PIECE_BYTES).map(Bytes::copy_from_slice).collect()
}

fn encode(store: &mut Store, stats: &AgentStats) -> Vec<Bytes> {
    let generation = store.next_generation(0);
    store.encode(generation, stats, Format::Text).for_reader(Seen::ALL, |chunk| chunk)
}

/// A store that has had a life: Pods of two containers, twenty of a workload, some of which ended.
fn filled(stats: &AgentStats) -> Result<Store> {
    let mut store = Store::new(StoreOptions { max_series: usize::MAX, ..StoreOptions::default() });
    for number in 1.. {
        let who = Arc::new(Who {
            cgroup: CgroupId(number),
            pod_cgroup: None,
            origin: Origin::Unit(String::new(), String::new()),
            identity: identity(number),
            birth: Birth::Seen { boot_ns: number },
        });
        store.shown(&who);
        let subject = Subject::Container(who);
        let time_boot_ns = 1_000_000_000 + number * 1_000_003;
        let mut fact = |kind| store.fact(&subject, &Fact { time_boot_ns, kind });
        let init = TaskKey { tgid: 1, start_boot_ns: 1 };
        fact(FactKind::Started(Started { init, before_agent: false, is_pause: false }));
        if number % 50 == 0 {
            fact(FactKind::Explained(Death::kernel_only(Termination {
                cause: Cause::Completed,
                status: Some(ExitStatus::Code(0)),
                stop_boot_ns: Some(time_boot_ns - 250_000_000),
                end_boot_ns: time_boot_ns,
                outcome: Outcome::Exited,
                fatal: None,
                end_source: EndSource::ParentNotified,
                init_cpu_ns: None,
            })));
        }
        store.sample(&subject, &usage(number), Reading::Current);
        if number % 20 == 0 {
            encode(&mut store, stats);
            if store.series() >= SERIES {
                return Ok(store);
            }
        }
        ensure!(number < SERIES, "{number} containers have too few series");
    }
    bail!("numbers have an end")
}

fn identity(number: u64) -> Identity {
    let workload = format!("checkout-{}", number / 40);
    Identity {
        namespace: "shop".into(),
        pod: format!("{workload}-7d4b9c6f5d-{:05}", number / 2),
        container: if number.is_multiple_of(2) { "app" } else { "proxy" }.into(),
        pod_uid: format!("00000000-0000-4000-8000-{:012x}", number / 2),
        container_id: format!("{number:064x}"),
        image: "registry.example/shop/checkout:1.2.3".into(),
        role: "app",
        qos: "burstable",
        runtime: "containerd",
        workload_kind: "Deployment".into(),
        workload,
    }
}

/// A sample of a kernel with all controllers.
fn usage(number: u64) -> Usage {
    let pressure =
        |us: u64| Pressure { some_us: Some(us * number), full_us: Some(us * number / 2) };
    let mut usage = Usage::default();
    let cpu = &mut usage.cpu;
    cpu.usage_us = Some(12_345_678 * number);
    cpu.periods = Some(100 * number);
    cpu.throttled_periods = Some(7 * number);
    cpu.throttled_us = Some(1500 * number);
    cpu.quota_us = Some(50_000);
    cpu.period_us = Some(100_000);
    let memory = &mut usage.memory;
    memory.usage_bytes = Some((100 << 20) + 4096 * number);
    memory.working_set_bytes = Some((90 << 20) + 4096 * number);
    memory.inactive_file_bytes = Some(10 << 20);
    memory.anon_bytes = Some(50 << 20);
    memory.file_bytes = Some(40 << 20);
    memory.shmem_bytes = Some(1 << 20);
    memory.kernel_bytes = Some(2 << 20);
    memory.swap_bytes = Some(0);
    memory.peak_bytes = Some(110 << 20);
    memory.limit_bytes = Some(128 << 20);
    memory.swap_limit_bytes = Some(0);
    memory.minor_faults = Some(5000 * number);
    memory.major_faults = Some(3);
    memory.events =
        Some(MemoryEvents { high: Some(0), max: Some(9), oom: Some(1), oom_kill: Some(2) });
    usage.cpu_pressure = Pressure { full_us: None, ..pressure(250_000) };
    usage.memory_pressure = pressure(30);
    usage.io_pressure = pressure(1_001);
    (usage.tasks, usage.tasks_limit) = (Some(12), Some(4096));
    usage
}

/// The same samples, whatever their order; a sum of times may differ in its last digit.
fn same(who: &str, ours: &Exposition, text: &str, format: TextFormat) -> Result<()> {
    let theirs = Exposition::parse(text, format).with_context(|| format!("the text of {who}"))?;
    let key = |sample: &Sample| (sample.name.clone(), sample.labels.clone());
    let mut rest: BTreeMap<_, _> = theirs.samples().map(|it| (key(it), it.value)).collect();
    for sample in ours.samples() {
        let value = rest.remove(&key(sample)).with_context(|| format!("{who} lacks {sample:?}"))?;
        let near = (value - sample.value).abs() <= 1e-9 * value.abs();
        ensure!(near, "{who} has {value} for {sample:?}");
    }
    ensure!(rest.is_empty(), "{who} has {} samples more", rest.len());
    Ok(())
}

/// The upper bounds that a crate is told: the infinite one it knows.
fn bounds(histograms: &[Histogram]) -> Vec<f64> {
    let buckets = histograms.first().map(|histogram| histogram.buckets.as_slice());
    let bounds = buckets.unwrap_or_default().iter().map(|(bound, _)| *bound);
    bounds.filter(|bound| bound.is_finite()).collect()
}

/// Observes what a histogram has: all that was observed here took the same time.
fn observe(histogram: &Histogram, mut observe: impl FnMut(f64)) {
    for _ in 0..histogram.count as u64 {
        observe(histogram.sum / histogram.count);
    }
}

/// The crate `prometheus`.
mod plain {
    use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, Opts, Registry};

    use super::*;

    pub(super) fn registry(shown: &Exposition) -> Result<Registry> {
        let registry = Registry::new();
        for family in &shown.families {
            let (name, help) = (family.name.as_str(), "As it is in the catalogue.");
            let labels: Vec<&str> = family
                .samples
                .first()
                .into_iter()
                .flat_map(|sample| sample.labels.keys().map(String::as_str))
                .filter(|label| *label != "le")
                .collect();
            let values = |of: &Labels| -> Vec<String> {
                labels.iter().map(|label| of.get(*label).cloned().unwrap_or_default()).collect()
            };
            match family.kind {
                Kind::Histogram => {
                    let all = family.histograms()?;
                    let bounds = bounds(&all);
                    let options = HistogramOpts::new(name, help).buckets(bounds);
                    let vec = HistogramVec::new(options, &labels)?;
                    for histogram in &all {
                        let one = vec.get_metric_with_label_values(&values(&histogram.labels))?;
                        observe(histogram, |value| one.observe(value));
                    }
                    registry.register(Box::new(vec))?;
                }
                Kind::Counter => {
                    let vec = CounterVec::new(Opts::new(name, help), &labels)?;
                    for sample in &family.samples {
                        let one = vec.get_metric_with_label_values(&values(&sample.labels))?;
                        one.inc_by(sample.value);
                    }
                    registry.register(Box::new(vec))?;
                }
                Kind::Gauge => {
                    let vec = GaugeVec::new(Opts::new(name, help), &labels)?;
                    for sample in &family.samples {
                        vec.get_metric_with_label_values(&values(&sample.labels))?
                            .set(sample.value);
                    }
                    registry.register(Box::new(vec))?;
                }
            }
        }
        Ok(registry)
    }

    pub(super) fn encode(registry: &Registry, size: usize) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(size + size / 8);
        TextEncoder::new().encode(&registry.gather(), &mut out)?;
        Ok(out)
    }
}

/// The crate `prometheus-client`.
mod client {
    use std::sync::atomic::AtomicU64;

    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::{Family as Vec_, MetricConstructor};
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram as Times;
    use prometheus_client::registry::Registry;

    use super::*;

    type Pairs = Vec<(String, String)>;

    #[derive(Clone)]
    struct Bounds(Vec<f64>);

    impl MetricConstructor<Times> for Bounds {
        fn new_metric(&self) -> Times {
            Times::new(self.0.iter().copied())
        }
    }

    pub(super) fn registry(shown: &Exposition) -> Result<Registry> {
        let mut registry = Registry::default();
        let pairs = |labels: &Labels| -> Pairs {
            labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        for family in &shown.families {
            let (name, help) = (family.name.as_str(), "As it is in the catalogue");
            match family.kind {
                Kind::Histogram => {
                    let all = family.histograms()?;
                    let bounds = bounds(&all);
                    let vec = Vec_::<Pairs, Times, Bounds>::new_with_constructor(Bounds(bounds));
                    for histogram in &all {
                        let one = vec.get_or_create(&pairs(&histogram.labels));
                        observe(histogram, |value| one.observe(value));
                    }
                    registry.register(name, help, vec);
                }
                Kind::Counter => {
                    let vec = Vec_::<Pairs, Counter<f64, AtomicU64>>::default();
                    for sample in &family.samples {
                        vec.get_or_create(&pairs(&sample.labels)).inc_by(sample.value);
                    }
                    // It appends the end of the name itself.
                    registry.register(name.trim_end_matches("_total"), help, vec);
                }
                Kind::Gauge => {
                    let vec = Vec_::<Pairs, Gauge<f64, AtomicU64>>::default();
                    for sample in &family.samples {
                        vec.get_or_create(&pairs(&sample.labels)).set(sample.value);
                    }
                    registry.register(name, help, vec);
                }
            }
        }
        Ok(registry)
    }

    pub(super) fn encode(registry: &Registry, size: usize) -> Result<String> {
        let mut out = String::with_capacity(size + size / 8);
        client_text::encode(&mut out, registry)?;
        Ok(out)
    }
}
