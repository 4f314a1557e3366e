//! TLS with a certificate generated at the start: the kubelet's probes verify none.

use std::{io::Read, io::Write, net::TcpStream, sync::Arc};

use anyhow::{Context as _, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivatePkcs8KeyDer};

/// Configuration of the server, for a name that no client verifies.
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

/// Plain side of an accepted connection.
pub(super) fn accept(config: Arc<ServerConfig>, stream: TcpStream) -> Result<impl Read + Write> {
    Ok(StreamOwned::new(ServerConnection::new(config).context("TLS")?, stream))
}
