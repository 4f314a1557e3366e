//! What is shown of a trace, row by row. Pure.

use testbed::otlp::{Attributes, Event, Node, Span, Status, Tree};

/// Limit of the rows; what has no room is counted in the last one.
pub(super) const MAX_ROWS: usize = 80;
/// Attributes that tell spans of one name apart, the first that is there is shown.
const TELLING: [&str; 1] = ["k8s.container.name"];
/// Attributes of events and spans that are shown, in this order.
const SHOWN: [&str; 9] = [
    "podvitals.signal",
    "podvitals.sender",
    "podvitals.ignored",
    "podvitals.cause",
    "podvitals.trigger",
    "process.exit.code",
    "podvitals.oom.scope",
    "podvitals.oom.triggered_by",
    "podvitals.pre_stop.handler",
];

/// A row of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// How far it is below the root.
    pub(super) depth: usize,
    /// What it is.
    pub(super) label: String,
    /// What is said of it beside its mark.
    pub(super) detail: String,
    /// What is drawn.
    pub(super) mark: Mark,
}

/// What is drawn on the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// A span.
    Bar {
        /// Start, Unix time.
        start_unix_ns: u64,
        /// End, Unix time.
        end_unix_ns: u64,
        /// Whether something went wrong in it.
        is_error: bool,
    },
    /// An event, at a Unix time.
    Point(u64),
    /// Nothing: what is more than there is room for.
    None,
}

/// The rows of a trace: each span, below it its events, then the spans below it.
pub(super) fn rows(tree: &Tree) -> Vec<Row> {
    let mut rows = Vec::new();
    for (depth, Node { span, .. }) in tree.nodes() {
        rows.push(of_span(depth, span));
        rows.extend(span.events.iter().map(|event| of_event(depth + 1, event)));
    }
    if rows.len() > MAX_ROWS {
        let more = rows.len() - (MAX_ROWS - 1);
        rows.truncate(MAX_ROWS - 1);
        let label = format!("… {more} more");
        rows.push(Row { depth: 0, label, detail: String::new(), mark: Mark::None });
    }
    rows
}

fn of_span(depth: usize, span: &Span) -> Row {
    let telling = TELLING.iter().find_map(|key| span.attributes.get(*key));
    let label = telling.map_or_else(|| span.name.clone(), |it| format!("{} · {it}", span.name));
    let duration = duration(span.duration_ns());
    let is_error = matches!(span.status, Status::Error(_));
    let detail = match &span.status {
        Status::Error(message) if !message.is_empty() => format!("{duration}: {message}"),
        _ => duration,
    };
    let Span { start_unix_ns, end_unix_ns, .. } = *span;
    Row { depth, label, detail, mark: Mark::Bar { start_unix_ns, end_unix_ns, is_error } }
}

fn of_event(depth: usize, event: &Event) -> Row {
    let detail = details(&event.attributes);
    Row { depth, label: event.name.clone(), detail, mark: Mark::Point(event.unix_ns) }
}

/// The attributes that are shown. A key's last word says what a number or a truth value is.
fn details(attributes: &Attributes) -> String {
    let shown = SHOWN.iter().filter_map(|key| Some((key, attributes.get(*key)?)));
    let texts = shown.map(|(key, value)| match value.as_text() {
        Some(text) => text.to_owned(),
        None => format!("{} {value}", key.rsplit(['.', '_']).next().unwrap_or_default()),
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// A duration with three digits that count.
pub(super) fn duration(ns: u64) -> String {
    const MINUTE_NS: u64 = 60_000_000_000;
    if ns >= 10 * MINUTE_NS {
        return format!("{} min {} s", ns / MINUTE_NS, ns % MINUTE_NS / 1_000_000_000);
    }
    let (unit_ns, unit) = match ns {
        1_000_000_000.. => (1e9, "s"),
        1_000_000.. => (1e6, "ms"),
        _ => (1e3, "µs"),
    };
    let value = ns as f64 / unit_ns;
    let digits = match value {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}")
}
