//! Credentials: the bearer token that identifies the agent, and the authority that vouches for the
//! server. Both are files that are renewed while the agent runs, and are read again.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use http::HeaderValue;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::secret_file;

/// Age at which a file is read again: kubelets renew tokens in good time (client-go does the same).
pub(super) const AGE_MAX: Duration = Duration::from_secs(60);

/// Longest token. Servers take heads of some KB, and tokens of service accounts are about one.
const TOKEN_MAX: usize = 64 << 10;

/// File with the bearer token that identifies the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    /// Path of the file.
    pub path: PathBuf,
    /// Whether a flag names it. Without the file that every Pod has by default, requests go without
    /// a token: `kubectl proxy` needs none.
    pub required: bool,
}

impl TokenFile {
    /// Whether there is a token to send.
    ///
    /// # Errors
    /// The file cannot be used; the error names it.
    pub fn check(&self) -> Result<bool, String> {
        Token::new(self.clone()).header().map(|header| header.is_some())
    }
}

/// The bearer token, with the time at which it was read.
#[derive(Debug)]
pub(super) struct Token {
    file: TokenFile,
    pub(super) header: Option<(HeaderValue, Instant)>,
    failing: bool,
}

impl Token {
    pub(super) const fn new(file: TokenFile) -> Self {
        Self { file, header: None, failing: false }
    }

    /// Value of `Authorization`, if there is one. If the file cannot be read now, the last value
    /// stays, and the next request tries again.
    pub(super) fn header(&mut self) -> Result<Option<HeaderValue>, String> {
        let fresh = |(_, read): &&(HeaderValue, Instant)| read.elapsed() < AGE_MAX;
        if let Some((header, _)) = self.header.as_ref().filter(fresh) {
            return Ok(Some(header.clone()));
        }
        let file = self.file.path.display();
        let read = secret_file::read(&self.file.path);
        if let (None, false, Err(error)) = (&self.header, self.file.required, &read)
            && error.kind() == ErrorKind::NotFound
        {
            return Ok(None);
        }
        let header = read.map_err(|error| error.to_string()).and_then(|token| bearer(&token));
        match (header, &self.header) {
            (Ok(header), _) => {
                self.failing = false;
                self.header = Some((header.clone(), Instant::now()));
                Ok(Some(header))
            }
            (Err(error), Some((header, _))) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%file, error, "the token cannot be read again: the last one stays in use");
                }
                Ok(Some(header.clone()))
            }
            (Err(error), None) => Err(format!("the token {file}: {error} (--pods.token-file)")),
        }
    }
}

fn bearer(token: &[u8]) -> Result<HeaderValue, String> {
    let no_token = || "the file holds no token".to_owned();
    let token = str::from_utf8(token).map_err(|_| no_token())?.trim();
    if token.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if token.len() > TOKEN_MAX {
        return Err(format!("a token of more than {TOKEN_MAX} bytes"));
    }
    let header = HeaderValue::try_from(format!("Bearer {token}"));
    let mut header = header.map_err(|_| no_token())?;
    header.set_sensitive(true);
    Ok(header)
}

/// Certificates of the authority that a server's certificate is checked against, as they were read.
#[derive(Debug)]
pub(super) struct Authority {
    file: PathBuf,
    pem: Vec<u8>,
    pub(super) read: Instant,
    failing: bool,
}

impl Authority {
    /// Reads the file for the first time.
    pub(super) fn open(file: &Path) -> anyhow::Result<(Self, RootCertStore)> {
        let pem = secret_file::read(file).with_context(|| {
            format!(
                "CA certificates in {}: name them with --api.ca-file or --kubelet.ca-file, or skip \
                 the kubelet's with --kubelet.insecure-skip-verify",
                file.display()
            )
        })?;
        let roots = roots(&pem).with_context(|| file.display().to_string())?;
        Ok((Self { file: file.to_owned(), pem, read: Instant::now(), failing: false }, roots))
    }

