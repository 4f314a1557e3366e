//! Addresses: whose an address is. Pure.
//!
//! Whoever may create Pods may name any `host` in a probe, another Pod's address too, and a name that
//! leads to it. So an address is first of all that of the Pods whose own it is: the API has it for them,
//! and a Pod on the node's network has the loopback address as well. Own addresses are a table of their
//! own, in which every Pod that the agent keeps has room. Other hosts are bounded for each Pod and in all;
//! those without room are counted, and their Pods are looked at for each connection: what they ask may be
//! at any address, as may a probe whose host is a name that nobody looks up here.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::candidate::of_container;
use crate::kube::pod::Pod;
use crate::kube::pods::Pods;
use crate::kube::target::{Endpoint, Target};

/// Limit of the hosts of one Pod's probes that are followed, addresses and ports of names together.
const HOSTS_MAX: usize = 8;
/// Limit of the hosts of all Pods.
const HOSTS_ALL_MAX: usize = 16_384;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Where a target is, as seen from its Pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At an address of the Pod itself.
    Own,
    /// At an address that the spec names.
    Foreign,
    /// Perhaps there: the spec has a name for it.
    Anywhere,
}

/// The host of an endpoint.
enum Host {
    Pods,
    Address(IpAddr),
    Localhost,
    /// A name, whose addresses only a resolver knows, or what the kernel takes for another address.
    Name,
}

fn host(endpoint: &Endpoint) -> Host {
    let Some(host) = endpoint.host.as_deref() else { return Host::Pods };
    if host == "localhost" {
        return Host::Localhost;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // An IPv6 address may have a zone, which is in no address on the wire (Go, `net/netip`, `ParseAddr`).
    let address = match host.split_once('%') {
        Some((address, zone)) if !zone.is_empty() && address.contains(':') => address,
        _ => host,
    };
    match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(address) if !address.is_unspecified() => Host::Address(address),
        _ => Host::Name,
    }
}

/// Whether an address is the Pod's own.
fn is_own(pod: &Pod, address: IpAddr) -> bool {
    pod.addresses.contains(&address) || (pod.host_network && address.is_loopback())
}

/// Where a target is, if it can be at this address.
pub(super) fn place(target: &Target, pod: &Pod, remote: SocketAddr) -> Option<Place> {
    let endpoint = target.endpoint().filter(|it| it.port == remote.port())?;
    let address = remote.ip();
    let named = || if is_own(pod, address) { Place::Own } else { Place::Foreign };
    match host(endpoint) {
        Host::Pods => pod.addresses.contains(&address).then_some(Place::Own),
        Host::Address(own) => (own == address).then(named),
        Host::Localhost => LOOPBACK.contains(&address).then(named),
        Host::Name => Some(Place::Anywhere),
    }
}

/// Whether a target is this one of the two addresses of `localhost`.
pub(super) fn is_at_localhost(target: &Target, remote: SocketAddr) -> bool {
    target.endpoint().is_some_and(|endpoint| {
        endpoint.port == remote.port()
            && matches!(host(endpoint), Host::Localhost)
            && LOOPBACK.contains(&remote.ip())
    })
}

/// What one Pod's probes ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Places {
    own: Vec<IpAddr>,
    hosts: Vec<IpAddr>,
    /// Ports of probes whose host is a name.
    ports: Vec<u16>,
    /// Number of hosts without room.
    beyond: u64,
}

impl Places {
    fn of(pod: &Pod) -> Self {
        let mut all = Self::default();
        for container in &pod.containers {
            let targets = container.targets.as_deref();
            let hook = targets.and_then(|targets| targets.pre_stop.as_ref());
            let probes = of_container(container).map(|it| it.target);
            for endpoint in probes.chain(hook).filter_map(Target::endpoint) {
                all.add(pod, endpoint);
            }
        }
        all
    }

    fn add(&mut self, pod: &Pod, endpoint: &Endpoint) {
        match host(endpoint) {
            Host::Pods => pod.addresses.iter().for_each(|it| add(&mut self.own, *it)),
            Host::Address(address) => self.add_host(pod, address),
            Host::Localhost => LOOPBACK.into_iter().for_each(|it| self.add_host(pod, it)),
            Host::Name if self.ports.contains(&endpoint.port) => {}
            Host::Name if self.has_room() => self.ports.push(endpoint.port),
            Host::Name => self.beyond = self.beyond.saturating_add(1),
        }
    }

