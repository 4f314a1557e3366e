//! OTLP metrics, as the Collector's file exporter writes them.

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;
use testbed::otlp::{
    Attributes,
    json::{attributes, list, number, text, whole_lines},
};

/// A metric: a family, as OpenTelemetry has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name of the metric.
    pub name: String,
    /// Description.
    pub description: String,
    /// Unit, by the Unified Code for Units of Measure.
    pub unit: String,
    /// Type.
    pub kind: Kind,
    /// Its series.
    pub points: Vec<Point>,
}

/// Type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A value that rises and falls.
    Gauge,
    /// A sum.
    Sum {
        /// Whether it only rises.
        monotonic: bool,
        /// Whether it is the sum since a start, not since the last point.
        cumulative: bool,
    },
    /// A histogram with bounds.
    Histogram {
        /// Whether it counts since a start, not since the last point.
        cumulative: bool,
    },
}

/// One series of a metric at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Attributes: labels.
    pub attributes: Attributes,
    /// When what is summed up began, in nanoseconds of Unix time; `None` if that is not known.
    pub start_unix_ns: Option<u64>,
    /// What was observed.
    pub value: PointValue,
    /// Single observations with their traces.
    pub exemplars: Vec<Exemplar>,
}

/// What a point says.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// The series has ended.
    Ended,
    /// A number.
    Number(f64),
    /// A histogram.
    Histogram {
        /// Number of all observations.
        count: u64,
        /// Their sum.
        sum: Option<f64>,
        /// Upper bounds of all buckets but the last.
        bounds: Vec<f64>,
        /// Number of observations in each bucket.
        counts: Vec<u64>,
    },
}

/// One observation.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Id of the trace; empty for none.
    pub trace_id: String,
    /// Its value.
    pub value: f64,
    /// Its time, in nanoseconds of Unix time.
    pub unix_ns: u64,
    /// Further labels.
    pub attributes: Attributes,
}

/// What a message says of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Attributes of the resource, which is the target.
    pub resource: Attributes,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// The messages in a file of the Collector's file exporter, one for each scrape, the last of which may
/// still be written.
///
/// # Errors
/// What is wrong, with the line that it is wrong in.
pub fn messages(file: &str) -> Result<Vec<Message>> {
    let mut all = Vec::new();
    for (number, line) in whole_lines(file).enumerate() {
        let read = || -> Result<Vec<Message>> {
            let json: Json = serde_json::from_str(line).context("no JSON")?;
            list(&json, "resourceMetrics")?.iter().map(message).collect()
        };
        all.extend(read().with_context(|| format!("line {}", number + 1))?);
    }
    Ok(all)
}

fn message(json: &Json) -> Result<Message> {
    let mut metrics = Vec::new();
    for scope in list(json, "scopeMetrics")? {
        for json in list(scope, "metrics")? {
            let name = text(json, "name")?;
            metrics.push(metric(json).with_context(|| format!("metric {name:?}"))?);
        }
    }
    let resource = attributes(json.get("resource").unwrap_or(&Json::Null))?;
    Ok(Message { resource, metrics })
}

fn metric(json: &Json) -> Result<Metric> {
    let data = |key: &str| json.get(key).map(|data| (key.to_owned(), data));
    let (key, data) =
        ["gauge", "sum", "histogram"].into_iter().find_map(data).context("of no known type")?;
    let cumulative = match number(data, "aggregationTemporality")? {
        None | Some(0) => false,
        Some(1) => false,
        Some(2) => true,
        Some(other) => bail!("aggregation temporality {other}"),
    };
    let monotonic = data.get("isMonotonic").and_then(Json::as_bool).unwrap_or(false);
    let kind = match key.as_str() {
        "gauge" => Kind::Gauge,
        "sum" => Kind::Sum { monotonic, cumulative },
        _ => Kind::Histogram { cumulative },
    };
    Ok(Metric {
        name: text(json, "name")?,
        description: text(json, "description")?,
        unit: text(json, "unit")?,
        kind,
        points: list(data, "dataPoints")?
            .iter()
            .map(|json| point(json, kind))
            .collect::<Result<_>>()?,
    })
}

fn point(json: &Json, kind: Kind) -> Result<Point> {
    /// No value was recorded (opentelemetry-proto, metrics.proto, DataPointFlags).
    const NO_VALUE: u64 = 1;
    let value = if number::<u64>(json, "flags")?.unwrap_or(0) & NO_VALUE != 0 {
        PointValue::Ended
    } else if matches!(kind, Kind::Histogram { .. }) {
        PointValue::Histogram {
            count: number(json, "count")?.unwrap_or(0),
            sum: number(json, "sum")?,
            bounds: numbers(json, "explicitBounds")?,
            counts: numbers(json, "bucketCounts")?,
        }
    } else {
        let integer = number::<i64>(json, "asInt")?.map(|integer| integer as f64);
        PointValue::Number(integer.or(number(json, "asDouble")?).context("no value")?)
    };
    Ok(Point {
        attributes: attributes(json)?,
        start_unix_ns: number(json, "startTimeUnixNano")?.filter(|start| *start != 0),
        value,
        exemplars: list(json, "exemplars")?.iter().map(exemplar).collect::<Result<_>>()?,
    })
}

/// A list of numbers.
fn numbers<T: std::str::FromStr<Err: std::fmt::Display>>(json: &Json, key: &str) -> Result<Vec<T>> {
    list(json, key)?
        .iter()
        .map(|json| {
            let one = serde_json::json!({ "value": json });
            number(&one, "value")?.context("no number")
        })
        .collect()
}

fn exemplar(json: &Json) -> Result<Exemplar> {
    let attributes = json
        .get("filteredAttributes")
        .map(|pairs| attributes(&serde_json::json!({ "attributes": pairs })))
        .transpose()?;
    Ok(Exemplar {
        trace_id: text(json, "traceId")?,
        value: number(json, "asDouble")?.context("an exemplar without a value")?,
        unix_ns: number(json, "timeUnixNano")?.context("an exemplar without a time")?,
        attributes: attributes.unwrap_or_default(),
    })
}

impl Metric {
    /// Whether the Prometheus receiver makes it itself.
    #[must_use]
    pub fn is_about_the_scrape(&self) -> bool {
        self.name == "up" || self.name.starts_with("scrape_")
    }
}
