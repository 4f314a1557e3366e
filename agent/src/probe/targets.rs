//! Targets: which probes a connection can belong to, by its address and its request. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::request::{Get, Request};
use crate::clock::SECOND_NS;
use crate::event::{Connection, Ending};
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::{Container, Handler, Pod, Probe};
use crate::kube::pods::Pods;
use crate::kube::target::{Endpoint, HttpTarget, Target};
use crate::lifecycle::fact::ProbeKind;

/// Limit of addresses that are kept: whoever may create Pods may name any host in their probes.
const ADDRESSES_MAX: usize = 8_192;
/// Longest time by which the kubelet may be late to give up a probe.
const LATE_NS: u64 = 2_000_000_000;
/// Limit of Pods that are kept under one address.
const PODS_MAX: usize = 512;

/// A probe of a container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    pub(super) kind: ProbeKind,
    pub(super) probe: Probe,
    pub(super) target: &'a Target,
}

/// Probes of one container.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) known: &'a KnownPod,
    pub(super) container: &'a Container,
    pub(super) probes: Vec<Candidate<'a>>,
}

/// The probes of a container that have a target.
pub(super) fn of_container(container: &Container) -> impl Iterator<Item = Candidate<'_>> {
    let targets = container.targets.as_deref();
    let all = [
        (ProbeKind::Startup, &container.startup, targets.and_then(|it| it.startup.as_ref())),
        (ProbeKind::Liveness, &container.liveness, targets.and_then(|it| it.liveness.as_ref())),
        (ProbeKind::Readiness, &container.readiness, targets.and_then(|it| it.readiness.as_ref())),
    ];
    all.into_iter().filter_map(|(kind, probe, target)| {
        Some(Candidate { kind, probe: **probe.as_ref()?, target: target? })
    })
}

/// What an address is to the probes of this node's Pods.
#[derive(Debug)]
pub(super) enum Match<'a> {
    /// No Pod's: it may become one's.
    Nobody,
    /// A Pod's, but no probe goes to this port.
    NoProbe,
    /// A probe's, but the request is another one.
    OtherRequest,
    /// These probes', container by container.
    Probes(Vec<Found<'a>>),
}

/// Pods by the addresses that their probes go to.
#[derive(Debug, Default)]
pub(super) struct Targets {
    by_address: HashMap<IpAddr, Vec<String>>,
    addresses: HashMap<String, Vec<IpAddr>>,
    dropped: u64,
}

impl Targets {
    /// Takes in a Pod, as it is now.
    pub(super) fn insert(&mut self, pod: &Pod) {
        let all = addresses(pod);
        if self.addresses.get(&pod.uid).map_or(&[][..], Vec::as_slice) == all {
            return;
        }
        self.remove(&pod.uid);
        let mut kept = Vec::new();
        for address in all {
            let is_full = self.by_address.len() >= ADDRESSES_MAX;
            let pods = self.by_address.get(&address).map_or(0, Vec::len);
            if pods >= PODS_MAX || (pods == 0 && is_full) {
                self.dropped = self.dropped.saturating_add(1);
                continue;
            }
            self.by_address.entry(address).or_default().push(pod.uid.clone());
            kept.push(address);
        }
        if !kept.is_empty() {
            self.addresses.insert(pod.uid.clone(), kept);
        }
    }

    fn remove(&mut self, uid: &str) {
        for address in self.addresses.remove(uid).unwrap_or_default() {
            if let Some(pods) = self.by_address.get_mut(&address) {
                pods.retain(|other| other != uid);
                if pods.is_empty() {
                    self.by_address.remove(&address);
                }
            }
        }
    }

    /// Forgets the Pods that nobody knows any more.
    pub(super) fn expire(&mut self, pods: &Pods) {
        let forgotten = |uid: &&String| pods.get(uid).is_none();
        let forgotten: Vec<String> = self.addresses.keys().filter(forgotten).cloned().collect();
        for uid in forgotten {
            self.remove(&uid);
        }
    }

