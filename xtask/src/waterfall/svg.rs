//! The picture itself. Every text of a trace goes through [`text`], whatever is in it.

use testbed::otlp::{Span, Tree};

use super::{
    axis::Axis,
    rows::{Mark, Row, duration},
};

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 16.0;
/// Width of the column with the labels.
const LABELS: f64 = 300.0;
const HEAD: f64 = 78.0;
const ROW: f64 = 24.0;
const BAR: f64 = 14.0;
const INDENT: f64 = 14.0;
/// Space between a mark and its text.
const GAP: f64 = 8.0;
/// What a letter takes of its size, rather too much.
const LETTER: f64 = 0.56;
const SIZE: f64 = 13.0;
const SMALL: f64 = 12.0;

const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const LINE: &str = "#e4e7eb";
const GOOD: &str = "#3b7dd8";
const BAD: &str = "#c93c37";
const POINT: &str = "#8250df";

/// The picture of a trace.
pub(super) fn picture(tree: &Tree, rows: &[Row]) -> String {
    let axis = Axis::over(rows);
    let height = HEAD + rows.len() as f64 * ROW + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"Inter, 'Segoe UI', 'Noto Sans', \
         'DejaVu Sans', sans-serif\" font-size=\"{SIZE}\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\"/>\n"
    );
    head(&mut svg, &tree.root.span);
    for (at, label) in axis.ticks() {
        let x = place(at);
        line(&mut svg, (x, HEAD - 6.0), (x, height - MARGIN), LINE);
        text(&mut svg, (x, HEAD - 12.0), &Style { size: SMALL, fill: FAINT, ..MIDDLE }, &label);
    }
    for (n, row) in rows.iter().enumerate() {
        one(&mut svg, row, HEAD + n as f64 * ROW + ROW / 2.0, axis);
    }
    svg.push_str("</svg>\n");
    svg
}

fn head(svg: &mut String, root: &Span) {
    let pod = ["k8s.namespace.name", "k8s.pod.name"].map(|key| root.resource_text(key));
    let pod: Vec<&str> = pod.into_iter().filter(|name| !name.is_empty()).collect();
    let title = format!("{} · {}", root.name, pod.join("/"));
    let bold = Style { size: 16.0, weight: " font-weight=\"600\"", ..PLAIN };
    text(svg, (MARGIN, 30.0), &bold, &cut(&title, WIDTH - 2.0 * MARGIN, 17.0));
    let below = format!("{} · trace {}", duration(root.duration_ns()), root.trace_id);
    text(svg, (MARGIN, 50.0), &Style { size: SMALL, fill: FAINT, ..PLAIN }, &below);
}

/// Where a part of the axis is.
fn place(at: f64) -> f64 {
    let left = MARGIN + LABELS;
    left + at * (WIDTH - MARGIN - left)
}

fn one(svg: &mut String, row: &Row, middle: f64, axis: Axis) {
    let indent = MARGIN + row.depth.min(8) as f64 * INDENT;
    let label = cut(&row.label, MARGIN + LABELS - GAP - indent, SIZE);
    let is_point = matches!(row.mark, Mark::Point(_));
    let fill = if is_point { POINT } else { INK };
    text(svg, (indent, middle + 4.5), &Style { fill, ..PLAIN }, &label);
    let (from, to, fill) = match row.mark {
        Mark::Bar { start_unix_ns, end_unix_ns, is_error } => {
            let [from, to] = [start_unix_ns, end_unix_ns].map(|time| place(axis.at(time)));
            // What took no time is seen all the same.
            let (width, fill) = ((to - from).max(2.0), if is_error { BAD } else { GOOD });
            svg.push_str(&format!(
                "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"2\" \
                 fill=\"{fill}\"/>\n",
                middle - BAR / 2.0
            ));
            (from, from + width, if is_error { BAD } else { FAINT })
        }
        Mark::Point(unix_ns) => {
            let x = place(axis.at(unix_ns));
            let half = 5.0;
            svg.push_str(&format!(
                "<path d=\"M{x:.1} {:.1}l{half} {half}l-{half} {half}l-{half} -{half}z\" \
                 fill=\"{POINT}\"/>\n",
                middle - half
            ));
            (x - half, x + half, POINT)
        }
        Mark::None => return,
    };
    beside(svg, &row.detail, (from, to, middle), fill);
}

/// A text behind a mark, before it, or, where neither has room, on it.
fn beside(svg: &mut String, detail: &str, (from, to, middle): (f64, f64, f64), fill: &str) {
    let behind = WIDTH - MARGIN - to - GAP;
    let before = from - GAP - (MARGIN + LABELS);
    let wanted = width(detail, SMALL);
    let (y, small) = (middle + 4.0, Style { size: SMALL, fill, ..PLAIN });
    if wanted <= behind || (behind >= before && behind >= to - from) {
        text(svg, (to + GAP, y), &small, &cut(detail, behind, SMALL));
    } else if wanted <= before || before >= to - from {
        let end = Style { anchor: " text-anchor=\"end\"", ..small };
        text(svg, (from - GAP, y), &end, &cut(detail, before, SMALL));
    } else {
        let on = Style { fill: "#ffffff", ..small };
        text(svg, (from + GAP, y), &on, &cut(detail, to - from - 2.0 * GAP, SMALL));
    }
}

/// How a text looks.
#[derive(Clone, Copy)]
struct Style<'a> {
    size: f64,
    fill: &'a str,
    weight: &'a str,
    anchor: &'a str,
}

const PLAIN: Style<'static> = Style { size: SIZE, fill: INK, weight: "", anchor: "" };
const MIDDLE: Style<'static> = Style { anchor: " text-anchor=\"middle\"", ..PLAIN };

fn text(svg: &mut String, (x, y): (f64, f64), style: &Style<'_>, text: &str) {
    if text.is_empty() {
        return;
    }
    let Style { size, fill, weight, anchor } = style;
    svg.push_str(&format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{fill}\"{weight}{anchor}>{}</text>\n",
        escape(text)
    ));
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), stroke: &str) {
    svg.push_str(&format!(
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\"/>\n"
    ));
}

/// What a text takes, rather too much.
fn width(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * LETTER
}

/// A text that fits, with an ellipsis where something is left out.
fn cut(text: &str, room: f64, size: f64) -> String {
    let letters = (room / (size * LETTER)).max(0.0) as usize;
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    let kept: String = text.chars().take(letters.saturating_sub(1)).collect();
    if kept.is_empty() { kept } else { kept.trim_end().to_owned() + "…" }
}

/// A text for XML, which has no control characters. Those that turn the direction of writing would make
/// another text of what follows.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                escaped.push('\u{fffd}');
            }
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
