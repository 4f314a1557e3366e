//! Watch on the Pods of this node at the API server.
//!
//! A list, and then its changes: a watch from the list's version. A watch that ends is resumed where
//! it was; a list follows where the server cannot do that (client-go's reflector does the same).

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{Answer, Client, Failure, Status, is_passing};
use super::event::{PodEvent, PodEventKind};
use super::json::{Lines, member};
use super::list::List;
use super::pace::{Pace, Round};
use super::read::{self, ITEM_MAX, Wanted};
use super::rejected::Rejected;
use super::text::one_line;

/// Spread of the first lists. A rollout of the DaemonSet starts many agents at the same time.
const START_SPREAD: Duration = Duration::from_secs(2);
/// Time limit of a list; the API server's own for a request.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Length of a watch, which the server ends.
const WATCH_S: u32 = 290;
/// Longest time without an event of a watch before it is given up. The API server sends a bookmark
/// on every watch each minute (`apiserver/pkg/storage/cacher`, `defaultBookmarkFrequency`,
/// Kubernetes 1.37).
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Status `410 Gone` of a watch that cannot be resumed.
const GONE: u16 = 410;
/// Version of a first list: any that the API server has in its cache. Without one, each agent's
/// first list would be read from etcd, and so with a page size.
const ANY_VERSION: &str = "0";

/// Watches the node's Pods and sends watch events to the owner until the receiver is closed.
pub async fn run(
    client: Client,
    node: &str,
    link_annotation: Option<&str>,
    events: mpsc::Sender<PodEvent>,
) {
    tokio::time::sleep(START_SPREAD.mul_f64(random())).await;
    watch_at_once(client, node, link_annotation, events).await;
}

/// The same, without waiting first.
pub(super) async fn watch_at_once(
    client: Client,
    node: &str,
    link_annotation: Option<&str>,
    events: mpsc::Sender<PodEvent>,
) {
    let mut reflector = Reflector {
        client,
        wanted: Wanted { node: Some(node), link_annotation },
        selector: selector(node),
        events,
        next: Next::List(ANY_VERSION.to_owned()),
    };
    let mut pace = Pace::default();
    while let Ok(round) = reflector.round(pace.is_slow()).await {
        tokio::time::sleep(pace.rest(round, random())).await;
    }
}

/// Asks for one of the node's Pods.
pub(super) async fn ask(client: &mut Client, node: &str) -> Result<(), String> {
    let path = format!("/api/v1/pods?{}&limit=1", selector(node));
    client.get(&path).await.map(drop).map_err(|failure| failure.why)
}

fn selector(node: &str) -> String {
    format!("fieldSelector=spec.nodeName%3D{}", encode(node))
}

/// A random number from 0 up to, not including, 1.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 32;
    bits as f64 / 2_f64.powi(32)
}

/// A value of a query, with each byte that may mean something there as `%XX`.
fn encode(value: &str) -> String {
    let mut encoded = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

/// The receiver is closed.
struct Closed;

/// Begin of a round.
#[derive(Debug)]
enum Next {
    /// A list that is not older than this version.
    List(String),
    /// A watch from this version.
    Watch(String),
}

/// End of a watch.
enum End {
    /// The server ended it in order, or broke it off.
    Over,
    /// The server cannot go on with it, or an event was lost: a list has to follow.
    Stale(Failure),
    /// Failure of the watch.
    Failed(Failure),
}

/// The list and the watch, and where they are.
struct Reflector<'a> {
    client: Client,
    wanted: Wanted<'a>,
    selector: String,
    events: mpsc::Sender<PodEvent>,
    next: Next,
}

