//! Server tests with real TCP clients.

mod crowd;
mod requests;

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::{
    Counters, Exposition, Inbox, Later, Limits, Meter, Request, Status, bind, channel, serve_with,
};
use crate::metrics::variant::Format;

const EXPOSITION: &str = "# HELP a x\n# TYPE a gauge\na 1\n";

fn chunks() -> Vec<Bytes> {
    let (a, b) = EXPOSITION.as_bytes().split_at(10);
    vec![Bytes::from_static(a), Bytes::from_static(b)]
}

fn exposition() -> Arc<Exposition> {
    Arc::new(Exposition::new(chunks(), &Meter::default()))
}

struct Running {
    address: SocketAddr,
    counters: Arc<Counters>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

/// Starts a server, and returns the owner's end of its queue.
async fn start(limits: Limits) -> (Running, mpsc::Receiver<Request>) {
    let listeners = bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listeners.addresses()[0];
    let (handle, Inbox { requests, counters, .. }) = channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.unwrap_or_default() };
    let server = tokio::spawn(serve_with(listeners, handle, limits, shutdown));
    (Running { address, counters, stop, server }, requests)
}

/// Answers each request after a pause.
fn own(mut requests: mpsc::Receiver<Request>, pause: Duration) {
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            tokio::spawn(async move {
                sleep(pause).await;
                match request {
                    Request::Scrape(_, to) => drop(to.send(Ok(exposition()))),
                    Request::Ready(to) => drop(to.send(Err("no <programs> yet".into()))),
                    Request::Status(to) => {
                        let facts = vec![("kernel".into(), "6.18 <b>".into())];
                        let version = "1.2.3".into();
                        drop(to.send(Status { version, not_ready: None, facts }));
                    }
                }
            });
        }
    });
}

async fn good() -> Running {
    let (running, requests) = start(Limits::default()).await;
    own(requests, Duration::ZERO);
    running
}

/// Sends a request on a connection of its own, and reads the whole answer.
async fn ask(address: SocketAddr, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    String::from_utf8(talk(address, &request).await).unwrap()
}

async fn talk(address: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may have refused before.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    answer
}

