//! Pods with the moments at which the agent learned of their changes.

use std::collections::VecDeque;

use super::pod::{Container, Deletion, Pod, State};
use crate::clock::{SECOND_NS, WallOffset};

/// Limit of container ids that are kept for a Pod, former instances included.
const FORMER_IDS_MAX: usize = 64;
/// Longest delay between the creation of a container and its first report in the Pod's status, if
/// the status reports anything at all: the kubelet polls its runtime every second, and at once
/// after an event from the runtime.
const STATUS_LAG_NS: u64 = 5_000_000_000;
/// Longest delay between a change in the API and its watch event.
const WATCH_LAG_NS: u64 = 5_000_000_000;

/// Longest time by which the kubelet may learn of a change before the agent does.
const KUBELET_AHEAD_NS: u64 = 1_000_000_000;
/// Default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE_S: u64 = 30;

/// A Pod with the moments at which the agent learned of its changes.
#[derive(Debug)]
pub struct KnownPod {
    /// The Pod in its newest, or last, state.
    pub pod: Pod,
    /// Moment at which the agent first learned of the Pod.
    pub first: Noticed,
    /// Time at which the agent learned of this state, `CLOCK_BOOTTIME`.
    pub changed_boot_ns: u64,
    /// Way in which the agent learned of this state.
    pub via: Via,
    /// Request to delete the Pod, as the API first reported it; `None` while there is none. It is
    /// never taken back, as in the API.
    pub deletion: Option<DeletionRequest>,
    /// Moment at which the Pod was found to be gone from the API; `None` while it is there.
    pub gone: Option<Noticed>,
    /// Time of the newest container that was seen to be made in the Pod's cgroup, `CLOCK_BOOTTIME`:
    /// the kubelet makes none in a Pod that it stops.
    pub made_boot_ns: Option<u64>,
    /// Time since which the Pod only lingers, as the table of Pods has noted it.
    pub(super) lingers_since_boot_ns: Option<u64>,
    /// Memory that it takes since then, as the table of Pods has noted it, in bytes.
    pub(super) lingers_bytes: usize,
    /// Container ids with the containers' names, the newest last.
    ids: VecDeque<(String, String)>,
    /// Names of containers that the kubelet restarts because their spec was changed, with the last
    /// change.
    redefined: Vec<(String, Noticed)>,
}

impl KnownPod {
    /// A Pod that the agent learns of.
    pub(super) fn new(pod: Pod, now: Noticed) -> Self {
        let mut known = Self {
            pod: Pod::default(),
            first: now,
            changed_boot_ns: now.time_boot_ns,
            via: now.via,
            deletion: None,
            gone: None,
            made_boot_ns: None,
            lingers_since_boot_ns: None,
            lingers_bytes: 0,
            ids: VecDeque::new(),
            redefined: Vec::new(),
        };
        known.update(pod, now);
        known
    }

    /// Takes over a new state. The Pod is in the API, so it was not gone for good.
    pub(super) fn update(&mut self, pod: Pod, now: Noticed) {
        self.changed_boot_ns = now.time_boot_ns;
        self.via = now.via;
        self.gone = None;
        if let (None, Some(first)) = (self.deletion, pod.deletion) {
            self.deletion = Some(DeletionRequest { noticed: now, first });
        }
        for container in &pod.containers {
            for id in container.ids() {
                if !self.ids.iter().any(|(known, _)| known == id) {
                    self.ids.push_back((id.to_owned(), container.name.clone()));
                }
            }
        }
        while self.ids.len() > FORMER_IDS_MAX.max(2 * pod.containers.len()) {
            self.ids.pop_front();
        }
        let changed = pod.containers.iter().filter(|next| {
            self.pod.container(&next.name).is_some_and(|before| before.is_redefined_by(next))
        });
        for container in changed {
            self.redefined.retain(|(name, _)| *name != container.name);
            self.redefined.push((container.name.clone(), now));
        }
        self.redefined.retain(|(name, _)| pod.container(name).is_some());
        self.pod = pod;
    }

    /// Takes over the last state of a Pod that is gone.
    ///
    /// Its deletion says when the Pod was removed at last, with a grace period of 0, and not what
    /// the kubelet was told: after a forced deletion the kubelet stops the Pod with the grace
    /// period that it knew before.
    pub(super) fn removed(&mut self, pod: Pod, now: Noticed) {
        let before = self.pod.deletion;
        let asked = pod
            .deletion
            .map(|last| Deletion { deadline_unix_s: last.request_unix_s(), grace_s: None });
        self.update(Pod { deletion: before.or(asked), ..pod }, now);
        self.gone = Some(now);
    }

