//! The owner's loop: wakes for records, Pods, requests and time, and answers the server.

use std::collections::HashMap;
use std::future::Future;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use super::Node;
use crate::clock::{Now, boot_ns};
use crate::http::{Request, Scrape, Status};
use crate::kernel::heap;
use crate::kube::event::PodEvent;
use crate::metrics::variant::Variant;

/// Runs the owner until the server is gone. After `stop` it answers until the server has closed its
/// last connection.
pub async fn own(
    node: &mut Node,
    mut inbox: mpsc::Receiver<Request>,
    mut news: mpsc::Receiver<PodEvent>,
    stop: impl Future<Output = ()>,
    closing: watch::Sender<bool>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let mut answered = false;
    loop {
        let rest = node.next_wakeup(boot_ns());
        tokio::select! {
            () = node.woken() => node.tick(Now::read()),
            () = tokio::time::sleep(rest) => {
                node.tick(Now::read());
                // The bodies have been sent by now, and are some MB on a large node.
                if std::mem::take(&mut answered) {
                    heap::trim();
                }
            }
            Some(news) = news.recv() => node.pod_event(news, Now::read()),
            request = inbox.recv() => match request {
                Some(request) => {
                    answer(node, request, &mut inbox, stopping);
                    answered = true;
                }
                None => return,
            },
            () = &mut stop, if !stopping => {
                stopping = true;
                node.stop(Now::read());
                let _ = closing.send(true);
            }
        }
    }
}

/// Answers a request, and with it all scrapes that wait behind it: one collection serves them all,
/// and each variant is written once.
fn answer(node: &mut Node, first: Request, inbox: &mut mpsc::Receiver<Request>, stopping: bool) {
    let mut collection = None;
    let mut variants = HashMap::<Variant, Vec<Bytes>>::new();
    let mut next = Some(first);
    while let Some(request) = next {
        // Who asked may have gone; that is no one's fault.
        match request {
            Request::Scrape(_, reply) if reply.is_closed() => {}
            Request::Scrape(Scrape { variant, .. }, reply) => {
                let collection = collection.get_or_insert_with(|| node.collect(Now::read()));
                let chunks =
                    variants.entry(variant).or_insert_with(|| node.expose(collection, variant));
                let _ = reply.send(chunks.clone());
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
        next = inbox.try_recv().ok();
    }
}

fn readiness(stopping: bool) -> Result<(), String> {
    if stopping { Err("the agent is stopping".into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::cgroup::tree;
    use crate::metrics::store::StoreOptions;
    use crate::metrics::variant::{Audience, Format};
    use crate::node::Options;

    #[test]
    fn one_look_serves_all_who_wait() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            mode: tree::Mode::Host,
            cgroup_root: dir.path().to_owned(),
            log_dir: dir.path().to_owned(),
            pods: None,
            store: StoreOptions::default(),
            max_fds: 10,
        };
        let mut node = Node::new(options, None);
        let (questions, mut inbox) = mpsc::channel(8);
        let ask = |audience, format| {
            let (to, answer) = oneshot::channel();
            let peer = std::net::Ipv4Addr::LOCALHOST.into();
            let scrape = Scrape { variant: Variant { audience, format }, peer };
            questions.try_send(Request::Scrape(scrape, to)).unwrap();
            answer
        };
        let mut answers = [
            ask(Audience::Scraper, Format::Text),
            ask(Audience::Scraper, Format::OpenMetrics),
            ask(Audience::Human, Format::Text),
            ask(Audience::Scraper, Format::Text),
        ];
        drop(ask(Audience::Human, Format::OpenMetrics));
        let first = inbox.try_recv().unwrap();
        answer(&mut node, first, &mut inbox, false);
        let bodies = answers.each_mut().map(|answer| answer.try_recv().unwrap());
        let samples = |chunks: &[Bytes]| {
            let text = String::from_utf8(chunks.concat()).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let [text, open_metrics, human, again] = &bodies;
        // What a look costs is in it: there was one.
        assert_eq!(samples(text), samples(open_metrics));
        assert_eq!(samples(text), samples(human));
        assert!(samples(text).iter().any(|line| line.contains("collector_duration_seconds")));
        assert_eq!(text[0].as_ptr(), again[0].as_ptr(), "the same variant is written once");
        assert!(open_metrics.concat().ends_with(b"# EOF\n"));
    }
}
