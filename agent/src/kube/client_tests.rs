//! TLS, tokens and refusals against a server of the test. Its key serves this test alone.

use std::path::Path;
use std::sync::mpsc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kube/testdata");

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";

/// A server that answers one request on each connection, and hands the request to the test.
fn server() -> (Uri, mpsc::Receiver<String>) {
    server_with(OK.to_owned())
}

fn server_with(answer: String) -> (Uri, mpsc::Receiver<String>) {
    use std::io::{Read as _, Write as _};
    let dir = Path::new(DIR);
    let chain = CertificateDer::pem_file_iter(dir.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/before", listener.local_addr().unwrap()).parse().unwrap();
    let (sender, requests) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut byte) {
                    Ok(1) => request.push(byte[0]),
                    // A client that does not trust the server closes the connection.
                    _ => break,
                }
            }
            let request = String::from_utf8(request).unwrap();
            if sender.send(request).is_err() {
                return;
            }
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.flush();
        }
    });
    (url, requests)
}

fn endpoint(url: &Uri, trust: Trust) -> Endpoint {
    Endpoint { url: url.clone(), trust, token: None }
}

async fn ask(endpoint: &Endpoint, last_contact: &LastContact) -> Result<String, String> {
    let client = Client::new(endpoint, last_contact).map_err(|error| format!("{error:#}"))?;
    ask_with(client).await.map_err(|failure| failure.why)
}

async fn ask_with(mut client: Client) -> Result<String, Failure> {
    let mut answer = client.get("/pods?x=1").await?;
    let mut text = Vec::new();
    while let Some(bytes) = answer.bytes().await {
        text.extend_from_slice(&bytes?);
    }
    Ok(String::from_utf8(text).unwrap())
}

/// The failure that this answer is.
async fn failure(answer: String) -> Failure {
    let (url, _requests) = server_with(answer);
    let client = Client::new(&endpoint(&url, Trust::SkipVerify), &LastContact::default()).unwrap();
    ask_with(client).await.unwrap_err()
}

fn authority(file: &str) -> Trust {
    Trust::Authority(Path::new(DIR).join(file))
}

