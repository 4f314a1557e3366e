//! OTLP/gRPC: `opentelemetry.proto.collector.trace.v1.TraceService/Export`.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use http::{Request, Response};
use http_body_util::{LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::{Client, Error as ClientError, connect::HttpConnector};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tower_service::Service;

use super::connections::Connections;
use super::limits::{ANSWER_MAX, TEXT_MAX, USER_AGENT};
use super::retry::{self, Outcome};
use super::status::Status;
use crate::kube::client::chain;
use crate::kube::text::one_line;
use crate::trace::settings::Settings;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Sends a request, and waits for the whole answer.
pub(super) async fn send(
    connections: &Connections<Body>,
    settings: &Settings,
    body: Bytes,
) -> Outcome {
    let service = Bounded(connections.client.clone());
    let mut client = Grpc::with_origin(service, settings.url.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(ANSWER_MAX);
    if settings.gzip {
        client = client.send_compressed(CompressionEncoding::Gzip);
    }
    let mut request = tonic::Request::new(body);
    let mut headers = settings.headers.clone();
    headers.entry(http::header::USER_AGENT).or_insert(http::HeaderValue::from_static(USER_AGENT));
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    request.set_timeout(settings.timeout);
    match client.unary(request, PathAndQuery::from_static(EXPORT), Raw).await {
        Ok(answer) => Outcome::of(answer.into_inner()),
        Err(status) => failed(&status),
    }
}

/// The outcome of a call that failed.
fn failed(status: &tonic::Status) -> Outcome {
    let too_long = || Outcome::malformed(format!("an answer of more than {ANSWER_MAX} bytes"));
    // What the receiver says has no source; what happens to a connection has.
    if let Some(source) = status.source() {
        let mut causes = std::iter::successors(Some(source), |cause| (*cause).source());
        return match causes.find(|cause| cause.is::<LengthLimitError>() || cause.is::<NotOtlp>()) {
            Some(cause) if cause.is::<NotOtlp>() => Outcome::malformed(NotOtlp.to_string()),
            Some(_) => too_long(),
            None => Outcome::broken(chain(source)),
        };
    }
    // tonic 0.14 has no other sign of it (`codec::decode::StreamingInner::decode_chunk`), and its
    // code would have the same request sent again.
    if status.message().starts_with("Error, decoded message length too large") {
        return too_long();
    }
    let details = Status::decode(status.details()).unwrap_or_default();
    let text = one_line(status.message(), TEXT_MAX);
    let why =
        format!("gRPC status {:?}{}{text}", status.code(), if text.is_empty() { "" } else { ": " });
    retry::by_code(status.code(), details.retry_delay(), why)
}

/// Error of an answer that is none of OTLP.
#[derive(Debug, thiserror::Error)]
#[error("the answer is no ExportTraceServiceResponse")]
struct NotOtlp;

/// A client whose answers are bounded.
#[derive(Clone, Debug)]
struct Bounded(Client<HttpsConnector<HttpConnector>, Body>);

impl Service<Request<Body>> for Bounded {
    type Response = Response<Limited<Incoming>>;
    type Error = ClientError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.0.request(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Limited::new(body, ANSWER_MAX))) })
    }
}

/// Codec of requests that are encoded already.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = ExportTraceServiceResponse;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = tonic::Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ExportTraceServiceResponse;
    type Error = tonic::Status;

    fn decode(
        &mut self,
        from: &mut DecodeBuf<'_>,
    ) -> Result<Option<ExportTraceServiceResponse>, tonic::Status> {
        let length = from.remaining();
        ExportTraceServiceResponse::decode(from.copy_to_bytes(length)).map(Some).map_err(|_| {
            let mut status = tonic::Status::internal(NotOtlp.to_string());
            status.set_source(Arc::new(NotOtlp));
            status
        })
    }
}
