//! Its servers, asked as a kubelet's probes ask.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use serde_json::Value;

use super::harness::{Workload, boot, ns};

fn connect(port: &Value) -> TcpStream {
    let port = u16::try_from(port.as_u64().expect("port")).expect("port");
    TcpStream::connect(("127.0.0.1", port)).expect("connect")
}

fn get(mut stream: impl Read + Write, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("write");
    let mut answer = Vec::new();
    // A server that closes without a word of TLS ends the answer all the same.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).expect("UTF-8")
}

#[test]
fn http_is_served_late_and_until_it_fails() {
    let mut it = Workload::start(&["--serve-http=0", "--delay=0.2"]);
    let port = it.act("listen")["port"].clone();
    let answer = get(connect(&port), "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nOK\n"));
    let request = it.act("request");
    assert_eq!(request["path"], "/healthz");
    let answered = it.act("answer");
    assert!(ns(&answered) - ns(&request) >= Duration::from_millis(200), "{answered}");

    let before = boot();
    let mut it = Workload::start(&["--serve-http=0", "--fail-after=0.5"]);
    let start = it.act("start");
    let port = it.act("listen")["port"].clone();
    loop {
        let asked = boot();
        let answer = get(connect(&port), "/");
        let answered = it.act("answer");
        if answered["status"] == 503 {
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(ns(&answered) - before >= Duration::from_millis(500), "{answered}");
            break;
        }
        assert!(asked < ns(&start) + Duration::from_secs(1), "asked late, and {answered}");
    }
}

#[test]
fn http_is_redirected_where_the_path_says_so() {
    let mut it = Workload::start(&["--serve-http=0"]);
    let port = it.act("listen")["port"].clone();
    let answer = get(connect(&port), "/to/there");
    assert!(answer.starts_with("HTTP/1.1 302 Found\r\n"), "{answer}");
    assert!(answer.contains("\r\nLocation: /there\r\n"), "{answer}");
    assert_eq!(it.act("answer")["status"], 302);
}

#[test]
fn tcp_is_refused_when_it_fails() {
    let mut it = Workload::start(&["--serve-tcp=0"]);
    let port = it.act("listen")["port"].clone();
    connect(&port);
    it.act("accept");

    let mut it = Workload::start(&["--serve-tcp=0", "--fail-after=0.1"]);
    let port = u16::try_from(it.act("listen")["port"].as_u64().unwrap()).unwrap();
    it.act("unlisten");
    // The line comes a moment before the socket is closed.
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < deadline, "port {port} is still open");
    }
}

#[test]
fn a_server_listens_when_it_is_time() {
    let before = boot();
    let mut it = Workload::start(&["--serve-http=0", "--listen-after=0.3"]);
    let listen = it.act("listen");
    assert!(ns(&listen) - before >= Duration::from_millis(300), "{listen}");
    assert!(get(connect(&listen["port"]), "/").starts_with("HTTP/1.1 200 "));
}

/// Takes any certificate, as the kubelet does.
#[derive(Debug)]
struct Any(CryptoProvider);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[test]
fn https_is_http_over_tls() {
    let provider = ring::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider)))
        .with_no_client_auth();
    let ask = |more: &[&str]| {
        let mut it = Workload::start(&[&["--serve-https=0"], more].concat());
        let port = it.act("listen")["port"].clone();
        let name = ServerName::try_from("x").unwrap();
        let tls = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
        let answer = get(StreamOwned::new(tls, connect(&port)), "/healthz");
        assert_eq!(it.act("answer")["protocol"], "https");
        (answer, it, port)
    };
    assert!(ask(&["--fail-after=0"]).0.starts_with("HTTP/1.1 503 "));
    let (answer, _it, port) = ask(&[]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // Who speaks no TLS gets no answer.
    assert!(!get(connect(&port), "/").contains("200 OK"));
}

/// The answer's message and its status, from the trailers, else from the headers.
fn check(port: &Value, path: &str) -> (Vec<u8>, String) {
    let stream = connect(port);
    stream.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post(format!("http://x{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        // An empty HealthCheckRequest.
        body.send_data(Bytes::from_static(&[0; 5]), true).unwrap();
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        let headers = response.headers().clone();
        let mut body = response.into_body();
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            message.extend_from_slice(&data.unwrap());
        }
        let trailers = body.trailers().await.unwrap().unwrap_or(headers);
        (message, trailers["grpc-status"].to_str().unwrap().to_owned())
    })
}

#[test]
fn grpc_health_is_told() {
    const CHECK: &str = "/grpc.health.v1.Health/Check";
    let mut it = Workload::start(&["--serve-grpc=0"]);
    let port = it.act("listen")["port"].clone();
    let (message, trailers) = check(&port, CHECK);
    assert_eq!((message, trailers), (vec![0, 0, 0, 0, 2, 8, 1], "0".to_owned()));
    assert_eq!(it.act("answer")["status"], "SERVING");
    assert_eq!(check(&port, "/other.Service/Call"), (vec![], "12".to_owned()));

    let mut it = Workload::start(&["--serve-grpc=0", "--fail-after=0"]);
    let (message, _) = check(&it.act("listen")["port"], CHECK);
    assert_eq!(message, [0, 0, 0, 0, 2, 8, 2]);
}
