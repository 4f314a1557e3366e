//! Whether the Collector's Prometheus receiver takes an exposition of the agent without loss: names,
//! help, types, units, labels, values, buckets and exemplars.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    exposition::{Exposition, Family, Format, Kind as FamilyKind, Labels, Sample},
    otlp::{Attributes, Value},
};

use super::metrics::{Exemplar, Kind, Metric, PointValue};

/// An exposition with exemplars, and what must come of it.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// The text, in OpenMetrics.
    pub(super) text: String,
    exposition: Exposition,
    /// Exemplars by the name of their family and by labels.
    exemplars: BTreeMap<(String, Labels), Vec<Exemplar>>,
}

impl Recorded {
    /// An exposition of the agent without exemplars, with one on two buckets of each histogram.
    ///
    /// # Errors
    /// It is none, or has no histogram.
    pub(super) fn with_exemplars(text: &str, unix_s: u64) -> Result<Self> {
        let exposition = Exposition::parse(text, Format::OpenMetrics)?;
        let mut exemplars: BTreeMap<_, Vec<Exemplar>> = BTreeMap::new();
        let mut lines = Vec::new();
        // Samples follow the text's order, so each line that is one takes the next.
        let mut samples = exposition
            .families
            .iter()
            .flat_map(|family| family.samples.iter().map(move |sample| (family, sample)));
        let mut trace = 0_u64;
        for line in text.lines() {
            let mut line = line.to_owned();
            if !line.starts_with('#') {
                let (family, sample) = samples.next().context("more lines than samples")?;
                if let Some(value) = exemplar_in(family, sample) {
                    trace += 1;
                    let exemplar = Exemplar {
                        trace_id: format!("{:032x}", (u128::from(trace) << 64) + 1),
                        value,
                        unix_ns: unix_s * 1_000_000_000 + 250_000_000,
                        attributes: Attributes::new(),
                    };
                    line.push_str(&format!(
                        " # {{trace_id=\"{}\"}} {value} {unix_s}.25",
                        exemplar.trace_id
                    ));
                    let mut labels = sample.labels.clone();
                    labels.remove("le");
                    exemplars.entry((family.name.clone(), labels)).or_default().push(exemplar);
                }
            }
            lines.push(line + "\n");
        }
        drop(samples);
        ensure!(!exemplars.is_empty(), "no histogram: nothing has an exemplar");
        Ok(Self { text: lines.concat(), exposition, exemplars })
    }

    /// What differs between the exposition and what the receiver made of it, whose target had `labels`.
    pub(super) fn differences(&self, metrics: &[Metric], labels: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut by_name: BTreeMap<&str, &Metric> = BTreeMap::new();
        for metric in metrics.iter().filter(|metric| !metric.is_about_the_scrape()) {
            if by_name.insert(&metric.name, metric).is_some() {
                problems.push(format!("{}: comes twice", metric.name));
            }
        }
        for family in &self.exposition.families {
            let name = name_of(family);
            match by_name.remove(name.as_str()) {
                None => problems.push(format!("{name}: is lost")),
                Some(metric) => problems.extend(
                    self.family(family, metric, labels)
                        .into_iter()
                        .map(|problem| format!("{name}: {problem}")),
                ),
            }
        }
        problems.extend(by_name.keys().map(|name| format!("{name}: was never exported")));
        problems
    }

    fn family(&self, family: &Family, metric: &Metric, more: &[(&str, &str)]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut same = |what: &str, is: String, wanted: String| {
            if is != wanted {
                problems.push(format!("{what} {is:?}, not {wanted:?}"));
            }
        };
        same("type", format!("{:?}", metric.kind), format!("{:?}", kind_of(family.kind)));
        same("help", metric.description.clone(), unescaped(&family.help));
        same("unit", metric.unit.clone(), unit_of(family.unit.as_deref()));
        // Without a time from which on they count, as in the exposition.
        let starts = metric.points.iter().filter(|point| point.start_unix_ns.is_some()).count();
        same("points with a start time:", starts.to_string(), "0".to_owned());
        let wanted = match points_of(family) {
            Ok(wanted) => wanted,
            Err(error) => return vec![format!("{error:#}")],
        };
        let is: BTreeMap<String, _> =
            metric.points.iter().map(|point| (key(&point.attributes), point)).collect();
        let wanted: BTreeMap<String, _> = wanted
            .into_iter()
            .map(|(labels, value)| (key(&attributes(&labels, more)), (labels, value)))
            .collect();
        same("series", is.len().to_string(), metric.points.len().to_string());
        let all: BTreeSet<&String> = is.keys().chain(wanted.keys()).collect();
        for series in all {
            let (Some(point), Some((labels, value))) = (is.get(series), wanted.get(series)) else {
                let known = is.contains_key(series);
                same(
                    &format!("series {series} is there:"),
                    known.to_string(),
                    (!known).to_string(),
                );
                continue;
            };
            same(series, format!("{:?}", point.value), format!("{value:?}"));
            let exemplars = self.exemplars.get(&(family.name.clone(), labels.clone()));
            same(
                &format!("exemplars of {series}"),
                format!("{:?}", point.exemplars),
                format!("{:?}", exemplars.cloned().unwrap_or_default()),
            );
        }
        problems
    }

