//! Answers: what the first bytes that a probe receives say. Pure.

use super::frames::{self, frames};
use super::request::{Request, TLS_HANDSHAKE};

/// First byte of a TLS record that holds an alert (RFC 8446, section 5.1).
const TLS_ALERT: u8 = 21;

/// An answer, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No data was received, or none that answers yet.
    Nothing,
    /// A status of HTTP.
    Status(u16),
    /// An answer of the gRPC health service: whether the service is serving. A call that failed is none
    /// that is.
    Health { serving: bool },
    /// An encrypted answer.
    Encrypted,
    /// A handshake of TLS that the server refuses.
    HandshakeRefused,
    /// An answer in another protocol than the request's.
    Other,
    /// An answer of which too little is known.
    Unread,
}

/// The answer to a request. `is_grpc`: the request is a call of the gRPC health service.
pub(super) fn read(request: &Request, is_grpc: bool, received: &[u8]) -> Answer {
    match (received.first(), request) {
        (None, _) => Answer::Nothing,
        (Some(&first), Request::Tls) => match first {
            TLS_HANDSHAKE => Answer::Encrypted,
            TLS_ALERT => Answer::HandshakeRefused,
            _ => Answer::Other,
        },
        (Some(_), Request::Http2 { .. }) if received.starts_with(b"HTTP/1") => Answer::Other,
        (Some(_), Request::Http2 { .. }) => http2(is_grpc, received),
        (Some(_), Request::Get(_)) => http1(received),
        // A server that speaks first.
        (Some(_), Request::Nothing | Request::Other) => Answer::Unread,
    }
}

/// The final status: the client goes on to read where an answer has one of 100 to 199, but for 101
/// (Go, `net/http/transport.go`, `readResponse`).
fn http1(received: &[u8]) -> Answer {
    let mut rest = received;
    loop {
        match status_line(rest) {
            Answer::Status(100 | 102..=199) => {
                let Some(behind) = behind_head(rest) else { return Answer::Unread };
                rest = behind;
            }
            answer => return answer,
        }
    }
}

