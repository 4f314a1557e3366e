//! Watch on the Pods of this node at the API server.

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

/// Spread of the first lists. A rollout of the DaemonSet starts many agents at the same time.
const START_SPREAD: Duration = Duration::from_secs(2);
/// Delay after a failure, about: the first and the longest. client-go goes up to 30 s; then most of
/// what an API server missed while it was down would be missed here as well.
const DELAY_MIN: Duration = Duration::from_millis(500);
const DELAY_MAX: Duration = Duration::from_secs(8);
/// Time after which a failure counts as a first one.
const CALM: Duration = Duration::from_secs(60);
/// Status `410 Gone` of a watch that cannot be resumed.
const GONE: u16 = 410;

/// Watches the node's Pods and sends watch events to the owner until the receiver is closed.
pub async fn run(client: Client, node: &str, events: mpsc::Sender<PodEvent>) {
    tokio::time::sleep(START_SPREAD.mul_f64(random())).await;
    watch_forever(&client, node, &events).await;
}

async fn watch_forever(client: &Client, node: &str, events: &mpsc::Sender<PodEvent>) {
    while watch(client.clone(), node, events).await.is_ok() {
        // The server has answered, if only that it no longer knows the resource version.
        tokio::time::sleep(DELAY_MIN.mul_f64(0.5 + random())).await;
    }
}

/// A random number from 0 up to, not including, 1.
fn random() -> f64 {
    let bits = RandomState::new().hash_one(0) >> 32;
    bits as f64 / 2_f64.powi(32)
}

/// Delays after failures. The watcher calls `reset` after every step that did not fail, and sending
/// a request is such a step, so a reset means nothing here; the time since the last failure counts.
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

/// The receiver is closed.
struct Closed;

/// Watches until the watch has to be re-created.
async fn watch(client: Client, node: &str, events: &mpsc::Sender<PodEvent>) -> Result<(), Closed> {
    // With a page size the client would leave the version out, and each agent's first list would
    // be read from etcd.
    let config = watcher::Config { page_size: None, ..watcher::Config::default() };
    let config = config.fields(&format!("spec.nodeName={node}")).any_semantic();
    let mut stream =
        pin!(watcher(Api::<wire::Pod>::all(client), config).backoff(Delays::default()));
    let mut listed = Vec::new();
    while let Some(event) = stream.next().await {
        let mut is_stale = false;
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
                is_stale = is_gone(&error);
                PodEventKind::Failed(chain(&error))
            }
        };
        events.send(PodEvent::now(kind)).await.map_err(|_| Closed)?;
        if is_stale {
            break;
        }
    }
    Ok(())
}

/// Whether the server refuses to resume the watch. The watcher re-lists after a delay if the stream
/// itself reports this; if the status of the response does, it repeats the same request for ever.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.code == GONE,
        _ => false,
    }
}

/// The error with its causes, each mentioned once.
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
