//! Targets: the queries of a panel.

/// A query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// PromQL with Grafana's variables.
    pub expr: String,
    /// Name of each series, with labels as `{{label}}`; empty in tables.
    pub legend: &'static str,
    /// What is asked for.
    pub shape: Shape,
}

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Range query: values over the time range.
    Range,
    /// The value at the end of the time range.
    Instant,
    /// The same, labels as columns.
    Table,
    /// Buckets of a histogram over time.
    Heatmap,
}

/// A query over time.
#[must_use]
pub const fn range(expr: String, legend: &'static str) -> Target {
    Target { expr, legend, shape: Shape::Range }
}

/// A query at the end of the time range.
#[must_use]
pub const fn instant(expr: String, legend: &'static str) -> Target {
    Target { expr, legend, shape: Shape::Instant }
}

/// A query whose labels are columns.
#[must_use]
pub const fn table(expr: String) -> Target {
    Target { expr, legend: "", shape: Shape::Table }
}

/// A query for the buckets of a histogram.
#[must_use]
pub const fn heatmap(expr: String) -> Target {
    Target { expr, legend: "{{le}}", shape: Shape::Heatmap }
}
