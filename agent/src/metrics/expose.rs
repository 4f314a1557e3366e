//! The text format 0.0.4 of Prometheus and OpenMetrics 1.0.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>. The two differ in what stands above
//! the samples of a family and in the end; the samples are the same bytes, so a series is the same
//! whichever format was asked for. OpenMetrics alone has exemplars, behind the values of buckets.
//! There are no `_created` lines.
//!
//! This is the hot path: an entity's labels are escaped once ([`Block`]) and copied from then on,
//! values are written by [`super::value`].

use super::chunks::Chunks;
use super::counter::Counter;
use super::exemplar::Exemplar;
use super::family::Family;
use super::header;
use super::histogram::Histogram;
use super::text::{News, Text};
pub use super::value::Value;
use super::variant::{FirstShown, Format, Generation};
use crate::clock::WallOffset;

/// A family that is written from the state of its group.
#[derive(Debug)]
pub struct StateFamily<S> {
    /// The family.
    pub family: Family,
    /// Function that writes the samples of one entity, given its labels.
    pub write: fn(&[u8], &mut S, &mut Exposition),
}

/// Appends `name="value"`, escaped, with a comma before it unless `out` is empty.
///
/// A NUL becomes U+FFFD: Prometheus' scanner takes it for the end of the text, and one hostile
/// label would cost the whole scrape.
pub fn write_label(out: &mut Vec<u8>, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(b',');
    }
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"=\"");
    write_escaped(out, value);
    out.push(b'"');
}

fn write_escaped(out: &mut Vec<u8>, value: &str) {
    let mut rest = value.as_bytes();
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\\' | b'"' | b'\n' | 0)) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        out.extend_from_slice(match special.first() {
            Some(b'\\') => b"\\\\",
            Some(b'"') => b"\\\"",
            Some(b'\n') => b"\\n",
            _ => "\u{fffd}".as_bytes(),
        });
        rest = special.get(1..).unwrap_or(&[]);
    }
    out.extend_from_slice(rest);
}

/// Labels ready to be copied into each sample: `name="value",name="value"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block(Vec<u8>);

impl Block {
    /// A block of these labels, escaped.
    #[must_use]
    pub fn new(labels: &[(&str, &str)]) -> Self {
        let mut block = Vec::with_capacity(64);
        for (name, value) in labels {
            write_label(&mut block, name, value);
        }
        block.shrink_to_fit();
        Self(block)
    }

    /// The bytes to copy.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Labels of one sample beside those of its entity.
pub trait Labels {
    /// Calls `label` with each name and value, always the same names in the same order.
    fn each(&self, label: &mut dyn FnMut(&str, &str));
}

/// Labels known at compile time.
impl Labels for &[(&str, &str)] {
    fn each(&self, label: &mut dyn FnMut(&str, &str)) {
        for (name, value) in *self {
            label(name, value);
        }
    }
}

/// No labels beside those of the entity.
pub const NONE: &[(&str, &str)] = &[];

/// Writes one exposition, family after family.
#[derive(Debug)]
pub struct Exposition {
    chunks: Chunks,
    format: Format,
    generation: Generation,
    wall: WallOffset,
    /// The name of the current family, with its prefix.
    name: Vec<u8>,
    /// Scratch space for what the lines of a histogram have in common.
    line: Vec<u8>,
    family: Option<&'static Family>,
    header_due: bool,
    /// Most series; further ones are left out and counted.
    limit: u64,
    full: bool,
    series: u64,
    left_out: u64,
    news: Vec<News>,
}

impl Exposition {
    /// An empty exposition.
    #[must_use]
    pub fn new(format: Format, generation: Generation) -> Self {
        Self {
            chunks: Chunks::new(),
            format,
            generation,
            wall: WallOffset::default(),
            name: Vec::with_capacity(64),
            line: Vec::new(),
            family: None,
            header_due: false,
            limit: u64::MAX,
            full: false,
            series: 0,
            left_out: 0,
            news: Vec::new(),
        }
    }

