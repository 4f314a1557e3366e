//! TLS: which receivers are trusted, and the certificate of the agent.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent::trace::endpoint::Protocol;
use agent::trace::otlp;
use agent::trace::settings::{NamedFile, Settings};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::receiver::{BOTH, Receiver, Reply, by, settings, settled, trace, until};

/// An authority, which signs what is asked for.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key in PEM.
    fn signs(&self, name: &str, purpose: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![purpose];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        roots
    }

    /// The server's side, for this name; with a client's authority, certificates are asked for.
    fn acceptor(&self, name: &str, protocol: Protocol, clients: Option<&Self>) -> TlsAcceptor {
        let (certificate, key) = self.signs(name, ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.roots());
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        let alpn: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

fn secure(receiver: &Receiver, protocol: Protocol, ca: Option<&Path>) -> Settings {
    let url = format!("https://localhost:{}", receiver.address.port());
    let ca = ca.map(|path| named(path, "OTEL_EXPORTER_OTLP_CERTIFICATE"));
    Settings { ca, ..settings(&url, protocol) }
}

fn named(path: &Path, by: &str) -> NamedFile {
    NamedFile { path: path.to_owned(), by: by.into() }
}

fn taking(protocol: Protocol, tls: TlsAcceptor) -> Receiver {
    Receiver::at("127.0.0.1:0".parse().unwrap(), protocol, Some(tls), |_| Reply::Taken)
}

#[test]
fn a_receiver_is_trusted_by_its_authority_and_name_alone() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let dir = tempfile::tempdir().unwrap();
    let [ca, other_ca] = ["ca.pem", "other.pem"].map(|name| dir.path().join(name));
    std::fs::write(&ca, authority.pem()).unwrap();
    std::fs::write(&other_ca, other.pem()).unwrap();
    for protocol in BOTH {
        let receiver = taking(protocol, authority.acceptor("localhost", protocol, None));
        otlp::probe(secure(&receiver, protocol, Some(&ca))).unwrap();
        for distrusting in [Some(&*other_ca), None] {
            let error = otlp::probe(secure(&receiver, protocol, distrusting)).unwrap_err();
            assert!(error.contains("UnknownIssuer"), "{error}");
        }
        let elsewhere = taking(protocol, authority.acceptor("elsewhere", protocol, None));
        let error = otlp::probe(secure(&elsewhere, protocol, Some(&ca))).unwrap_err();
        assert!(error.contains("certificate not valid for name"), "{error}");
        assert!(elsewhere.got().is_empty() && receiver.got().len() == 1);
        // TLS where there is none, and none where there is.
        let plain = Receiver::new(protocol);
        otlp::probe(secure(&plain, protocol, Some(&ca))).unwrap_err();
        otlp::probe(settings(&receiver.url(), protocol)).unwrap_err();
        assert!(plain.got().is_empty() && receiver.got().len() == 1);
    }
}

#[test]
fn the_agent_shows_its_certificate_where_it_has_one() {
    let (authority, clients) = (Authority::new("one"), Authority::new("clients"));
    let dir = tempfile::tempdir().unwrap();
    let [ca, certificate_file, key_file] = ["ca", "cert", "key"].map(|name| dir.path().join(name));
    let (certificate, key) = clients.signs("agent", ExtendedKeyUsagePurpose::ClientAuth);
    for (file, text) in [(&ca, authority.pem()), (&certificate_file, certificate), (&key_file, key)]
    {
        std::fs::write(file, text).unwrap();
    }
    for protocol in BOTH {
        let receiver = taking(protocol, authority.acceptor("localhost", protocol, Some(&clients)));
        let without = secure(&receiver, protocol, Some(&ca));
        let error = otlp::probe(without.clone()).unwrap_err();
        assert!(error.contains("CertificateRequired") || error.contains("connection"), "{error}");
        let client = (named(&certificate_file, "--c"), named(&key_file, "--k"));
        otlp::probe(Settings { client: Some(client), ..without }).unwrap();
        assert_eq!(receiver.got().len(), 1);
    }
}

#[test]
fn certificates_that_were_renewed_are_read_when_the_connection_fails() {
    let (authority, other) = (Authority::new("one"), Authority::new("other"));
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca");
    for protocol in BOTH {
        std::fs::write(&ca, other.pem()).unwrap();
        let receiver = taking(protocol, authority.acceptor("localhost", protocol, None));
        let handle = otlp::start(secure(&receiver, protocol, Some(&ca))).unwrap();
        handle.queue.push(trace("web", 3));
        until("failure", || {
            (by(&handle.stats.read().export_failures, "unavailable") > 0).then_some(())
        });
        std::fs::write(&ca, "what is being written just now").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        std::fs::write(&ca, authority.pem()).unwrap();
        assert_eq!(settled(&handle, 3).spans_exported, 3);
        handle.shutdown(Duration::from_secs(5));
    }
}

#[test]
fn files_that_cannot_be_used_are_named_at_the_start() {
    let clients = Authority::new("clients");
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = clients.signs("agent", ExtendedKeyUsagePurpose::ClientAuth);
    let (_, other_key) = clients.signs("other", ExtendedKeyUsagePurpose::ClientAuth);
    let [ca, certificate, key, other_key, empty] = [
        file("ca", &clients.pem()),
        file("cert", &certificate),
        file("key", &key),
        file("other-key", &other_key),
        file("empty", ""),
    ];
    let missing = dir.path().join("missing");
    let start = |url: &str, ca: &Path, certificate: &Path, key: &Path| {
        let ca = Some(named(ca, "OTEL_EXPORTER_OTLP_CERTIFICATE"));
        let client = Some((named(certificate, "--cert"), named(key, "--key")));
        let settings = Settings { ca, client, ..settings(url, Protocol::Grpc) };
        otlp::start(settings).map(drop).map_err(|error| format!("{error:#}"))
    };
    let tls = "https://localhost:1";
    assert_eq!(start(tls, &ca, &certificate, &key), Ok(()));
    for (error, expected) in [
        (start(tls, &missing, &certificate, &key), "missing (OTEL_EXPORTER_OTLP_CERTIFICATE)"),
        (start(tls, &empty, &certificate, &key), "empty (OTEL_EXPORTER_OTLP_CERTIFICATE)"),
        (start(tls, &ca, &missing, &key), "missing (--cert): No such file"),
        (start(tls, &ca, &empty, &key), "empty (--cert): the file holds no certificate"),
        (start(tls, &ca, &certificate, &missing), "missing (--key): No such file"),
        (start(tls, &ca, &certificate, &empty), "empty (--key): the file holds no private key"),
        (start(tls, &ca, &certificate, &other_key), "do not belong together"),
    ] {
        let error = error.unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    assert_eq!(start("http://localhost:1", &missing, &missing, &missing), Ok(()), "no TLS");
}
