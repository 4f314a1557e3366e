//! Pod sources: which one is used, decided purely from the flags and the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use http::Uri;

use super::credentials::TokenFile;

/// Source of Pods as requested by the flag `--pods.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PodsSource {
    /// `api` if the API server's address and the node's name are known; else `none`.
    Auto,
    /// The API server: a watch on the Pods of this node.
    Api,
    /// The kubelet of this node, polled every few seconds.
    Kubelet,
    /// No source: names come from the links in --pods.log-dir alone.
    None,
}

/// Directory where the service account is mounted in a Pod.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Port of the kubelet that requires authentication.
const KUBELET_PORT: u16 = 10250;

/// Settings from which the source is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// Name of the node.
    pub node: Option<String>,
    /// URL of the API server: from the flag, else from the environment of a Pod.
    pub api_url: Option<Uri>,
    /// Flag: the URL is from the flag, so the API server is wanted.
    pub is_url_named: bool,
}

impl Surroundings {
    /// Settings from the flags, completed from the environment.
    #[must_use]
    pub fn detect(node: Option<&str>, api_url: Option<&Uri>) -> Self {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let from_environment = || {
            in_cluster(&get("KUBERNETES_SERVICE_HOST")?, &get("KUBERNETES_SERVICE_PORT")?)
                .filter(|_| Path::new(SERVICE_ACCOUNT).join("token").exists())
        };
        Self {
            node: node.filter(|node| !node.is_empty()).map(str::to_owned),
            api_url: api_url.cloned().or_else(from_environment),
            is_url_named: api_url.is_some(),
        }
    }
}

/// URL of the API server from the environment that Kubernetes gives to every Pod.
fn in_cluster(host: &str, port: &str) -> Option<Uri> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("https://{host}:{port}").parse().ok()
}

/// Source of Pods that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A watch on the API server.
    Api {
        /// URL of the API server.
        url: Uri,
        /// Name of the node whose Pods are watched.
        node: String,
    },
    /// The kubelet of this node.
    Kubelet,
    /// No source, with the reason.
    None(&'static str),
}

impl Chosen {
    /// The source in words, for logs and the landing page.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Api { url, node } => format!("the API server {url}, Pods of node {node}"),
            Self::Kubelet => "this node's kubelet".to_owned(),
            Self::None(why) => format!("the links in --pods.log-dir alone: {why}"),
        }
    }
}

/// Reason why a requested source cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUse {
    /// The node's name is missing: a watch covers one node.
    #[error(
        "the API server is asked for the Pods of one node: name it with --node.name, or by NODE_NAME \
         from spec.nodeName"
    )]
    NoNode,
    /// The API server's address is missing.
    #[error(
        "--pods.source=api needs the API server's address: --api.url, or, in a Pod with \
         automountServiceAccountToken, KUBERNETES_SERVICE_HOST and a mounted token"
    )]
    NoAddress,
    /// The token would go over the network in clear text.
    #[error(
        "--pods.token-file names a token, and --api.url has no TLS: a token is sent over https, or \
         to this machine itself"
    )]
    TokenInClear,
}

/// The source to use, from what is requested and what is available.
///
/// # Errors
/// A source that is requested by name lacks something.
pub fn choose(wanted: PodsSource, there: Surroundings) -> Result<Chosen, CannotUse> {
    let is_url_named = there.is_url_named;
    match (wanted, there.api_url, there.node) {
        (PodsSource::Kubelet, ..) => Ok(Chosen::Kubelet),
        (PodsSource::None, ..) => Ok(Chosen::None("--pods.source=none")),
        (PodsSource::Api | PodsSource::Auto, Some(url), Some(node)) => {
            Ok(Chosen::Api { url, node })
        }
        (PodsSource::Api, None, _) => Err(CannotUse::NoAddress),
        (PodsSource::Api, _, None) => Err(CannotUse::NoNode),
        (PodsSource::Auto, None, _) => {
            Ok(Chosen::None("no API server (no service account is mounted, and no --api.url)"))
        }
        (PodsSource::Auto, _, None) if is_url_named => Err(CannotUse::NoNode),
        (PodsSource::Auto, _, None) => {
            Ok(Chosen::None("no node name (--node.name, or NODE_NAME from spec.nodeName)"))
        }
    }
}

