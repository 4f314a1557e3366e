//! Endpoint of traces: protocol, URL and headers of requests, by what was given. Pure.

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::variables::Given;

/// Protocol of the export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    HttpProtobuf,
}

impl Protocol {
    /// The value of `OTEL_EXPORTER_OTLP_PROTOCOL`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::HttpProtobuf => "http/protobuf",
        }
    }

    /// The protocol by a value that was given.
    pub(super) fn of(given: &Given) -> anyhow::Result<Self> {
        let mut all = [Self::Grpc, Self::HttpProtobuf].into_iter();
        let found = all.find(|protocol| protocol.name() == given.value);
        found.ok_or_else(|| given.expected("grpc or http/protobuf"))
    }
}

/// The URL of requests. What may hold a password is not repeated in errors.
pub(super) fn url(endpoint: &Given, protocol: Protocol, insecure: bool) -> anyhow::Result<Uri> {
    let name = &endpoint.name;
    let text = match (endpoint.value.contains("://"), protocol, insecure) {
        (true, ..) => endpoint.value.clone(),
        // For gRPC alone an endpoint may be without a scheme.
        (false, Protocol::Grpc, true) => format!("http://{}", endpoint.value),
        (false, Protocol::Grpc, false) => format!("https://{}", endpoint.value),
        (false, Protocol::HttpProtobuf, _) => {
            bail!("{name}: expected a URL that begins with http:// or https://")
        }
    };
    let Ok(uri) = text.parse::<Uri>() else {
        bail!("{name}: no URL; expected one such as http://collector:4318 or http://[::1]:4318");
    };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        bail!("{name}: expected a URL that begins with http:// or https://");
    }
    let Some(authority) = uri.authority().filter(|it| !it.host().is_empty()) else {
        bail!("{name}: the URL names no host");
    };
    if authority.as_str().contains('@') {
        bail!(
            "{name}: a user or password in the URL is not sent; set the header authorization with \
             --trace.headers or OTEL_EXPORTER_OTLP_HEADERS"
        );
    }
    // What is left over would be a request to the scheme's own port.
    let has_port = authority.as_str().len() > authority.host().len();
    if has_port && authority.port_u16().is_none_or(|port| port == 0) {
        bail!("{name}: the port in the URL is no number from 1 to 65535");
    }
    let path = uri.path();
    let is_whole = name == "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        || (name == "--trace.endpoint" && path.trim_end_matches('/').ends_with(PATH));
    // Nobody would miss what is left out of a request.
    if text.contains('#') || (uri.query().is_some() && !(is_whole && protocol != Protocol::Grpc)) {
        bail!(
            "{name}: the URL has a fragment, or a query that would be lost; only the whole URL of \
             OTLP over HTTP, with its path, may have a query"
        );
    }
    let path = match protocol {
        Protocol::Grpc => "/".to_owned(),
        Protocol::HttpProtobuf if is_whole => {
            let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
            format!("{path}{query}")
        }
        Protocol::HttpProtobuf => format!("{}{PATH}", path.trim_end_matches('/')),
    };
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(path.parse().with_context(|| name.clone())?);
    Uri::from_parts(parts).with_context(|| name.clone())
}

/// Path of traces below that of the receiver.
const PATH: &str = "/v1/traces";

/// Headers that the exporter sets, or that would break its requests.
const RESERVED: [&str; 10] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The headers of each request. Their values are secrets.
pub(super) fn headers(given: &Given) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (key, value) in given.pairs()? {
        let name = &given.name;
        let Ok(header) = HeaderName::from_bytes(key.as_bytes()) else {
            // Who writes `key: value` has the value in the key.
            bail!("{name}: a key of the list is no name of a header; expected key=value,…");
        };
        if RESERVED.contains(&header.as_str()) {
            bail!("{name}: the header {header} is not for you to set");
        }
        let Ok(mut value) = HeaderValue::from_bytes(&value) else {
            bail!("{name}: the value of {header} has characters that no header can have");
        };
        value.set_sensitive(true);
        headers.append(header, value);
    }
    Ok(headers)
}