    fn add_host(&mut self, pod: &Pod, address: IpAddr) {
        if is_own(pod, address) {
            add(&mut self.own, address);
        } else if !self.hosts.contains(&address) {
            if self.has_room() {
                self.hosts.push(address);
            } else {
                self.beyond = self.beyond.saturating_add(1);
            }
        }
    }

    const fn has_room(&self) -> bool {
        self.followed() < HOSTS_MAX
    }

    const fn followed(&self) -> usize {
        self.hosts.len() + self.ports.len()
    }

    const fn is_empty(&self) -> bool {
        self.own.is_empty() && self.followed() == 0 && self.beyond == 0
    }
}

fn add<T: PartialEq>(all: &mut Vec<T>, one: T) {
    if !all.contains(&one) {
        all.push(one);
    }
}

/// Pods, by their UIDs, by what their probes ask for.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    own: HashMap<IpAddr, Vec<String>>,
    hosts: HashMap<IpAddr, Vec<String>>,
    names: HashMap<u16, Vec<String>>,
    /// Pods of which not all hosts are followed.
    beyond: Vec<String>,
    places: HashMap<String, Places>,
    /// Number of hosts that are followed.
    followed: usize,
    dropped: u64,
}

impl Addresses {
    /// Takes in a Pod, as it is now.
    pub(super) fn insert(&mut self, pod: &Pod) {
        let uid = &pod.uid;
        // The kubelet asks nothing of a Pod that has ended.
        let mut now = if pod.is_terminal() { Places::default() } else { Places::of(pod) };
        if self.places.get(uid) == Some(&now) {
            return;
        }
        let before = self.remove(uid);
        if self.followed + now.followed() > HOSTS_ALL_MAX {
            let hosts = std::mem::take(&mut now.hosts).len() + std::mem::take(&mut now.ports).len();
            now.beyond = now.beyond.saturating_add(u64::try_from(hosts).unwrap_or(u64::MAX));
        }
        self.dropped = self.dropped.saturating_add(now.beyond.saturating_sub(before));
        self.followed += now.followed();
        let put = |all: &mut Vec<String>| all.push(uid.clone());
        now.own.iter().for_each(|it| put(self.own.entry(*it).or_default()));
        now.hosts.iter().for_each(|it| put(self.hosts.entry(*it).or_default()));
        now.ports.iter().for_each(|it| put(self.names.entry(*it).or_default()));
        if now.beyond > 0 {
            put(&mut self.beyond);
        }
        if !now.is_empty() {
            self.places.insert(uid.clone(), now);
        }
    }

    /// Forgets a Pod; returns the number of its hosts that had no room.
    fn remove(&mut self, uid: &str) -> u64 {
        let Some(before) = self.places.remove(uid) else { return 0 };
        self.followed = self.followed.saturating_sub(before.followed());
        before.own.iter().for_each(|it| take_out(&mut self.own, it, uid));
        before.hosts.iter().for_each(|it| take_out(&mut self.hosts, it, uid));
        before.ports.iter().for_each(|it| take_out(&mut self.names, it, uid));
        self.beyond.retain(|other| other != uid);
        before.beyond
    }

    /// Forgets the Pods that nobody knows any more.
    pub(super) fn expire(&mut self, pods: &Pods) {
        let forgotten = |uid: &&String| pods.get(uid).is_none();
        let forgotten: Vec<String> = self.places.keys().filter(forgotten).cloned().collect();
        for uid in forgotten {
            self.remove(&uid);
        }
    }

    /// Total of hosts that found no room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether no Pod is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let tables = self.own.is_empty() && self.hosts.is_empty() && self.names.is_empty();
        tables && self.places.is_empty() && self.beyond.is_empty() && self.followed == 0
    }

    /// Pods whose own this address is.
    pub(super) fn own(&self, address: IpAddr) -> &[String] {
        self.own.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Pods that name this address as a host.
    pub(super) fn foreign(&self, address: IpAddr) -> &[String] {
        self.hosts.get(&address).map_or(&[], Vec::as_slice)
    }

    /// Pods that may ask at this address without naming it.
    pub(super) fn anywhere(&self, remote: SocketAddr) -> impl Iterator<Item = &String> {
        self.names.get(&remote.port()).into_iter().flatten().chain(&self.beyond)
    }
}

fn take_out<K: std::hash::Hash + Eq>(all: &mut HashMap<K, Vec<String>>, key: &K, uid: &str) {
    if let Some(pods) = all.get_mut(key) {
        pods.retain(|other| other != uid);
        if pods.is_empty() {
            all.remove(key);
        }
    }
}
