//! The text format 0.0.4 of Prometheus, and the only place where units are converted.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>. It is the hot path: a subject's
//! labels are escaped once ([`Block`]) and copied from then on, integers go through `itoa`, times
//! become seconds by moving the decimal point in the digits, so no precision is lost.

use super::catalog::{Family, Type};
use super::cell::Cell;
use super::histogram::Shown;

/// What the names of our families begin with.
pub const PREFIX: &str = "podvitals_";

/// `Content-Type` of what [`Exposition`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A value with its unit; it is written in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Bytes, tasks, events: as it is.
    Count(u64),
    /// Microseconds, written as seconds.
    Micros(u64),
    /// Nanoseconds, written as seconds.
    Nanos(u64),
    /// The first divided by the second; without a second of 0.
    Ratio(u64, u64),
}

impl Value {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Count(value) => write_integer(out, value),
            Self::Micros(value) => write_decimal::<6>(out, value),
            Self::Nanos(value) => write_decimal::<9>(out, value),
            Self::Ratio(_, 0) => out.extend_from_slice(b"NaN"),
            Self::Ratio(value, by) if value % by == 0 => write_integer(out, value / by),
            Self::Ratio(value, by) => {
                // Shortest digits that give the same f64; never an exponent.
                out.extend_from_slice((value as f64 / by as f64).to_string().as_bytes());
            }
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes `value` / 10^`DIGITS` exactly, without zeros at the end.
fn write_decimal<const DIGITS: u32>(out: &mut Vec<u8>, value: u64) {
    let unit = 10_u64.pow(DIGITS);
    write_integer(out, value / unit);
    let mut rest = value % unit;
    if rest == 0 {
        return;
    }
    out.push(b'.');
    let mut scale = unit / 10;
    while rest != 0 {
        out.push(b'0' + (rest / scale) as u8);
        rest %= scale;
        scale /= 10;
    }
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
    /// No labels.
    pub const EMPTY: Self = Self(Vec::new());

    /// Escapes them.
    #[must_use]
    pub fn new(labels: &[(&str, &str)]) -> Self {
        let mut block = Vec::with_capacity(64);
        for (name, value) in labels {
            write_label(&mut block, name, value);
        }
        block.shrink_to_fit();
        Self(block)
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Labels of one sample beside those of its subject.
pub trait Labels {
    /// Hands each name and value to `label`, always the same names in the same order.
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

/// Nothing beside the labels of the subject.
pub const NONE: &[(&str, &str)] = &[];

/// Who reads an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A scraper, which compares samples over time: what is new is at 0 once, so that it sees the
    /// first event rise.
    Scraper,
    /// A person, who looks at this one: the values are as they are, and count as unseen.
    Person,
}

/// Writes one exposition, family after family.
#[derive(Debug)]
pub struct Exposition<'a> {
    out: &'a mut Vec<u8>,
    reader: Reader,
    /// The name that samples of this family begin with.
    name: Vec<u8>,
    family: Option<&'static Family>,
    header_due: bool,
    series: u64,
}

impl<'a> Exposition<'a> {
    /// Appends to `out`.
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>, reader: Reader) -> Self {
        Self {
            out,
            reader,
            name: Vec::with_capacity(64),
            family: None,
            header_due: false,
            series: 0,
        }
    }

    /// Whom it is for.
    #[must_use]
    pub const fn reader(&self) -> Reader {
        self.reader
    }

    /// Samples that follow belong to this family. A family without samples leaves no trace.
    pub fn family(&mut self, family: &'static Family) {
        self.name.clear();
        self.name.extend_from_slice(family.prefix().as_bytes());
        self.name.extend_from_slice(family.name.as_bytes());
        self.family = Some(family);
        self.header_due = true;
    }

    /// How many series were written.
    #[must_use]
    pub const fn series(&self) -> u64 {
        self.series
    }

    /// One sample.
    pub fn sample(&mut self, block: &[u8], labels: &impl Labels, value: Value) {
        self.header();
        self.start(b"", block, labels);
        self.end(value);
    }

    /// A counter of events.
    pub fn cell(&mut self, block: &[u8], labels: &impl Labels, cell: &mut Cell) {
        self.sample(block, labels, Value::Count(cell.show(self.reader)));
    }

    /// A histogram of times.
    pub fn histogram(&mut self, block: &[u8], labels: &impl Labels, shown: &Shown<'_>) {
        self.header();
        for (le, count) in shown.cumulative() {
            self.start(b"_bucket", block, labels);
            self.reopen();
            self.out.extend_from_slice(b"le=\"");
            self.out.extend_from_slice(le.as_bytes());
            self.out.extend_from_slice(b"\"}");
            self.end(Value::Count(count));
        }
        self.start(b"_sum", block, labels);
        self.end(Value::Nanos(shown.sum_ns()));
        self.start(b"_count", block, labels);
        self.end(Value::Count(shown.count()));
    }

    fn header(&mut self) {
        if !std::mem::take(&mut self.header_due) {
            return;
        }
        let Some(family) = self.family else { return };
        self.out.extend_from_slice(b"# HELP ");
        self.out.extend_from_slice(&self.name);
        self.out.push(b' ');
        for byte in family.help.bytes() {
            match byte {
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                byte => self.out.push(byte),
            }
        }
        self.out.extend_from_slice(b"\n# TYPE ");
        self.out.extend_from_slice(&self.name);
        self.out.extend_from_slice(match family.kind {
            Type::Counter => b" counter\n",
            Type::Gauge => b" gauge\n",
            Type::Histogram => b" histogram\n",
        });
    }

    /// Name and labels.
    fn start(&mut self, suffix: &[u8], block: &[u8], labels: &impl Labels) {
        self.out.reserve(self.name.len() + block.len() + 96);
        self.out.extend_from_slice(&self.name);
        self.out.extend_from_slice(suffix);
        let out = &mut *self.out;
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

    /// Makes room for one more label.
    fn reopen(&mut self) {
        if self.out.last() == Some(&b'}') {
            self.out.pop();
            self.out.push(b',');
        } else {
            self.out.push(b'{');
        }
    }

    fn end(&mut self, value: Value) {
        self.out.push(b' ');
        value.write(self.out);
        self.out.push(b'\n');
        self.series += 1;
    }
}
