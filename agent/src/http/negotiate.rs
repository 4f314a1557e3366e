//! Content negotiation: the format and coding that a client accepts (RFC 9110, 12.5.1 and 12.5.3).
//!
//! A scrape is never refused because of a header: what cannot be parsed is skipped, and if no known
//! format is accepted, the answer is text 0.0.4, uncompressed, which everyone can read.

use std::cmp::Reverse;

use crate::metrics::variant::Format;

/// Content coding of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    /// No coding.
    Identity,
    /// Compression with gzip (RFC 1952).
    Gzip,
}

/// The best format for the lines of `Accept`.
///
/// The quality of a format is that of the most specific range that includes it. Between formats of
/// the same quality the one that was named more exactly wins, then the one that was named first.
pub(crate) fn format<'a>(accept: impl Iterator<Item = &'a [u8]>) -> Format {
    let items: Vec<_> = items(accept).collect();
    let mut best = (Format::Text, None);
    for format in [Format::Text, Format::OpenMetrics] {
        let ranges = items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| Some((specificity(item, format)?, item.quality, Reverse(at))));
        let Some((specificity, quality, at)) = ranges.max() else { continue };
        let rank = Some((quality, specificity, at));
        if quality > 0 && rank > best.1 {
            best = (format, rank);
        }
    }
    best.0
}

/// The best coding for the lines of `Accept-Encoding`.
///
/// gzip is only for clients that name it, or that refuse everything else.
pub(crate) fn coding<'a>(accept_encoding: impl Iterator<Item = &'a [u8]>) -> Coding {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in items(accept_encoding) {
        let is = |name: &str| item.name.eq_ignore_ascii_case(name);
        let quality = if is("gzip") || is("x-gzip") {
            &mut gzip
        } else if is("identity") {
            &mut identity
        } else if is("*") {
            &mut any
        } else {
            continue;
        };
        *quality = (*quality).max(Some(item.quality));
    }
    let identity = identity.or(any);
    let gzip = match (gzip, any) {
        (Some(gzip), _) => gzip > 0 && identity.is_none_or(|identity| gzip >= identity),
        (None, Some(any)) => identity.is_some_and(|identity| any > identity),
        (None, None) => false,
    };
    if gzip { Coding::Gzip } else { Coding::Identity }
}

/// Whether the lines of `Cache-Control` refuse an answer that was made for somebody before (RFC 9111,
/// 5.2.1.4).
pub(super) fn no_cache<'a>(lines: impl Iterator<Item = &'a [u8]>) -> bool {
    items(lines).any(|item| item.name.eq_ignore_ascii_case("no-cache"))
}

/// Specificity of a media range for a format; `None` if the range does not include it.
fn specificity(item: &Item<'_>, format: Format) -> Option<u8> {
    let (kind, subtype, version) = match format {
        Format::Text => ("text", "plain", "0.0.4"),
        // Also for clients that name no version: the specification gives them the oldest. The draft
        // 0.0.1, which Prometheus still offers beside it, is not supported.
        Format::OpenMetrics => ("application", "openmetrics-text", "1.0.0"),
    };
    let (a, b) = item.name.split_once('/')?;
    if (a, b) == ("*", "*") {
        return Some(0);
    }
    if !a.eq_ignore_ascii_case(kind) {
        return None;
    }
    if b == "*" {
        return Some(1);
    }
    if !b.eq_ignore_ascii_case(subtype) {
        return None;
    }
    match item.version {
        None => Some(2),
        Some(wanted) => (wanted == version).then_some(3),
    }
}

/// An item of a header's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item<'a> {
    name: &'a str,
    version: Option<&'a str>,
    /// Quality (`q`), in thousandths.
    quality: u16,
}

/// The items that can be parsed, in order. A header of several lines is one list.
fn items<'a>(lines: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = Item<'a>> {
    lines
        .filter_map(|line| std::str::from_utf8(line).ok())
        .flat_map(|line| split(line, ','))
        .filter_map(item)
}

fn item(text: &str) -> Option<Item<'_>> {
    let mut parts = split(text, ';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?;
    let mut item = Item { name, version: None, quality: 1000 };
    for part in parts {
        let Some((key, value)) = part.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if key.eq_ignore_ascii_case("q") {
            item.quality = quality(value)?;
            // The rest is no parameter of the range.
            break;
        } else if key.eq_ignore_ascii_case("version") {
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            item.version = Some(quoted.unwrap_or(value));
        }
    }
    Some(item)
}

/// Parses a quality, 0 to 1 with up to three digits after the point, to thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = format!("{whole}{part:0<3}").parse().ok()?;
    (thousandths <= 1000).then_some(thousandths)
}

