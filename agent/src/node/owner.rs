//! The owner's loop: wakes for records, Pods, requests and time, and answers the server.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Node;
use super::looks::Looks;
use crate::clock::{Now, boot_ns};
use crate::http::{Inbox, Request, Status};
use crate::kernel::heap;
use crate::kube::event::PodEvent;

/// Oversleep after which the agent was not slow but away: stopped, starved, or on a machine that
/// slept.
const AWAY_NS: u64 = 3_000_000_000;

/// Runs the owner until the server is gone. After `stop` it answers until the server has closed its
/// last connection.
pub async fn own(
    node: &mut Node,
    mut inbox: Inbox,
    mut news: mpsc::Receiver<PodEvent>,
    stop: impl Future<Output = ()>,
    closing: watch::Sender<bool>,
) {
    let mut looks = Looks::new(&inbox);
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let mut answered = false;
    loop {
        let begin_boot_ns = boot_ns();
        let rest = node.next_wakeup(begin_boot_ns).min(looks.rest(Instant::now()));
        let wake = Wake { begin_boot_ns, rest };
        tokio::select! {
            () = node.woken() => {
                let now = wake.up(node);
                node.tick(now);
            }
            () = tokio::time::sleep(rest) => {
                let now = wake.up(node);
                node.tick(now);
                // The bodies, which are some MB on a large node, have been sent, or have only slow
                // readers left.
                if looks.expire(Instant::now()) || (answered && inbox.meter.bytes() == 0) {
                    answered = inbox.meter.bytes() > 0;
                    heap::trim();
                }
            }
            Some(news) = news.recv() => {
                let now = wake.up(node);
                node.pod_event(news, now);
            }
            request = inbox.requests.recv() => match request {
                Some(request) => {
                    wake.up(node);
                    answer(node, &mut looks, request, stopping);
                    answered = true;
                }
                None => return,
            },
            () = &mut stop, if !stopping => {
                stopping = true;
                node.stop(Now::read());
                looks.forget();
                let _ = closing.send(true);
            }
        }
    }
}

/// A rest of the owner's.
#[derive(Clone, Copy, Debug)]
struct Wake {
    begin_boot_ns: u64,
    rest: Duration,
}

impl Wake {
    /// Ends the rest: the node learns of it, whatever comes first, if the agent was away.
    fn up(self, node: &mut Node) -> Now {
        let now = Now::read();
        if self.was_away(now.boot_ns) {
            node.resumed(now);
        }
        now
    }

    fn was_away(self, now_boot_ns: u64) -> bool {
        let rest_ns = u64::try_from(self.rest.as_nanos()).unwrap_or(u64::MAX);
        let due_boot_ns = self.begin_boot_ns.saturating_add(rest_ns);
        now_boot_ns.saturating_sub(due_boot_ns) > AWAY_NS
    }
}

fn answer(node: &mut Node, looks: &mut Looks, request: Request, stopping: bool) {
    // Who asked may have gone; that is no one's fault.
    match request {
        Request::Scrape(_, reply) if reply.is_closed() => {}
        Request::Scrape(scrape, reply) => {
            let _ = reply.send(looks.scrape(node, &scrape, Instant::now()));
        }
        Request::Ready(reply) => {
            let _ = reply.send(readiness(stopping));
        }
        Request::Status(reply) => {
            let not_ready = readiness(stopping).err();
            let version = env!("CARGO_PKG_VERSION").to_owned();
            let _ = reply.send(Status { version, not_ready, facts: node.facts(Now::read()) });
        }
    }
}

fn readiness(stopping: bool) -> Result<(), String> {
    if stopping { Err("the agent is stopping".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_oversleeps_was_away() {
        let wake = Wake { begin_boot_ns: 100 * AWAY_NS, rest: Duration::from_secs(1) };
        let due = wake.begin_boot_ns + 1_000_000_000;
        assert!(!wake.was_away(wake.begin_boot_ns) && !wake.was_away(due + AWAY_NS));
        assert!(wake.was_away(due + AWAY_NS + 1));
        assert!(!Wake { rest: Duration::MAX, ..wake }.was_away(u64::MAX - 1));
    }
}
