//! OTLP/HTTP with protobuf.

use std::borrow::Cow;
use std::io::{Read as _, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use serde_json::Value;

use super::connections::Connections;
use super::limits::{self, ANSWER_MAX, TEXT_MAX};
use super::retry::{self, Outcome};
use super::status::Status;
use crate::kube::client::chain;
use crate::kube::text::one_line;
use crate::trace::settings::Settings;

const PROTOBUF: &str = "application/x-protobuf";
/// Longest wait for the body of a refusal.
const REFUSAL_MAX: Duration = Duration::from_secs(1);

/// Sends a request, and waits for the whole answer.
pub(super) async fn send(
    connections: &Connections<Full<Bytes>>,
    settings: &Settings,
    body: Bytes,
) -> Outcome {
    let request = match request(settings, body) {
        Ok(request) => request,
        Err(why) => return Outcome::malformed(why),
    };
    let (head, body) = match connections.client.request(request).await.map(Response::into_parts) {
        Ok(answer) => answer,
        Err(error) => return Outcome::broken(chain(&error)),
    };
    let body = read(body, &head.headers);
    if head.status.is_success() {
        return taken(&head.headers, body.await);
    }
    // The status decides; words for people need not come.
    let body = tokio::time::timeout(REFUSAL_MAX.min(settings.timeout / 4), body).await;
    refused(&head, &body.unwrap_or_else(|_| Body { bytes: Vec::new(), end: End::TooLong }))
}

fn request(settings: &Settings, body: Bytes) -> Result<Request<Full<Bytes>>, String> {
    let body = if settings.gzip { gzip(&body)? } else { body };
    let mut request = Request::post(settings.url.clone())
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let headers = request.headers_mut();
    *headers = settings.headers.clone();
    let mut set = |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_TYPE, PROTOBUF);
    set(ACCEPT, PROTOBUF);
    set(ACCEPT_ENCODING, "gzip");
    if settings.gzip {
        set(CONTENT_ENCODING, "gzip");
    }
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(limits::USER_AGENT));
    Ok(request)
}

fn gzip(body: &[u8]) -> Result<Bytes, String> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let written = encoder.write_all(body).and_then(|()| encoder.finish());
    written.map(Bytes::from).map_err(|error| format!("gzip: {error}"))
}

/// Body of an answer: its bytes, as far as they were read, and why there are no more of them.
struct Body {
    bytes: Vec<u8>,
    end: End,
}

enum End {
    Whole,
    TooLong,
    Broken(String),
}

/// Reads a body, and no more of it than may be long enough.
async fn read(mut body: Incoming, headers: &HeaderMap) -> Body {
    let mut bytes = Vec::new();
    let end = loop {
        match body.frame().await {
            None => break End::Whole,
            Some(Err(error)) => break End::Broken(chain(&error)),
            Some(Ok(frame)) => {
                let data = frame.into_data().unwrap_or_default();
                let room = ANSWER_MAX - bytes.len();
                bytes.extend_from_slice(data.split_at(room.min(data.len())).0);
                if data.len() > room {
                    break End::TooLong;
                }
            }
        }
    };
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity" | b"") => Body { bytes, end },
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let read = GzDecoder::new(&*bytes).take(ANSWER_MAX as u64 + 1).read_to_end(&mut plain);
            let end = match (end, read) {
                (End::Whole, _) if plain.len() > ANSWER_MAX => End::TooLong,
                (End::Whole, Err(error)) if !bytes.is_empty() => {
                    End::Broken(format!("gzip: {error}"))
                }
                (end, _) => end,
            };
            plain.truncate(ANSWER_MAX);
            Body { bytes: plain, end }
        }
        Some(_) => Body { bytes: Vec::new(), end: End::Broken("an unknown coding".into()) },
    }
}

