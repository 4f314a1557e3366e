//! The watch against a server that speaks the API server's protocol and fails as that one does.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::super::client::{Endpoint, Trust, client};
use super::super::event::LastContact;
use super::super::fixtures::{CRON_JOB, DEPLOYMENT, JOB};
use super::*;
use serde_json::Value;

const WAIT: Duration = Duration::from_secs(20);

/// Answer of the server to one request.
#[derive(Clone)]
enum Answer {
    /// A list of these Pods at this resource version.
    List(u64, Vec<String>),
    /// A refusal with this status.
    Status(u16),
    /// A watch: these lines, a moment apart, then this end.
    Watch(Vec<String>, Then),
}

#[derive(Clone, Copy, PartialEq)]
enum Then {
    /// The watch stays open.
    Stay,
    /// The server ends the watch in order.
    End,
    /// The connection breaks.
    Break,
}

/// A server that gives its answers in this order, and records the requests.
struct Server {
    requests: Arc<Mutex<Vec<String>>>,
    endpoint: Endpoint,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                notes.lock().unwrap().push(request);
                if let Some(stream) = give(stream, answer).await {
                    open.push(stream);
                }
            }
            // Further requests are refused; open watches stay open.
            drop(listener);
            std::future::pending::<()>().await;
        });
        let trust = Trust::SkipVerify;
        let endpoint = Endpoint { url: url.parse().unwrap(), trust, token_file: None };
        Self { requests, endpoint, task }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first line of a request.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
}

async fn give(mut stream: TcpStream, answer: Answer) -> Option<TcpStream> {
    let head = |status: &str, how: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n{how}\r\n\r\n"
        )
    };
    let whole =
        |status: &str, body: &str| head(status, &format!("Content-Length: {}", body.len())) + body;
    match answer {
        Answer::List(version, pods) => {
            let body = format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
                pods.join(",")
            );
            stream.write_all(whole("200 OK", &body).as_bytes()).await.unwrap();
            None
        }
        Answer::Status(code) => {
            let body = format!(
                r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"no","reason":"Why","code":{code}}}"#
            );
            stream.write_all(whole(&format!("{code} No"), &body).as_bytes()).await.unwrap();
            None
        }
        Answer::Watch(lines, then) => {
            let head = head("200 OK", "Transfer-Encoding: chunked");
            stream.write_all(head.as_bytes()).await.unwrap();
            for line in lines {
                let chunk = format!("{:x}\r\n{line}\n\r\n", line.len() + 1);
                stream.write_all(chunk.as_bytes()).await.unwrap();
            }
            match then {
                Then::Stay => return Some(stream),
                Then::End => stream.write_all(b"0\r\n\r\n").await.unwrap(),
                // In the middle of a chunk.
                Then::Break => stream.write_all(b"ff\r\n{\"type\":").await.unwrap(),
            }
            None
        }
    }
}

