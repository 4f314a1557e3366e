//! Failed starts that the kernel does not see, or not all of: the image, the configuration, the
//! runtime's own work. Pure.
//!
//! The kubelet reports each failed attempt as the reason for which the container waits
//! (`pkg/kubelet/kuberuntime/kuberuntime_container.go`, `pkg/kubelet/images/types.go`, Kubernetes
//! 1.37). Of an attempt that got as far as a cgroup there is the kernel's record as well: it is
//! counted once, by that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::fact::{Fact, FactKind};
use super::subject::Who;
use crate::kube::identity::Identity;
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::{Container, State};

/// Longest time between the kernel's record of an attempt and the kubelet's report, either way: a
/// record waits for its container's name.
const SAME_NS: u64 = 12_000_000_000;
/// Limit of the kernel's records that are remembered.
const RECORDS_MAX: usize = 256;

/// A failed attempt to start a container, as the kubelet reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// End before there was a cgroup.
    BeforeCgroup,
    /// End in the runtime, with a cgroup or without.
    InRuntime,
    /// Wait of the kubelet for the next one.
    BackOff,
}

impl Attempt {
    fn of(reason: &str) -> Option<Self> {
        match reason {
            "ErrImagePull"
            | "ErrImageNeverPull"
            | "ImageInspectError"
            | "InvalidImageName"
            | "RegistryUnavailable"
            | "SignatureValidationFailed"
            | "CreateContainerConfigError" => Some(Self::BeforeCgroup),
            "CreateContainerError"
            | "PreCreateHookError"
            | "PreStartHookError"
            | "RunContainerError" => Some(Self::InRuntime),
            "ImagePullBackOff" => Some(Self::BackOff),
            _ => None,
        }
    }
}

/// UID of a Pod in the API, and the name of a container of it.
type Key = (String, String);

/// A report that may be of an attempt which the kernel has recorded as well.
#[derive(Debug)]
struct Waiting {
    key: Key,
    identity: Arc<Identity>,
    time_boot_ns: u64,
}

/// A failed start of a container that has no cgroup.
pub type Planned = (Arc<Identity>, Fact);

/// Failed starts of all containers of the node's Pods.
#[derive(Debug, Default)]
pub struct StartFailures {
    /// Reasons for which containers that cannot start waited, as last reported.
    reported: BTreeMap<Key, String>,
    waiting: Vec<Waiting>,
    /// The kernel's records, until the kubelet reports the same.
    recorded: VecDeque<(Key, u64)>,
    dropped: u64,
}

impl StartFailures {
    /// Takes in the kernel's record of a failed start, which is published as it is.
    pub fn recorded(&mut self, who: &Who, time_boot_ns: u64) {
        let key = (who.identity.pod_uid.clone(), who.identity.container.clone());
        if let Some(at) = self.waiting.iter().position(|waiting| waiting.key == key) {
            self.waiting.remove(at);
            return;
        }
        if self.recorded.len() >= RECORDS_MAX
            && let Some((_, oldest)) = self.recorded.pop_front()
            && oldest.saturating_add(SAME_NS) > time_boot_ns
        {
            self.dropped = self.dropped.saturating_add(1);
        }
        self.recorded.push_back((key, time_boot_ns));
    }

    /// Takes in a change of a Pod. Returns the failures that it reports.
    pub fn pod(&mut self, known: &KnownPod, now_boot_ns: u64) -> Vec<Planned> {
        let mut out = Vec::new();
        if known.lingers() {
            self.reported.retain(|(uid, _), _| *uid != known.pod.uid);
            return out;
        }
        for container in &known.pod.containers {
            let key = (known.pod.uid.clone(), container.name.clone());
            out.extend(self.container(known, container, key, now_boot_ns));
        }
        out
    }

    fn container(
        &mut self,
        known: &KnownPod,
        container: &Container,
        key: Key,
        now_boot_ns: u64,
    ) -> Option<Planned> {
        let State::Waiting { reason } = &container.state else {
            self.reported.remove(&key);
            return None;
        };
        let Some(attempt) = Attempt::of(reason) else {
            self.reported.remove(&key);
            return None;
        };
        let before = self.reported.insert(key.clone(), reason.clone());
        // What failed before the agent came was not seen to fail.
        let is_first = known.first.time_boot_ns == known.changed_boot_ns;
        let is_old = is_first && known.first.after_boot_ns.is_none();
        if before.as_ref() == Some(reason) || is_old {
            return None;
        }
        let identity = || Arc::new(Identity::planned(&known.pod, container));
        match attempt {
            Attempt::BackOff if before.is_some() => None,
            Attempt::BackOff | Attempt::BeforeCgroup => Some(failed(identity(), now_boot_ns)),
            Attempt::InRuntime => {
                let same = |(recorded, at): &(Key, u64)| {
                    *recorded == key && at.saturating_add(SAME_NS) > now_boot_ns
                };
                match self.recorded.iter().position(same) {
                    Some(at) => drop(self.recorded.remove(at)),
                    None => self.waiting.push(Waiting {
                        key,
                        identity: identity(),
                        time_boot_ns: now_boot_ns,
                    }),
                }
                None
            }
        }
    }

    /// Failures of which the kernel has no record.
    pub fn settle(&mut self, now_boot_ns: u64) -> Vec<Planned> {
        let over =
            |waiting: &mut Waiting| waiting.time_boot_ns.saturating_add(SAME_NS) <= now_boot_ns;
        let settled = self.waiting.extract_if(.., over);
        settled.map(|waiting| failed(waiting.identity, waiting.time_boot_ns)).collect()
    }

    /// Total of records that were forgotten while the kubelet could still report the same.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Deadline at which [`Self::settle`] has something to return, `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.time_boot_ns.saturating_add(SAME_NS)).min()
    }
}

fn failed(identity: Arc<Identity>, time_boot_ns: u64) -> Planned {
    (identity, Fact { time_boot_ns, kind: FactKind::StartFailed })
}

#[cfg(test)]
#[path = "start_failure_tests.rs"]
mod tests;
