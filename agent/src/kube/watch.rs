//! A watch on the Pods of this node.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::event::{PodEvent, PodEventKind};
use super::{convert, wire};

/// Many agents start together when a DaemonSet is rolled out; their first lists are spread over
/// this time.
const START_SPREAD: Duration = Duration::from_secs(2);
/// How long is waited after a failure, at first and at last, about. client-go goes on to 30 s; then
/// most of what an API server missed while it was away would be missed by us as well.
const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(8);
/// A failure after this time is a first one.
const CALM: Duration = Duration::from_secs(60);
/// `410 Gone` to a watch that is to be resumed.
const GONE: u16 = 410;

/// Tells the owner of the node's Pods until nobody listens.
pub async fn run(client: Client, node: &str, news: mpsc::Sender<PodEvent>) {
    tokio::time::sleep(START_SPREAD.mul_f64(random())).await;
    watch_on(&client, node, &news).await;
}

async fn watch_on(client: &Client, node: &str, news: &mpsc::Sender<PodEvent>) {
    while watch(client.clone(), node, news).await.is_ok() {
        // The server has answered, if only that it does not know the version any more.
        tokio::time::sleep(DELAY_MIN.mul_f64(0.5 + random())).await;
    }
}

/// Less than 1.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 32;
    bits as f64 / 2_f64.powi(32)
}

/// The delays after failures. The watcher calls it reset with every step that is none, and asking is
/// one, so a reset means nothing; time does.
#[derive(Debug, Default)]
struct Delays {
    failures: u32,
    last: Option<Instant>,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let now = Instant::now();
        if self.last.replace(now).is_none_or(|last| now.duration_since(last) > CALM) {
            self.failures = 0;
        }
        let delay = DELAY_MIN.saturating_mul(1 << self.failures.min(16)).min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        Some(delay.mul_f64(0.5 + random()))
    }
}

impl Backoff for Delays {
    fn reset(&mut self) {}
}

/// Nobody listens any more.
struct Closed;

/// Watches until the watch has to be made anew.
async fn watch(client: Client, node: &str, news: &mpsc::Sender<PodEvent>) -> Result<(), Closed> {
    // With a page size the client would leave the version out, and each agent's first list would
    // be read from etcd.
    let config = watcher::Config { page_size: None, ..watcher::Config::default() };
    let config = config.fields(&format!("spec.nodeName={node}")).any_semantic();
    let mut events =
        pin!(watcher(Api::<wire::Pod>::all(client), config).backoff(Delays::default()));
    let mut listed = Vec::new();
    while let Some(event) = events.next().await {
        let mut anew = false;
        let kind = match event {
            Ok(Event::Init) => {
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(pod)) => {
                listed.push(convert::pod(&pod));
                continue;
            }
            Ok(Event::InitDone) => PodEventKind::Listed(std::mem::take(&mut listed)),
            Ok(Event::Apply(pod)) => PodEventKind::Applied(Box::new(convert::pod(&pod))),
            Ok(Event::Delete(pod)) => PodEventKind::Deleted(Box::new(convert::pod(&pod))),
            Err(error) => {
                anew = is_gone(&error);
                PodEventKind::Failed(chain(&error))
            }
        };
        news.send(PodEvent::now(kind)).await.map_err(|_| Closed)?;
        if anew {
            break;
        }
    }
    Ok(())
}

/// The server refuses to resume the watch where it was. The watcher would list anew after a delay
/// when it is told so within the stream; told by the status of the response, it would ask the same
/// for ever.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == GONE,
        _ => false,
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
