//! Requests: what the first bytes that the kubelet sends ask for. Pure.

use super::frames::{self, PREFACE, frames};
use super::head::{Lines, header};
use super::redirect::Referer;
use crate::kube::target;

/// First byte of a TLS record that holds a handshake (RFC 8446, section 5.1).
pub(super) const TLS_HANDSHAKE: u8 = 22;

/// A request, as far as its first bytes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// No data was sent.
    Nothing,
    /// A GET over HTTP/1.
    Get(Get),
    /// HTTP/2 in clear text; with the service that a call of the gRPC health service asks for, if it
    /// is one and that is among the first bytes.
    Http2 { service: Option<Vec<u8>> },
    /// A handshake of TLS.
    Tls,
    /// Anything else.
    Other,
}

/// A GET over HTTP/1. A header is `None` if it is not, or not as a whole, among the first bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Get {
    /// The request target, as [`target::canonical`] has it.
    pub(super) uri: Vec<u8>,
    /// Whether the whole request target is there.
    pub(super) complete: bool,
    pub(super) host: Option<Vec<u8>>,
    pub(super) user_agent: Option<Vec<u8>>,
    pub(super) referer: Referer,
    /// Whether it has other headers than the kubelet's own and these; `None` if that is cut.
    pub(super) has_more: Option<bool>,
}

impl Get {
    /// Whether the kubelet runs a lifecycle hook (`pkg/kubelet/lifecycle/handlers.go`,
    /// Kubernetes 1.37).
    pub(super) fn is_hook(&self) -> bool {
        self.user_agent.as_ref().is_some_and(|agent| agent.starts_with(b"kube-lifecycle/"))
    }

    /// Whether it says that an answer has sent the client here.
    pub(super) const fn is_sent_on(&self) -> bool {
        matches!(self.referer, Referer::Target(_))
    }

    fn read(sent: &[u8]) -> Option<Self> {
        let mut lines = Lines(sent);
        let (line, complete) = lines.first()?;
        let line = line.strip_prefix(b"GET ")?;
        // Go writes a space in a query as it is, so the last one counts.
        let version = line.windows(6).rposition(|part| part == b" HTTP/");
        let uri = line.get(..version.unwrap_or(line.len()))?;
        if complete && version.is_none() {
            return None;
        }
        let mut get = Self { uri: target::canonical(uri), complete, ..Self::default() };
        for line in &mut lines {
            if line.is_empty() {
                get.has_more.get_or_insert(false);
                if get.referer == Referer::Unread {
                    get.referer = Referer::Absent;
                }
            }
            if !line.contains(&b':') {
                return Some(get);
            }
            if let Some(value) = header(line, b"host") {
                get.host = Some(value.to_vec());
            } else if let Some(value) = header(line, b"user-agent") {
                get.user_agent = Some(value.to_vec());
            } else if let Some(value) = header(line, b"referer") {
                get.referer = Referer::of(value);
            } else if !is_usual(line) {
                get.has_more = Some(true);
            }
        }
        // Of the last one there may be the name.
        let usual = |name: &&[u8]| header(lines.0, name).is_some();
        let names =
            [&b"host"[..], b"user-agent", b"referer", b"accept", b"connection", b"accept-encoding"];
        if lines.0.contains(&b':') && !names.iter().any(usual) {
            get.has_more = Some(true);
        }
        Some(get)
    }
}

/// Whether a header is one that the kubelet's client writes by itself.
fn is_usual(line: &[u8]) -> bool {
    header(line, b"accept") == Some(b"*/*")
        || header(line, b"accept-encoding") == Some(b"gzip")
        || header(line, b"connection") == Some(b"close")
}

/// The request that these first bytes begin.
pub(super) fn read(sent: &[u8]) -> Request {
    if sent.is_empty() {
        return Request::Nothing;
    }
    if let Some(behind) = sent.strip_prefix(PREFACE) {
        return Request::Http2 { service: service(behind) };
    }
    // The major version follows, in the same segment or in the next.
    if sent == [TLS_HANDSHAKE] || sent.starts_with(&[TLS_HANDSHAKE, 3]) {
        return Request::Tls;
    }
    Get::read(sent).map_or(Request::Other, Request::Get)
}