    /// The certificates, if they are others than before. The file is read again when it is old, and
    /// when there is `doubt` because the server could not be reached. What cannot be used changes
    /// nothing.
    pub(super) fn renewed(&mut self, doubt: bool) -> Option<RootCertStore> {
        if !doubt && self.read.elapsed() < AGE_MAX {
            return None;
        }
        self.read = Instant::now();
        let file = self.file.display();
        let read = secret_file::read(&self.file).map_err(anyhow::Error::from);
        match read.and_then(|pem| Ok((roots(&pem)?, pem))) {
            Ok((_, pem)) if pem == self.pem => {
                self.failing = false;
                None
            }
            Ok((roots, pem)) => {
                tracing::info!(%file, "CA certificates renewed");
                self.failing = false;
                self.pem = pem;
                Some(roots)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let error = format!("{error:#}");
                    tracing::warn!(%file, error, "the CA certificates cannot be read again: the last ones stay in use");
                }
                None
            }
        }
    }
}

/// Whether the certificates in this file can be used.
///
/// # Errors
/// They cannot; the error names the file.
pub fn check_authority(file: &Path) -> anyhow::Result<()> {
    Authority::open(file).map(|_| ())
}

pub(crate) fn roots(pem: &[u8]) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        // A certificate that cannot be read is not trusted; another may suffice.
        let _ = roots.add(certificate.context("no PEM file")?);
    }
    if roots.is_empty() {
        bail!("the file holds no usable certificate");
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CA: &[u8] = include_bytes!("testdata/ca.pem");
    const OTHER_CA: &[u8] = include_bytes!("testdata/other-ca.pem");

    fn token(path: &Path, required: bool) -> Token {
        Token::new(TokenFile { path: path.to_owned(), required })
    }

    fn said(token: &mut Token) -> Option<String> {
        token.header().unwrap().map(|header| header.to_str().unwrap().to_owned())
    }

    fn age(token: &mut Token) {
        let (header, read) = token.header.take().unwrap();
        token.header = read.checked_sub(AGE_MAX).map(|read| (header, read));
    }

    #[test]
    fn an_old_token_is_read_again_and_kept_if_that_fails() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let mut token = token(&file, false);
        std::fs::write(&file, "one").unwrap();
        assert_eq!(said(&mut token).as_deref(), Some("Bearer one"));
        std::fs::write(&file, "two").unwrap();
        assert_eq!(said(&mut token).as_deref(), Some("Bearer one"), "not old enough");
        age(&mut token);
        assert_eq!(said(&mut token).as_deref(), Some("Bearer two"));
        for broken in [" \n", "new\nline"] {
            std::fs::write(&file, broken).unwrap();
            age(&mut token);
            assert_eq!(said(&mut token).as_deref(), Some("Bearer two"));
        }
        std::fs::remove_file(&file).unwrap();
        age(&mut token);
        assert_eq!(said(&mut token).as_deref(), Some("Bearer two"));
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        age(&mut token);
        assert_eq!(said(&mut token).as_deref(), Some("Bearer two"), "a FIFO is not waited for");
    }

    #[test]
    fn a_token_that_comes_late_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let (mut named, mut usual) = (token(&file, true), token(&file, false));
        let error = named.header().unwrap_err();
        assert!(error.contains("--pods.token-file") && error.contains("token: No such"), "{error}");
        assert_eq!(said(&mut usual), None, "a proxy needs none");
        std::fs::write(&file, "").unwrap();
        assert!(named.header().is_err() && usual.header().is_err(), "it is there and empty");
        std::fs::write(&file, "late\n").unwrap();
        assert_eq!(said(&mut named).as_deref(), Some("Bearer late"));
        assert_eq!(said(&mut usual).as_deref(), Some("Bearer late"));
    }

    #[test]
    fn renewed_certificates_are_used_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.crt");
        std::fs::write(&file, CA).unwrap();
        let (mut authority, _) = Authority::open(&file).unwrap();
        std::fs::write(&file, OTHER_CA).unwrap();
        assert!(authority.renewed(false).is_none(), "not old enough");
        assert!(authority.renewed(true).is_some(), "but the server could not be reached");
        assert!(authority.renewed(true).is_none(), "the same");
        for broken in [&b""[..], b"-----BEGIN CERTIFICATE-----\n", b"\xff", b"{}"] {
            std::fs::write(&file, broken).unwrap();
            assert!(authority.renewed(true).is_none());
        }
        std::fs::remove_file(&file).unwrap();
        assert!(authority.renewed(true).is_none());
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(authority.renewed(true).is_none(), "a FIFO is not waited for");
        std::fs::remove_file(&file).unwrap();
        std::fs::write(&file, CA).unwrap();
        authority.read = Instant::now().checked_sub(AGE_MAX).unwrap();
        assert!(authority.renewed(false).is_some(), "old enough");
    }
}
