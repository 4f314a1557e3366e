//! A receiver of OTLP in this process: it records what it gets, and answers as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agent::clock::WallOffset;
use agent::trace::endpoint::Protocol;
use agent::trace::model::{Kind, Resource, Span, Trace};
use agent::trace::otlp::{self, Encoded, Handle, TraceStats};
use agent::trace::settings::Settings;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::wire::{Body, framed, gunzip, gzip, partial, trailers, unframed};

/// Limit of each wait of a test.
pub(crate) const WAIT: Duration = Duration::from_secs(30);

/// Answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// Success.
    Taken,
    /// Success, but for some spans.
    Partly(i64, &'static str),
    /// The same, compressed.
    PartlyGzip(i64, &'static str),
    /// A status of HTTP with headers and a body.
    Status(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// A status of gRPC in trailers, with words and details.
    Grpc(u16, &'static str, Vec<u8>),
    /// The same without a body, in the headers.
    GrpcAtOnce(u16, &'static str),
    /// Bytes in place of the message.
    Raw(&'static str, Vec<u8>),
    /// Nothing, for so long; then success.
    Late(Duration),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    /// The message, decompressed.
    pub(crate) message: ExportTraceServiceRequest,
    /// The message's bytes.
    pub(crate) bytes: Bytes,
}

impl Got {
    /// The names of the Pods, in order.
    pub(crate) fn pods(&self) -> Vec<String> {
        let resources = self.message.resource_spans.iter();
        let name = |it: &opentelemetry_proto::tonic::trace::v1::ResourceSpans| {
            let attribute = &it.resource.as_ref().unwrap().attributes[0];
            format!("{:?}", attribute.value.as_ref().unwrap().value.as_ref().unwrap())
                .split('"')
                .nth(1)
                .unwrap()
                .to_owned()
        };
        resources.map(name).collect()
    }

    pub(crate) fn spans(&self) -> usize {
        let spans = self.message.resource_spans.iter().flat_map(|it| &it.scope_spans);
        spans.map(|scope| scope.spans.len()).sum()
    }
}

type Script = Arc<dyn Fn(usize) -> Reply + Send + Sync>;

/// A receiver that runs until it is dropped.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    connections: Arc<Mutex<usize>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Receiver {
    /// A receiver that takes everything.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self::with(protocol, |_| Reply::Taken)
    }

    /// A receiver that answers by a request's number.
    pub(crate) fn with(
        protocol: Protocol,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), protocol, None, script)
    }

    pub(crate) fn at(
        address: SocketAddr,
        protocol: Protocol,
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::<Mutex<Vec<Got>>>::default();
        let connections = Arc::<Mutex<usize>>::default();
        let (notes, counted) = (Arc::clone(&got), Arc::clone(&connections));
        let script: Script = Arc::new(script);
        let accept = async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *counted.lock().unwrap() += 1;
                let (notes, script, tls) = (Arc::clone(&notes), Arc::clone(&script), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(TokioIo::new(stream), protocol, notes, script).await,
                        Some(tls) => {
                            let Ok(stream) = tls.accept(stream).await else { return };
                            serve(TokioIo::new(stream), protocol, notes, script).await;
                        }
                    }
                });
            }
        };
        let (stop, stopped) = oneshot::channel::<()>();
        // With its runtime all connections end.
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::spawn(run);
        Self { address, got, connections, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    /// The requests, once there are so many.
    pub(crate) fn wait(&self, count: usize) -> Vec<Got> {
        until("requests", || {
            let got = self.got();
            (got.len() >= count).then_some(got)
        })
    }
}

/// What `find` finds, in time.
pub(crate) fn until<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(start.elapsed() < WAIT, "no {what} in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

async fn serve<I>(io: I, protocol: Protocol, notes: Arc<Mutex<Vec<Got>>>, script: Script)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (notes, script) = (Arc::clone(&notes), Arc::clone(&script));
        async move { Ok::<_, Infallible>(answer(request, protocol, &notes, &script).await) }
    });
    // A client that goes away is no fault.
    match protocol {
        Protocol::Grpc => {
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(io, service).await;
        }
        Protocol::HttpProtobuf => {
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    protocol: Protocol,
    notes: &Mutex<Vec<Got>>,
    script: &Script,
) -> Response<Body> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Response::new(Body::empty()) };
    let body = body.to_bytes();
    let bytes = match protocol {
        Protocol::Grpc => unframed(&body, &head.headers),
        Protocol::HttpProtobuf => match head.headers.get("content-encoding") {
            Some(coding) => {
                assert_eq!(coding, "gzip");
                gunzip(&body)
            }
            None => body,
        },
    };
    let message = ExportTraceServiceRequest::decode(bytes.clone()).unwrap();
    let path = head.uri.to_string();
    let number = {
        let mut notes = notes.lock().unwrap();
        notes.push(Got { at, path, headers: head.headers, message, bytes });
        notes.len() - 1
    };
    let reply = script(number);
    if let Reply::Late(time) = reply {
        tokio::time::sleep(time).await;
    }
    match protocol {
        Protocol::Grpc => grpc(reply),
        Protocol::HttpProtobuf => plain(reply),
    }
}

