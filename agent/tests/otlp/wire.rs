//! What goes over the wire: frames, trailers, compression.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;

pub(crate) fn partial(rejected_spans: i64, words: &str) -> Vec<u8> {
    let partial_success = (rejected_spans != 0 || !words.is_empty())
        .then(|| ExportTracePartialSuccess { rejected_spans, error_message: words.into() });
    ExportTraceServiceResponse { partial_success }.encode_to_vec()
}

pub(crate) fn trailers(code: u16, words: &str, details: &[u8]) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let mut set = |name: &'static str, value: String| {
        trailers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
    };
    set("grpc-status", code.to_string());
    if !words.is_empty() {
        set("grpc-message", words.into());
    }
    if !details.is_empty() {
        set("grpc-status-details-bin", base64(details));
    }
    trailers
}

/// Base64 without padding, as gRPC has it in headers.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
    }
    text
}

pub(crate) fn framed(message: &[u8], flag: u8) -> Bytes {
    let mut frame = vec![flag];
    frame.extend((message.len() as u32).to_be_bytes());
    frame.extend(message);
    frame.into()
}

pub(crate) fn unframed(body: &Bytes, headers: &HeaderMap) -> Bytes {
    let length = u32::from_be_bytes(body[1..5].try_into().unwrap());
    assert_eq!(body.len() as u32, length + 5, "one message");
    let message = body.slice(5..);
    match body[0] {
        0 => message,
        _ => {
            assert_eq!(headers["grpc-encoding"], "gzip");
            gunzip(&message)
        }
    }
}

pub(crate) fn gunzip(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain.into()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Body of an answer: data at once, then trailers.
pub(crate) struct Body {
    pub(crate) data: Option<Bytes>,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Body {
    pub(crate) const fn empty() -> Self {
        Self { data: None, trailers: None }
    }

    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { data: Some(bytes.into()), trailers: None }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(data) = self.data.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}