impl Reflector<'_> {
    async fn send(&self, kind: PodEventKind) -> Result<(), Closed> {
        self.events.send(PodEvent::now(kind)).await.map_err(|_| Closed)
    }

    /// A list if one is due, and a watch until it ends. `short` is whether the watches before ended
    /// soon.
    async fn round(&mut self, short: bool) -> Result<Round, Closed> {
        if let Next::List(version) = &self.next {
            match self.list(&version.clone()).await {
                Ok(list) => {
                    let version = list.version.clone();
                    for kind in list.into_events() {
                        self.send(kind).await?;
                    }
                    let Some(version) = version else {
                        return self.failed(Failure::new("a list without a version")).await;
                    };
                    self.next = Next::Watch(version);
                }
                Err(failure) => {
                    if !failure.status.is_none_or(is_passing) {
                        // The server may not know that version, after a restore for one.
                        self.next = Next::List(ANY_VERSION.to_owned());
                    }
                    return self.failed(failure).await;
                }
            }
        }
        let Next::Watch(version) = &self.next else { return Ok(Round::default()) };
        let mut version = version.clone();
        let opened = self.client.get(&self.watch_path(&version)).await;
        let begin = Instant::now();
        let end = match opened {
            Ok(answer) => self.follow(answer, &mut version).await?,
            Err(failure) if failure.status.is_none_or(is_passing) => End::Failed(failure),
            Err(failure) => End::Stale(failure),
        };
        let lived = begin.elapsed();
        let (failure, answered) = match end {
            End::Over => {
                self.next = Next::Watch(version);
                let why = "the API server ends each watch soon after its begin";
                (short.then(|| Failure::new(why)), true)
            }
            End::Stale(failure) => {
                self.next = Next::List(version);
                (Some(failure), true)
            }
            End::Failed(failure) => {
                self.next = Next::Watch(version);
                (Some(failure), false)
            }
        };
        let retry_after = failure.as_ref().and_then(|failure| failure.retry_after);
        if let Some(failure) = failure {
            self.send(PodEventKind::Failed(failure.why)).await?;
        }
        Ok(Round { lived, answered, retry_after })
    }

    async fn failed(&self, failure: Failure) -> Result<Round, Closed> {
        self.send(PodEventKind::Failed(failure.why)).await?;
        Ok(Round { retry_after: failure.retry_after, ..Round::default() })
    }

    async fn list(&mut self, version: &str) -> Result<List, Failure> {
        let Self { client, wanted, selector, .. } = self;
        let path = format!(
            "/api/v1/pods?{selector}&resourceVersion={}&resourceVersionMatch=NotOlderThan",
            encode(version)
        );
        let page = |next: &str| format!("/api/v1/pods?{selector}&continue={}", encode(next));
        List::get(client, &path, page, *wanted, LIST_TIMEOUT).await
    }

    fn watch_path(&self, version: &str) -> String {
        format!(
            "/api/v1/pods?{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}\
             &resourceVersion={}",
            self.selector,
            encode(version)
        )
    }

    /// Sends what happens until the watch ends. `version` is that of the last event.
    async fn follow(&self, mut answer: Answer, version: &mut String) -> Result<End, Closed> {
        let mut lines = Lines::new(ITEM_MAX);
        let mut heard = Instant::now();
        loop {
            let rest = SILENCE_MAX.saturating_sub(heard.elapsed());
            let bytes = match timeout(rest, answer.bytes()).await {
                Ok(Some(Ok(bytes))) => bytes,
                // Connections break: that is no news, and the next watch goes on from here.
                Ok(None | Some(Err(_))) => return Ok(End::Over),
                Err(_) => {
                    let why = format!("no event and no bookmark for {} s", SILENCE_MAX.as_secs());
                    return Ok(End::Failed(Failure::new(why)));
                }
            };
            let mut read = Vec::new();
            lines.take(&bytes, |line| read.push(Line::read(line, self.wanted)));
            for line in read {
                heard = Instant::now();
                if !line.rejected.is_empty() {
                    self.send(PodEventKind::Rejected(Box::new(line.rejected))).await?;
                }
                if let Some(event) = line.event {
                    self.send(event).await?;
                }
                if let Some(end) = line.end {
                    return Ok(end);
                }
                if let Some(newer) = line.version {
                    *version = newer;
                }
            }
        }
    }
}

/// Line of a watch.
#[derive(Default)]
struct Line {
    event: Option<PodEventKind>,
    rejected: Rejected,
    version: Option<String>,
    end: Option<End>,
}

impl Line {
    /// Reads a line: `Err` with its beginning if it is longer than any.
    fn read(line: Result<&[u8], &[u8]>, wanted: Wanted<'_>) -> Self {
        let bytes = match line {
            Ok(bytes) | Err(bytes) => bytes,
        };
        let kind: String = member(bytes, "type")
            .and_then(|kind| serde_json::from_slice(kind).ok())
            .unwrap_or_default();
        let object = member(bytes, "object").unwrap_or_default();
        if kind == "ERROR" {
            let status: Status = serde_json::from_slice(object).unwrap_or_default();
            let failure = status.failure();
            let gone = failure.status == Some(GONE);
            let end = if gone { End::Stale(failure) } else { End::Failed(failure) };
            return Self { end: Some(end), ..Self::default() };
        }
        let mut rejected = Rejected::default();
        let head = read::head(object);
        let version = head.version;
        if kind == "BOOKMARK" {
            return Self { version, ..Self::default() };
        }
        let pod = match line {
            Ok(_) => read::pod(object, wanted, &mut rejected),
            Err(_) => {
                read::too_large(object, &mut rejected);
                None
            }
        };
        let pod = pod.map(Box::new);
        let (event, lost) = match kind.as_str() {
            "ADDED" | "MODIFIED" => (pod.map(PodEventKind::Applied), false),
            "DELETED" => (pod.map(PodEventKind::Deleted), rejected.leaves_unread()),
            _ => (None, true),
        };
        // What has gone unheard, only a list can say now.
        let why = || Failure::new(format!("unreadable event of type {:?}", one_line(&kind, 16)));
        let end = lost.then(|| End::Stale(why()));
        Self { event, rejected: rejected.of_watch(), version, end }
    }
}

#[cfg(test)]
#[path = "watch_fault_tests.rs"]
mod fault_tests;
#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
