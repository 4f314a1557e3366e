//! The owner's loop: wakes for records, Pods, requests and time, and answers the server.

use std::collections::HashMap;
use std::future::Future;

use tokio::sync::{mpsc, watch};

use super::Node;
use crate::clock::{Now, boot_ns};
use crate::http::{Request, Scrape, Status};
use crate::kernel::heap;
use crate::kube::event::PodEvent;
use crate::metrics::text::Text;
use crate::metrics::variant::{Format, Seen};

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
/// and each format is written once.
fn answer(node: &mut Node, first: Request, inbox: &mut mpsc::Receiver<Request>, stopping: bool) {
    let mut collection = None;
    let mut texts = HashMap::<Format, Text>::new();
    let mut next = Some(first);
    while let Some(request) = next {
        // Who asked may have gone; that is no one's fault.
        match request {
            Request::Scrape(_, reply) if reply.is_closed() => {}
            Request::Scrape(Scrape { format, scraper }, reply) => {
                let collection = collection.get_or_insert_with(|| node.collect(Now::read()));
                let text = texts.entry(format).or_insert_with(|| node.expose(collection, format));
                let seen = scraper.map_or(Seen::ALL, |from| node.seen(collection, &from));
                let _ = reply.send(text.for_reader(seen));
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
    use std::net::{IpAddr, Ipv4Addr};

    use bytes::Bytes;
    use tokio::sync::oneshot;

    use super::*;
    use crate::cgroup::tree;
    use crate::metrics::scrapers::Connection;
    use crate::metrics::store::StoreOptions;
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
        let prometheus = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let ask = |scraper: Option<IpAddr>, format| {
            let (to, answer) = oneshot::channel();
            let scrape = Scrape { format, scraper: scraper.map(Connection::new) };
            questions.try_send(Request::Scrape(scrape, to)).unwrap();
            answer
        };
        let mut answers = [
            ask(prometheus, Format::Text),
            ask(prometheus, Format::OpenMetrics),
            ask(None, Format::Text),
            ask(prometheus, Format::Text),
        ];
        drop(ask(None, Format::OpenMetrics));
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
        assert_eq!(text[0].as_ptr(), again[0].as_ptr(), "the same format is written once");
        assert!(open_metrics.concat().ends_with(b"# EOF\n"));
    }
}
