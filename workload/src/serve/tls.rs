//! TLS with a certificate made at the start: the kubelet's probes check none.

use std::{io::Read, io::Write, net::TcpStream, sync::Arc};

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};

/// A server's side, for a name that nobody asks for.
pub(super) fn config() -> Result<Arc<ServerConfig>> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["workload".to_owned()]).context("make a certificate")?;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS")?
        .with_no_client_auth()
        .with_single_cert(vec![cert.into()], key.into())
        .context("use the certificate")?;
    Ok(Arc::new(config))
}

/// The plain side of an accepted connection.
pub(super) fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Result<impl Read + Write> {
    Ok(StreamOwned::new(ServerConnection::new(config).context("TLS")?, stream))
}
