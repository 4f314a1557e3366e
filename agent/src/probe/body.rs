//! Bodies of HTTP/1: whether an answer came as a whole. Pure.

use super::head::{Lines, header};
use crate::event::Connection;

/// Bytes of a body that the kubelet reads (`pkg/probe/http/http.go`, `maxRespBodyLength`,
/// Kubernetes 1.37).
const BODY_MAX: u64 = 10 << 10;

/// How much of an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All that the kubelet reads of it, or more than is known of it.
    Whole,
    /// It broke off within its head: Go's client has no answer.
    HeadBroken,
    /// It broke off within its body: the kubelet's prober has an error.
    BodyBroken,
}

/// How much of the answer to a GET came on a connection, which the other side has ended.
pub(super) fn extent(connection: &Connection) -> Extent {
    let received = &*connection.received;
    let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        let has_all = connection.received_bytes <= received.len() as u64;
        return if has_all { Extent::HeadBroken } else { Extent::Whole };
    };
    let head_len_bytes = end.saturating_add(4);
    let mut length = None;
    for line in Lines(received.get(..head_len_bytes).unwrap_or_default()).skip(1) {
        if header(line, b"transfer-encoding").is_some() {
            // The chunks tell, which are not read.
            return Extent::Whole;
        }
        length = header(line, b"content-length").or(length);
    }
    let Some(length) = length.and_then(number) else { return Extent::Whole };
    let wanted = length.min(BODY_MAX).saturating_add(head_len_bytes as u64);
    if connection.received_bytes < wanted { Extent::BodyBroken } else { Extent::Whole }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    // A sign is none.
    digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Ending;

    fn of(received: &[u8], received_bytes: usize) -> Extent {
        let address = "10.244.0.5:8080".parse().unwrap();
        extent(&Connection {
            start_boot_ns: 1,
            connected_boot_ns: Some(2),
            first_byte_boot_ns: Some(3),
            end_boot_ns: 4,
            ending: Ending::ClosedByPeer,
            local: address,
            remote: address,
            sent: Vec::new(),
            received: received.to_vec(),
            received_bytes: received_bytes as u64,
            data_observed: true,
        })
    }

    #[test]
    fn an_answer_that_breaks_off_is_told() {
        let with = |headers: &str| format!("HTTP/1.1 200 OK\r\nA: b\r\n{headers}\r\n").into_bytes();
        let plain = with("content-length: 100\r\n");
        let head = plain.len();
        assert_eq!(of(&plain, head + 100), Extent::Whole);
        assert_eq!(of(&plain, head + 99), Extent::BodyBroken);
        assert_eq!(of(&plain[..head - 1], head - 1), Extent::HeadBroken);
        assert_eq!(of(&plain[..20], head + 100), Extent::Whole, "the head is longer than is kept");
        // The kubelet reads no more of a long body.
        let long = with("Content-Length: 1000000\r\n");
        assert_eq!(of(&long, long.len() + 10_240), Extent::Whole);
        assert_eq!(of(&long, long.len() + 10_239), Extent::BodyBroken);
        // What the length is, nobody says; or it is none.
        for headers in
            ["", "Transfer-Encoding: chunked\r\nContent-Length: 9\r\n", "Content-Length: +9\r\n"]
        {
            assert_eq!(of(&with(headers), 60), Extent::Whole, "{headers}");
        }
        assert_eq!(of(&with("Content-Length: 0\r\n"), 70), Extent::Whole);
    }
}
