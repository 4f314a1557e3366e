//! Attempts that may go on: a redirect that the kubelet may follow, a call that gRPC may try again. Pure.

use std::net::SocketAddr;

use super::instance::Chosen;
use super::redirect::{Place, Referer};
use super::request::{Get, Request};
use super::verdict::{Follow, Verdict};
use crate::cgroup::CgroupId;
use crate::clock::SECOND_NS;
use crate::event::Connection;
use crate::kube::pod::Handler;
use crate::lifecycle::fact::{Network, ProbeResult};

/// Limit of attempts that are open.
const OPEN_MAX: usize = 1_024;
/// Longest time between the answer that redirects and the next connection, where that does not say
/// whence it comes: the kubelet reads the rest of the answer, closes, and connects.
const FOLLOWS_NS: u64 = 50_000_000;
/// Redirects that the kubelet follows in one attempt; the next one is an error
/// (`pkg/probe/http/http.go`, `RedirectChecker`, Kubernetes 1.37).
const REDIRECTS_MAX: u32 = 9;
/// Time by which the record of a connection may be late.
const LATE_NS: u64 = 1_000_000_000;

/// An attempt, as far as it has come.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) cgroup: CgroupId,
    pub(super) chosen: Chosen,
    pub(super) start_boot_ns: u64,
    pub(super) network: Network,
    pub(super) verdict: Verdict,
    remote: SocketAddr,
    /// Target of the last request, if it was read as a whole.
    target: Option<Vec<u8>>,
    /// Where the last answer redirects to, if that was read.
    place: Option<Place>,
    /// The last answer, or the last end without one.
    answered_boot_ns: u64,
}

impl Attempt {
    pub(super) fn new(
        cgroup: CgroupId,
        chosen: Chosen,
        connection: &Connection,
        request: &Request,
        verdict: Verdict,
    ) -> Self {
        let mut attempt = Self {
            cgroup,
            chosen,
            start_boot_ns: connection.start_boot_ns,
            network: Network::default(),
            verdict,
            remote: connection.remote,
            target: None,
            place: None,
            answered_boot_ns: 0,
        };
        attempt.go_on(connection, request, verdict);
        attempt
    }

    /// The time until when it may go on; `None` if it is over.
    pub(super) fn open_until_boot_ns(&self) -> Option<u64> {
        self.verdict.follow?;
        let timeout_ns = self.chosen.probe.timeout_s.saturating_mul(SECOND_NS);
        Some(self.start_boot_ns.saturating_add(timeout_ns).saturating_add(LATE_NS))
    }

    /// Whether a connection goes on with it. `is_known`: the request is that of a probe.
    fn goes_on_with(&self, connection: &Connection, request: &Request, is_known: bool) -> bool {
        let start_boot_ns = connection.start_boot_ns;
        let in_time = self.open_until_boot_ns().is_some_and(|until| start_boot_ns <= until)
            && start_boot_ns >= self.answered_boot_ns;
        match self.verdict.follow {
            Some(Follow::Retry) => in_time && connection.remote == self.remote,
            Some(Follow::Redirect) => {
                in_time
                    && connection.remote.ip() == self.remote.ip()
                    && self.leads_to(connection, request, is_known)
            }
            None => false,
        }
    }

    /// Whether the redirect is followed by this connection to the same host. A probe of its own may
    /// begin at that moment, to this or another container of the Pod.
    fn leads_to(&self, connection: &Connection, request: &Request, is_known: bool) -> bool {
        let soon_ns = if is_known { FOLLOWS_NS / 10 } else { FOLLOWS_NS };
        let end = self.verdict.end_boot_ns.max(self.answered_boot_ns);
        let is_soon = connection.start_boot_ns <= end.saturating_add(soon_ns);
        let is_there = match (self.place, request) {
            (Some(Place::Elsewhere), _) => false,
            (Some(Place::Port { port, .. }), Request::Nothing) => connection.remote.port() == port,
            (Some(Place::Port { port, is_tls }), _) => {
                connection.remote.port() == port && matches!(request, Request::Tls) == is_tls
            }
            // It may be refused, or any that only connects.
            (None, Request::Nothing) => connection.remote == self.remote,
            (None, _) => true,
        };
        let agent =
            |get: &Get| get.user_agent.as_ref().is_none_or(|its| its.starts_with(b"kube-probe/"));
        is_there
            && match request {
                Request::Get(get) => match &get.referer {
                    Referer::Absent => false,
                    Referer::Target(from) => self.target.as_ref().is_none_or(|own| own == from),
                    Referer::Unread => agent(get) && is_soon,
                },
                Request::Nothing | Request::Tls => is_soon,
                // The kubelet speaks it to gRPC alone.
                Request::Http2 { .. } | Request::Other => false,
            }
    }

