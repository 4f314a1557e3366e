//! Lists of Pods: read item by item, so that no more is held than one item and our own Pods.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout;

use super::client::{Client, Failure};
use super::event::PodEventKind;
use super::json::{Items, Part};
use super::pod::Pod;
use super::read::{self, ITEM_MAX, Wanted};
use super::rejected::{Reason, Rejected};

/// Limit of the memory that the Pods of one list take, in bytes: some 6,000 usual Pods.
const PODS_BYTES_MAX: usize = 12 << 20;
/// Limit of a whole answer, in bytes: 250 Pods of the greatest length. Nothing of it is held.
const ANSWER_MAX: u64 = 1 << 30;
/// Limit of the pages of a list, and the rest before each page but the first.
const PAGES_MAX: usize = 200;
const PAGE_REST: Duration = Duration::from_millis(50);

/// A list of Pods.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Pods of this node.
    pub pods: Vec<Pod>,
    /// Items that are not taken in.
    pub rejected: Rejected,
    /// Version of the resource, from which a watch goes on.
    pub version: Option<String>,
    bytes: usize,
    next_page: Option<String>,
}

/// Metadata of a list (`metav1.ListMeta`), as far as it is read.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: Option<String>,
    #[serde(rename = "continue")]
    next_page: Option<String>,
}

impl List {
    /// Requests a list in `time`. The
    /// server may answer in pages, though none are asked for: `page` makes the path of the next.
    pub(super) async fn get(
        client: &mut Client,
        path: &str,
        page: impl Fn(&str) -> String,
        wanted: Wanted<'_>,
        time: Duration,
    ) -> Result<Self, Failure> {
        let whole = async {
            let mut list = Self::default();
            // Of the tokens only hashes are kept: each may be long.
            let (mut told, hasher) = (HashSet::new(), RandomState::new());
            list.read(client, path, wanted).await?;
            for _ in 1..PAGES_MAX {
                let Some(next) = list.next_page.take() else { return Ok(list) };
                if !told.insert(hasher.hash_one(&next)) {
                    return Err(Failure::new("a list whose pages go round in a circle"));
                }
                tokio::time::sleep(PAGE_REST).await;
                list.read(client, &page(&next), wanted).await?;
            }
            Err(Failure::new(format!("a list of more than {PAGES_MAX} pages")))
        };
        let late = || Failure::new(format!("no whole list in {} s", time.as_secs()));
        timeout(time, whole).await.unwrap_or_else(|_| Err(late()))
    }

    /// The events that tell of the list. What was rejected comes before.
    pub(super) fn into_events(self) -> Vec<PodEventKind> {
        let rejected = Some(self.rejected).filter(|rejected| !rejected.is_empty());
        let rejected = rejected.map(|rejected| PodEventKind::Rejected(Box::new(rejected)));
        rejected.into_iter().chain([PodEventKind::Listed(self.pods)]).collect()
    }

    /// Reads one page.
    async fn read(
        &mut self,
        client: &mut Client,
        path: &str,
        wanted: Wanted<'_>,
    ) -> Result<(), Failure> {
        let no_list = |_| Failure::new("the answer is no whole list of Pods");
        let mut answer = client.get(path).await?;
        let (mut items, mut length) = (Items::new(ITEM_MAX), 0_u64);
        while let Some(bytes) = answer.bytes().await {
            let bytes = bytes?;
            length = length.saturating_add(bytes.len() as u64);
            if length > ANSWER_MAX {
                return Err(Failure::new(format!("a list of more than {ANSWER_MAX} bytes")));
            }
            items.take(&bytes, &mut |part| self.part(part, wanted)).map_err(no_list)?;
        }
        items.finish().map_err(no_list)
    }

    fn part(&mut self, part: Part<'_>, wanted: Wanted<'_>) {
        match part {
            Part::Item(item) => {
                if let Some(pod) = read::pod(item, wanted, &mut self.rejected) {
                    self.add(pod);
                }
            }
            Part::TooLarge(beginning) => read::too_large(beginning, &mut self.rejected),
            Part::Metadata(metadata) => {
                let metadata: Metadata = serde_json::from_slice(metadata).unwrap_or_default();
                let known = |text: Option<String>| text.filter(|text| !text.is_empty());
                // All pages have the version of the first.
                self.version = self.version.take().or(known(metadata.resource_version));
                self.next_page = known(metadata.next_page);
            }
        }
    }

    /// Adds a Pod while there is room. Pods that have ended make room for those that live.
    fn add(&mut self, pod: Pod) {
        let size = pod.size_bytes();
        while self.bytes + size > PODS_BYTES_MAX
            && !pod.is_terminal()
            && let Some(ended) = self.pods.iter().rposition(Pod::is_terminal)
        {
            let ended = self.pods.swap_remove(ended);
            self.bytes -= ended.size_bytes();
            over_limit(&ended, &mut self.rejected);
        }
        if self.bytes + size > PODS_BYTES_MAX {
            over_limit(&pod, &mut self.rejected);
            return;
        }
        self.bytes += size;
        self.pods.push(pod);
    }
}

/// Pods of a whole answer; `None` if it is no list.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn pods_in(answer: &[u8]) -> Option<Vec<Pod>> {
    let (mut list, mut items) = (List::default(), Items::new(ITEM_MAX));
    items.take(answer, &mut |part| list.part(part, Wanted::default())).ok()?;
    items.finish().ok()?;
    Some(list.pods)
}

fn over_limit(pod: &Pod, rejected: &mut Rejected) {
    rejected.add(Reason::OverLimit, Some(&pod.uid), || {
        format!(
            "{}/{}: the Pods take more than {} MiB",
            pod.namespace,
            pod.name,
            PODS_BYTES_MAX >> 20
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::pod::{Container, Phase};

    fn pod(uid: usize, phase: Phase) -> Pod {
        let image = "i".repeat(1_000);
        let container = Container { image, ..Container::default() };
        Pod { uid: uid.to_string(), phase, containers: vec![container; 30], ..Pod::default() }
    }

    #[test]
    fn pods_that_have_ended_make_room_for_those_that_live() {
        let mut list = List::default();
        let fit = PODS_BYTES_MAX / pod(100, Phase::Failed).size_bytes();
        for uid in 0..2 * fit {
            list.add(pod(uid, Phase::Failed));
        }
        assert!(list.bytes <= PODS_BYTES_MAX && list.pods.len().abs_diff(fit) <= 1);
        let dropped = list.rejected.count(Reason::OverLimit) as usize;
        assert_eq!(dropped + list.pods.len(), 2 * fit);
        for uid in 0..fit / 2 {
            list.add(pod(10_000 + uid, Phase::Running));
        }
        let live = list.pods.iter().filter(|pod| !pod.is_terminal()).count();
        assert_eq!(live, fit / 2);
        assert!(list.bytes <= PODS_BYTES_MAX);
    }
}
