//! HTTP client for the API server and for the kubelet: TLS, the token, answers that are bounded
//! while they are read, and the time of the last contact.
//!
//! kube-rs has a client too. It holds an answer as a whole, and whoever may create Pods decides how
//! long that is. Its configuration pulls in a YAML parser, the credential plugins of cloud
//! providers, a JSONPath interpreter and a regular expression engine: 4 MB of program that no Pod
//! needs. On a developer's machine `kubectl proxy` serves the API without TLS.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, LOCATION, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as Hyper, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::time::timeout;

use super::credentials::{Authority, Token, TokenFile};
use super::event::LastContact;
use super::text::one_line;
use super::unverified::Unverified;

/// Timeout of a connection, with its TLS handshake, and of an answer's head.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Limit of what is read of a refusal, in bytes and in time.
const REFUSAL_MAX: usize = 8 << 10;
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit of an answer's head, and of what is taken from a connection at once, in bytes. A server may
/// send interim answers (`103 Early Hints`) without end: with more at once, nobody else has a turn
/// for seconds.
const READ_MAX: usize = 16 << 10;
/// Longest text of a server in an error, in characters.
const TEXT_MAX: usize = 240;

/// Endpoint of a server, and the credentials for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// URL of the server, such as `https://192.0.2.1:6443`; its path is put before that of each
    /// request.
    pub url: Uri,
    /// Verification of the server's certificate; without TLS it has no meaning.
    pub trust: Trust,
    /// File with the bearer token; `None` where none is to be sent.
    pub token: Option<TokenFile>,
}

/// Verification of a server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Verification against the certificates in this file and the address in the URL.
    Authority(std::path::PathBuf),
    /// No verification.
    SkipVerify,
}

/// Failure of a request, or of its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Reason, in one line.
    pub why: String,
    /// Status of a refusal; `None` if there was no answer.
    pub status: Option<u16>,
    /// Rest that the server asks for.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure without a refusal.
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), ..Self::default() }
    }
}

type Https = Hyper<HttpsConnector<HttpConnector>, String>;

/// Client of one server.
pub struct Client {
    https: Https,
    url: Uri,
    authority: Option<Authority>,
    token: Option<Token>,
    last_contact: LastContact,
    /// Whether the last request found no server that is trusted.
    doubt: bool,
}

impl Client {
    /// A client of that server, which records each contact in `last_contact`.
    ///
    /// # Errors
    /// The URL or the certificates are not usable.
    pub fn new(endpoint: &Endpoint, last_contact: &LastContact) -> anyhow::Result<Self> {
        let url = endpoint.url.clone();
        let (tls, authority) = match (url.scheme_str(), &endpoint.trust) {
            // The connector needs a configuration, and never uses it.
            (Some("http"), _) => (verifying(RootCertStore::empty()), None),
            (Some("https"), Trust::Authority(file)) => {
                let (authority, roots) = Authority::open(file)?;
                (verifying(roots), Some(authority))
            }
            (Some("https"), Trust::SkipVerify) => (unverifying(), None),
            _ => bail!("{url}: not an http or https URL"),
        };
        let token = endpoint.token.clone().map(Token::new);
        let last_contact = last_contact.clone();
        Ok(Self { https: https(tls), url, authority, token, last_contact, doubt: false })
    }

