//! Pod sources: which one is used, decided purely from the flags and the environment.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::Uri;

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
        "--pods.source=api needs the node's name: --node.name, or NODE_NAME from spec.nodeName"
    )]
    NoNode,
    /// The API server's address is missing.
    #[error(
        "--pods.source=api needs the API server's address: --api.url, or, in a Pod with \
         automountServiceAccountToken, KUBERNETES_SERVICE_HOST and a mounted token"
    )]
    NoAddress,
}

/// The source to use, from what is requested and what is available.
///
/// # Errors
/// A source that is requested by name lacks something.
pub fn choose(wanted: PodsSource, there: Surroundings) -> Result<Chosen, CannotUse> {
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
        (PodsSource::Auto, _, None) => {
            Ok(Chosen::None("no node name (--node.name, or NODE_NAME from spec.nodeName)"))
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://192.0.2.1:6443/";

    fn there(node: bool, api: bool) -> Surroundings {
        Surroundings {
            node: node.then(|| "n1".to_owned()),
            api_url: api.then(|| URL.parse().unwrap()),
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
    fn kubelet_addresses_are_parsed() {
        for (text, address) in [
            ("192.0.2.7", "192.0.2.7:10250"),
            ("192.0.2.7:1", "192.0.2.7:1"),
            ("2001:db8::1", "[2001:db8::1]:10250"),
            ("[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            assert_eq!(parse_kubelet_address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for wrong in ["", "node-1", "192.0.2.7:", "https://192.0.2.7"] {
            assert!(parse_kubelet_address(wrong).is_err(), "{wrong}");
        }
    }
}