/// URL of a server from the command line. A user, a password and a query in it are not used, and
/// so never shown.
///
/// # Errors
/// The text is not a URL. The error does not repeat it.
pub fn parse_url(text: &str) -> Result<Uri, String> {
    let explain = || "not an http or https URL, such as https://192.0.2.1:6443".to_owned();
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| matches!(url.scheme_str(), Some("http" | "https")));
    let (Some(url), Some(host)) = (&url, url.as_ref().and_then(Uri::host)) else {
        return Err(explain());
    };
    if host.is_empty() {
        return Err(explain());
    }
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    // A port that is no number would be taken for that of the scheme.
    if host_and_port.len() > host.len() && url.port_u16().is_none_or(|port| port == 0) {
        return Err("its port is no number from 1 to 65535".to_owned());
    }
    let scheme = url.scheme_str().unwrap_or_default();
    format!("{scheme}://{host_and_port}{}", url.path()).parse().map_err(|_| explain())
}

/// Whether what is sent to this URL is seen by its receiver alone: over TLS, or on this machine.
#[must_use]
pub fn is_private(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
    url.scheme_str() == Some("https") || loopback || host.eq_ignore_ascii_case("localhost")
}

/// The token for this URL: the one that is named, else that of the service account. `None` where
/// nobody names one and it would go over the network in clear text.
///
/// # Errors
/// A token that is named would go so.
pub fn token(url: &Uri, named: Option<&Path>) -> Result<Option<TokenFile>, CannotUse> {
    let usual = || PathBuf::from(SERVICE_ACCOUNT).join("token");
    let path = named.map_or_else(usual, Path::to_owned);
    match (is_private(url), named) {
        (true, named) => Ok(Some(TokenFile { path, required: named.is_some() })),
        (false, None) => Ok(None),
        (false, Some(_)) => Err(CannotUse::TokenInClear),
    }
}

/// Address of the kubelet, with its default port if none is given.
///
/// # Errors
/// The text is not an address; the error explains it.
pub fn parse_kubelet_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, KUBELET_PORT));
    bare.or_else(|_| text.parse())
        .map_err(|_| format!("{text:?} is not an IP address, with or without a port"))
}

