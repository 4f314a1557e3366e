//! What is sent, and what an answer means.

use std::time::{Duration, Instant};

use agent::trace::endpoint::Protocol;
use agent::trace::otlp;
use agent::trace::settings::Settings;
use http::HeaderValue;
use opentelemetry_proto::tonic::trace::v1::ResourceSpans;
use prost::Message as _;

use crate::receiver::{BOTH, Got, Receiver, Reply, by, exporter, settings, settled, trace};
use crate::wire::gzip;

const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

#[test]
fn spans_arrive_as_they_were_encoded() {
    for protocol in BOTH {
        for is_gzip in [false, true] {
            let receiver = Receiver::new(protocol);
            let mut settings = settings(&receiver.url(), protocol);
            settings.gzip = is_gzip;
            let mut token = HeaderValue::from_static("Bearer secret");
            token.set_sensitive(true);
            settings.headers.insert("authorization", token);
            settings.headers.append("x-scope", HeaderValue::from_static("a"));
            settings.headers.append("x-scope", HeaderValue::from_static("b"));
            let handle = otlp::start(settings).unwrap();
            let traces = [trace("web-0", 3), trace("web-1", 1), trace("größe", 40)];
            for trace in &traces {
                assert!(handle.queue.push(trace.clone()));
            }
            let stats = settled(&handle, 44);
            let got = receiver.got();
            let sent = got.iter().flat_map(|got| got.message.resource_spans.clone());
            let expected =
                traces.each_ref().map(|trace| ResourceSpans::decode(&*trace.bytes).unwrap());
            assert_eq!(sent.collect::<Vec<_>>(), expected);
            assert_eq!((stats.spans_exported, stats.queue_bytes), (44, 0));
            assert!(stats.last_export_unix_ns.is_some());
            assert!(stats.spans_dropped.iter().chain(&stats.export_failures).all(|(_, n)| *n == 0));
            let headers = &got[0].headers;
            assert_eq!(headers["authorization"], "Bearer secret");
            assert_eq!(headers.get_all("x-scope").iter().collect::<Vec<_>>(), ["a", "b"]);
            assert!(
                headers["user-agent"].to_str().unwrap().starts_with("podvitals/"),
                "{headers:?}"
            );
            assert_eq!(capabilities(), ["0000000000000000"; 2], "of the exporter's thread");
            let coding = is_gzip.then_some("gzip");
            let has = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
            match protocol {
                Protocol::Grpc => {
                    assert!(got[0].path.ends_with(GRPC_PATH), "{}", got[0].path);
                    assert_eq!(has("content-type"), Some("application/grpc"));
                    assert_eq!((has("te"), has("grpc-encoding")), (Some("trailers"), coding));
                    assert_eq!(has("grpc-timeout"), Some("5000000u"));
                    assert_eq!(has("grpc-accept-encoding"), Some("gzip,identity"));
                }
                Protocol::HttpProtobuf => {
                    assert_eq!(got[0].path, "/v1/traces");
                    assert_eq!(has("content-type"), Some("application/x-protobuf"));
                    assert_eq!(
                        (has("content-encoding"), has("accept-encoding")),
                        (coding, Some("gzip"))
                    );
                }
            }
            handle.shutdown(Duration::from_secs(5));
        }
    }
}

/// Effective and permitted capabilities of a thread of an exporter, once it has begun.
fn capabilities() -> [String; 2] {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    let status = tasks.filter_map(|task| std::fs::read_to_string(task.join("status")).ok());
    let name = format!("Name:\t{}\n", otlp::THREAD);
    let status = status.filter(|status| status.starts_with(&name)).min_by_key(|status| {
        // Another test's may be about to drop them.
        status.lines().find(|line| line.starts_with("CapEff")).unwrap().to_owned()
    });
    let status = status.unwrap();
    ["CapEff:\t", "CapPrm:\t"].map(|set| {
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        line.unwrap().to_owned()
    })
}