    /// What differs between the series of the exposition and those that the Collector's exporter for
    /// Prometheus has, whose target had `labels`.
    ///
    /// # Errors
    /// The exporter's text is no exposition.
    pub(super) fn differences_again(
        &self,
        text: &str,
        labels: &[(&str, &str)],
    ) -> Result<Vec<String>> {
        let series = |exposition: &Exposition, more: &[(&str, &str)]| -> BTreeMap<String, String> {
            let samples = exposition.samples().map(|sample| {
                let mut attributes = attributes(&sample.labels, more);
                attributes.retain(|name, _| !OF_EXPORTER.contains(&name.as_str()));
                (format!("{} {}", sample.name, key(&attributes)), sample.value.to_string())
            });
            samples.collect()
        };
        let exported = Exposition::parse(text, Format::Text).context("the exporter's text")?;
        let wanted = series(&self.exposition, labels);
        let mut is = series(&exported, &[]);
        is.retain(|name, _| !is_of_exporter(name));
        let all: BTreeSet<&String> = is.keys().chain(wanted.keys()).collect();
        let differing = all.into_iter().filter(|name| is.get(*name) != wanted.get(*name));
        Ok(differing
            .map(|name| format!("{name} is {:?}, not {:?}", is.get(name), wanted.get(name)))
            .collect())
    }

    /// A line about how much was compared.
    pub(super) fn summary(&self) -> String {
        let of = |kind: FamilyKind| {
            let families = self.exposition.families.iter();
            families.filter(|family| family.kind == kind).count()
        };
        let units = self.exposition.families.iter().filter(|it| it.unit.is_some()).count();
        let exemplars: usize = self.exemplars.values().map(Vec::len).sum();
        format!(
            "{} families ({} counters, {} gauges, {} histograms; {units} with a unit), {} samples, \
             {exemplars} exemplars",
            self.exposition.families.len(),
            of(FamilyKind::Counter),
            of(FamilyKind::Gauge),
            of(FamilyKind::Histogram),
            self.exposition.samples().count(),
        )
    }
}

/// Labels that the Collector's exporter for Prometheus adds.
const OF_EXPORTER: [&str; 5] =
    ["instance", "job", "otel_scope_name", "otel_scope_version", "otel_scope_schema_url"];

/// Whether a series is about the scrape or the target.
fn is_of_exporter(series: &str) -> bool {
    ["up ", "scrape_", "target_info "].iter().any(|begin| series.starts_with(begin))
}

/// The value of the exemplar that a sample gets, if it gets one: the bound of the first bucket and of
/// one in the middle.
fn exemplar_in(family: &Family, sample: &Sample) -> Option<f64> {
    if !sample.name.ends_with("_bucket") {
        return None;
    }
    let of_series = |other: &&Sample| {
        let mut labels = [sample.labels.clone(), other.labels.clone()];
        labels.iter_mut().for_each(|labels| drop(labels.remove("le")));
        let [one, other_labels] = labels;
        other.name == sample.name && one == other_labels
    };
    let bounds: Vec<&str> =
        family.samples.iter().filter(of_series).map(|sample| sample.label("le")).collect();
    let at = bounds.iter().position(|bound| *bound == sample.label("le"))?;
    let chosen = at == 0 || at == bounds.len() / 2;
    sample.label("le").parse().ok().filter(|bound: &f64| chosen && bound.is_finite())
}

/// What Prometheus calls a family: in OpenMetrics a counter's name is without `_total`.
fn name_of(family: &Family) -> String {
    match family.kind {
        FamilyKind::Counter => format!("{}_total", family.name),
        FamilyKind::Gauge | FamilyKind::Histogram => family.name.clone(),
    }
}

fn kind_of(kind: FamilyKind) -> Kind {
    match kind {
        FamilyKind::Counter => Kind::Sum { monotonic: true, cumulative: true },
        FamilyKind::Gauge => Kind::Gauge,
        FamilyKind::Histogram => Kind::Histogram { cumulative: true },
    }
}

/// Units of OpenMetrics are words; OpenTelemetry has the codes of UCUM.
fn unit_of(unit: Option<&str>) -> String {
    match unit {
        None => "",
        Some("seconds") => "s",
        Some("bytes") => "By",
        Some(other) => other,
    }
    .to_owned()
}

fn unescaped(help: &str) -> String {
    help.replace("\\n", "\n").replace("\\\"", "\"").replace("\\\\", "\\")
}

/// The points that a family's samples must become.
fn points_of(family: &Family) -> Result<Vec<(Labels, PointValue)>> {
    if family.kind != FamilyKind::Histogram {
        let number = |sample: &Sample| (sample.labels.clone(), PointValue::Number(sample.value));
        return Ok(family.samples.iter().map(number).collect());
    }
    let mut points = Vec::new();
    for histogram in family.histograms()? {
        let mut before = 0.0;
        let mut counts = Vec::new();
        for (_, cumulative) in &histogram.buckets {
            counts.push((cumulative - before) as u64);
            before = *cumulative;
        }
        let finite = histogram.buckets.iter().map(|(bound, _)| *bound);
        let value = PointValue::Histogram {
            count: histogram.count as u64,
            sum: Some(histogram.sum),
            bounds: finite.filter(|bound| bound.is_finite()).collect(),
            counts,
        };
        points.push((histogram.labels, value));
    }
    Ok(points)
}

/// Labels as attributes. A label without a value is none, for Prometheus and for its receiver.
fn attributes(labels: &Labels, more: &[(&str, &str)]) -> Attributes {
    let own = labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    own.chain(more.iter().copied())
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned())))
        .collect()
}

/// Attributes as one text, which tells series apart.
fn key(attributes: &Attributes) -> String {
    format!("{attributes:?}")
}