    /// Total of addresses of Pods that found no room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The Pods that may have been probed at an address at that time.
    pub(super) fn pods<'a>(
        &'a self,
        address: IpAddr,
        time_boot_ns: u64,
        pods: &'a Pods,
    ) -> impl Iterator<Item = &'a KnownPod> {
        let uids = self.by_address.get(&address).map_or(&[][..], Vec::as_slice);
        uids.iter().filter_map(|uid| pods.get(uid)).filter(move |known| {
            known.gone.is_none_or(|gone| gone.time_boot_ns >= time_boot_ns)
                && !known.pod.is_terminal()
        })
    }

    /// The longest timeout of the probes of `localhost` that a connection can belong to.
    pub(super) fn localhost_timeout_s(&self, connection: &Connection, pods: &Pods) -> Option<u64> {
        let remote = connection.remote;
        if !LOOPBACK.contains(&remote.ip()) {
            return None;
        }
        let by_name = |it: &Candidate<'_>| {
            it.target.endpoint().is_some_and(|endpoint| matches!(host(endpoint), Host::Localhost))
        };
        let probes = self.pods(remote.ip(), connection.start_boot_ns, pods).flat_map(|known| {
            let all = known.pod.containers.iter().flat_map(of_container);
            all.filter(move |it| goes_to(it.target, known, remote) && by_name(it))
        });
        probes.map(|it| it.probe.timeout_s).max()
    }

    /// The probes that a connection can belong to.
    pub(super) fn find<'a>(
        &'a self,
        connection: &Connection,
        request: &Request,
        pods: &'a Pods,
    ) -> Match<'a> {
        let (remote, mut any, mut asked) = (connection.remote, false, false);
        let mut found = Vec::new();
        for known in self.pods(remote.ip(), connection.start_boot_ns, pods) {
            any = true;
            for container in &known.pod.containers {
                let there = of_container(container).filter(|it| goes_to(it.target, known, remote));
                let mut probes = Vec::new();
                for candidate in there {
                    asked = true;
                    if can_ask(&candidate, connection, request) {
                        probes.push(candidate);
                    }
                }
                if !probes.is_empty() {
                    found.push(Found { known, container, probes });
                }
            }
        }
        match (found.is_empty(), asked, any) {
            (false, _, _) => Match::Probes(found),
            (true, true, _) => Match::OtherRequest,
            (true, false, true) => Match::NoProbe,
            (true, false, false) => Match::Nobody,
        }
    }
}

