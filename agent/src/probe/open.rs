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
use crate::lifecycle::fact::{Network, ProbeAttempt, ProbeKind, ProbeResult};

/// Least time that gRPC lets pass after a connection that did not come about: a second, less a fifth
/// of it by chance (grpc-go `backoff/backoff.go`, `DefaultConfig`), and what a clock may be off.
const BACKOFF_NS: u64 = 700_000_000;
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
/// Longest time for which an attempt is open, whatever its timeout is.
const OPEN_NS: u64 = 60_000_000_000;

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

    /// The attempt as it is told, but for the failures that are left.
    pub(super) const fn made(&self) -> ProbeAttempt {
        let Self { chosen, verdict, .. } = self;
        ProbeAttempt {
            probe: chosen.kind,
            handler: chosen.probe.handler,
            result: verdict.result,
            start_boot_ns: self.start_boot_ns,
            end_boot_ns: verdict.end_boot_ns,
            timeout_s: chosen.probe.timeout_s,
            failures_left: None,
            status: verdict.status,
            network: Some(self.network),
            exec: None,
        }
    }

    /// The time until when it may go on; `None` if it is over.
    pub(super) fn open_until_boot_ns(&self) -> Option<u64> {
        self.verdict.follow?;
        let timeout_ns = self.chosen.probe.timeout_s.saturating_mul(SECOND_NS).min(OPEN_NS);
        Some(self.start_boot_ns.saturating_add(timeout_ns).saturating_add(LATE_NS))
    }

    /// It is over: the kubelet has waited until its time was up for a connection that works, but not
    /// longer than until then.
    fn waited_until(&mut self, then_boot_ns: u64) {
        if self.verdict.follow == Some(Follow::Retry) {
            let timeout_ns = self.chosen.probe.timeout_s.saturating_mul(SECOND_NS);
            let until_boot_ns = self.start_boot_ns.saturating_add(timeout_ns).min(then_boot_ns);
            self.verdict.end_boot_ns = self.verdict.end_boot_ns.max(until_boot_ns);
        }
    }

    /// Whether both are of the same probe, or of the same two.
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.cgroup, self.chosen.kind) == (other.cgroup, other.chosen.kind)
    }

    /// Whether a connection goes on with it. `is_known`: the request is that of a probe.
    fn goes_on_with(
        &self,
        connection: &Connection,
        request: &Request,
        is_known: bool,
        others_are_due: impl Fn(&Self) -> bool,
    ) -> bool {
        let start_boot_ns = connection.start_boot_ns;
        let timeout_ns = self.chosen.probe.timeout_s.saturating_mul(SECOND_NS);
        let in_time = start_boot_ns <= self.start_boot_ns.saturating_add(timeout_ns)
            && start_boot_ns >= self.answered_boot_ns;
        match self.verdict.follow {
            // Without a request it may be that of another probe on the port.
            Some(Follow::Retry) => {
                in_time
                    && start_boot_ns >= self.answered_boot_ns.saturating_add(self.backs_off_ns())
                    && connection.remote == self.remote
                    && match request {
                        Request::Http2 { .. } | Request::Tls => true,
                        Request::Nothing => !others_are_due(self),
                        Request::Get(_) | Request::Other => false,
                    }
            }
            Some(Follow::Redirect) => {
                in_time
                    && connection.remote.ip() == self.remote.ip()
                    && self.leads_to(connection, request, is_known)
            }
            None => false,
        }
    }

    /// Time that gRPC lets pass before it tries again.
    const fn backs_off_ns(&self) -> u64 {
        if self.network.connected_boot_ns.is_none() { BACKOFF_NS } else { 0 }
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
pub(super) struct Open {
    attempts: Vec<Attempt>,
    dropped: u64,
}

impl Open {
    /// Keeps an attempt; returns those that are over by that: an earlier one of the same probe, which
    /// asks once at a time, and the attempt itself if there is no room.
    pub(super) fn keep(&mut self, attempt: Attempt) -> Vec<Attempt> {
        let probes = if attempt.chosen.kind == ProbeKind::LivenessOrReadiness { 2 } else { 1 };
        let same = self.attempts.iter().filter(|it| it.is_of_the_same(&attempt));
        let mut begins: Vec<u64> = same.map(|it| it.start_boot_ns).collect();
        begins.push(attempt.start_boot_ns);
        begins.sort_unstable_by(|a, b| b.cmp(a));
        let since_boot_ns = begins.get(probes - 1).copied().unwrap_or(0);
        let earlier =
            |it: &mut Attempt| it.is_of_the_same(&attempt) && it.start_boot_ns < since_boot_ns;
        let mut over: Vec<Attempt> = self.attempts.extract_if(.., earlier).collect();
        over.iter_mut().for_each(|it| it.waited_until(attempt.start_boot_ns));
        if self.attempts.len() >= OPEN_MAX {
            self.dropped = self.dropped.saturating_add(1);
            over.push(attempt);
        } else {
            self.attempts.push(attempt);
        }
        over
    }

    /// Total of attempts that found no room: what they would have gone on with is not seen.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes out the attempt that a connection goes on with. `others_are_due`: another probe can be
    /// what the connection is for, and is due.
    pub(super) fn take(
        &mut self,
        connection: &Connection,
        request: &Request,
        is_known: impl Fn() -> bool,
        others_are_due: impl Fn(&Attempt) -> bool,
    ) -> Option<Attempt> {
        if self.attempts.is_empty() {
            return None;
        }
        let is_known = is_known();
        let goes_on =
            |it: &Attempt| it.goes_on_with(connection, request, is_known, &others_are_due);
        let at = self.attempts.iter().rposition(goes_on)?;
        Some(self.attempts.remove(at))
    }

    /// Takes out the attempts that go on no more, the oldest first.
    pub(super) fn over(&mut self, now_boot_ns: u64) -> Vec<Attempt> {
        let over =
            |it: &mut Attempt| it.open_until_boot_ns().is_none_or(|until| until <= now_boot_ns);
        let mut all: Vec<Attempt> = self.attempts.extract_if(.., over).collect();
        all.iter_mut().for_each(|it| it.waited_until(u64::MAX));
        all
    }

    /// The time at which the first goes on no more.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.attempts.iter().filter_map(Attempt::open_until_boot_ns).min()
    }
}
