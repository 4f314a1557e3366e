//! Metric families: the words in which they are declared.

use super::collector::Collector;

/// The prefix of our families' names.
pub const PREFIX: &str = "podvitals_";

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// Name without [`PREFIX`].
    pub name: &'static str,
    /// Type.
    pub kind: Type,
    /// Base unit, which the name ends with.
    pub unit: Unit,
    /// Scope: the entity that a series is about, which gives the first labels.
    pub scope: Scope,
    /// Collector; `None` for the agent's metrics about itself, which are always on.
    pub collector: Option<Collector>,
    /// Labels beside those of the scope, and `le`.
    pub labels: &'static [&'static str],
    /// Series of one entity, at most. Where the labels' values come from the outside (programs,
    /// runs), what is usual.
    pub series_max: u32,
    /// Conditions without which the family is not exported.
    pub needs: &'static [Need],
    /// Help text: one line.
    pub help: &'static str,
}

impl Family {
    /// A gauge with one series an entity. The unit is that of the name's last word.
    #[must_use]
    pub const fn gauge(name: &'static str, scope: Scope, help: &'static str) -> Self {
        Self::new(name, Type::Gauge, scope, help)
    }

    /// A counter with one series an entity; its name ends with `_total`.
    #[must_use]
    pub const fn counter(name: &'static str, scope: Scope, help: &'static str) -> Self {
        Self::new(name, Type::Counter, scope, help)
    }

    /// A histogram with that many bounds, and one series of it an entity.
    #[must_use]
    pub const fn histogram(
        name: &'static str,
        scope: Scope,
        bounds: usize,
        help: &'static str,
    ) -> Self {
        // The bucket `+Inf`, the sum and the count.
        let series_max = bounds as u32 + 3;
        Self { series_max, ..Self::new(name, Type::Histogram, scope, help) }
    }

    const fn new(name: &'static str, kind: Type, scope: Scope, help: &'static str) -> Self {
        Self {
            name,
            kind,
            unit: Unit::of_name(name),
            scope,
            collector: None,
            labels: &[],
            series_max: 1,
            needs: &[],
            help,
        }
    }

    /// The family of that collector.
    #[must_use]
    pub const fn of(self, collector: Collector) -> Self {
        Self { collector: Some(collector), ..self }
    }

    /// The family with labels of its own, which have at most `sets` sets of values an entity.
    #[must_use]
    pub const fn labels(self, labels: &'static [&'static str], sets: usize) -> Self {
        Self { labels, series_max: self.series_max * sets as u32, ..self }
    }

    /// The family with its conditions.
    #[must_use]
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// The part of the name before [`Self::name`].
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        if self.scope == Scope::Process { "" } else { PREFIX }
    }

    /// [`Self::name`] as OpenMetrics has it: the `_total` of a counter belongs to its samples.
    #[must_use]
    pub fn open_metrics_name(&self) -> &'static str {
        match self.kind {
            Type::Counter => self.name.strip_suffix("_total").unwrap_or(self.name),
            Type::Gauge | Type::Histogram => self.name,
        }
    }
}

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A count that only rises, but for a restart of what counts.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Cumulative buckets, their count and sum.
    Histogram,
}

impl Type {
    /// The word for it, in both formats. A family whose labels are its message (`*_info`) is a
    /// gauge in both: OpenMetrics' type `info` would name the family otherwise, and needs the
    /// value 1.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Base unit of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A number of things, or 1 for a family whose labels are its message.
    None,
    /// Seconds; for a moment, since 1970.
    Seconds,
    /// Bytes.
    Bytes,
    /// CPUs.
    Cores,
}

impl Unit {
    const WITH_NAME: [Self; 3] = [Self::Seconds, Self::Bytes, Self::Cores];

    /// The last word of the family's name in OpenMetrics.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Seconds => Some("seconds"),
            Self::Bytes => Some("bytes"),
            Self::Cores => Some("cores"),
        }
    }

    /// The unit that a family's name ends with, a `_total` aside.
    const fn of_name(name: &str) -> Self {
        let name = match strip_suffix(name.as_bytes(), b"_total") {
            Some(base) => base,
            None => name.as_bytes(),
        };
        let mut rest: &[Self] = &Self::WITH_NAME;
        while let [unit, others @ ..] = rest {
            if let Some(word) = unit.name()
                && let Some([.., b'_']) = strip_suffix(name, word.as_bytes())
            {
                return *unit;
            }
            rest = others;
        }
        Self::None
    }
}

/// Counterpart of the method of slices, which is not for constants yet.
const fn strip_suffix<'a>(name: &'a [u8], suffix: &[u8]) -> Option<&'a [u8]> {
    let Some(length) = name.len().checked_sub(suffix.len()) else { return None };
    let (base, mut end) = name.split_at(length);
    let mut expected = suffix;
    while let ([byte, end_rest @ ..], [other, expected_rest @ ..]) = (end, expected) {
        if *byte != *other {
            return None;
        }
        (end, expected) = (end_rest, expected_rest);
    }
    Some(base)
}

/// Scope of a family: the kind of entity that its series are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A container of a Pod, by name: restarts go on counting.
    Container,
    /// A Pod's own cgroup.
    Pod,
    /// A container of a workload, all its Pods on this node together.
    Workload,
    /// The node, or the agent.
    Node,
    /// The agent's process, under the names that all Prometheus clients use.
    Process,
}

impl Scope {
    /// All scopes, in the order of the exposition.
    pub const ALL: [Self; 5] =
        [Self::Container, Self::Pod, Self::Workload, Self::Node, Self::Process];

    /// The word for it in the catalogue.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Workload => "workload",
            Self::Node => "node",
            Self::Process => "process",
        }
    }

    /// The labels that each series of the scope has.
    #[must_use]
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Container => &["namespace", "pod", "container"],
            Self::Pod => &["namespace", "pod"],
            Self::Workload => &["namespace", "workload_kind", "workload", "container"],
            Self::Node | Self::Process => &[],
        }
    }
}

/// A condition without which a family is not exported, because nothing knows its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A controller of cgroup v2: `cpu`, `memory`, `pids`.
    Controller(&'static str),
    /// A kernel of this release or later.
    Linux(u32, u32),
    /// A Pod source (`--pods.source`).
    Pods,
    /// A receiver of traces (`--trace.endpoint`).
    Traces,
}

impl std::fmt::Display for Need {
    /// The condition as one word of the catalogue: `controller=cpu`, `linux=5.18`, `pods`,
    /// `traces`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller(controller) => write!(f, "controller={controller}"),
            Self::Linux(major, minor) => write!(f, "linux={major}.{minor}"),
            Self::Pods => f.write_str("pods"),
            Self::Traces => f.write_str("traces"),
        }
    }
}
