//! Negotiation of an exposition's format and coding, from the headers of a request.

use super::seeds::texts;
use crate::http::negotiate::{self, Coding};
use crate::metrics::variant::Format;

/// The input as the lines of `Accept`, and as those of `Accept-Encoding`.
pub(super) fn run(input: &[u8]) -> bool {
    let lines: Vec<&[u8]> = input.split(|&b| b == b'\n').collect();
    let format = negotiate::format(lines.iter().copied());
    let coding = negotiate::coding(lines.iter().copied());

    // Nobody gets what they did not name.
    let text = String::from_utf8_lossy(input).to_ascii_lowercase();
    let has = |word: &str| text.contains(word);
    assert!(format == Format::Text || has("application/openmetrics-text") || has("*"));
    assert!(coding == Coding::Identity || has("gzip") || has("*"));

    // A range that is about neither changes nothing, first or last.
    let other: &[u8] = b"image/png;q=0.4";
    for all in [[&[other], &lines[..]].concat(), [&lines[..], &[other]].concat()] {
        assert_eq!(negotiate::format(all.iter().copied()), format);
        assert_eq!(negotiate::coding(all.iter().copied()), coding);
    }
    // Several lines are one list (RFC 9110, 5.3), unless a quotation mark or bytes that are no
    // text make a line unreadable.
    if !input.contains(&b'"') && std::str::from_utf8(input).is_ok() {
        let one = lines.join(&b',');
        assert_eq!(negotiate::format(std::iter::once(&one[..])), format);
        assert_eq!(negotiate::coding(std::iter::once(&one[..])), coding);
    }
    format != Format::Text || coding != Coding::Identity
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
         application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
        "text/plain;q=0.5\napplication/openmetrics-text; version=\"1.0.0\"; charset=utf-8",
        "*/*;q=0.1, x/y;note=\"a,b;q=0\", application/openmetrics-text;q=1.000",
        "deflate, gzip;q=1.0, *;q=0.5",
        "identity;q=0.5\nGZip",
    ])
}