/// The status in the first line, which Go reads liberally in its spaces and its end, strictly in its
/// version and the length of the code (`net/http/response.go`, `ReadResponse`).
fn status_line(head: &[u8]) -> Answer {
    let (line, is_cut) = match head.iter().position(|&byte| byte == b'\n') {
        Some(end) => (head.get(..end).unwrap_or_default(), false),
        None => (head, true),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.splitn(2, |&byte| byte == b' ');
    let version = words.next().unwrap_or_default();
    let begins_well = version
        .iter()
        .zip(b"HTTP/1.1")
        .all(|(its, own)| its == own || (its.is_ascii_digit() && own.is_ascii_digit()));
    let is_version = begins_well && version.len() == b"HTTP/1.1".len();
    let Some(status) = words.next().filter(|_| is_version) else {
        let may_go_on = is_cut && begins_well && version.len() == line.len() && version.len() <= 8;
        return if may_go_on { Answer::Unread } else { Answer::Other };
    };
    let spaces = status.iter().take_while(|&&byte| byte == b' ').count();
    let status = status.get(spaces..).unwrap_or_default();
    let code = status.split(|&byte| byte == b' ').next().unwrap_or_default();
    match frames::decimal(code) {
        Some(status) => Answer::Status(status),
        None if is_cut && code.len() < 3 && code.len() == status.len() => Answer::Unread,
        None => Answer::Other,
    }
}

/// What is behind the empty line that ends a head.
fn behind_head(mut head: &[u8]) -> Option<&[u8]> {
    loop {
        let end = head.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = (head.get(..end)?, head.get(end + 1..)?);
        if matches!(line, [] | [b'\r']) {
            return Some(rest);
        }
        head = rest;
    }
}

fn http2(is_grpc: bool, received: &[u8]) -> Answer {
    let mut answer = Answer::Nothing;
    for frame in frames(received) {
        match frame.kind {
            frames::HEADERS if !is_grpc => match frame.status() {
                // Another one follows (RFC 9113, section 8.1).
                Some(100..=199) | None => answer = Answer::Unread,
                Some(status) => return Answer::Status(status),
            },
            // Without a message the call has failed.
            frames::HEADERS if frame.ends_stream() => return Answer::Health { serving: false },
            frames::HEADERS => answer = Answer::Unread,
            frames::DATA if is_grpc => {
                return frame.message().map_or(Answer::Unread, |message| Answer::Health {
                    serving: is_serving(message),
                });
            }
            frames::RST_STREAM => return Answer::Health { serving: false },
            _ => {}
        }
    }
    answer
}

/// Whether a `HealthCheckResponse` says `SERVING`: 1 in field 1 (`grpc/health/v1/health.proto`).
fn is_serving(message: &[u8]) -> bool {
    matches!(message, [0x08, 1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::frames::PREFACE;

    fn get() -> Request {
        super::super::request::read(b"GET / HTTP/1.1\r\n\r\n")
    }

    #[test]
    fn status_lines_are_read() {
        for (received, expected) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], Answer::Status(200)),
            (b"HTTP/1.0 404 Fil", Answer::Status(404)),
            (b"HTTP/1.1 503", Answer::Status(503)),
            (b"HTTP/1.1 50", Answer::Unread),
            (b"HTT", Answer::Unread),
            (b"HTTP/1.1", Answer::Unread),
            (b"HTTP/1.1 ", Answer::Unread),
            (b"HTTP/1.1 abc", Answer::Other),
            // As Go's client has it, so the kubelet.
            (b"HTTP/2.0 200 OK\r\n", Answer::Status(200)),
            (b"HTTP/1.2 200\r\n", Answer::Status(200)),
            (b"HTTP/1.1   204\n", Answer::Status(204)),
            (b"HTTP/1.1 2000 OK\r\n", Answer::Other),
            (b"HTTP/1.1 20 OK\r\n", Answer::Other),
            (b"HTTP/1.1 20\r\n", Answer::Other),
            (b"HTTP/1.1 +20 OK\r\n", Answer::Other),
            (b"HTTP/1.1\r\n", Answer::Other),
            (b"HTTP/1.10 200 OK\r\n", Answer::Other),
            (b"HTTP/11.1", Answer::Other),
            (b"HTTP/2 200 OK\r\n", Answer::Other),
            (b"http/1.1 200 OK\r\n", Answer::Other),
            (b"HTTP/1.1\t200 OK\r\n", Answer::Other),
            (b"ICY 200 OK\r\n", Answer::Other),
            (b"\r\nHTTP/1.1 200 OK\r\n", Answer::Other),
            // Answers on the way to the final one.
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", Answer::Status(200)),
            (b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\nHTTP/1.1 500", Answer::Status(500)),
            (b"HTTP/1.1 100 A\n\nHTTP/1.1 102 B\r\n\r\nHTTP/1.1 302 C", Answer::Status(302)),
            (b"HTTP/1.1 100 Continue\r\n\r\nSSH-2.0", Answer::Other),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Answer::Unread),
            (b"HTTP/1.1 103 Hints\r\nLink: HTTP/1.1 200 OK", Answer::Unread),
            (b"HTTP/1.1 101 Switching\r\n\r\nHTTP/1.1 200", Answer::Status(101)),
            (b"SSH-2.0-OpenSSH", Answer::Other),
            (b"", Answer::Nothing),
        ] {
            let text = String::from_utf8_lossy(received);
            assert_eq!(read(&get(), false, received), expected, "{text}");
        }
    }

    #[test]
    fn answers_of_the_health_service_are_read() {
        let call = Request::Http2 { service: None };
        let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100];
        let ack = [0, 0, 0, 4, 1, 0, 0, 0, 0];
        let headers = |flags: u8| [0, 0, 1, 1, 4 | flags, 0, 0, 0, 1, 0x88];
        let data = |message: &[u8]| {
            let length = u8::try_from(message.len()).unwrap();
            [&[0, 0, length + 5, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, length][..], message].concat()
        };
        let of = |message: &[u8]| [&settings[..], &ack, &headers(0), &data(message)].concat();
        assert_eq!(read(&call, true, &of(&[8, 1])), Answer::Health { serving: true });
        assert_eq!(read(&call, true, &of(&[8, 2])), Answer::Health { serving: false });
        assert_eq!(read(&call, true, &of(&[])), Answer::Health { serving: false }, "UNKNOWN");
        let trailers_only = [&settings[..], &headers(1)].concat();
        assert_eq!(read(&call, true, &trailers_only), Answer::Health { serving: false });
        assert_eq!(read(&call, true, &settings), Answer::Nothing);
        let cut = of(&[8, 1]);
        assert_eq!(read(&call, true, &cut[..cut.len() - 1]), Answer::Unread);
        assert_eq!(read(&call, false, &of(&[8, 1])), Answer::Status(200), "h2c");
        let hints = [0, 0, 5, 1, 4, 0, 0, 0, 1, 0x08, 3, b'1', b'0', b'3'];
        let hinted = [&hints[..], &headers(0)].concat();
        assert_eq!(read(&call, false, &hinted), Answer::Status(200), "after another");
        assert_eq!(read(&call, false, &hints), Answer::Unread);
        assert_eq!(read(&call, true, b"HTTP/1.1 400 Bad Request"), Answer::Other);
        assert_eq!(read(&call, true, PREFACE), Answer::Nothing, "no frame of its stream");
    }

    #[test]
    fn of_tls_only_a_refusal_is_known() {
        assert_eq!(read(&Request::Tls, false, &[22, 3, 3]), Answer::Encrypted);
        assert_eq!(read(&Request::Tls, false, &[21, 3, 3, 0, 2, 2, 40]), Answer::HandshakeRefused);
        assert_eq!(read(&Request::Tls, false, b"HTTP/1.0 400 Bad"), Answer::Other);
    }
}