#[tokio::test]
async fn a_certificate_is_verified_unless_a_flag_skips_it() {
    let (url, requests) = server();
    let last_contact = LastContact::default();
    let error = ask(&endpoint(&url, authority("other-ca.pem")), &last_contact).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    assert_eq!(last_contact.last_boot_ns(), None);
    assert_eq!(requests.recv().unwrap(), "", "nothing was sent to an untrusted server");
    assert_eq!(ask(&endpoint(&url, authority("ca.pem")), &last_contact).await.as_deref(), Ok("{}"));
    assert!(last_contact.last_boot_ns().is_some());
    assert!(requests.recv().unwrap().starts_with("GET /before/pods?x=1 HTTP/1.1\r\n"));
    assert_eq!(ask(&endpoint(&url, Trust::SkipVerify), &last_contact).await.as_deref(), Ok("{}"));
    // The certificate is for an address, not for this name of it.
    let name: Uri = url.to_string().replace("127.0.0.1", "localhost").parse().unwrap();
    let error = ask(&endpoint(&name, authority("ca.pem")), &last_contact).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn unusable_files_and_urls_are_refused() {
    let last_contact = LastContact::default();
    let missing = endpoint(&"https://127.0.0.1:1".parse().unwrap(), authority("missing.pem"));
    let error = Client::new(&missing, &last_contact).err().unwrap();
    assert!(format!("{error:#}").contains("missing.pem"), "{error:#}");
    let empty = endpoint(&"https://127.0.0.1:1".parse().unwrap(), authority("job.json"));
    let error = Client::new(&empty, &last_contact).err().unwrap();
    assert!(format!("{error:#}").contains("job.json"), "{error:#}");
    let scheme = endpoint(&"ftp://127.0.0.1:1".parse().unwrap(), Trust::SkipVerify);
    assert!(Client::new(&scheme, &last_contact).is_err());
}

#[tokio::test]
async fn the_token_goes_with_each_request() {
    let (url, requests) = server();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    let token = Some(TokenFile { path: path.clone(), required: true });
    let endpoint = Endpoint { token, ..endpoint(&url, authority("ca.pem")) };
    let error = ask(&endpoint, &LastContact::default()).await.unwrap_err();
    assert!(error.contains("token"), "{error}");
    std::fs::write(&path, "secret\n").unwrap();
    assert!(ask(&endpoint, &LastContact::default()).await.is_ok());
    let request = requests.recv().unwrap().to_lowercase();
    assert!(request.contains("\r\nauthorization: bearer secret\r\n"), "{request}");
    assert!(request.contains("\r\naccept-encoding: identity\r\n"), "{request}");
}

#[tokio::test]
async fn renewed_certificates_are_trusted_without_a_restart() {
    let (url, _requests) = server();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    let of = |name: &str| std::fs::read(Path::new(DIR).join(name)).unwrap();
    std::fs::write(&file, of("other-ca.pem")).unwrap();
    let endpoint = endpoint(&url, Trust::Authority(file.clone()));
    let mut client = Client::new(&endpoint, &LastContact::default()).unwrap();
    let error = client.get("/").await.err().unwrap().why;
    assert!(error.contains("certificate"), "{error}");
    std::fs::write(&file, "broken").unwrap();
    assert!(client.get("/").await.is_err(), "the last certificates stay in use");
    std::fs::write(&file, of("ca.pem")).unwrap();
    assert!(client.get("/").await.is_ok());
    std::fs::write(&file, "broken").unwrap();
    assert!(client.get("/").await.is_ok(), "the last certificates stay in use");
}

fn refused(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn refusals_are_told_in_one_short_line() {
    let status = r#"{"kind":"Status","message":"pods is\nforbidden","code":403}"#;
    let said = failure(refused("403 Forbidden", "", status)).await;
    assert_eq!((said.why.as_str(), said.status), (r"403 Forbidden: pods is\nforbidden", Some(403)));
    let said = failure(refused("401 Unauthorized", "", &"\u{1b}[2J<x>\n".repeat(9_000))).await;
    assert!(said.why.len() < 1_000 && said.why.starts_with("401 Unauthorized: "), "{}", said.why);
    assert!(!said.why.chars().any(char::is_control), "{}", said.why);
    assert_eq!(failure(refused("500 No", "", "")).await.why, "500 Internal Server Error");
}

#[tokio::test]
async fn a_redirection_is_not_followed() {
    let (other, requests) = server();
    let header = format!("Location: {other}secret\r\n");
    let said = failure(refused("302 Found", &header, "")).await;
    assert_eq!(said.why, "302 Found: a redirection, which is not followed");
    assert!(requests.try_recv().is_err());
}

#[tokio::test]
async fn a_server_may_ask_for_a_rest() {
    let asked = async |headers: &str, body: &str| {
        failure(refused("429 Too Many Requests", headers, body)).await.retry_after
    };
    assert_eq!(asked("Retry-After: 17\r\n", "").await, Some(Duration::from_secs(17)));
    let status = r#"{"kind":"Status","details":{"retryAfterSeconds":5}}"#;
    assert_eq!(asked("", status).await, Some(Duration::from_secs(5)));
    for none in ["Retry-After: -1\r\n", "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", ""] {
        assert_eq!(asked(none, "").await, None, "{none}");
    }
}

#[tokio::test]
async fn what_is_compressed_unasked_is_refused() {
    let said = failure(refused("200 OK", "Content-Encoding: gzip\r\n", "{}")).await;
    assert!(said.why.contains("gzip"), "{}", said.why);
}

#[tokio::test]
async fn heads_have_a_limit() {
    let padded = |length| format!("X-Pad: {}\r\n", "x".repeat(length));
    let said = failure(refused("500 No", &padded(8 << 10), "")).await;
    assert_eq!(said.status, Some(500));
    let said = failure(refused("500 No", &padded(64 << 10), "")).await;
    assert_eq!(said.status, None, "{}", said.why);
}
