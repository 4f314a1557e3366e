//! Answers: status, headers and body.

use bytes::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::body::Body;
use super::guest::Given;
use super::negotiate::Coding;
use crate::metrics::variant::Format;

pub(super) type Answer = Response<Body>;

fn body(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn whole(text: &str, given: Given) -> Body {
    Body::new(vec![Bytes::copy_from_slice(text.as_bytes())], given)
}

pub(super) fn text(status: StatusCode, message: &str, given: Given) -> Answer {
    body(status, "text/plain; charset=utf-8", whole(message, given))
}

pub(super) fn not_allowed(given: Given) -> Answer {
    let message = "method not allowed; use GET or HEAD\n";
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, message, given);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

pub(super) fn busy(given: Given) -> Answer {
    let mut answer = text(StatusCode::SERVICE_UNAVAILABLE, "the agent is busy\n", given);
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    answer
}

pub(super) fn html(page: &str, given: Given) -> Answer {
    let mut answer = body(StatusCode::OK, "text/html; charset=utf-8", whole(page, given));
    let policy = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

pub(super) fn exposition(
    format: Format,
    coding: Coding,
    chunks: Vec<Bytes>,
    given: Given,
) -> Answer {
    let mut answer = body(StatusCode::OK, format.content_type(), Body::new(chunks, given));
    let headers = answer.headers_mut();
    if coding == Coding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    answer
}