/// URL of the kubelet at this address.
#[must_use]
pub fn kubelet_url(address: SocketAddr) -> Uri {
    let authority = address.to_string().parse().ok();
    let mut parts = http::uri::Parts::default();
    (parts.scheme, parts.authority) = (Some(http::uri::Scheme::HTTPS), authority);
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://192.0.2.1:6443/";

    fn there(node: bool, api: bool) -> Surroundings {
        Surroundings {
            node: node.then(|| "n1".to_owned()),
            api_url: api.then(|| URL.parse().unwrap()),
            is_url_named: false,
        }
    }

    #[test]
    fn auto_uses_the_api_server_where_it_can() {
        let api = Chosen::Api { url: URL.parse().unwrap(), node: "n1".into() };
        assert_eq!(choose(PodsSource::Auto, there(true, true)), Ok(api));
        for nothing in [there(false, true), there(true, false), there(false, false)] {
            assert!(matches!(choose(PodsSource::Auto, nothing), Ok(Chosen::None(_))));
        }
    }

    #[test]
    fn a_requested_source_is_never_silently_dropped() {
        let ask = |there| choose(PodsSource::Api, there);
        assert!(matches!(ask(there(true, true)), Ok(Chosen::Api { .. })));
        assert_eq!(ask(there(false, true)), Err(CannotUse::NoNode));
        assert_eq!(ask(there(true, false)), Err(CannotUse::NoAddress));
        let named = Surroundings { is_url_named: true, ..there(false, true) };
        assert_eq!(choose(PodsSource::Auto, named), Err(CannotUse::NoNode));
        assert_eq!(choose(PodsSource::Kubelet, there(false, false)), Ok(Chosen::Kubelet));
        assert!(matches!(choose(PodsSource::None, there(true, true)), Ok(Chosen::None(_))));
    }

    #[test]
    fn api_server_address_comes_from_the_environment() {
        let url = |host, port| in_cluster(host, port).map(|url| url.to_string());
        assert_eq!(url("192.0.2.1", "443").as_deref(), Some("https://192.0.2.1:443/"));
        assert_eq!(url("2001:db8::1", "6443").as_deref(), Some("https://[2001:db8::1]:6443/"));
        assert_eq!(url("a b", "443"), None);
    }

    #[test]
    fn urls_are_validated_and_their_secrets_dropped() {
        for (text, url) in [
            ("https://192.0.2.1:6443", "https://192.0.2.1:6443/"),
            ("http://localhost:8001/k8s/clusters/c-1", "http://localhost:8001/k8s/clusters/c-1"),
            ("https://user:secret@host:1/before", "https://host:1/before"),
            ("https://secret@[2001:db8::1]", "https://[2001:db8::1]/"),
            ("https://a:secret@b@c", "https://c/"),
            ("https://host/?token=secret", "https://host/"),
        ] {
            assert_eq!(parse_url(text).map(|url| url.to_string()).as_deref(), Ok(url), "{text}");
        }
        for wrong in [
            "",
            "foo",
            "foo:6443",
            "ftp://secret@host",
            "https://",
            "//host",
            "/path",
            "https://user:secret@ho st",
            "https://user:secret@",
            "https://:1",
            "https://host:99999",
            "https://host:",
            "https://host:0/",
            "https://[2001:db8::1]:65536",
            "https://user:secret@host:x",
        ] {
            let error = parse_url(wrong);
            let hidden = |error: &String| !error.contains("secret");
            assert!(error.as_ref().is_err_and(hidden), "{wrong}: {error:?}");
        }
    }

    #[test]
    fn no_token_goes_over_the_network_in_clear_text() {
        let url = |text: &str| text.parse::<Uri>().unwrap();
        let named = Path::new("/etc/token");
        for private in [
            "https://192.0.2.1",
            "http://127.0.0.1:8001",
            "http://127.9.9.9",
            "http://[::1]:8001",
            "http://LOCALHOST",
            "http://[::ffff:127.0.0.1]",
        ] {
            let file = TokenFile { path: named.to_owned(), required: true };
            assert_eq!(token(&url(private), Some(named)), Ok(Some(file)), "{private}");
            let usual = token(&url(private), None).unwrap().unwrap();
            assert_eq!(
                (usual.path, usual.required),
                (Path::new(SERVICE_ACCOUNT).join("token"), false)
            );
        }
        for open in [
            "http://192.0.2.1",
            "http://localhost.example",
            "http://127.0.0.1.example",
            "http://[2001:db8::1]",
        ] {
            assert_eq!(token(&url(open), Some(named)), Err(CannotUse::TokenInClear), "{open}");
            assert_eq!(token(&url(open), None), Ok(None), "{open}");
        }
    }

    #[test]
    fn kubelet_addresses_are_parsed() {
        for (text, address) in [
            ("192.0.2.7", "192.0.2.7:10250"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("2001:db8::1", "[2001:db8::1]:10250"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            assert_eq!(parse_kubelet_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        let url = |text| kubelet_url(parse_kubelet_address(text).unwrap()).to_string();
        assert_eq!(url("192.0.2.7"), "https://192.0.2.7:10250/");
        assert_eq!(url("2001:db8::1"), "https://[2001:db8::1]:10250/");
        for wrong in ["", "node-1", "192.0.2.7:", "https://192.0.2.7"] {
            assert!(parse_kubelet_address(wrong).is_err(), "{wrong}");
        }
    }
}