#[test]
fn batches_are_as_large_as_they_may_be_and_use_one_connection() {
    for protocol in BOTH {
        let receiver = Receiver::new(protocol);
        let mut settings = settings(&receiver.url(), protocol);
        // Whole batches wait for nothing.
        (settings.batch_max_spans, settings.schedule_delay) = (8, Duration::from_secs(3600));
        let handle = otlp::start(settings.clone()).unwrap();
        for n in 0..10 {
            handle.queue.push(trace(&n.to_string(), 4));
        }
        let got = receiver.wait(5);
        assert!(got.iter().all(|got| got.spans() == 8), "{got:?}");
        assert_eq!(receiver.connections(), 1);
        handle.shutdown(Duration::from_secs(5));
        // Others wait for more.
        settings.schedule_delay = Duration::from_millis(300);
        let handle = otlp::start(settings).unwrap();
        let start = Instant::now();
        handle.queue.push(trace("one", 1));
        handle.queue.push(trace("other", 1));
        let got = receiver.wait(6);
        assert_eq!(got[5].pods(), ["one", "other"]);
        assert!(got[5].at - start >= Duration::from_millis(300), "{:?}", got[5].at - start);
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn rejected_spans_are_counted_and_the_number_is_not_believed() {
    for protocol in BOTH {
        let receiver = Receiver::with(protocol, |number| match number {
            0 => Reply::Partly(2, "too old"),
            1 => Reply::PartlyGzip(3, "too new"),
            2 => Reply::Partly(i64::MAX, "all of them, and more"),
            3 => Reply::Partly(-5, "a joke\u{1b}[2J"),
            4 => Reply::Partly(0, "only words"),
            _ => Reply::Taken,
        });
        let handle = exporter(&receiver, protocol);
        for n in 0..6_u64 {
            handle.queue.push(trace("web", 10));
            settled(&handle, 10 * (n + 1));
        }
        let stats = handle.stats.read();
        assert_eq!(by(&stats.spans_dropped, "rejected"), 2 + 3 + 10);
        assert_eq!(stats.spans_exported, 60 - 15);
        assert_eq!(by(&stats.export_failures, "partial"), 3);
        assert_eq!(receiver.got().len(), 6, "what was taken in part is not sent again");
        handle.shutdown(Duration::from_secs(5));
    }
}

/// `google.rpc.Status` with a `RetryInfo` of two seconds, by hand: tag, length and bytes.
fn retry_in_two_seconds() -> Vec<u8> {
    const TYPE: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut any = vec![0x0a, TYPE.len() as u8];
    any.extend(TYPE);
    any.extend([0x12, 4, 0x0a, 2, 0x08, 2]);
    let mut status = vec![0x08, 8, 0x1a, any.len() as u8];
    status.extend(any);
    status
}

#[test]
fn what_may_be_sent_again_is_and_after_the_rest_that_is_asked_for() {
    let s = Duration::from_secs;
    let grpc = [
        (Reply::Grpc(14, "away", vec![]), "unavailable", Duration::from_millis(500)),
        (Reply::GrpcAtOnce(14, "away"), "unavailable", Duration::from_millis(500)),
        (Reply::Grpc(8, "busy", retry_in_two_seconds()), "throttled", s(2)),
        (Reply::Grpc(10, "aborted", vec![]), "unavailable", Duration::from_millis(500)),
        (Reply::Status(503, vec![], vec![]), "unavailable", Duration::from_millis(500)),
    ];
    let after = |value: &str| vec![("retry-after", value.to_owned())];
    let http = [
        (Reply::Status(503, after("2"), vec![]), "unavailable", s(2)),
        (Reply::Status(429, after("1"), b"slow down".to_vec()), "throttled", s(1)),
        (Reply::Status(502, after("soon"), vec![]), "unavailable", Duration::from_millis(500)),
        (Reply::Status(504, vec![], vec![0xff; 99]), "unavailable", Duration::from_millis(500)),
    ];
    let cases = grpc.map(|case| (Protocol::Grpc, case)).into_iter();
    let cases = cases.chain(http.map(|case| (Protocol::HttpProtobuf, case)));
    let tried: Vec<_> = cases
        .map(|(protocol, (reply, reason, rest))| {
            std::thread::spawn(move || {
                let first = reply.clone();
                let receiver = Receiver::with(protocol, move |number| match number {
                    0 => first.clone(),
                    _ => Reply::Taken,
                });
                let handle = exporter(&receiver, protocol);
                handle.queue.push(trace("web", 3));
                let stats = settled(&handle, 3);
                let [first, again] = &receiver.got()[..] else { panic!("{reply:?}: two requests") };
                assert_eq!(first.bytes, again.bytes);
                let rested = again.at - first.at;
                assert!(rested >= rest, "{reply:?}: {rested:?}");
                assert!(rested < rest + Duration::from_secs(10), "{reply:?}: {rested:?}");
                assert_eq!((stats.spans_exported, stats.queue_bytes), (3, 0));
                assert_eq!(by(&stats.export_failures, reason), 1, "{reply:?} {stats:?}");
                handle.shutdown(Duration::from_secs(5));
            })
        })
        .collect();
    tried.into_iter().for_each(|tried| tried.join().unwrap());
}

#[test]
fn what_is_refused_is_counted_and_not_sent_again() {
    let grpc = [
        (Reply::Grpc(3, "no", vec![]), "rejected"),
        (Reply::Grpc(16, "who are you", vec![]), "rejected"),
        (Reply::GrpcAtOnce(12, "what is that"), "rejected"),
        (Reply::Grpc(8, "full, for good", vec![]), "throttled"),
        (Reply::Status(401, vec![], vec![]), "rejected"),
        (Reply::Raw("", vec![0xff; 40]), "malformed"),
        (Reply::Raw("", vec![0; 70_000]), "malformed"),
    ];
    let location = vec![("location", "http://127.0.0.1:1/v1/traces".to_owned())];
    let http = [
        (Reply::Status(400, vec![], b"\x12\x02no".to_vec()), "rejected"),
        (Reply::Status(401, vec![], vec![]), "rejected"),
        (Reply::Status(500, vec![], vec![]), "rejected"),
        (Reply::Status(307, location.clone(), vec![]), "rejected"),
        (Reply::Status(301, location, vec![]), "rejected"),
        (Reply::Raw("text/html", b"<h1>Please log in</h1>".to_vec()), "malformed"),
        (Reply::Raw("application/x-protobuf", vec![0xff; 40]), "malformed"),
        (Reply::Raw("application/x-protobuf", vec![0; 70_000]), "malformed"),
    ];
    let cases = grpc.map(|case| (Protocol::Grpc, case)).into_iter();
    for (protocol, (reply, reason)) in cases.chain(http.map(|case| (Protocol::HttpProtobuf, case)))
    {
        let first = reply.clone();
        let receiver = Receiver::with(protocol, move |number| match number {
            0 => first.clone(),
            _ => Reply::Taken,
        });
        let handle = exporter(&receiver, protocol);
        handle.queue.push(trace("refused", 3));
        let stats = settled(&handle, 3);
        assert_eq!(by(&stats.spans_dropped, "failed"), 3, "{reply:?} {stats:?}");
        assert_eq!(by(&stats.export_failures, reason), 1, "{reply:?} {stats:?}");
        handle.queue.push(trace("next", 2));
        assert_eq!(settled(&handle, 5).spans_exported, 2);
        let pods: Vec<_> = receiver.got().iter().flat_map(Got::pods).collect();
        assert_eq!(pods, ["refused", "next"]);
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn success_without_words_is_success() {
    let compressed = gzip(b"");
    for reply in [
        Reply::Raw("application/json", b"{}".to_vec()),
        Reply::Raw("text/plain", Vec::new()),
        Reply::Status(202, vec![], vec![]),
        Reply::Status(204, vec![], vec![]),
        Reply::Status(200, vec![("content-encoding", "gzip".into())], compressed),
    ] {
        let answer = reply.clone();
        let receiver = Receiver::with(Protocol::HttpProtobuf, move |_| answer.clone());
        let handle = exporter(&receiver, Protocol::HttpProtobuf);
        handle.queue.push(trace("web", 3));
        assert_eq!(settled(&handle, 3).spans_exported, 3, "{reply:?}");
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn a_compressed_answer_is_as_bounded_as_a_plain_one() {
    // 16 MiB of zeros: as a message of a partial success they would be one.
    let bomb = gzip(&vec![0; 16 << 20]);
    let headers = vec![("content-encoding", "gzip".to_owned())];
    let reply = Reply::Status(200, headers, bomb);
    let receiver = Receiver::with(Protocol::HttpProtobuf, move |_| reply.clone());
    let handle = exporter(&receiver, Protocol::HttpProtobuf);
    handle.queue.push(trace("web", 3));
    let stats = settled(&handle, 3);
    assert_eq!(by(&stats.export_failures, "malformed"), 1, "{stats:?}");
    handle.shutdown(Duration::from_secs(5));
}

#[test]
fn a_request_without_spans_tells_whether_the_receiver_can_be_used() {
    for protocol in BOTH {
        let receiver = Receiver::new(protocol);
        otlp::probe(settings(&receiver.url(), protocol)).unwrap();
        assert_eq!(receiver.got()[0].spans(), 0);
        let refusal = match protocol {
            Protocol::Grpc => Reply::Grpc(16, "no%20token", vec![]),
            Protocol::HttpProtobuf => Reply::Status(401, vec![], b"no token".to_vec()),
        };
        let refusing = Receiver::with(protocol, move |_| refusal.clone());
        let error = otlp::probe(settings(&refusing.url(), protocol)).unwrap_err();
        assert!(error.contains("no token") && error.contains("Unauth"), "{error}");
        let silent = Receiver::with(protocol, |_| Reply::Late(Duration::from_secs(20)));
        let timeout = Duration::from_millis(100);
        let error = otlp::probe(Settings { timeout, ..settings(&silent.url(), protocol) });
        assert_eq!(error.unwrap_err(), "no whole answer in 100 ms");
        // The other protocol.
        let other = BOTH.into_iter().find(|other| *other != protocol).unwrap();
        let error = otlp::probe(settings(&receiver.url(), other)).unwrap_err();
        assert!(!error.is_empty());
    }
}