    /// Memory that the Pod takes, about, in bytes.
    pub(super) fn size_bytes(&self) -> usize {
        let ids =
            self.ids.iter().map(|(id, name)| size_of::<(String, String)>() + id.len() + name.len());
        size_of::<Self>() + self.pod.size_bytes() + ids.sum::<usize>()
    }

    /// Whether no container of the Pod runs, nor will: it is gone, or has succeeded or failed.
    #[must_use]
    pub fn lingers(&self) -> bool {
        self.gone.is_some() || lingers(&self.pod)
    }

    /// The newest grace period of the Pod's deletion, in seconds.
    #[must_use]
    pub fn deletion_grace_s(&self) -> Option<u64> {
        self.pod.deletion.or(self.deletion.map(|deletion| deletion.first))?.grace_s
    }

    /// Moment at which the agent learned that the Pod is being deleted: from the request, or from
    /// the watch event of its removal. `None` for the mirror of a static Pod, whose deletion stops
    /// nothing.
    ///
    /// Absence from a list is no such moment: a list can be incomplete or old.
    #[must_use]
    pub fn deletion_noticed(&self) -> Option<Noticed> {
        let noticed = self.deletion.map(|deletion| deletion.noticed);
        noticed.or_else(|| self.removal_noticed()).filter(|_| !self.pod.is_mirror())
    }

    /// Moment of the watch event of the Pod's removal, after which its status does not change any more.
    /// `None` for the mirror of a static Pod, which may come again.
    #[must_use]
    pub fn removal_noticed(&self) -> Option<Noticed> {
        self.gone.filter(|gone| gone.via == Via::Watch && !self.pod.is_mirror())
    }

    /// Moment from which on the Pod was missing from lists, so that nobody knows when it was
    /// removed; or at which the mirror of a static Pod was removed, which the kubelet does when the
    /// static Pod has ended, and creates again if somebody else did it. `None` while it is there.
    #[must_use]
    pub fn missing_since(&self) -> Option<Noticed> {
        self.gone.filter(|gone| gone.via == Via::List || self.pod.is_mirror())
    }

    /// The container that has, or had, this id.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Container> {
        let former = || {
            let (_, name) = self.ids.iter().rev().find(|(known, _)| known == id)?;
            self.pod.container(name)
        };
        self.pod.container_by_id(id).or_else(former)
    }

    /// Whether the kubelet has stopped a container at `stop_boot_ns` because its spec was changed
    /// after it was made. It does so at once, after a preStop hook at the latest.
    #[must_use]
    pub fn redefined(&self, container: &str, made_boot_ns: u64, stop_boot_ns: u64) -> bool {
        let longest_ns = self.pod.grace_s.unwrap_or(DEFAULT_GRACE_S).saturating_mul(SECOND_NS);
        self.redefined.iter().filter(|(name, _)| name == container).any(|(_, noticed)| {
            let changed_after = match noticed.via {
                Via::Watch => noticed.time_boot_ns.saturating_sub(KUBELET_AHEAD_NS),
                Via::List => noticed.after_boot_ns.unwrap_or(0),
            };
            let latest = noticed.time_boot_ns.saturating_add(longest_ns);
            noticed.time_boot_ns >= made_boot_ns
                && changed_after <= stop_boot_ns
                && stop_boot_ns <= latest.saturating_add(WATCH_LAG_NS)
        })
    }

    /// Whether a container created at that time would be in the statuses by now, if it were one of
    /// the Pod's containers.
    #[must_use]
    pub fn would_report(&self, made_boot_ns: u64) -> bool {
        self.pod.statuses_complete()
            && self.changed_boot_ns >= made_boot_ns.saturating_add(STATUS_LAG_NS)
    }
}

/// Whether no container of a Pod in the API runs, nor will.
///
/// A Pod that is evicted before its containers start has no statuses, or waiting ones.
#[must_use]
pub fn lingers(pod: &Pod) -> bool {
    let runs = |container: &Container| matches!(container.state, State::Running { .. });
    pod.is_terminal() && !pod.containers.iter().any(runs)
}

/// A request to delete a Pod, as the API first reported it. A later one can only shorten the grace
/// period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletionRequest {
    /// Moment at which the agent learned of it.
    pub noticed: Noticed,
    /// The request.
    pub first: Deletion,
}

impl DeletionRequest {
    /// Time of the request, `CLOCK_BOOTTIME`, to the second; `None` where the API's clock does not
    /// agree with this machine's.
    #[must_use]
    pub fn requested_boot_ns(&self, wall: WallOffset) -> Option<u64> {
        self.noticed.agreed(self.first.request_unix_s(), wall)
    }
}

