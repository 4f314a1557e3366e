//! First bytes of the kubelet's connections: what a Pod answers, and what it has the kubelet ask.

use crate::probe::first_bytes;

/// The input as what was sent, whose length comes first, and what was received.
pub(super) fn run(input: &[u8]) -> bool {
    let Some((length, bytes)) = input.split_first() else { return false };
    let (sent, received) = bytes.split_at_checked(usize::from(*length)).unwrap_or((bytes, &[]));
    let known = first_bytes::read(sent, received);
    assert_eq!(known, first_bytes::read(sent, received));
    if let Some(status) = known.status {
        assert!((100..1000).contains(&status), "{status}");
    }
    // A request target is as long as what was sent at most, and begins with a slash.
    if let Some(uri) = &known.uri {
        assert!(uri.starts_with(b"/") && uri.len() <= sent.len() + 1);
    }
    // More bytes change no status that is there, nor take it away.
    if known.status.is_some() {
        let more = [received, b"\r\nX: y\r\n\r\n"].concat();
        assert_eq!(first_bytes::read(sent, &more).status, known.status);
    }
    known.status.is_some() || known.is_healthy.is_some()
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let both = |sent: &[u8], received: &[u8]| {
        [&[u8::try_from(sent.len()).unwrap_or(u8::MAX)], sent, received].concat()
    };
    let get = b"GET /healthz?full=%20 HTTP/1.1\r\nHost: [fd00::5]:8080\r\n\
        User-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    let call = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, 11, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 6, 10, 4, b'r', b'e', b'a', b'd'],
    ]
    .concat();
    let health = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 8, 1];
    let status = [0, 0, 1, 1, 4, 0, 0, 0, 1, 0x88];
    vec![
        both(get, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        both(get, b"HTTP/1.0 404 File not found\r\n"),
        both(get, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n"),
        both(&call, &health),
        both(&call, &status),
    ]
}