    /// The same, with times shown under this offset to Unix time.
    #[must_use]
    pub fn at(self, wall: WallOffset) -> Self {
        Self { wall, ..self }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(mut self) -> Text {
        if self.format == Format::OpenMetrics {
            self.chunks.open().extend_from_slice(b"# EOF\n");
        }
        Text::new(self.chunks.finish(), self.news)
    }

    /// Begins a family, to which the samples that follow belong. A family without samples leaves no
    /// trace.
    pub fn family(&mut self, family: &'static Family) {
        self.name.clear();
        self.name.extend_from_slice(family.prefix().as_bytes());
        self.name.extend_from_slice(family.name.as_bytes());
        self.family = Some(family);
        self.header_due = true;
    }

    /// Sets the limit of series for what follows.
    pub const fn set_limit(&mut self, limit: u64) {
        self.limit = limit;
        self.full = false;
    }

    /// Begins an entity's samples of the family: they are all written, or where there may be no
    /// room for all of them, left out. Returns the series before, those left out included.
    pub fn entity(&mut self) -> u64 {
        let most = self.family.map_or(0, |family| u64::from(family.series_max));
        self.full = self.series.saturating_add(most) > self.limit;
        self.wanted()
    }

    /// The number of series so far, those left out included.
    #[must_use]
    pub const fn wanted(&self) -> u64 {
        self.series + self.left_out
    }

    /// The number of series written so far.
    #[must_use]
    pub const fn series(&self) -> u64 {
        self.series
    }

    /// The number of series left out because of the limit.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Writes one sample.
    pub fn sample(&mut self, block: &[u8], labels: &impl Labels, value: Value) {
        if self.leaves_out(1) {
            return;
        }
        self.header();
        write_start(self.chunks.open(), &self.name, b"", block, labels);
        self.end(value);
    }

    /// Writes a counter of events.
    pub fn counter(&mut self, block: &[u8], labels: &impl Labels, counter: &mut Counter) {
        let count = counter.count();
        self.event_count(block, labels, [0, count], counter.first_shown());
    }

    /// Writes a counter of amounts, which have that unit.
    pub fn amount(
        &mut self,
        block: &[u8],
        labels: &impl Labels,
        unit: fn(u64) -> Value,
        counter: &mut Counter,
    ) {
        let value = unit(counter.count());
        self.event_value(block, labels, 0, value, counter.first_shown());
    }

    /// Writes a number of events, given with the number before the first of them.
    pub fn event_count(
        &mut self,
        block: &[u8],
        labels: &impl Labels,
        [initial, count]: [u64; 2],
        first_shown: &mut FirstShown,
    ) {
        self.event_value(block, labels, initial, Value::Count(count), first_shown);
    }

    fn event_value(
        &mut self,
        block: &[u8],
        labels: &impl Labels,
        initial: u64,
        value: Value,
        first_shown: &mut FirstShown,
    ) {
        if self.leaves_out(1) {
            return;
        }
        self.header();
        write_start(self.chunks.open(), &self.name, b"", block, labels);
        let first_shown = first_shown.at(self.generation);
        self.end_event(first_shown, initial, value, None);
    }

    /// Writes a histogram of times.
    pub fn histogram(&mut self, block: &[u8], labels: &impl Labels, histogram: &mut Histogram) {
        if self.leaves_out(histogram.series()) {
            return;
        }
        self.header();
        let first_shown = histogram.first_shown().at(self.generation);
        // What the buckets' lines have in common is put together once.
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        write_start(&mut line, &self.name, b"_bucket", block, labels);
        match line.last_mut() {
            Some(last @ b'}') => *last = b',',
            _ => line.push(b'{'),
        }
        line.extend_from_slice(b"le=\"");
        for (le, count, exemplar) in histogram.cumulative() {
            let out = self.chunks.open();
            out.reserve(line.len() + LINE_END_BYTES);
            out.extend_from_slice(&line);
            out.extend_from_slice(le.as_bytes());
            out.extend_from_slice(b"\"}");
            let exemplar = exemplar.filter(|_| self.format == Format::OpenMetrics);
            self.end_event(first_shown, 0, Value::Count(count), exemplar);
        }
        self.line = line;
        write_start(self.chunks.open(), &self.name, b"_sum", block, labels);
        self.end_event(first_shown, 0, Value::Nanos(histogram.sum_ns()), None);
        write_start(self.chunks.open(), &self.name, b"_count", block, labels);
        self.end_event(first_shown, 0, Value::Count(histogram.count()), None);
    }

    /// Counts series that are left out, if they are.
    const fn leaves_out(&mut self, series: u64) -> bool {
        if self.full {
            self.left_out += series;
        }
        self.full
    }

    fn header(&mut self) {
        if !std::mem::take(&mut self.header_due) {
            return;
        }
        let Some(family) = self.family else { return };
        let out = self.chunks.open();
        match self.format {
            Format::Text => header::write_text(out, family),
            Format::OpenMetrics => header::write_open_metrics(out, family),
        }
    }

    /// Ends a sample that is `initial` before the first event. A scraper to which the series is new
    /// must see that first, and without an exemplar: what that is of has not happened then.
    fn end_event(
        &mut self,
        first_shown: Generation,
        initial: u64,
        value: Value,
        exemplar: Option<&Exemplar>,
    ) {
        let out = self.chunks.open();
        out.push(b' ');
        let (chunk, begin) = self.chunks.position();
        value.write(self.chunks.open(), self.wall);
        if let Some(exemplar) = exemplar {
            exemplar.write(self.chunks.open(), self.wall);
        }
        let (_, end) = self.chunks.position();
        if !value.is(initial) && !self.generation.stranger().has(first_shown) {
            self.news.push(News { first_shown, chunk, value: (begin, end), initial });
        }
        self.end_line();
    }

    fn end(&mut self, value: Value) {
        let out = self.chunks.open();
        out.push(b' ');
        value.write(out, self.wall);
        self.end_line();
    }

    fn end_line(&mut self) {
        self.chunks.open().push(b'\n');
        self.chunks.end_line();
        self.series += 1;
    }
}

/// Room for labels of a family, a value and a line's end; more makes the chunk grow.
const LINE_END_BYTES: usize = 96;

/// Writes name and labels of a sample.
#[inline]
fn write_start(out: &mut Vec<u8>, name: &[u8], suffix: &[u8], block: &[u8], labels: &impl Labels) {
    out.reserve(name.len() + block.len() + LINE_END_BYTES);
    out.extend_from_slice(name);
    out.extend_from_slice(suffix);
    let mut separator = b'{';
    if !block.is_empty() {
        out.push(separator);
        out.extend_from_slice(block);
        separator = b',';
    }
    labels.each(&mut |name, value| {
        out.push(separator);
        separator = b',';
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        write_escaped(out, value);
        out.push(b'"');
    });
    if separator == b',' {
        out.push(b'}');
    }
}