    /// Sends `GET` for a path with its query, and waits for the head of a good answer.
    ///
    /// # Errors
    /// The server cannot be reached, is not trusted, or refuses. Redirections are refusals too: a
    /// token goes to no other place than the one that was named.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, Failure> {
        if let Some(roots) = self.authority.as_mut().and_then(|it| it.renewed(self.doubt)) {
            self.https = https(verifying(roots));
        }
        let request = self.request(path)?;
        self.doubt = true;
        let answer = timeout(ANSWER_TIMEOUT, self.https.request(request)).await;
        let answer = answer
            .map_err(|_| Failure::new(format!("no answer in {} s", ANSWER_TIMEOUT.as_secs())))?
            .map_err(|error| Failure::new(chain(&error)))?;
        self.doubt = false;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        let coding = answer.headers().get(CONTENT_ENCODING);
        if let Some(coding) = coding.filter(|coding| coding.as_bytes() != b"identity") {
            let coding = one_line(&String::from_utf8_lossy(coding.as_bytes()), TEXT_MAX);
            return Err(Failure::new(format!("the answer is encoded as {coding}, unasked")));
        }
        // A refusal is no contact with the Pod source.
        self.last_contact.touch();
        Ok(Answer { body: answer.into_body(), last_contact: self.last_contact.clone() })
    }

    fn request(&mut self, path: &str) -> Result<Request<String>, Failure> {
        let mut parts = self.url.clone().into_parts();
        let before = self.url.path().trim_end_matches('/');
        let path = format!("{before}{path}").parse();
        parts.path_and_query = Some(path.map_err(|error| Failure::new(chain(&error)))?);
        let mut request = Request::get(Uri::from_parts(parts).unwrap_or_default())
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header(USER_AGENT, concat!("podvitals/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = &mut self.token
            && let Some(header) = token.header().map_err(Failure::new)?
        {
            request = request.header(AUTHORIZATION, header);
        }
        request.body(String::new()).map_err(|error| Failure::new(chain(&error)))
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    // Fails only if a provider lacks the cipher suites of its own versions, and ring does not.
    builder.with_safe_default_protocol_versions().expect("ring has the default versions")
}

fn verifying(roots: RootCertStore) -> ClientConfig {
    builder().with_root_certificates(roots).with_no_client_auth()
}

fn unverifying() -> ClientConfig {
    let verifier = Arc::new(Unverified::new());
    builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
}

fn https(tls: ClientConfig) -> Https {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(ANSWER_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    Hyper::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(READ_MAX)
        .build(connector)
}

/// The body of a good answer.
pub(super) struct Answer {
    body: Incoming,
    last_contact: LastContact,
}

impl Answer {
    /// The next bytes, `None` at the end. Each is a contact: a healthy watch may be silent for
    /// hours, because no Pod of the node changes, but for the server's bookmarks.
    pub(super) async fn bytes(&mut self) -> Option<Result<Bytes, Failure>> {
        loop {
            match next(&mut self.body).await? {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    self.last_contact.touch();
                    return Some(Ok(bytes));
                }
                Err(error) => return Some(Err(Failure::new(chain(&error)))),
            }
        }
    }
}

async fn next(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    // Trailers say nothing.
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

/// Report of the API in place of an answer (`metav1.Status`), as far as it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    code: Option<u16>,
    message: Option<String>,
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
}

impl Status {
    /// The failure that this status, which came in place of an event, stands for.
    pub(super) fn failure(self) -> Failure {
        let message = one_line(self.message.as_deref().unwrap_or("no reason"), TEXT_MAX);
        let retry_after = self.details.and_then(|it| it.retry_after_seconds);
        let code = self.code.unwrap_or_default();
        Failure {
            why: format!("{code}: {message}"),
            status: Some(code),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }
}

/// The failure that a refusal stands for. Little is read of it, and less is reported.
async fn refusal(answer: Response<Incoming>) -> Failure {
    let (head, mut body) = answer.into_parts();
    let mut text = Vec::new();
    let read = async {
        while let Some(Ok(bytes)) = next(&mut body).await {
            let room = REFUSAL_MAX - text.len();
            text.extend_from_slice(bytes.split_at(room.min(bytes.len())).0);
            if text.len() == REFUSAL_MAX {
                break;
            }
        }
    };
    // What came in time is reported.
    let _ = timeout(REFUSAL_TIMEOUT, read).await;
    let status: Status = serde_json::from_slice(&text).unwrap_or_default();
    let said = status.message.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
    let said = match head.headers.get(LOCATION).filter(|_| head.status.is_redirection()) {
        Some(_) => "a redirection, which is not followed".to_owned(),
        None => one_line(&said, TEXT_MAX),
    };
    let retry_after = retry_after(&head.headers)
        .or(status.details.and_then(|details| details.retry_after_seconds));
    Failure {
        why: format!("{}{}{said}", head.status, if said.is_empty() { "" } else { ": " }),
        status: Some(head.status.as_u16()),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

/// Seconds of `Retry-After`; the API server sends no dates.
fn retry_after(headers: &HeaderMap) -> Option<u64> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// Whether a refusal says nothing about the request itself: the same one may succeed later.
pub(super) fn is_passing(status: u16) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || matches!(status, 500 | 502 | 503)
}

/// The error with its causes, each mentioned once, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    one_line(&text, 2 * TEXT_MAX)
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