/// Splits `text` at separators that are not in a quoted string.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::take(&mut escaped);
        match c {
            '\\' if quoted && !was_escaped => escaped = true,
            '"' if !was_escaped => quoted = !quoted,
            _ => {}
        }
        c == separator && !quoted
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Coding, Format, coding, format, quality};

    fn accept(lines: &[&str]) -> Format {
        format(lines.iter().map(|line| line.as_bytes()))
    }

    fn accept_encoding(lines: &[&str]) -> Coding {
        coding(lines.iter().map(|line| line.as_bytes()))
    }

    #[test]
    fn open_metrics_is_for_clients_that_request_it() {
        for line in [
            // Prometheus 2.42.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            // Prometheus 3.
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
             application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;\
             escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "Application/OpenMetrics-Text;Version=\"1.0.0\"",
            "text/plain;q=0.5, application/openmetrics-text;q=0.501",
            "text/plain;q=0, */*",
            "application/openmetrics-text, */*",
            // Same quality, equally exact: the first one wins.
            "application/openmetrics-text;q=0.5, text/plain;q=0.500",
            "application/*",
            "text/*;q=0.9, application/*",
            "application/openmetrics-text;version=1.0.0, application/openmetrics-text;q=0",
            "application/openmetrics-text ; q=1.000 ; x=y",
            "*/*;q=0.1, x/y;note=\"a,b;q=0\", application/openmetrics-text",
            "\u{e4}, =, ;;q=2, application/openmetrics-text;version=1.0.0;q=0.1",
        ] {
            assert_eq!(accept(&[line]), Format::OpenMetrics, "{line}");
        }
        assert_eq!(accept(&["text/html", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn other_clients_get_text() {
        for line in [
            "",
            "*/*",
            "text/plain",
            "text/*",
            // vmagent.
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            // A browser.
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8",
            // Prometheus up to 2.4, and one that wants protobuf.
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited,application/openmetrics-text;version=0.0.1;q=0.6,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;version=1.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.5, text/plain",
            "text/plain, application/openmetrics-text",
            "application/json",
            "text/plain;q=0",
            "*/*;q=0",
            // Malformed.
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;q=1.001",
            "application/openmetrics-text;q=-1",
            "application/openmetrics-text;version=\"1.0.0",
            "\"application/openmetrics-text",
            "application openmetrics-text",
            ";,;=,q=1",
        ] {
            assert_eq!(accept(&[line]), Format::Text, "{line}");
        }
        assert_eq!(accept(&[]), Format::Text);
        assert_eq!(format([&b"\xff/\xff, */*"[..], b"\0"].into_iter()), Format::Text);
    }

    #[test]
    fn gzip_is_for_clients_that_request_it() {
        for line in [
            "gzip",
            "GZip",
            "x-gzip",
            "deflate, gzip;q=1.0, *;q=0.5",
            "gzip;q=0.1",
            "br;q=1.0, gzip;q=0.8, *;q=0.1",
            "identity;q=0.5, gzip",
            "identity, gzip",
            "identity;q=0, gzip;q=0.001",
            "identity;q=0, *",
            "*, identity;q=0.5",
            "gzip, *;q=0",
            "zstd , gzip ; q=0.5 , identity;q=0.4",
        ] {
            assert_eq!(accept_encoding(&[line]), Coding::Gzip, "{line}");
        }
        for line in [
            "",
            "identity",
            "*",
            "*;q=0",
            "gzip;q=0",
            "gzip;q=0, *",
            "gzip;q=0.5, identity",
            "gzip;q=0.5, *",
            "deflate, br, zstd",
            "gzip;q=2",
            "gzip;q=",
            "\"gzip\"",
            // No known coding is accepted: rather uncompressed than refused.
            "identity;q=0",
            "identity;q=0, gzip;q=0",
        ] {
            assert_eq!(accept_encoding(&[line]), Coding::Identity, "{line}");
        }
        assert_eq!(accept_encoding(&["br", "gzip"]), Coding::Gzip);
        assert_eq!(accept_encoding(&[]), Coding::Identity);
    }

    #[test]
    fn qualities_are_parsed_strictly() {
        for (text, expected) in
            [("1", 1000), ("0", 0), ("0.5", 500), ("0.", 0), ("1.000", 1000), ("0.001", 1)]
        {
            assert_eq!(quality(text), Some(expected), "{text}");
        }
        for text in ["", ".5", "2", "1.001", "0.1234", "+1", "-0", "0,5", "1e0", "00", "0.\u{663}"]
        {
            assert_eq!(quality(text), None, "{text}");
        }
    }

    /// Fragments of real headers, to meet the grammar more often than by chance.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let words = prop::sample::select(vec![
            "application/openmetrics-text",
            "text/plain",
            "*/*",
            "gzip",
            "identity",
            "*",
            ";",
            ",",
            "=",
            "q=",
            "version=",
            "1.0.0",
            "0.0.4",
            "0.5",
            "0",
            "\"",
            "\\",
            " ",
            "/",
        ]);
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(words, 0..20).prop_map(|words| words.concat().into_bytes()),
        ]
    }

    proptest! {
        #[test]
        fn any_header_gets_an_answer(lines in prop::collection::vec(header(), 0..4)) {
            let lines = || lines.iter().map(Vec::as_slice);
            let (format, coding) = (format(lines()), coding(lines()));
            let names = |name: &str| {
                let text = lines().flatten().map(|b| char::from(*b)).collect::<String>();
                text.to_ascii_lowercase().contains(name)
            };
            prop_assert!(format == Format::Text || names("openmetrics") || names("*"));
            prop_assert!(coding == Coding::Identity || names("gzip") || names("*"));
        }

        /// The quality decides, whatever the order and whatever else is in the header.
        #[test]
        fn the_better_quality_wins(a in 0_u16..=1000, b in 0_u16..=1000, swap: bool) {
            prop_assume!(a != b);
            let q = |q: u16| format!("{}.{:03}", q / 1000, q % 1000);
            let mut items =
                [format!("application/openmetrics-text;q={}", q(a)), format!("text/plain;q={}", q(b))];
            if swap {
                items.swap(0, 1);
            }
            let line = format!("image/png, {}, {};x=y", items[0], items[1]);
            let expected = if a > b { Format::OpenMetrics } else { Format::Text };
            prop_assert_eq!(accept(&[&line]), expected);
        }
    }
}
