//! Targets: which probes a connection can belong to, by its address and its request. Pure.

use std::net::{IpAddr, SocketAddr};

use super::addresses::{self, Addresses, Place};
use super::candidate::{Candidate, of_container};
use super::request::{Get, Request};
use crate::clock::SECOND_NS;
use crate::event::{Connection, Ending};
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::{Container, Handler, Pod};
use crate::kube::pods::Pods;
use crate::kube::target::{HttpTarget, Target};

/// Longest time by which the kubelet may be late to give up a probe.
const LATE_NS: u64 = 2_000_000_000;

/// Probes of one container.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pub(super) known: &'a KnownPod,
    pub(super) container: &'a Container,
    pub(super) probes: Vec<Candidate<'a>>,
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
    /// These probes'. `has_rival`: it can be that of another Pod that asks here, too.
    Probes {
        /// The probes, container by container.
        found: Vec<Found<'a>>,
        has_rival: bool,
    },
}

/// Pods by the addresses that their probes go to.
#[derive(Debug, Default)]
pub(super) struct Targets(Addresses);

impl Targets {
    /// Takes in a Pod, as it is now.
    pub(super) fn insert(&mut self, pod: &Pod) {
        self.0.insert(pod);
    }

    /// Forgets the Pods that nobody knows any more.
    pub(super) fn expire(&mut self, pods: &Pods) {
        self.0.expire(pods);
    }

    /// Total of hosts of Pods that found no room.
    pub(super) const fn dropped(&self) -> u64 {
        self.0.dropped()
    }

    /// Whether no Pod is kept.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The Pods whose own an address was at that time, and those that name it.
    pub(super) fn pods<'a>(
        &'a self,
        address: IpAddr,
        time_boot_ns: u64,
        pods: &'a Pods,
    ) -> impl Iterator<Item = &'a KnownPod> {
        let all = self.0.own(address).iter().chain(self.0.foreign(address));
        there(all, time_boot_ns, pods)
    }

    /// The longest timeout of the probes of `localhost` that a connection can belong to.
    pub(super) fn localhost_timeout_s(&self, connection: &Connection, pods: &Pods) -> Option<u64> {
        let remote = connection.remote;
        if !remote.ip().is_loopback() {
            return None;
        }
        let probes = self.pods(remote.ip(), connection.start_boot_ns, pods).flat_map(|known| {
            let all = known.pod.containers.iter().flat_map(of_container);
            all.filter(move |it| addresses::is_at_localhost(it.target, remote))
        });
        probes.map(|it| it.probe.timeout_s).max()
    }

    /// The Pods that may have asked at an address at that time, be it by a name.
    pub(super) fn all_pods<'a>(
        &'a self,
        remote: SocketAddr,
        time_boot_ns: u64,
        pods: &'a Pods,
    ) -> impl Iterator<Item = &'a KnownPod> {
        let all = self.0.own(remote.ip()).iter().chain(self.0.foreign(remote.ip()));
        there(all.chain(self.0.anywhere(remote)), time_boot_ns, pods)
    }

    /// The probes that a connection can belong to. Those of the Pods whose own the address is come before
    /// those that name it.
    pub(super) fn find<'a>(
        &'a self,
        connection: &Connection,
        request: &Request,
        pods: &'a Pods,
    ) -> Match<'a> {
        let (remote, at) = (connection.remote, connection.start_boot_ns);
        let mut asked = false;
        let tables =
            [(Place::Own, self.0.own(remote.ip())), (Place::Foreign, self.0.foreign(remote.ip()))];
        for (place, uids) in tables {
            let mut found = Vec::new();
            for known in there(uids, at, pods) {
                for container in &known.pod.containers {
                    let is_there = |it: &Candidate<'_>| {
                        addresses::place(it.target, &known.pod, remote) == Some(place)
                    };
                    let mut probes = Vec::new();
                    for candidate in of_container(container).filter(is_there) {
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
            if !found.is_empty() {
                let has_rival = self.has_rival(place, connection, request, pods);
                return Match::Probes { found, has_rival };
            }
        }
        let any = asked || self.pods(remote.ip(), at, pods).next().is_some();
        match (asked, any) {
            (true, _) => Match::OtherRequest,
            (false, true) => Match::NoProbe,
            (false, false) => Match::Nobody,
        }
    }

    /// Whether a probe can have made this connection, whosever it is.
    pub(super) fn may_ask(&self, connection: &Connection, request: &Request, pods: &Pods) -> bool {
        matches!(self.find(connection, request, pods), Match::Probes { .. })
            || self.has_rival(Place::Own, connection, request, pods)
    }

    /// Whether a probe that is found in another place than these can have made the connection too.
    fn has_rival(
        &self,
        place: Place,
        connection: &Connection,
        request: &Request,
        pods: &Pods,
    ) -> bool {
        let remote = connection.remote;
        let foreign = self.0.foreign(remote.ip());
        let foreign = foreign.iter().filter(|_| place == Place::Own);
        let all = foreign.chain(self.0.anywhere(remote));
        there(all, connection.start_boot_ns, pods).any(|known| {
            known.pod.containers.iter().flat_map(of_container).any(|it| {
                let at = addresses::place(it.target, &known.pod, remote);
                let is_other = match at {
                    Some(Place::Anywhere) => true,
                    Some(Place::Foreign) => place == Place::Own,
                    Some(Place::Own) | None => false,
                };
                is_other && can_ask(&it, connection, request)
            })
        })
    }
}

