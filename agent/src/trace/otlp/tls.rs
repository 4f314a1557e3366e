//! TLS of the exporter: which receivers are trusted, and the agent's own certificate.

use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use crate::kube::credentials;
use crate::kube::secret_file;
use crate::trace::settings::{NamedFile, Settings};

/// The configuration by the files as they are now. Without TLS none is read.
///
/// # Errors
/// A file cannot be used; the error names it, and the flag or variable that does.
pub(super) fn config(settings: &Settings) -> anyhow::Result<ClientConfig> {
    let is_tls = settings.url.scheme_str() == Some("https");
    let roots = match &settings.ca {
        _ if !is_tls => RootCertStore::empty(),
        None => webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect(),
        Some(file) => credentials::roots(&read(file)?).with_context(|| named(file))?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("TLS has no versions")?
        .with_root_certificates(roots);
    let Some((certificate_file, key_file)) = settings.client.as_ref().filter(|_| is_tls) else {
        return Ok(builder.with_no_client_auth());
    };
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(certificate_file)?).collect();
    let certificates = certificates
        .map_err(anyhow::Error::from)
        .and_then(|found| {
            (!found.is_empty()).then_some(found).context("the file holds no certificate")
        })
        .with_context(|| named(certificate_file))?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?)
        .context("the file holds no private key in PEM")
        .with_context(|| named(key_file))?;
    builder.with_client_auth_cert(certificates, key).with_context(|| {
        format!("{} and {} do not belong together", named(certificate_file), named(key_file))
    })
}

fn read(file: &NamedFile) -> anyhow::Result<Vec<u8>> {
    secret_file::read(&file.path).with_context(|| named(file))
}

fn named(file: &NamedFile) -> String {
    format!("{} ({})", crate::escape::path(&file.path), file.by)
}