/// Scrapes with additional headers, in HTTP/1.0, so that the body lasts until the connection ends:
/// the head and the body.
async fn scrape(address: SocketAddr, headers: &str) -> (String, Vec<u8>) {
    let request = format!("GET /metrics HTTP/1.0\r\nHost: x\r\n{headers}\r\n");
    let answer = talk(address, &request).await;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
    (String::from_utf8(answer[..end].to_vec()).unwrap(), answer[end..].to_vec())
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
    plain
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[tokio::test]
async fn metrics_are_served() {
    let running = good().await;
    let answer = ask(running.address, "GET", "/metrics?x=y").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(answer.contains(&format!("content-length: {}\r\n", EXPOSITION.len())));
    assert!(answer.ends_with(&format!("\r\n\r\n{EXPOSITION}")));
}

#[tokio::test]
async fn headers_choose_the_format_and_tell_scrapers() {
    const OPEN_METRICS: &str = "Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n";
    const SCRAPER: &str = "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n";
    let (running, mut requests) = start(Limits::default()).await;
    for (headers, scraper, format) in [
        ("", false, Format::Text),
        (SCRAPER, true, Format::Text),
        (OPEN_METRICS, false, Format::OpenMetrics),
        (&format!("{SCRAPER}{OPEN_METRICS}"), true, Format::OpenMetrics),
        ("Accept: a;b,,\"\u{ff}\r\nAccept: \u{ff}/*;q=9\r\n", false, Format::Text),
    ] {
        let address = running.address;
        let headers = headers.to_owned();
        let answer = tokio::spawn(async move { scrape(address, &headers).await });
        let Some(Request::Scrape(scrape, to)) = requests.recv().await else { panic!("none") };
        assert_eq!((scrape.format, scrape.scraper.is_some()), (format, scraper));
        to.send(Ok(exposition())).unwrap();
        let (head, body) = answer.await.unwrap();
        assert!(head.contains(&format!("content-type: {}\r\n", format.content_type())), "{head}");
        assert!(head.contains("vary: Accept, Accept-Encoding\r\n"), "{head}");
        assert!(!head.contains("content-encoding"), "{head}");
        assert_eq!(body, EXPOSITION.as_bytes());
    }
}

#[tokio::test]
async fn gzip_is_served_on_request() {
    let running = good().await;
    let (head, body) = scrape(running.address, "Accept-Encoding: gzip\r\n").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(head.contains("vary: Accept, Accept-Encoding\r\n"), "{head}");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{head}");
    assert_eq!(gunzip(&body), EXPOSITION.as_bytes());
    let (head, body) = scrape(running.address, "Accept-Encoding: gzip;q=0\r\n").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert_eq!(body, EXPOSITION.as_bytes());
    let request = "HEAD /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\
        Accept: application/openmetrics-text\r\nConnection: close\r\n\r\n";
    let head = String::from_utf8(talk(running.address, request).await).unwrap();
    assert!(head.contains("content-encoding: gzip\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
}

#[tokio::test]
async fn readiness_names_its_reason() {
    let running = good().await;
    assert_eq!(status(&ask(running.address, "GET", "/livez").await), "200");
    let answer = ask(running.address, "GET", "/readyz").await;
    assert_eq!(status(&answer), "503");
    assert!(answer.ends_with("\r\n\r\nno <programs> yet\n") && answer.contains("nosniff"));
}

#[tokio::test]
async fn an_agent_without_an_owner_is_not_alive() {
    let (running, requests) = start(Limits::default()).await;
    drop(requests);
    for path in ["/livez", "/readyz", "/metrics", "/"] {
        assert_eq!(status(&ask(running.address, "GET", path).await), "503", "{path}");
    }
}

#[tokio::test]
async fn the_landing_page_links_to_the_endpoints() {
    let running = good().await;
    let answer = ask(running.address, "GET", "/").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: text/html; charset=utf-8\r\n"));
    assert!(answer.contains("<a href=\"/metrics\">") && answer.contains("Podvitals 1.2.3"));
    assert!(answer.contains("6.18 &lt;b&gt;") && answer.contains("content-security-policy"));
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let running = good().await;
    let answer = ask(running.address, "GET", "/metrics/").await;
    assert_eq!(status(&answer), "404");
    assert!(answer.contains("\r\n\r\nnot found"));
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "BREW"] {
        let answer = ask(running.address, method, "/metrics").await;
        assert_eq!(status(&answer), "405");
        assert!(answer.contains("allow: GET, HEAD\r\n"));
    }
    assert_eq!(status(&ask(running.address, "GET", "\0").await), "400");
}

#[tokio::test]
async fn head_has_no_body_and_does_not_scrape() {
    let (running, mut requests) = start(Limits::default()).await;
    let answer = ask(running.address, "HEAD", "/metrics").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("text/plain; version=0.0.4"));
    assert!(answer.ends_with("\r\n\r\n"));
    let answer = ask(running.address, "HEAD", "/livez").await;
    assert!(answer.contains("content-length: 3\r\n") && answer.ends_with("\r\n\r\n"));
    assert_eq!(status(&ask(running.address, "HEAD", "/nothing").await), "404");
    requests.try_recv().unwrap_err();
}

#[tokio::test]
async fn a_slow_owner_times_out() {
    let limits = Limits { owner: Duration::from_millis(100), ..Limits::default() };
    let (running, requests) = start(limits).await;
    let start = Instant::now();
    let answers = (0..30).map(|_| tokio::spawn(ask(running.address, "GET", "/metrics")));
    for answer in answers.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        assert_eq!(status(&answer), "503");
        assert!(answer.contains("retry-after: 5\r\n"));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(requests.len() <= super::requests::QUEUE);
}

#[tokio::test]
async fn concurrent_scrapes_all_get_an_answer() {
    let (running, requests) = start(Limits {
        scrapes: 20,
        scrapes_per_peer: 20,
        connections_per_peer: 96,
        ..Limits::default()
    })
    .await;
    own(requests, Duration::from_millis(10));
    let answers = (0..40).map(|_| tokio::spawn(ask(running.address, "GET", "/metrics")));
    for answer in answers.collect::<Vec<_>>() {
        assert!(answer.await.unwrap().ends_with(EXPOSITION));
    }
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let running = good().await;
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(EXPOSITION.as_bytes()) {
            assert!(stream.read_buf(&mut answer).await.unwrap() > 0);
        }
    }
}

#[tokio::test]
async fn shutdown_finishes_the_scrape_in_progress_and_accepts_no_more() {
    let (running, mut requests) = start(Limits::default()).await;
    let _idle = TcpStream::connect(running.address).await.unwrap();
    let scrape = tokio::spawn(ask(running.address, "GET", "/metrics"));
    let Some(Request::Scrape(_, to)) = requests.recv().await else { panic!("no scrape") };
    running.stop.send(()).unwrap();
    sleep(Duration::from_millis(100)).await;
    TcpStream::connect(running.address).await.unwrap_err();
    assert!(!running.server.is_finished());
    to.send(Ok(exposition())).unwrap();
    assert!(scrape.await.unwrap().ends_with(EXPOSITION));
    timeout(Duration::from_secs(1), running.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn shutdown_ends_after_the_drain_time() {
    let limits = Limits { drain: Duration::from_millis(200), ..Limits::default() };
    let (running, mut requests) = start(limits).await;
    let scrape = tokio::spawn(ask(running.address, "GET", "/metrics"));
    let request = requests.recv().await;
    running.stop.send(()).unwrap();
    timeout(Duration::from_secs(2), running.server).await.unwrap().unwrap();
    drop((request, scrape));
}