fn event(kind: &str, json: &str, version: u64) -> String {
    let mut pod: Value = serde_json::from_str(json).unwrap();
    pod["metadata"]["resourceVersion"] = version.to_string().into();
    format!(r#"{{"type":"{kind}","object":{pod}}}"#)
}

fn bookmark(version: u64) -> String {
    format!(
        r#"{{"type":"BOOKMARK","object":{{"kind":"Pod","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"spec":{{"containers":[]}}}}}}"#
    )
}

fn gone() -> String {
    r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version","reason":"Expired","code":410}}"#.to_owned()
}

fn one_line(json: &str) -> String {
    serde_json::from_str::<Value>(json).unwrap().to_string()
}

/// A watch under way.
struct Watching {
    inbox: mpsc::Receiver<PodEvent>,
    last_contact: LastContact,
    task: tokio::task::JoinHandle<()>,
}

impl Watching {
    fn start(server: &Server, room: usize) -> Self {
        let (events, inbox) = mpsc::channel(room);
        let last_contact = LastContact::default();
        let client = client(&server.endpoint, &last_contact).unwrap();
        let task = tokio::spawn(async move { watch_forever(&client, "n1", &events).await });
        Self { inbox, last_contact, task }
    }

    /// The next watch event, in short.
    async fn next(&mut self) -> String {
        let event = timeout(WAIT, self.inbox.recv()).await.expect("an event in time").unwrap();
        match event.kind {
            PodEventKind::Listed(pods) => {
                let names: Vec<_> = pods.iter().map(|pod| pod.name.as_str()).collect();
                format!("listed {}", names.join(","))
            }
            PodEventKind::Applied(pod) => format!("applied {}", pod.name),
            PodEventKind::Deleted(pod) => format!("deleted {}", pod.name),
            PodEventKind::Failed(why) => format!("failed {why}"),
        }
    }

    async fn expect(&mut self, expected: &[&str]) {
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

const WEB: &str = "web-7d4b9c6f5-abcde";
const REPORT: &str = "nightly-report-29892960-x7k2p";

#[tokio::test]
async fn a_list_is_followed_by_its_changes() {
    let lines = vec![
        event("ADDED", CRON_JOB, 101),
        event("MODIFIED", DEPLOYMENT, 102),
        bookmark(103),
        event("DELETED", CRON_JOB, 104),
    ];
    let server = Server::start(vec![
        Answer::List(100, vec![one_line(DEPLOYMENT)]),
        Answer::Watch(lines, Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    let [web, report] = [WEB, REPORT];
    watching
        .expect(&[
            &format!("listed {web}"),
            &format!("applied {report}"),
            &format!("applied {web}"),
            &format!("deleted {report}"),
        ])
        .await;
    let requests = server.requests();
    assert!(requests[0].starts_with("GET /api/v1/pods?"), "{requests:?}");
    let selector = "fieldSelector=spec.nodeName%3Dn1";
    assert!(requests.iter().all(|request| request.contains(selector)), "{requests:?}");
    assert!(requests[0].contains("resourceVersion=0"), "any version will do: {requests:?}");
    assert!(requests[1].contains("watch=true") && requests[1].contains("resourceVersion=100"));
    assert!(requests[1].contains("allowWatchBookmarks=true"), "{requests:?}");
}

#[tokio::test]
async fn a_broken_watch_is_resumed_where_it_was() {
    for then in [Then::Break, Then::End] {
        let server = Server::start(vec![
            Answer::List(100, Vec::new()),
            Answer::Watch(vec![event("ADDED", CRON_JOB, 101), bookmark(150)], then),
            Answer::Watch(vec![event("MODIFIED", CRON_JOB, 151)], Then::Stay),
        ])
        .await;
        let mut watching = Watching::start(&server, 8);
        watching.expect(&["listed ", &format!("applied {REPORT}")]).await;
        watching.expect(&[&format!("applied {REPORT}")]).await;
        let requests = server.requests();
        assert!(requests[2].contains("resourceVersion=150"), "{requests:?}");
    }
}

#[tokio::test]
async fn an_expired_resource_version_leads_to_a_new_list() {
    let refusals = [Answer::Watch(vec![gone()], Then::End), Answer::Status(410)];
    for refusal in refusals {
        let server = Server::start(vec![
            Answer::List(100, vec![one_line(CRON_JOB)]),
            refusal,
            Answer::List(200, vec![one_line(DEPLOYMENT)]),
            Answer::Watch(vec![event("ADDED", JOB, 201)], Then::Stay),
        ])
        .await;
        let mut watching = Watching::start(&server, 8);
        let (report, web) = (format!("listed {REPORT}"), format!("listed {WEB}"));
        watching.expect(&[&report, "failed ", &web, "applied import-20241105-9q8w7"]).await;
    }
}

#[tokio::test]
async fn a_refusal_is_reported_and_retried() {
    let server = Server::start(vec![
        Answer::Status(403),
        Answer::Status(500),
        Answer::List(1, Vec::new()),
        Answer::Watch(Vec::new(), Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["failed ", "failed "]).await;
    assert_eq!(watching.last_contact.last_boot_ns(), None, "a refusal is no contact");
    watching.expect(&["listed "]).await;
}

#[tokio::test]
async fn an_unreachable_server_is_reported() {
    let server = Server::start(Vec::new()).await;
    let mut watching = Watching::start(&server, 8);
    let next = watching.next().await;
    assert!(next.starts_with("failed ") && next.contains("onnect"), "{next}");
}

#[tokio::test]
async fn bookmarks_are_contacts_of_a_silent_watch() {
    let server = Server::start(vec![
        Answer::List(1, Vec::new()),
        Answer::Watch(vec![bookmark(2)], Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 8);
    watching.expect(&["listed "]).await;
    let listed = watching.last_contact.last_boot_ns().unwrap();
    let later = async {
        while watching.last_contact.last_boot_ns().unwrap() == listed {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(WAIT, later).await.expect("the bookmark is a contact");
    assert!(watching.inbox.try_recv().is_err(), "and no event");
}

#[tokio::test]
async fn a_slow_owner_loses_nothing() {
    let lines = (0..300).map(|version| event("MODIFIED", CRON_JOB, 101 + version)).collect();
    let server =
        Server::start(vec![Answer::List(100, Vec::new()), Answer::Watch(lines, Then::Stay)]).await;
    let mut watching = Watching::start(&server, 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    watching.expect(&["listed "]).await;
    for _ in 0..300 {
        watching.expect(&[&format!("applied {REPORT}")]).await;
    }
}

#[tokio::test]
async fn the_kubelet_is_polled() {
    let answers = vec![Answer::List(1, vec![one_line(DEPLOYMENT)]), Answer::Status(403)];
    let server = Server::start(answers).await;
    let (events, inbox) = mpsc::channel(1);
    let last_contact = LastContact::default();
    let client = client(&server.endpoint, &last_contact).unwrap();
    let task = tokio::spawn(super::super::kubelet::run(client, events));
    let mut watching = Watching { inbox, last_contact, task };
    watching.expect(&[&format!("listed {WEB}"), "failed kubelet: "]).await;
    assert!(server.requests().iter().all(|request| request.starts_with("GET /pods ")));
}

#[tokio::test]
async fn the_watch_ends_with_its_receiver() {
    let server = Server::start(vec![
        Answer::List(100, Vec::new()),
        Answer::Watch(vec![event("ADDED", CRON_JOB, 101)], Then::Stay),
    ])
    .await;
    let mut watching = Watching::start(&server, 1);
    watching.inbox.close();
    timeout(WAIT, &mut watching.task).await.expect("it ends").unwrap();
}

#[test]
fn delays_grow_to_a_limit_and_start_over_after_a_calm() {
    let mut delays = Delays::default();
    let mut next = || delays.next().unwrap().as_secs_f64();
    for expected in [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0] {
        let delay = next();
        assert!((0.5 * expected..1.5 * expected).contains(&delay), "{delay} for {expected}");
    }
    delays.reset();
    assert!(delays.next().unwrap() >= DELAY_MAX / 2, "a reset is no calm");
    delays.last = Instant::now().checked_sub(2 * CALM);
    assert!(delays.next().unwrap() < 2 * DELAY_MIN);
}
