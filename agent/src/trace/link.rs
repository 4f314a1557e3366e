//! Links from outside: the trace context that a Pod carries in an annotation. Pure.

use opentelemetry::trace::{SpanId, TraceId};

use super::model::Link;

/// Annotation that KEP-5915 proposes for the trace context of a Pod.
pub const DEFAULT_ANNOTATION: &str = "tracing.k8s.io/traceparent";

/// Length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// An annotation's key, as the API server takes them: a name of at most 63 characters, after a DNS name
/// and a slash if it has a prefix (`k8s.io/apimachinery/pkg/util/validation`, `IsQualifiedName`).
///
/// # Errors
/// If no annotation can have this key.
pub fn annotation_key(text: &str) -> Result<String, String> {
    let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(p, name)| (Some(p), name));
    let is_word = |word: &str, longest, others: &[u8]| {
        let ends = [word.bytes().next(), word.bytes().next_back()];
        ends.iter().all(|end| end.is_some_and(|b| b.is_ascii_alphanumeric()))
            && word.len() <= longest
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
    };
    let prefix_fits = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| is_word(label, 253, b"-"))
            && !prefix.bytes().any(|b| b.is_ascii_uppercase())
    });
    if prefix_fits && is_word(name, 63, b"-_.") {
        return Ok(text.to_owned());
    }
    Err(format!("expected an annotation's key, such as {DEFAULT_ANNOTATION}"))
}

/// The span that a `traceparent` names (W3C Trace Context, level 1, section 3.2); `None` where it is
/// malformed. Of a later version than 00 the part that is known is read.
#[must_use]
pub fn parse(traceparent: &str) -> Option<Link> {
    let known = traceparent.get(..LENGTH)?;
    let rest = traceparent.get(LENGTH..)?;
    let mut parts = known.split('-');
    let [version, trace, span, flags] = [(); 4].map(|()| parts.next().unwrap_or_default());
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let shaped = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    let length_fits = rest.is_empty() || (version != "00" && rest.starts_with('-'));
    if !shaped || version == "ff" || !length_fits || parts.next().is_some() {
        return None;
    }
    let trace = TraceId::from_hex(trace).ok().filter(|id| *id != TraceId::INVALID)?;
    let span = SpanId::from_hex(span).ok().filter(|id| *id != SpanId::INVALID)?;
    Some(Link { trace, span, attributes: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::{DEFAULT_ANNOTATION, annotation_key, parse};

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_value_is_read() {
        let link = parse(GOOD).unwrap();
        assert_eq!(link.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(link.span.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn a_key_is_one_that_the_api_server_takes() {
        let long = "a".repeat(64);
        for good in [DEFAULT_ANNOTATION, "traceparent", "a/B_c.d-e", "x.y/1"] {
            assert_eq!(annotation_key(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "/", "a/", "/a", "not a key!", "-a", "a-", "A.b/c", "a..b/c", "a/b/c", &long]
        {
            assert!(
                annotation_key(bad).is_err_and(|why| why.contains(DEFAULT_ANNOTATION)),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_later_version_may_be_longer() {
        let later = GOOD.replacen("00", "cc", 1);
        assert!(parse(&later).is_some());
        assert!(parse(&format!("{later}-what-the-future-brings")).is_some());
        assert!(parse(&format!("{later}.what-the-future-brings")).is_none());
    }

    #[test]
    fn bad_values_are_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-01"),
            &format!("{GOOD} "),
            &GOOD.replace("00-4b", "ff-4b"),
            &GOOD.replace("4bf9", "4BF9"),
            &GOOD.replace("4bf9", "4bg9"),
            &GOOD.replace('-', "_"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e47-3600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7é01",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
