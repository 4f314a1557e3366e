//! Where Pods are asked for: the choice, pure, and what it is made from.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::Uri;

/// What the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum PodsSource {
    /// `api` if the API server's address and the node's name are known; else `none`.
    Auto,
    /// The API server: a watch on the Pods of this node.
    Api,
    /// This node's kubelet, asked every few seconds.
    Kubelet,
    /// Nowhere: names come from the links of --pods.log-dir alone.
    None,
}

/// Where the service account is mounted in a Pod.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The kubelet's port with authentication.
const KUBELET_PORT: u16 = 10250;

/// What there is to choose from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The node's name.
    pub node: Option<String>,
    /// The API server: as given, else as every Pod is told.
    pub api_url: Option<Uri>,
}

impl Surroundings {
    /// Looks at the environment for what was not given.
    #[must_use]
    pub fn look(node: Option<&str>, api_url: Option<&Uri>) -> Self {
        let get = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let told = || {
            in_cluster(&get("KUBERNETES_SERVICE_HOST")?, &get("KUBERNETES_SERVICE_PORT")?)
                .filter(|_| Path::new(SERVICE_ACCOUNT).join("token").exists())
        };
        Self {
            node: node.filter(|node| !node.is_empty()).map(str::to_owned),
            api_url: api_url.cloned().or_else(told),
        }
    }
}

/// The API server's URL as Pods are told it.
fn in_cluster(host: &str, port: &str) -> Option<Uri> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("https://{host}:{port}").parse().ok()
}

/// The source that is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// A watch.
    Api {
        /// The API server.
        url: Uri,
        /// Whose Pods.
        node: String,
    },
    /// This node's kubelet.
    Kubelet,
    /// None, and why.
    None(&'static str),
}

impl Chosen {
    /// For people.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Api { url, node } => format!("the API server {url}, Pods of node {node}"),
            Self::Kubelet => "this node's kubelet".to_owned(),
            Self::None(why) => format!("the links in --pods.log-dir alone: {why}"),
        }
    }
}

/// Why a source that was asked for cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotUse {
    /// A watch is for one node.
    #[error(
        "--pods.source=api needs the node's name: --node.name, or NODE_NAME from spec.nodeName"
    )]
    NoNode,
    /// There is no way to the API server.
    #[error(
        "--pods.source=api needs the API server's address: --api.url, or what every Pod with \
         automountServiceAccountToken has, KUBERNETES_SERVICE_HOST and a mounted token"
    )]
    NoAddress,
}

/// Chooses.
///
/// # Errors
/// A source that was asked for by name lacks something.
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

/// An address, with the kubelet's port if there is none.
///
/// # Errors
/// What is no address, in words.
pub fn parse_kubelet_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, KUBELET_PORT));
    bare.or_else(|_| text.parse())
        .map_err(|_| format!("{text:?} is no address: give an IP address, with or without a port"))
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
    fn auto_takes_the_api_where_it_can() {
        let api = Chosen::Api { url: URL.parse().unwrap(), node: "n1".into() };
        assert_eq!(choose(PodsSource::Auto, there(true, true)), Ok(api));
        for nothing in [there(false, true), there(true, false), there(false, false)] {
            assert!(matches!(choose(PodsSource::Auto, nothing), Ok(Chosen::None(_))));
        }
    }

    #[test]
    fn what_was_asked_for_is_not_silently_left_out() {
        let ask = |there| choose(PodsSource::Api, there);
        assert!(matches!(ask(there(true, true)), Ok(Chosen::Api { .. })));
        assert_eq!(ask(there(false, true)), Err(CannotUse::NoNode));
        assert_eq!(ask(there(true, false)), Err(CannotUse::NoAddress));
        assert_eq!(choose(PodsSource::Kubelet, there(false, false)), Ok(Chosen::Kubelet));
        assert!(matches!(choose(PodsSource::None, there(true, true)), Ok(Chosen::None(_))));
    }

    #[test]
    fn the_api_servers_address() {
        let url = |host, port| in_cluster(host, port).map(|url| url.to_string());
        assert_eq!(url("192.0.2.1", "443").as_deref(), Some("https://192.0.2.1:443/"));
        assert_eq!(url("2001:db8::1", "6443").as_deref(), Some("https://[2001:db8::1]:6443/"));
        assert_eq!(url("a b", "443"), None);
    }

    #[test]
    fn kubelet_addresses() {
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