/// Way in which the agent learned of a Pod's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A watch event, at the time of the change.
    Watch,
    /// A list, or a watch that was interrupted: some time after the change.
    List,
}

/// Moment at which the agent learned of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noticed {
    /// Time, `CLOCK_BOOTTIME`.
    pub time_boot_ns: u64,
    /// Way in which the agent learned of it.
    pub via: Via,
    /// Last report of the source before it, `CLOCK_BOOTTIME`; `None` for the first.
    pub after_boot_ns: Option<u64>,
}

impl Noticed {
    /// The API's time of the change, `CLOCK_BOOTTIME`; `None` if it cannot be the time of this
    /// change, so that the API's clock, or this machine's when it was converted, is wrong.
    ///
    /// The change came before its report, and after the report before that. The API's times are
    /// whole seconds.
    #[must_use]
    pub fn agreed(self, unix_s: i64, wall: WallOffset) -> Option<u64> {
        let api_boot_ns = wall.boot_ns_of_seconds(unix_s)?;
        let since = match self.via {
            Via::Watch => Some(self.time_boot_ns),
            Via::List => self.after_boot_ns,
        };
        let earliest = since.map_or(0, |since| since.saturating_sub(WATCH_LAG_NS));
        let latest = self.time_boot_ns.saturating_add(SECOND_NS);
        (earliest..=latest).contains(&api_boot_ns).then_some(api_boot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::pod::{Resources, Restarting};

    const WALL: WallOffset = WallOffset { unix_less_boot_ns: 1_790_000_000_000_000_000 };

    fn agreed(via: Via, after_s: Option<u64>, api_s: i64) -> bool {
        let noticed = Noticed {
            time_boot_ns: 1000 * SECOND_NS,
            via,
            after_boot_ns: after_s.map(|after| after * SECOND_NS),
        };
        noticed.agreed(1_790_000_000 + api_s, WALL).is_some()
    }

    #[test]
    fn the_apis_time_of_a_watch_event_is_about_its_own() {
        for (api_s, agrees) in
            [(1000, true), (999, true), (1001, true), (996, true), (1302, false), (698, false)]
        {
            assert_eq!(agreed(Via::Watch, Some(1), api_s), agrees, "{api_s}");
        }
    }

    #[test]
    fn the_apis_time_of_a_list_is_between_it_and_the_report_before() {
        for (after_s, api_s, agrees) in [
            (Some(940), 950, true),
            (Some(940), 1000, true),
            (Some(940), 698, false),
            (Some(940), 1302, false),
            (None, 1, true),
            (None, 1302, false),
        ] {
            assert_eq!(agreed(Via::List, after_s, api_s), agrees, "{after_s:?} {api_s}");
        }
        let noticed = Noticed { time_boot_ns: 7, via: Via::List, after_boot_ns: None };
        for unix_s in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(noticed.agreed(unix_s, WALL), None, "{unix_s}");
        }
    }

    /// A Pod with a container of this image, and of this memory that a change restarts.
    fn app(image: &str, memory_bytes: u64) -> Pod {
        let limits = Resources { memory_bytes: Some(memory_bytes), ..Default::default() };
        let container = Container {
            name: "app".into(),
            image: image.into(),
            restarting: Restarting { limits, ..Default::default() },
            ..Container::default()
        };
        Pod { containers: vec![container], ..Pod::default() }
    }

    #[test]
    fn a_change_of_the_spec_explains_the_stop_that_follows() {
        let at = |at_s: u64, via, after_s: Option<u64>| Noticed {
            time_boot_ns: at_s * SECOND_NS,
            via,
            after_boot_ns: after_s.map(|after| after * SECOND_NS),
        };
        let after = |pod: Pod, noticed, made_s: u64, stop_s: u64| {
            let mut known = KnownPod::new(app("a:1", 7), at(10, Via::List, None));
            known.update(pod, noticed);
            known.redefined("app", made_s * SECOND_NS, stop_s * SECOND_NS)
        };
        let watch = at(100, Via::Watch, Some(90));
        for pod in [app("a:2", 7), app("a:1", 8)] {
            assert!(after(pod.clone(), watch, 20, 101));
            assert!(after(pod.clone(), watch, 20, 130), "after a preStop hook");
            assert!(!after(pod.clone(), watch, 20, 98), "before the change");
            assert!(!after(pod.clone(), watch, 20, 200), "long after it");
            assert!(!after(pod.clone(), watch, 101, 110), "it was made with that spec");
            assert!(after(pod, at(100, Via::List, Some(90)), 20, 91), "a list reports late");
        }
        assert!(!after(app("a:1", 7), watch, 20, 101), "nothing has changed");
    }
}