fn plain(reply: Reply) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/x-protobuf");
    match reply {
        Reply::Taken | Reply::Late(_) => response.body(Body::of(partial(0, ""))),
        Reply::Partly(spans, words) => response.body(Body::of(partial(spans, words))),
        Reply::PartlyGzip(spans, words) => {
            response.header("content-encoding", "gzip").body(Body::of(gzip(&partial(spans, words))))
        }
        Reply::Raw(kind, bytes) => {
            Response::builder().header("content-type", kind).body(Body::of(bytes))
        }
        Reply::Status(status, headers, bytes) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::of(bytes))
        }
        Reply::Grpc(..) | Reply::GrpcAtOnce(..) => panic!("{reply:?} is not of HTTP"),
    }
    .unwrap()
}

fn grpc(reply: Reply) -> Response<Body> {
    let response = Response::builder().header("content-type", "application/grpc");
    let ok = |bytes: Vec<u8>, flag| Body {
        data: Some(framed(&bytes, flag)),
        trailers: Some(trailers(0, "", &[])),
    };
    match reply {
        Reply::Taken | Reply::Late(_) => response.body(ok(partial(0, ""), 0)),
        Reply::Partly(spans, words) => response.body(ok(partial(spans, words), 0)),
        Reply::PartlyGzip(spans, words) => {
            response.header("grpc-encoding", "gzip").body(ok(gzip(&partial(spans, words)), 1))
        }
        Reply::Raw(_, bytes) => response.body(ok(bytes, 0)),
        Reply::Grpc(code, words, details) => {
            response.body(Body { data: None, trailers: Some(trailers(code, words, &details)) })
        }
        Reply::GrpcAtOnce(code, words) => {
            let mut answer = response.body(Body::empty()).unwrap();
            answer.headers_mut().extend(trailers(code, words, &[]));
            Ok(answer)
        }
        Reply::Status(status, headers, bytes) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            response.body(Body::of(bytes))
        }
    }
    .unwrap()
}

/// Both protocols.
pub(crate) const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::HttpProtobuf];

/// Settings for a test: what is queued is sent soon.
pub(crate) fn settings(url: &str, protocol: Protocol) -> Settings {
    let path = if protocol == Protocol::Grpc { "/" } else { "/v1/traces" };
    Settings {
        url: format!("{url}{path}").parse().unwrap(),
        protocol,
        headers: HeaderMap::new(),
        gzip: false,
        timeout: Duration::from_secs(5),
        ca: None,
        client: None,
        schedule_delay: Duration::from_millis(20),
        batch_max_spans: 512,
        queue_max_spans: 10_000,
        queue_max_bytes: 4 << 20,
        resource: Vec::new(),
    }
}

/// An exporter to that receiver.
pub(crate) fn exporter(receiver: &Receiver, protocol: Protocol) -> Handle {
    otlp::start(settings(&receiver.url(), protocol)).unwrap()
}

/// A trace of a Pod of that name.
pub(crate) fn trace(pod: &str, spans: u64) -> Encoded {
    let span = |n: u64| Span {
        id: SpanId::from(n + 1),
        parent: (n > 0).then(|| SpanId::from(1)),
        name: "container",
        start_boot_ns: 1_000 + n,
        end_boot_ns: 2_000 + n,
        attributes: vec![KeyValue::new("k8s.container.name", format!("c{n}"))],
        events: Vec::new(),
        links: Vec::new(),
        error: None,
    };
    let trace = Trace {
        kind: Kind::Startup,
        id: TraceId::from(7),
        resource: Arc::new(Resource {
            attributes: vec![KeyValue::new("k8s.pod.name", pod.to_owned())],
        }),
        spans: (0..spans).map(span).collect(),
        facts: Vec::new(),
    };
    otlp::encode(&trace, WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 })
}

/// A count of a list by its reason.
pub(crate) fn by(counts: &[(&'static str, u64)], reason: &str) -> u64 {
    counts.iter().find(|(known, _)| *known == reason).unwrap().1
}

/// Waits until so many spans are exported or dropped.
pub(crate) fn settled(handle: &Handle, spans: u64) -> TraceStats {
    until("end of all spans", || {
        let stats = handle.stats.read();
        let dropped: u64 = stats.spans_dropped.iter().map(|(_, count)| count).sum();
        (stats.spans_exported + dropped >= spans).then_some(stats)
    })
}
