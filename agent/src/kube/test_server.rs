//! A server that speaks the API server's protocol, for tests, and a watch that asks it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{Client, Endpoint, Trust};
use super::event::{LastContact, PodEvent, PodEventKind};
use super::rejected::Reason;
use super::watch::watch_at_once;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Reply of the server to one request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// A list of these Pods at this resource version.
    List(u64, Vec<String>),
    /// A page of a list, with the token of the next.
    Page(Vec<String>, &'static str),
    /// A whole list as it is written here.
    Raw(String),
    /// A refusal with this status.
    Status(u16),
    /// The same, with this rest to take.
    Later(u16, u64),
    /// A watch: these lines, a moment apart, then this end.
    Watch(Vec<String>, Then),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    /// The watch stays open.
    Stay,
    /// The server ends the watch in order.
    End,
    /// The connection breaks.
    Break,
}

/// A server that gives its answers in this order, and records the requests with their times.
pub(crate) struct Server {
    requests: Arc<Mutex<Vec<(Instant, String)>>>,
    pub(crate) endpoint: Endpoint,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answers: Vec<Reply>) -> Self {
        Self::start_with(answers.into_iter()).await
    }

    pub(crate) async fn start_with(answers: impl Iterator<Item = Reply> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                notes.lock().unwrap().push((Instant::now(), request));
                if let Some(stream) = give(stream, answer).await {
                    open.push(stream);
                }
            }
            // Further requests are refused; open watches stay open.
            drop(listener);
            std::future::pending::<()>().await;
        });
        let trust = Trust::SkipVerify;
        let endpoint = Endpoint { url: url.parse().unwrap(), trust, token: None };
        Self { requests, endpoint, task }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().iter().map(|(_, request)| request.clone()).collect()
    }

    /// Time between a request and the one before it.
    pub(crate) fn rest_before(&self, request: usize) -> Duration {
        let requests = self.requests.lock().unwrap();
        requests[request].0 - requests[request - 1].0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first line of a request.
pub(crate) async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
}

pub(crate) async fn give(mut stream: TcpStream, answer: Reply) -> Option<TcpStream> {
    let head = |status: &str, how: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{how}\r\n\r\n"
        )
    };
    let whole =
        |status: &str, body: &str| head(status, &format!("Content-Length: {}", body.len())) + body;
    match answer {
        Reply::List(version, pods) => {
            let body = format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
                pods.join(",")
            );
            write(&mut stream, &whole("200 OK", &body)).await;
            None
        }
        Reply::Page(pods, next) => {
            let body = format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"100","continue":"{next}"}},"items":[{}]}}"#,
                pods.join(",")
            );
            write(&mut stream, &whole("200 OK", &body)).await;
            None
        }
        Reply::Raw(body) => {
            write(&mut stream, &whole("200 OK", &body)).await;
            None
        }
        Reply::Status(code) => {
            write(&mut stream, &whole(&format!("{code} No"), &status(code))).await;
            None
        }
        Reply::Later(code, seconds) => {
            let head = format!("{code} No\r\nRetry-After: {seconds}");
            write(&mut stream, &whole(&head, &status(code))).await;
            None
        }
        Reply::Watch(lines, then) => {
            let head = head("200 OK", "Transfer-Encoding: chunked");
            write(&mut stream, &head).await;
            for line in lines {
                let chunk = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
                write(&mut stream, &chunk).await;
            }
            match then {
                Then::Stay => return Some(stream),
                Then::End => write(&mut stream, "0\r\n\r\n").await,
                // In the middle of a chunk.
                Then::Break => write(&mut stream, "ff\r\n{\"type\":").await,
            }
            None
        }
    }
}

/// Writes; a client that has had enough is no fault of the server's.
pub(crate) async fn write(stream: &mut TcpStream, text: &str) {
    let _ = stream.write_all(text.as_bytes()).await;
}

pub(crate) fn status(code: u16) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"no","reason":"Why","code":{code}}}"#
    )
}

pub(crate) fn event(kind: &str, json: &str, version: u64) -> String {
    let mut pod: Value = serde_json::from_str(json).unwrap();
    pod["metadata"]["resourceVersion"] = version.to_string().into();
    format!(r#"{{"type":"{kind}","object":{pod}}}"#)
}

pub(crate) fn bookmark(version: u64) -> String {
    format!(
        r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"spec":{{"containers":[]}}}}}}"#
    )
}

pub(crate) fn gone() -> String {
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#.to_owned()
}

pub(crate) fn item(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
}

/// A watch under way.
pub(crate) struct Watching {
    pub(crate) inbox: mpsc::Receiver<PodEvent>,
    pub(crate) last_contact: LastContact,
    pub(crate) task: tokio::task::JoinHandle<()>,
}

impl Watching {
    pub(crate) fn start(server: &Server, room: usize) -> Self {
        let (events, inbox) = mpsc::channel(room);
        let last_contact = LastContact::default();
        let client = Client::new(&server.endpoint, &last_contact).unwrap();
        let task = tokio::spawn(watch_at_once(client, "n1", None, events));
        Self { inbox, last_contact, task }
    }

    /// The next watch event, in short.
    pub(crate) async fn next(&mut self) -> String {
        let event = timeout(WAIT, self.inbox.recv()).await.expect("an event in time").unwrap();
        match event.kind {
            PodEventKind::Listed(pods) => {
                let names: Vec<_> = pods.iter().map(|pod| pod.name.as_str()).collect();
                format!("listed {}", names.join(","))
            }
            PodEventKind::Applied(pod) => format!("applied {}", pod.name),
            PodEventKind::Deleted(pod) => format!("deleted {}", pod.name),
            PodEventKind::Rejected(rejected) => {
                let counts = Reason::ALL.map(|reason| (reason.label(), rejected.count(reason)));
                let some: Vec<_> = counts.iter().filter(|(_, count)| *count > 0).collect();
                format!("rejected {some:?}")
            }
            PodEventKind::Failed(why) => format!("failed {why}"),
        }
    }

    pub(crate) async fn expect(&mut self, expected: &[&str]) {
        for expected in expected {
            let next = self.next().await;
            assert!(next.starts_with(expected), "{next} is not {expected}");
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) const WEB: &str = "web-7d4b9c6f5-abcde";
pub(crate) const REPORT: &str = "nightly-report-29892960-x7k2p";