/// The addresses that the probes of a Pod go to, in order.
fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let mut all = Vec::new();
    for container in &pod.containers {
        for candidate in of_container(container) {
            match candidate.target.endpoint().map(host) {
                Some(Host::Pods) => all.extend_from_slice(&pod.addresses),
                Some(Host::Address(address)) => all.push(address),
                Some(Host::Localhost) => all.extend(LOOPBACK),
                Some(Host::Name) | None => {}
            }
        }
        let hook = container.targets.as_deref().and_then(|targets| targets.pre_stop.as_ref());
        if hook.is_some_and(|hook| hook.endpoint().is_some()) {
            all.extend_from_slice(&pod.addresses);
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// The host of an endpoint.
enum Host {
    Pods,
    Address(IpAddr),
    Localhost,
    /// A name, whose addresses only a resolver knows.
    Name,
}

fn host(endpoint: &Endpoint) -> Host {
    let Some(host) = endpoint.host.as_deref() else { return Host::Pods };
    if host == "localhost" {
        return Host::Localhost;
    }
    match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => Host::Address(address.to_canonical()),
        Err(_) => Host::Name,
    }
}

/// Whether a connection to a node's address that may be this probe's may as well be of none: the
/// kubelet is a client of the API server, which has its address and its port on the node's network.
/// Without a request nothing tells them apart, but for a probe that sends none where it is connected.
pub(super) fn may_be_none(
    connection: &Connection,
    request: &Request,
    candidate: &Candidate<'_>,
) -> bool {
    let is_bare = connection.data_observed && candidate.probe.handler != Handler::Tcp;
    *request == Request::Nothing && (connection.connected_boot_ns.is_none() || is_bare)
}

/// Whether a target is at this address.
pub(super) fn goes_to(target: &Target, known: &KnownPod, remote: SocketAddr) -> bool {
    let Some(endpoint) = target.endpoint() else { return false };
    endpoint.port == remote.port()
        && match host(endpoint) {
            Host::Pods => known.pod.addresses.contains(&remote.ip()),
            Host::Address(address) => address == remote.ip(),
            Host::Localhost => LOOPBACK.contains(&remote.ip()),
            Host::Name => false,
        }
}

/// Whether the probe can have sent this request.
///
/// The kubelet may have other connections to the same address: to the API server, if that is a Pod of
/// this node. Those whose requests cannot be read are told by how long they last.
fn can_ask(candidate: &Candidate<'_>, connection: &Connection, request: &Request) -> bool {
    let is_read = matches!(request, Request::Get(_) | Request::Http2 { .. });
    let is_http = matches!(candidate.target, Target::Http(_));
    let timeout_ns = candidate.probe.timeout_s.saturating_mul(SECOND_NS);
    let took_ns = connection.end_boot_ns.saturating_sub(connection.start_boot_ns);
    let may_stay = is_http && is_in_vain(connection, request);
    if !is_read && !may_stay && took_ns > timeout_ns.saturating_add(LATE_NS) {
        return false;
    }
    if !connection.data_observed {
        return true;
    }
    // Nothing is sent before there is a connection, nor on one that the server closes at once, nor
    // when the time was up before.
    let nothing = matches!(request, Request::Nothing);
    let closed_at_once = matches!(connection.ending, Ending::ClosedByPeer | Ending::Reset);
    let too_late = is_http && took_ns >= timeout_ns;
    if nothing && (connection.connected_boot_ns.is_none() || closed_at_once || too_late) {
        return true;
    }
    match (candidate.target, request) {
        (Target::Tcp(_), _) => nothing,
        (Target::Http(target), Request::Get(get)) => {
            candidate.probe.handler == Handler::Http && asks_for(target, get, connection.remote)
        }
        (Target::Http(target), Request::Http2 { .. }) => target.is_h2c,
        (Target::Http(_), Request::Tls) => candidate.probe.handler == Handler::Https,
        (Target::Grpc(target), Request::Http2 { service }) => {
            service.as_ref().is_none_or(|its| **its == *target.service.as_bytes())
        }
        // `grpc.mode: TLS` (alpha in Kubernetes 1.37).
        (Target::Grpc(_), Request::Tls) => true,
        (Target::Http(_) | Target::Grpc(_) | Target::Exec(_), _) => false,
    }
}

/// Whether the connection never came to a request. Go's client goes on with it when the time for the
/// request is up, until the kernel gives up or the handshake of TLS has lasted for 10 s
/// (`net/http/transport.go`, `dialConnFor`, since Go 1.23).
fn is_in_vain(connection: &Connection, request: &Request) -> bool {
    let unanswered = connection.data_observed && connection.first_byte_boot_ns.is_none();
    connection.connected_boot_ns.is_none()
        || (unanswered && matches!(request, Request::Nothing | Request::Tls))
}

/// Whether a request is the one for this target, as far as it is known.
pub(super) fn asks_for(target: &HttpTarget, get: &Get, remote: SocketAddr) -> bool {
    let known = get.uri.len().min(target.uri.len());
    let alike = target.uri.get(..known) == get.uri.get(..known);
    // One of them may be cut.
    let uri = alike && (get.uri.len() == target.uri.len() || !get.complete || target.is_cut());
    let agent = match (&target.user_agent, &get.user_agent) {
        (Some(own), Some(its)) => own.as_bytes() == its.as_slice(),
        (None, Some(its)) => its.starts_with(b"kube-probe/"),
        (_, None) => true,
    };
    let host = match (&target.host, &get.host) {
        (Some(own), Some(its)) => own.as_bytes() == its.as_slice(),
        (None, Some(its)) => {
            target.endpoint.host.is_some() || *its == remote.to_string().into_bytes()
        }
        (_, None) => true,
    };
    uri && agent && host
}
