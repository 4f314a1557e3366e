use super::*;

const MS: u64 = 1_000_000;
const START: u64 = 500_000 * MS;

/// A connection that was established after 1 ms, if `connected`, and ended after `ms`.
fn connection(connected: bool, ms: u64, ending: Ending) -> Connection {
    let address = "10.244.0.5:8080".parse().unwrap();
    Connection {
        start_boot_ns: START,
        connected_boot_ns: connected.then_some(START + MS),
        first_byte_boot_ns: None,
        end_boot_ns: START + ms * MS,
        ending,
        local: address,
        remote: address,
        sent: Vec::new(),
        received: Vec::new(),
        received_bytes: 10_000,
        data_observed: true,
    }
}

fn result(handler: Handler, connection: &Connection, answer: Answer) -> Option<ProbeResult> {
    of(handler, connection, answer, START, 1).map(|verdict| verdict.result)
}

#[test]
fn the_end_of_a_connection_without_an_answer_tells() {
    use Ending::{Closed, ClosedByPeer, Refused, Reset, TimedOut};
    use ProbeResult::{Failure, Success, Timeout};
    for handler in [Handler::Http, Handler::Https, Handler::Tcp, Handler::Grpc] {
        let of = |connected, ms, ending| {
            result(handler, &connection(connected, ms, ending), Answer::Nothing)
        };
        assert_eq!(of(false, 1, Refused), Some(ProbeResult::Refused), "{handler:?}");
        assert_eq!(of(false, 1000, TimedOut), Some(Timeout));
        assert_eq!(of(false, 999, TimedOut), Some(Timeout));
        assert_eq!(of(false, 300, TimedOut), Some(Failure), "no route");
        let is_tcp = handler == Handler::Tcp;
        let or_connected = |result| if is_tcp { Some(Success) } else { result };
        assert_eq!(of(true, 1000, Closed), or_connected(Some(Timeout)));
        assert_eq!(of(true, 500, Closed), or_connected(Some(Timeout)), "late to connect");
        assert_eq!(of(true, 499, Closed), or_connected(None), "the kubelet has ended");
        assert_eq!(of(false, 899, TimedOut), Some(Failure), "no route");
        assert_eq!(of(true, 300, ClosedByPeer), or_connected(Some(Failure)));
        assert_eq!(of(true, 300, Reset), or_connected(Some(Failure)));
    }
}

#[test]
fn an_answer_tells_unless_it_comes_too_late() {
    use ProbeResult::{Failure, Success, Timeout, Unknown};
    let cases = [
        (Handler::Http, Answer::Status(200), Success),
        (Handler::Http, Answer::Status(204), Success),
        (Handler::Http, Answer::Status(399), Success),
        (Handler::Http, Answer::Status(404), Failure),
        (Handler::Http, Answer::Status(500), Failure),
        (Handler::Http, Answer::Other, Failure),
        (Handler::Http, Answer::Unread, Unknown),
        (Handler::Https, Answer::Encrypted, Unknown),
        (Handler::Https, Answer::HandshakeRefused, Failure),
        (Handler::Https, Answer::Other, Failure),
        (Handler::Grpc, Answer::Health { serving: true }, Success),
        (Handler::Grpc, Answer::Health { serving: false }, Failure),
    ];
    for (handler, answer, expected) in cases {
        for ending in [Ending::Closed, Ending::ClosedByPeer, Ending::Reset] {
            let got = result(handler, &connection(true, 200, ending), answer);
            assert_eq!(got, Some(expected), "{handler:?} {answer:?} {ending:?}");
        }
        if handler != Handler::Grpc {
            // The body, or the rest of the handshake, took too long.
            let late = connection(true, 999, Ending::Closed);
            assert_eq!(result(handler, &late, answer), Some(Timeout), "{answer:?}");
            let in_time = connection(true, 999, Ending::ClosedByPeer);
            assert_eq!(result(handler, &in_time, answer), Some(expected), "{answer:?}");
        }
    }
}

#[test]
fn a_handshake_is_given_up_before_a_long_timeout() {
    let result = |handler, ms| {
        let connection = connection(true, ms, Ending::Closed);
        of(handler, &connection, Answer::Nothing, START, 60).map(|verdict| verdict.result)
    };
    assert_eq!(result(Handler::Https, 10_001), Some(ProbeResult::Timeout));
    assert_eq!(result(Handler::Https, 9_899), None, "the kubelet has ended");
    assert_eq!(result(Handler::Http, 10_001), None, "the kubelet has ended");
}

#[test]
fn a_connection_ends_a_tcp_probe_at_once() {
    let connection = connection(true, 300, Ending::Closed);
    let verdict = of(Handler::Tcp, &connection, Answer::Nothing, START, 1).unwrap();
    assert_eq!((verdict.result, verdict.end_boot_ns), (ProbeResult::Success, START + MS));
}

#[test]
fn without_data_only_the_times_tell() {
    let unobserved = |handler, ms, ending| {
        let connection = Connection { data_observed: false, ..connection(true, ms, ending) };
        result(handler, &connection, Answer::Nothing)
    };
    use ProbeResult::{Success, Timeout, Unknown};
    assert_eq!(unobserved(Handler::Http, 200, Ending::Closed), Some(Unknown));
    assert_eq!(unobserved(Handler::Http, 200, Ending::Reset), Some(Unknown));
    assert_eq!(unobserved(Handler::Grpc, 1000, Ending::Closed), Some(Timeout));
    assert_eq!(unobserved(Handler::Tcp, 200, Ending::Closed), Some(Success));
}

#[test]
fn redirects_and_broken_grpc_may_go_on() {
    let follow = |handler, connection: &Connection, answer| {
        of(handler, connection, answer, START, 1).unwrap().follow
    };
    let good = connection(true, 5, Ending::Closed);
    assert_eq!(follow(Handler::Http, &good, Answer::Status(302)), Some(Follow::Redirect));
    assert_eq!(follow(Handler::Http, &good, Answer::Status(304)), None);
    assert_eq!(follow(Handler::Http, &good, Answer::Status(200)), None);
    let refused = connection(false, 1, Ending::Refused);
    assert_eq!(follow(Handler::Grpc, &refused, Answer::Nothing), Some(Follow::Retry));
    assert_eq!(follow(Handler::Http, &refused, Answer::Nothing), None);
    let late = connection(false, 1100, Ending::Refused);
    assert_eq!(follow(Handler::Grpc, &late, Answer::Nothing), None);
    let closed = connection(true, 5, Ending::ClosedByPeer);
    assert_eq!(follow(Handler::Grpc, &closed, Answer::Nothing), Some(Follow::Retry));
}
