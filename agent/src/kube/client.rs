//! HTTP client for the API server and for the kubelet: TLS, the token, and the time of the last
//! contact.
//!
//! kube-rs can make a client from a kubeconfig as well. That pulls in a YAML parser, the credential
//! plugins of cloud providers, a JSONPath interpreter and a regular expression engine for these: 4
//! MB of program that no Pod needs. On a developer's machine `kubectl proxy` serves the API without
//! TLS.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{FutureExt as _, future::BoxFuture};
use http::{HeaderValue, Request, Response, Uri, header::AUTHORIZATION};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Hyper, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::Body;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::Sleep;

use super::event::LastContact;
use super::unverified::Unverified;

/// Timeout of a connection, with its TLS handshake, and of an answer's head.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence of a response before it is given up. The API server sends a bookmark on every
/// watch each minute (`apiserver/pkg/storage/cacher`, `defaultBookmarkFrequency`, Kubernetes 1.37).
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// Age at which a token is read again: kubelets renew it in good time (client-go does the same).
const TOKEN_AGE_MAX: Duration = Duration::from_secs(60);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Endpoint of a server, and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// URL of the server, such as `https://192.0.2.1:6443`; its path is put before that of each
    /// request.
    pub url: Uri,
    /// Verification of the server's certificate; without TLS it has no meaning.
    pub trust: Trust,
    /// File with the bearer token that identifies the agent.
    pub token_file: Option<PathBuf>,
}

/// Verification of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Verification against the certificates in this file and the address in the URL.
    Authority(PathBuf),
    /// No verification.
    SkipVerify,
}

/// A client of that server, which records each contact in `last_contact`.
///
/// # Errors
/// The URL or the certificates are not usable.
pub fn client(endpoint: &Endpoint, last_contact: &LastContact) -> anyhow::Result<kube::Client> {
    let Some(scheme) =
        endpoint.url.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))
    else {
        bail!("{}: not an http or https URL", endpoint.url);
    };
    let tls = if scheme == "https" { tls(&endpoint.trust)? } else { tls_without_servers() };
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(ANSWER_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let hyper = Hyper::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    let token = endpoint.token_file.clone().map(|file| Token { file, header: None });
    let service =
        Service { hyper, base: endpoint.url.clone(), token, last_contact: last_contact.clone() };
    Ok(kube::Client::new(service, "default"))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    // Fails only if a provider lacks the cipher suites of its own versions, and ring does not.
    builder.with_safe_default_protocol_versions().expect("ring has the default versions")
}

fn tls(trust: &Trust) -> anyhow::Result<ClientConfig> {
    let config = match trust {
        Trust::Authority(file) => builder().with_root_certificates(roots(file)?),
        Trust::SkipVerify => {
            builder().dangerous().with_custom_certificate_verifier(Arc::new(Unverified::new()))
        }
    };
    Ok(config.with_no_client_auth())
}

/// TLS configuration for plain HTTP: the connector needs one and never uses it.
fn tls_without_servers() -> ClientConfig {
    builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).with_context(|| {
        format!(
            "CA certificates in {}: name them with --api.ca-file or --kubelet.ca-file, or skip \
                 the kubelet's with --kubelet.insecure-skip-verify",
            file.display()
        )
    })?;
    for certificate in certificates {
        let certificate = certificate.with_context(|| format!("{}", file.display()))?;
        // A certificate that cannot be read is not trusted; another may suffice.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() {
        bail!("{}: the file holds no usable certificate", file.display());
    }
    Ok(roots)
}

/// The bearer token, with the time at which it was read.
struct Token {
    file: PathBuf,
    header: Option<(HeaderValue, Instant)>,
}

impl Token {
    /// Value of `Authorization`. If the file cannot be read now, the last value stays.
    fn header(&mut self) -> Result<HeaderValue, Error> {
        let fresh = |(_, read): &&(HeaderValue, Instant)| read.elapsed() < TOKEN_AGE_MAX;
        if let Some((header, _)) = self.header.as_ref().filter(fresh) {
            return Ok(header.clone());
        }
        match std::fs::read_to_string(&self.file) {
            Ok(token) => {
                let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim()))?;
                header.set_sensitive(true);
                self.header = Some((header.clone(), Instant::now()));
                Ok(header)
            }
            Err(error) => match &self.header {
                Some((header, _)) => Ok(header.clone()),
                None => Err(format!("the token {}: {error}", self.file.display()).into()),
            },
        }
    }
}

/// HTTP service that sends each request to one server.
struct Service {
    hyper: Hyper<HttpsConnector<HttpConnector>, Body>,
    base: Uri,
    token: Option<Token>,
    last_contact: LastContact,
}

impl Service {
    fn address(&mut self, request: &mut Request<Body>) -> Result<(), Error> {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let mut parts = self.base.clone().into_parts();
        let before = self.base.path().trim_end_matches('/');
        parts.path_and_query = Some(format!("{before}{path}").parse()?);
        *request.uri_mut() = Uri::from_parts(parts)?;
        if let Some(token) = &mut self.token {
            request.headers_mut().insert(AUTHORIZATION, token.header()?);
        }
        Ok(())
    }
}

impl tower_service::Service<Request<Body>> for Service {
    type Response = Response<Observed>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Observed>, Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let addressed = self.address(&mut request);
        let (hyper, last_contact) = (self.hyper.clone(), self.last_contact.clone());
        let answer = async move {
            addressed?;
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, hyper.request(request)).await;
            let answer = answer.map_err(|_| format!("no answer in {ANSWER_TIMEOUT:?}"))??;
            // A refusal is no contact with the Pod source.
            let last_contact = answer.status().is_success().then_some(last_contact);
            if let Some(last_contact) = &last_contact {
                last_contact.touch();
            }
            Ok(answer.map(|inner| Observed::new(inner, last_contact)))
        };
        answer.boxed()
    }
}

/// A response body that records a contact for each frame.
///
/// A healthy watch may be silent for hours, because no Pod of the node changes. The watcher keeps
/// the server's bookmarks to itself, so they are noticed here, as bytes.
struct Observed {
    inner: Incoming,
    last_contact: Option<LastContact>,
    silence: Pin<Box<Sleep>>,
}

impl Observed {
    fn new(inner: Incoming, last_contact: Option<LastContact>) -> Self {
        Self { inner, last_contact, silence: Box::pin(tokio::time::sleep(SILENCE_MAX)) }
    }
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            let silent = self.silence.as_mut().poll(context);
            return silent.map(|()| Some(Err(format!("silent for {SILENCE_MAX:?}").into())));
        };
        if let (Some(Ok(_)), Some(last_contact)) = (&frame, &self.last_contact) {
            last_contact.touch();
        }
        self.silence.as_mut().reset(tokio::time::Instant::now() + SILENCE_MAX);
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