/// The Pods with these UIDs that the kubelet may have probed at that time.
fn there<'a>(
    uids: impl IntoIterator<Item = &'a String>,
    time_boot_ns: u64,
    pods: &'a Pods,
) -> impl Iterator<Item = &'a KnownPod> {
    uids.into_iter().filter_map(|uid| pods.get(uid)).filter(move |known| {
        known.gone.is_none_or(|gone| gone.time_boot_ns >= time_boot_ns) && !known.pod.is_terminal()
    })
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
    let agent = match (&target.user_agent, &get.user_agent) {
        (Some(own), Some(its)) => own.as_bytes() == its.as_slice(),
        (None, Some(its)) => its.starts_with(b"kube-probe/"),
        (_, None) => true,
    };
    // Another client's request has other headers, and may be answered otherwise.
    let headers = !matches!((target.has_more, get.has_more), (Some(own), Some(its)) if own != its);
    goes_to_path(target, get) && goes_to_host(target, get, remote) && agent && headers
}

/// Whether a request has the path of this target. Either may be cut.
pub(super) fn goes_to_path(target: &HttpTarget, get: &Get) -> bool {
    let (own, its) = (&*target.uri, &*get.uri);
    let starts = own.get(..its.len()) == Some(its);
    let goes_on = its.get(..own.len()) == Some(own);
    own == its || (starts && !get.complete) || (goes_on && target.is_cut())
}

/// Whether a request has the header `Host` of this target.
pub(super) fn goes_to_host(target: &HttpTarget, get: &Get, remote: SocketAddr) -> bool {
    let Some(its) = &get.host else { return true };
    if let Some(own) = &target.host {
        return own.as_bytes() == its.as_slice();
    }
    let is_address = *its == remote.to_string().into_bytes();
    is_address || target.endpoint.host.as_deref().is_some_and(|host| is_named(host, its, remote))
}

/// Whether Go writes a host as this header `Host`: without a zone, and in ASCII.
fn is_named(host: &str, header: &[u8], remote: SocketAddr) -> bool {
    if !host.is_ascii() {
        return true;
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let named = match host.split_once('%') {
        Some((address, _)) if address.contains(':') => format!("[{address}]:{}", remote.port()),
        _ if host.contains(':') => format!("[{host}]:{}", remote.port()),
        _ => format!("{host}:{}", remote.port()),
    };
    header.eq_ignore_ascii_case(named.as_bytes())
}
