//! A watch on the Pods of this node.

use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::news::{NewsKind, PodNews};
use super::{convert, wire};

/// Many agents start together when a DaemonSet is rolled out; their first lists are spread over
/// this time.
const START_SPREAD_MS: u64 = 2_000;
/// `410 Gone` to a watch that is to be resumed.
const GONE: u16 = 410;

/// Tells the owner of the node's Pods until nobody listens.
pub async fn run(client: Client, node: &str, news: mpsc::Sender<PodNews>) {
    let jitter = RandomState::new().hash_one(node) % START_SPREAD_MS;
    tokio::time::sleep(Duration::from_millis(jitter)).await;
    watch_on(&client, node, &news).await;
}

async fn watch_on(client: &Client, node: &str, news: &mpsc::Sender<PodNews>) {
    while watch(client.clone(), node, news).await.is_ok() {}
}

/// Nobody listens any more.
struct Closed;

/// Watches until the watch has to be made anew.
async fn watch(client: Client, node: &str, news: &mpsc::Sender<PodNews>) -> Result<(), Closed> {
    // With a page size the client would leave the version out, and each agent's first list would
    // be read from etcd.
    let config = watcher::Config { page_size: None, ..watcher::Config::default() };
    let config = config.fields(&format!("spec.nodeName={node}")).any_semantic();
    let mut events = pin!(watcher(Api::<wire::Pod>::all(client), config).default_backoff());
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
            Ok(Event::InitDone) => NewsKind::Listed(std::mem::take(&mut listed)),
            Ok(Event::Apply(pod)) => NewsKind::Applied(Box::new(convert::pod(&pod))),
            Ok(Event::Delete(pod)) => NewsKind::Deleted(Box::new(convert::pod(&pod))),
            Err(error) => {
                anew = is_gone(&error);
                NewsKind::Failed(chain(&error))
            }
        };
        news.send(PodNews::now(kind)).await.map_err(|_| Closed)?;
        if anew {
            break;
        }
    }
    Ok(())
}

/// The server refuses to resume the watch where it was. The watcher lists anew when it is told so
/// within the stream; told by the status of the response, it would ask the same for ever.
fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == GONE,
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