/// The outcome of an answer that says that the request was taken.
fn taken(headers: &HeaderMap, body: Body) -> Outcome {
    match body.end {
        End::Whole => {}
        End::TooLong => {
            return Outcome::malformed(format!("an answer of more than {ANSWER_MAX} bytes"));
        }
        // Whether the spans were taken is not known; a receiver that has them knows their ids.
        End::Broken(why) => return Outcome::broken(why),
    }
    let kind = content_type(headers);
    let decoded = match &*kind {
        // Some receivers answer a success with nothing, of any type.
        _ if body.bytes.is_empty() => Some(ExportTraceServiceResponse::default()),
        PROTOBUF | "application/octet-stream" | "" => {
            ExportTraceServiceResponse::decode(&*body.bytes).ok()
        }
        // Some answer in JSON whatever they are asked in.
        "application/json" => from_json(&body.bytes),
        _ => None,
    };
    decoded.map_or_else(
        || {
            let text = one_line(&String::from_utf8_lossy(&body.bytes), TEXT_MAX);
            let kind = one_line(&kind, TEXT_MAX);
            Outcome::malformed(format!("the answer, of type {kind:?}, is none of OTLP: {text}"))
        },
        Outcome::of,
    )
}

/// An answer in OTLP's JSON: without anything, or with a `partialSuccess`. Other objects say something
/// else.
fn from_json(bytes: &[u8]) -> Option<ExportTraceServiceResponse> {
    let object: serde_json::Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    if object.is_empty() {
        return Some(ExportTraceServiceResponse::default());
    }
    let partial = object.get("partialSuccess")?;
    let rejected = partial.get("rejectedSpans").unwrap_or(&Value::Null);
    // Protobuf's JSON has 64-bit numbers as text.
    let rejected = rejected.as_i64().or_else(|| rejected.as_str()?.parse().ok());
    let message = partial.get("errorMessage").and_then(Value::as_str);
    let partial = ExportTracePartialSuccess {
        rejected_spans: rejected.unwrap_or_default(),
        error_message: message.unwrap_or_default().to_owned(),
    };
    Some(ExportTraceServiceResponse { partial_success: Some(partial) })
}

/// The outcome of a refusal.
fn refused(head: &http::response::Parts, body: &Body) -> Outcome {
    let status = match &*content_type(&head.headers) {
        PROTOBUF => Status::decode(&*body.bytes).unwrap_or_default(),
        _ => Status { message: String::from_utf8_lossy(&body.bytes).into(), details: Vec::new() },
    };
    let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let after = after.and_then(|value| retry::retry_after(value, unix_s()));
    let text = match head.headers.get(LOCATION).filter(|_| head.status.is_redirection()) {
        Some(_) => "a redirection, which is not followed".to_owned(),
        None => one_line(&status.message, TEXT_MAX),
    };
    let why = format!("{}{}{text}", head.status, if text.is_empty() { "" } else { ": " });
    retry::by_status(head.status.as_u16(), after.or(status.retry_delay()), why)
}

fn unix_s() -> i64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(unix.as_secs()).unwrap_or(i64::MAX)
}

/// The media type of an answer, without its parameters.
fn content_type(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    String::from_utf8_lossy(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_in_json_is_one() {
        let outcome = |kind: &'static str, text: &str| {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
            taken(&headers, Body { bytes: text.into(), end: End::Whole })
        };
        for (text, expected) in [
            ("", (0, "")),
            (" {}\n", (0, "")),
            (r#"{"partialSuccess":{}}"#, (0, "")),
            (r#"{"message":"received","partialSuccess":{"rejectedSpans":0}}"#, (0, "")),
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}"#,
                (3, "too old"),
            ),
            (r#"{"partialSuccess":{"rejectedSpans":-1,"errorMessage":7}}"#, (0, "")),
        ] {
            let (rejected, message) = (expected.0, expected.1.to_owned());
            let exported = Outcome::Exported { rejected, message };
            assert_eq!(outcome("application/json; charset=utf-8", text), exported, "{text}");
        }
        for (kind, text) in [
            ("application/json", r#"{"error":"no such project"}"#),
            ("application/json", "[]"),
            ("application/json", "{"),
            ("text/html", "<html>Log in</html>"),
        ] {
            let refused = outcome(kind, text);
            assert!(matches!(refused, Outcome::Refused { .. }), "{text}: {refused:?}");
        }
    }
}
