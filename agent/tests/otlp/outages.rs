//! Receivers that are away, slow, or come back, and an agent that stops.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use agent::trace::endpoint::Protocol;
use agent::trace::otlp::{self, Handle};

use crate::receiver::{BOTH, Got, Receiver, Reply, by, exporter, settings, settled, trace, until};

/// An address at which nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn dropped(handle: &Handle, reason: &str) -> u64 {
    by(&handle.stats.read().spans_dropped, reason)
}

#[test]
fn nothing_is_lost_while_a_receiver_is_away_and_there_is_room() {
    for protocol in BOTH {
        let address = free();
        let handle = otlp::start(settings(&format!("http://{address}"), protocol)).unwrap();
        for n in 0..50 {
            assert!(handle.queue.push(trace(&n.to_string(), 4)));
        }
        until("failures", || {
            (by(&handle.stats.read().export_failures, "unavailable") >= 2).then_some(())
        });
        let receiver = Receiver::at(address, protocol, None, |_| Reply::Taken);
        let stats = settled(&handle, 200);
        assert_eq!((stats.spans_exported, stats.queue_bytes), (200, 0));
        let pods: Vec<_> = receiver.got().iter().flat_map(Got::pods).collect();
        assert_eq!(pods, (0..50).map(|n| n.to_string()).collect::<Vec<_>>(), "and in order");
        // It restarts, which breaks the connection.
        drop(receiver);
        for n in 50..60 {
            assert!(handle.queue.push(trace(&n.to_string(), 4)));
        }
        std::thread::sleep(Duration::from_millis(100));
        let receiver = Receiver::at(address, protocol, None, |_| Reply::Taken);
        assert_eq!(settled(&handle, 240).spans_exported, 240);
        let pods: Vec<_> = receiver.got().iter().flat_map(Got::pods).collect();
        assert_eq!(pods, (50..60).map(|n| n.to_string()).collect::<Vec<_>>());
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn the_oldest_are_dropped_and_counted_while_a_receiver_stays_away() {
    for protocol in BOTH {
        let address = free();
        let mut settings = settings(&format!("http://{address}"), protocol);
        (settings.queue_max_spans, settings.batch_max_spans) = (100, 20);
        let handle = otlp::start(settings).unwrap();
        for n in 0..500 {
            assert!(handle.queue.push(trace(&n.to_string(), 4)));
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(
            (1900..=1990).contains(&dropped(&handle, "queue_full")),
            "{:?}",
            handle.stats.read()
        );
        let receiver = Receiver::at(address, protocol, None, |_| Reply::Taken);
        let stats = settled(&handle, 2000);
        assert_eq!(stats.spans_exported + by(&stats.spans_dropped, "queue_full"), 2000);
        let pods: Vec<u64> =
            receiver.got().iter().flat_map(Got::pods).map(|pod| pod.parse().unwrap()).collect();
        assert_eq!(pods.len() as u64 * 4, stats.spans_exported);
        assert_eq!(pods.last(), Some(&499));
        assert!(pods.is_sorted() && pods[0] >= 470, "the newest, in order: {pods:?}");
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn a_slow_receiver_costs_spans_and_nobody_waits() {
    for protocol in BOTH {
        let receiver = Receiver::with(protocol, |_| Reply::Late(Duration::from_millis(200)));
        let mut settings = settings(&receiver.url(), protocol);
        (settings.queue_max_spans, settings.batch_max_spans) = (100, 20);
        let handle = otlp::start(settings).unwrap();
        let start = Instant::now();
        for n in 0..2000_u64 {
            handle.queue.push(trace(&n.to_string(), 4));
        }
        let pushed = start.elapsed();
        assert!(pushed < Duration::from_secs(2), "{pushed:?}");
        let stats = settled(&handle, 8000);
        let dropped = by(&stats.spans_dropped, "queue_full");
        assert!(stats.spans_exported >= 100 && dropped > 7000, "{stats:?}");
        assert_eq!(stats.spans_exported + dropped, 8000);
        let got: usize = receiver.got().iter().map(Got::spans).sum();
        assert_eq!(got as u64, stats.spans_exported);
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn a_receiver_that_does_not_answer_gets_the_spans_again_over_another_connection() {
    for protocol in BOTH {
        let receiver = Receiver::with(protocol, |number| match number {
            0 => Reply::Late(Duration::from_secs(60)),
            _ => Reply::Taken,
        });
        let mut settings = settings(&receiver.url(), protocol);
        settings.timeout = Duration::from_millis(300);
        let handle = otlp::start(settings).unwrap();
        handle.queue.push(trace("web", 3));
        let stats = settled(&handle, 3);
        assert_eq!((stats.spans_exported, by(&stats.export_failures, "timeout")), (3, 1));
        assert_eq!((receiver.connections(), receiver.got().len()), (2, 2));
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn the_last_spans_are_sent_when_the_agent_stops() {
    for protocol in BOTH {
        let receiver = Receiver::new(protocol);
        let mut settings = settings(&receiver.url(), protocol);
        settings.schedule_delay = Duration::from_secs(3600);
        let handle = otlp::start(settings).unwrap();
        for n in 0..400 {
            handle.queue.push(trace(&n.to_string(), 4));
        }
        let (queue, stats) = (handle.queue.clone(), handle.stats.clone());
        let start = Instant::now();
        handle.shutdown(Duration::from_secs(5));
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
        let got: usize = receiver.got().iter().map(Got::spans).sum();
        assert_eq!((got, stats.read().spans_exported), (1600, 1600));
        assert!(!queue.push(trace("late", 5)), "nothing is taken after the end");
        assert_eq!(by(&stats.read().spans_dropped, "shutdown"), 5);
    }
}

#[test]
fn the_end_does_not_wait_for_a_receiver_and_what_is_left_is_counted() {
    for protocol in BOTH {
        let away = format!("http://{}", free());
        let silent = Receiver::with(protocol, |_| Reply::Late(Duration::from_secs(60)));
        for url in [away, silent.url()] {
            for wait in [0, 300] {
                let handle = otlp::start(settings(&url, protocol)).unwrap();
                for n in 0..100 {
                    handle.queue.push(trace(&n.to_string(), 4));
                }
                // While the spans wait for others, and while they are being sent or wait again.
                std::thread::sleep(Duration::from_millis(wait));
                let stats = handle.stats.clone();
                let start = Instant::now();
                handle.shutdown(Duration::from_millis(700));
                let took = start.elapsed();
                assert!(took < Duration::from_millis(1700), "{took:?}");
                let stats = stats.read();
                assert_eq!(by(&stats.spans_dropped, "shutdown"), 400, "{stats:?}");
                assert_eq!(stats.queue_bytes, 0);
            }
        }
    }
}

#[test]
fn an_agent_that_stops_tries_once_more_before_its_rest_is_over() {
    for protocol in BOTH {
        let refusal = match protocol {
            Protocol::Grpc => Reply::Grpc(14, "later", vec![]),
            Protocol::HttpProtobuf => {
                Reply::Status(503, vec![("retry-after", "100".into())], Vec::new())
            }
        };
        let receiver = Receiver::with(protocol, move |number| match number {
            0 => refusal.clone(),
            _ => Reply::Taken,
        });
        let handle = exporter(&receiver, protocol);
        handle.queue.push(trace("web", 3));
        receiver.wait(1);
        std::thread::sleep(Duration::from_millis(50));
        let stats = handle.stats.clone();
        let start = Instant::now();
        handle.shutdown(Duration::from_secs(5));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(stats.read().spans_exported, 3);
    }
}

#[test]
fn without_its_handle_the_exporter_ends_at_once() {
    let silent = Receiver::with(Protocol::Grpc, |_| Reply::Late(Duration::from_secs(60)));
    let handle = exporter(&silent, Protocol::Grpc);
    handle.queue.push(trace("web", 3));
    silent.wait(1);
    let (queue, stats) = (handle.queue.clone(), handle.stats.clone());
    drop(handle);
    until("end", || (by(&stats.read().spans_dropped, "shutdown") == 3).then_some(()));
    until("closed queue", || (!queue.push(trace("late", 1))).then_some(()));
}