    /// The handler by which the next connection is judged: a redirect may lead to another scheme.
    pub(super) const fn next_handler(&self, request: &Request) -> Handler {
        match (self.verdict.follow, request) {
            (Some(Follow::Redirect), Request::Tls) => Handler::Https,
            (Some(Follow::Redirect), _) => Handler::Http,
            _ => self.chosen.probe.handler,
        }
    }

    /// Goes on with a connection.
    pub(super) fn go_on(&mut self, connection: &Connection, request: &Request, verdict: Verdict) {
        self.network = Network {
            connected_boot_ns: connection.connected_boot_ns,
            first_byte_boot_ns: connection.first_byte_boot_ns,
            connections: self.network.connections.saturating_add(1),
        };
        self.verdict = verdict;
        self.remote = connection.remote;
        self.answered_boot_ns = connection.first_byte_boot_ns.unwrap_or(connection.end_boot_ns);
        if verdict.follow != Some(Follow::Redirect) {
            return;
        }
        (self.target, self.place) = match request {
            Request::Get(get) => (
                get.complete.then(|| get.uri.clone()),
                Place::read(&connection.received, connection.remote, get.host.as_deref()),
            ),
            _ => (None, None),
        };
        if self.place == Some(Place::Elsewhere) {
            self.verdict.follow = None;
        } else if self.network.connections > REDIRECTS_MAX {
            self.verdict.result = ProbeResult::Failure;
            self.verdict.follow = None;
        }
    }
}

/// All attempts that may go on.
#[derive(Debug, Default)]
pub(super) struct Open(Vec<Attempt>);

impl Open {
    /// Keeps an attempt; returns it if there is no room.
    pub(super) fn keep(&mut self, attempt: Attempt) -> Option<Attempt> {
        if self.0.len() >= OPEN_MAX {
            return Some(attempt);
        }
        self.0.push(attempt);
        None
    }

    /// Takes out the attempt that a connection goes on with.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        request: &Request,
        is_known: impl Fn() -> bool,
    ) -> Option<Attempt> {
        if self.0.is_empty() {
            return None;
        }
        let is_known = is_known();
        let goes_on = |it: &Attempt| it.goes_on_with(connection, request, is_known);
        let at = self.0.iter().rposition(goes_on)?;
        Some(self.0.remove(at))
    }

    /// Takes out the attempts that go on no more, the oldest first.
    pub(super) fn over(&mut self, now_boot_ns: u64) -> Vec<Attempt> {
        let over =
            |it: &mut Attempt| it.open_until_boot_ns().is_none_or(|until| until <= now_boot_ns);
        let mut all: Vec<Attempt> = self.0.extract_if(.., over).collect();
        // The kubelet has waited until the time was up for a connection that works.
        for attempt in all.iter_mut().filter(|it| it.verdict.follow == Some(Follow::Retry)) {
            let timeout_ns = attempt.chosen.probe.timeout_s.saturating_mul(SECOND_NS);
            let until = attempt.start_boot_ns.saturating_add(timeout_ns);
            attempt.verdict.end_boot_ns = attempt.verdict.end_boot_ns.max(until);
        }
        all
    }

    /// The time at which the first goes on no more.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.0.iter().filter_map(Attempt::open_until_boot_ns).min()
    }
}
