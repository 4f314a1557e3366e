//! Ids of traces and spans: they follow from what the trace is about. Pure.
//!
//! The same trace has the same ids, whichever agent sends it and however often, so a receiver that
//! knows it already can tell. Ids are the first bytes of a SHA-256, so they spread as random ones do,
//! which samplers rely on (W3C Trace Context, level 2, section 3.2.2.3).

use opentelemetry::trace::{SpanId, TraceId};
use ring::digest::{Context, SHA256};

use super::model::Kind;

/// Id of a trace about a Pod. `attempt` tells traces of one kind apart: for a restart the id of the
/// container that died, else nothing.
#[must_use]
pub fn trace(kind: Kind, pod_uid: &str, attempt: &str) -> TraceId {
    TraceId::from_bytes(digest(&[kind.name(), pod_uid, attempt]))
}

/// Id of a span: the root's with no `parts`, another one's with what tells it apart in its trace.
#[must_use]
pub fn span(trace: TraceId, parts: &[&str]) -> SpanId {
    let hex = trace.to_string();
    let mut all = vec![hex.as_str()];
    all.extend(parts);
    SpanId::from_bytes(digest(&all))
}

/// The first bytes of a hash over all parts, which are kept apart by their lengths. Never all zero.
fn digest<const BYTES: usize>(parts: &[&str]) -> [u8; BYTES] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut id = [0; BYTES];
    for (byte, from) in id.iter_mut().zip(context.finish().as_ref()) {
        *byte = *from;
    }
    if id == [0; BYTES] {
        // An id of zeros is none.
        id = [1; BYTES];
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_for_ever() {
        // A change of these values breaks traces that are sent in parts, before and after an update.
        let id = trace(Kind::Restart, "b15d8c96-12da-479d-8b9f-b569fbda4d2d", "3a31");
        assert_eq!(id.to_string(), "ec8692c3ec0edd0e1e720bb82e87f79a");
        assert_eq!(span(id, &[]).to_string(), "53d977171c4ecde5");
        assert_eq!(span(id, &["app", "exit"]).to_string(), "466dc6f311071f39");
    }

    #[test]
    fn what_differs_has_another_id() {
        let ids = [
            trace(Kind::Restart, "ab", "c"),
            trace(Kind::Restart, "a", "bc"),
            trace(Kind::Startup, "a", "bc"),
            trace(Kind::Startup, "abc", ""),
        ];
        for (n, id) in ids.iter().enumerate() {
            assert!(ids.iter().skip(n + 1).all(|other| other != id));
            assert_ne!(span(*id, &[]), span(*id, &["a"]));
            assert_ne!(span(*id, &["a", "b"]), span(*id, &["ab"]));
        }
    }
}
