//! The owner's loop: wakes for records, Pods, requests and time, and answers the server.

use std::future::Future;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use super::Node;
use super::looks::Looks;
use crate::clock::{Now, boot_ns};
use crate::http::{Inbox, Request, Status};
use crate::kernel::heap;
use crate::kube::event::PodEvent;

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
        let rest = node.next_wakeup(boot_ns()).min(looks.rest(Instant::now()));
        tokio::select! {
            () = node.woken() => node.tick(Now::read()),
            () = tokio::time::sleep(rest) => {
                node.tick(Now::read());
                // The bodies, which are some MB on a large node, have been sent, or have only slow
                // readers left.
                if looks.expire(Instant::now()) || (answered && inbox.meter.bytes() == 0) {
                    answered = inbox.meter.bytes() > 0;
                    heap::trim();
                }
            }
            Some(news) = news.recv() => node.pod_event(news, Now::read()),
            request = inbox.requests.recv() => match request {
                Some(request) => {
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