/// The service in a request to the gRPC health service, field 1 of its message
/// (`grpc/health/v1/health.proto`).
fn service(bytes: &[u8]) -> Option<Vec<u8>> {
    let data = frames(bytes).find(|frame| frame.kind == frames::DATA)?;
    match data.message()? {
        [] => Some(Vec::new()),
        [0x0a, length, rest @ ..] if length & 0x80 == 0 => {
            rest.get(..usize::from(*length)).map(<[u8]>::to_vec)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kubelet 1.37 sends it.
    const PROBE: &[u8] = b"GET /healthz?full=1 HTTP/1.1\r\nHost: 10.244.0.5:8080\r\n\
        User-Agent: kube-probe/1.37\r\nAccept: */*\r\nConnection: close\r\n\r\n";

    #[test]
    fn a_get_is_read_as_far_as_it_goes() {
        let Request::Get(get) = read(PROBE) else { panic!("a GET") };
        assert_eq!((get.uri.as_slice(), get.complete), (&b"/healthz?full=1"[..], true));
        assert_eq!(get.host.as_deref(), Some(&b"10.244.0.5:8080"[..]));
        assert_eq!(get.user_agent.as_deref(), Some(&b"kube-probe/1.37"[..]));
        assert!(!get.is_hook());
        assert_eq!((get.referer, get.has_more), (Referer::Absent, Some(false)));
        let followed = b"GET /b HTTP/1.1\r\nReferer: http://10.244.0.5/a\r\nA: b\r\n\r\n";
        let Request::Get(get) = read(followed) else { panic!("a GET") };
        assert_eq!(get.referer, Referer::Target(b"/a".to_vec()));
        // The user agent is cut.
        let Request::Get(get) = read(&PROBE[..70]) else { panic!("a GET") };
        assert!(get.host.is_some() && get.user_agent.is_none() && get.complete);
        assert_eq!(get.referer, Referer::Unread);
        let Request::Get(get) = read(&PROBE[..10]) else { panic!("a GET") };
        assert_eq!((get.uri.as_slice(), get.complete), (&b"/healt"[..], false));
        for cut in 0..PROBE.len() {
            let request = read(&PROBE[..cut]);
            assert_eq!(matches!(request, Request::Get(_)), cut >= 4, "{cut}: {request:?}");
        }
        // The version may be cut.
        let cut = &PROBE[..26];
        let Request::Get(get) = read(cut) else { panic!("a GET") };
        assert_eq!((get.uri.as_slice(), get.complete), (&b"/healthz?full=1"[..], false));
        let space = b"GET /a?b= HTTP/c HTTP/1.1\r\n";
        assert!(matches!(read(space), Request::Get(get) if get.uri == b"/a?b= HTTP/c"));
        assert_eq!(read(b"GET\r\n"), Request::Other);
        assert_eq!(read(b"GET /x\r\n"), Request::Other, "HTTP/0.9");
        assert_eq!(read(b"POST / HTTP/1.1\r\n"), Request::Other);
    }

    #[test]
    fn headers_that_the_kubelet_does_not_write_are_seen() {
        let with = |more: &str| {
            let probe = String::from_utf8(PROBE.to_vec()).unwrap();
            let Request::Get(get) = read(probe.replace("\r\n\r\n", more).as_bytes()) else {
                panic!("a GET")
            };
            get.has_more
        };
        assert_eq!(with("\r\n\r\n"), Some(false));
        assert_eq!(with("\r\nReferer: http://a/b\r\n\r\n"), Some(false));
        assert_eq!(with("\r\nExpect: nonsense\r\n\r\n"), Some(true));
        assert_eq!(with("\r\nX-A: aaaa"), Some(true), "cut within");
        assert_eq!(with("\r\nExpe"), None);
        assert_eq!(with("\r\nAccept: text/pl"), None);
        assert_eq!(with("\r\nAccept: text/plain\r\n"), Some(true));
    }

    #[test]
    fn hooks_tls_and_grpc_are_told() {
        let hook = b"GET /drain HTTP/1.1\r\nHost: a\r\nuser-agent: kube-lifecycle/1.37\r\n\r\n";
        assert!(matches!(read(hook), Request::Get(get) if get.is_hook()));
        assert_eq!(read(&[22, 3, 1, 1, 0]), Request::Tls);
        assert_eq!((read(&[22]), read(&[22, 4])), (Request::Tls, Request::Other));
        assert_eq!(read(&[]), Request::Nothing);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let headers = [0, 0, 2, 1, 4, 0, 0, 0, 1, 0x83, 0x86];
        let data = [0, 0, 11, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 6, 0x0a, 4, b'r', b'e', b'a', b'd'];
        let call = [PREFACE, &settings, &headers, &data].concat();
        assert_eq!(read(&call), Request::Http2 { service: Some(b"read".to_vec()) });
        assert_eq!(read(&call[..call.len() - 1]), Request::Http2 { service: None });
    }
}
