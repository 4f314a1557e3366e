//! TLS and tokens against a server of the test. Its key serves this test alone.

use std::sync::mpsc;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/kube/testdata");

/// A server that answers one request on each connection, and hands the request to the test.
fn server() -> (Uri, mpsc::Receiver<String>) {
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
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
            let _ = stream.flush();
        }
    });
    (url, requests)
}

fn endpoint(url: &Uri, trust: Trust) -> Endpoint {
    Endpoint { url: url.clone(), trust, token_file: None }
}

async fn ask(endpoint: &Endpoint, last_contact: &LastContact) -> Result<String, String> {
    let client = client(endpoint, last_contact).map_err(|error| format!("{error:#}"))?;
    let request = Request::get("/pods?x=1").body(Vec::new()).unwrap();
    client.request_text(request).await.map_err(|error| super::super::watch::chain(&error))
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
    let error = client(&missing, &last_contact).err().unwrap();
    assert!(format!("{error:#}").contains("missing.pem"), "{error:#}");
    let empty = endpoint(&"https://127.0.0.1:1".parse().unwrap(), authority("job.json"));
    let error = client(&empty, &last_contact).err().unwrap();
    assert!(format!("{error:#}").contains("job.json"), "{error:#}");
    let scheme = endpoint(&"ftp://127.0.0.1:1".parse().unwrap(), Trust::SkipVerify);
    assert!(client(&scheme, &last_contact).is_err());
}

#[tokio::test]
async fn the_token_goes_with_each_request() {
    let (url, requests) = server();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let endpoint =
        Endpoint { token_file: Some(file.clone()), ..endpoint(&url, authority("ca.pem")) };
    let error = ask(&endpoint, &LastContact::default()).await.unwrap_err();
    assert!(error.contains("token"), "{error}");
    std::fs::write(&file, "secret\n").unwrap();
    assert!(ask(&endpoint, &LastContact::default()).await.is_ok());
    let request = requests.recv().unwrap();
    assert!(request.to_lowercase().contains("\r\nauthorization: bearer secret\r\n"), "{request}");
}

#[test]
fn an_old_token_is_read_again_and_kept_if_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let mut token = Token { file: file.clone(), header: None };
    std::fs::write(&file, "one").unwrap();
    assert_eq!(token.header().unwrap(), "Bearer one");
    std::fs::write(&file, "two").unwrap();
    assert_eq!(token.header().unwrap(), "Bearer one", "not old enough");
    let age = |token: &mut Token| {
        let (header, read) = token.header.take().unwrap();
        token.header = read.checked_sub(TOKEN_AGE_MAX).map(|read| (header, read));
    };
    age(&mut token);
    assert_eq!(token.header().unwrap(), "Bearer two");
    std::fs::remove_file(&file).unwrap();
    age(&mut token);
    assert_eq!(token.header().unwrap(), "Bearer two");
}
