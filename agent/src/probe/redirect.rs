//! Redirects: where an answer sends the kubelet, and whether a request comes from there. Pure.
//!
//! The kubelet follows to another port, path and scheme, and to no other host
//! (`pkg/probe/http/http.go`, `RedirectChecker`, Kubernetes 1.37). Go's client then says in the header
//! `Referer` where it comes from, unless that was over https and the next is not
//! (`net/http/client.go`, `refererForURL`).

use std::net::{IpAddr, SocketAddr};

use super::head::{Lines, header};
use crate::kube::target;

/// Place that a redirect leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A port of the same host.
    Port {
        /// The port.
        port: u16,
        /// Whether it is asked over https.
        is_tls: bool,
    },
    /// Another host: the kubelet does not go there.
    Elsewhere,
}

/// Header `Referer` of a request, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Referer {
    /// It may be behind the first bytes.
    #[default]
    Unread,
    /// There is none.
    Absent,
    /// The request target in it, as [`target::canonical`] has it.
    Target(Vec<u8>),
}

/// The parts of a URL.
struct Url<'a> {
    is_tls: bool,
    /// Host and port; `None` in a reference without them.
    authority: Option<&'a [u8]>,
    /// All behind the authority.
    target: &'a [u8],
}

impl<'a> Url<'a> {
    /// Reads a reference to which plain HTTP is the base.
    fn read(url: &'a [u8]) -> Self {
        let after = |scheme: &[u8]| {
            let (head, rest) = url.split_at_checked(scheme.len())?;
            head.eq_ignore_ascii_case(scheme).then_some(rest)
        };
        let (is_tls, rest) = match (after(b"https://"), after(b"http://"), after(b"//")) {
            (Some(rest), ..) => (true, rest),
            (_, Some(rest), _) | (.., Some(rest)) => (false, rest),
            _ => return Self { is_tls: false, authority: None, target: url },
        };
        let end = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, &[]));
        let authority = authority.rsplit(|&byte| byte == b'@').next();
        Self { is_tls, authority, target }
    }
}

impl Place {
    /// The place in the answer of a server, if its header `Location` is among the first bytes. `host`
    /// is the header of that name in the request.
    pub(super) fn read(received: &[u8], server: SocketAddr, host: Option<&[u8]>) -> Option<Self> {
        let mut headers = Lines(received).skip(1).take_while(|line| !line.is_empty());
        let location = headers.find_map(|line| header(line, b"location"))?;
        let url = Url::read(location);
        let Some(authority) = url.authority else {
            return Some(Self::Port { port: server.port(), is_tls: false });
        };
        let (name, port) = split_port(authority);
        let is_own = match std::str::from_utf8(name).ok().map(str::parse::<IpAddr>) {
            Some(Ok(ip)) => ip.to_canonical() == server.ip().to_canonical(),
            // The probe's host may be a name.
            _ => host.is_some_and(|host| split_port(host).0.eq_ignore_ascii_case(name)),
        };
        if !is_own {
            return Some(Self::Elsewhere);
        }
        let port = match port {
            [] => Some(if url.is_tls { 443 } else { 80 }),
            digits => std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()),
        };
        port.map(|port| Self::Port { port, is_tls: url.is_tls })
    }
}

impl Referer {
    /// The header's value.
    pub(super) fn of(url: &[u8]) -> Self {
        Self::Target(target::canonical(Url::read(url).target))
    }
}

/// Host, without the brackets of IPv6, and the digits of the port.
fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    if let Some(bracketed) = authority.strip_prefix(b"[") {
        let end = bracketed.iter().position(|&byte| byte == b']').unwrap_or(bracketed.len());
        let (host, rest) = bracketed.split_at_checked(end).unwrap_or((bracketed, &[]));
        return (host, rest.strip_prefix(b"]:").unwrap_or_default());
    }
    match authority.iter().rposition(|&byte| byte == b':') {
        Some(colon) => {
            let (host, port) = authority.split_at_checked(colon).unwrap_or((authority, &[]));
            (host, port.get(1..).unwrap_or_default())
        }
        None => (authority, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_the_answer() {
        let port = |port, is_tls| Some(Place::Port { port, is_tls });
        for (server, location, expected) in [
            ("10.0.0.5:8080", "/login", port(8080, false)),
            ("10.0.0.5:8080", "login?next=//a:1/", port(8080, false)),
            ("10.0.0.5:8080", "http://10.0.0.5:9090/x", port(9090, false)),
            ("10.0.0.5:8080", "HTTPS://10.0.0.5", port(443, true)),
            ("10.0.0.5:8080", "http://10.0.0.5?a", port(80, false)),
            ("10.0.0.5:8080", "//10.0.0.5:8443/", port(8443, false)),
            ("10.0.0.5:8080", "http://me:word@10.0.0.5:81/", port(81, false)),
            ("10.0.0.5:8080", "https://shop.example/login", Some(Place::Elsewhere)),
            ("10.0.0.5:8080", "http://web.local/", port(80, false)),
            ("10.0.0.5:8080", "http://10.0.0.6:8080/", Some(Place::Elsewhere)),
            ("[fd00::5]:8080", "http://[fd00::5]:81/", port(81, false)),
            ("[fd00::5]:8080", "http://[fd00:0::5]/", port(80, false)),
            ("10.0.0.5:8080", "http://10.0.0.5:99999/", None),
            ("10.0.0.5:8080", "http://10.0.0.5:x/", None),
        ] {
            let answer = format!("HTTP/1.1 302 Found\r\nA: b\r\nlocation:  {location} \r\n\r\n");
            let place = Place::read(answer.as_bytes(), server.parse().unwrap(), Some(b"web.local"));
            assert_eq!(place, expected, "{location}");
        }
        let server = "10.0.0.5:8080".parse().unwrap();
        for cut in [
            &b"HTTP/1.1 302 Found\r\nLocation: /log"[..],
            b"HTTP/1.1 302 Found\r\n\r\nLocation: /login\r\n",
            b"Location: /login\r\n",
            b"",
        ] {
            assert_eq!(Place::read(cut, server, None), None);
        }
    }

    #[test]
    fn a_referer_is_a_request_target() {
        for (url, expected) in [
            (&b"http://10.0.0.5:8080/live?a=1"[..], &b"/live?a=1"[..]),
            (b"http://10.0.0.5:8080", b"/"),
            (b"http://[fd00::5]:8080/a%20b", b"/a b"),
            (b"/live", b"/live"),
            (b"", b"/"),
        ] {
            assert_eq!(Referer::of(url), Referer::Target(expected.to_vec()));
        }
    }
}
