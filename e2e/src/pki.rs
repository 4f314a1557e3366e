//! The cluster's certificates, as kubeadm lays them out, made anew for each run.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

/// A day, and the leeway for a node's clock that is behind.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A folder of keys and certificates, and the authority that signs them.
pub(crate) struct Pki {
    dir: PathBuf,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// Who a client is to the API server: the name, and the group, of its certificate.
pub(crate) struct Client {
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    pub(crate) group: Option<&'static str>,
}

impl Pki {
    /// A new authority, and a pair of keys for service accounts' tokens.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let mut params = params("kubernetes", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages.extend([KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign]);
        let authority = CertifiedIssuer::self_signed(params, key_pair()?)
            .context("make the certificate authority")?;
        let pki = Self { dir: dir.to_owned(), authority };
        write(&pki.certificate("ca"), &pki.authority.pem())?;
        let tokens = key_pair()?;
        write(&pki.key("service-account"), &tokens.serialize_pem())?;
        write(&pki.public_key("service-account"), &tokens.public_key_pem())?;
        Ok(pki)
    }

    /// A server's certificate, for these addresses and names.
    pub(crate) fn server(&self, file: &str, name: &str, subjects: &[&str]) -> Result<()> {
        let params = params(name, subjects)?;
        self.sign(file, params, ExtendedKeyUsagePurpose::ServerAuth)
            .with_context(|| format!("a certificate for {name}"))
    }

    /// A client's certificate.
    pub(crate) fn client(&self, client: &Client) -> Result<()> {
        let mut params = params(client.name, &[])?;
        if let Some(group) = client.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        self.sign(client.file, params, ExtendedKeyUsagePurpose::ClientAuth)
            .with_context(|| format!("a certificate for {}", client.name))
    }

    fn sign(
        &self,
        file: &str,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<()> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = key_pair()?;
        let certificate = params.signed_by(&key, &self.authority).context("sign it")?;
        write(&self.key(file), &key.serialize_pem())?;
        write(&self.certificate(file), &certificate.pem())
    }

    /// The file of a private key.
    pub(crate) fn key(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.key"))
    }

    /// The file of a public key.
    pub(crate) fn public_key(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.pub"))
    }

    /// The file of a certificate.
    pub(crate) fn certificate(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.crt"))
    }

    /// A kubeconfig for `client` of the API at `server`, with all files in it.
    pub(crate) fn kubeconfig(&self, client: &Client, server: &str) -> Result<String> {
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            anyhow::Ok(STANDARD.encode(bytes))
        };
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: e2e\n\
             clusters:\n- name: e2e\n  cluster:\n    server: {server}\n    \
             certificate-authority-data: {}\n\
             users:\n- name: {user}\n  user:\n    client-certificate-data: {}\n    \
             client-key-data: {}\n\
             contexts:\n- name: e2e\n  context:\n    cluster: e2e\n    user: {user}\n",
            read(self.certificate("ca"))?,
            read(self.certificate(client.file))?,
            read(self.key(client.file))?,
            user = client.name,
        ))
    }
}

/// What all certificates have in common: a name, its subjects, and a month from yesterday on.
fn params(name: &str, subjects: &[&str]) -> Result<CertificateParams> {
    let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
    let mut params = CertificateParams::new(subjects).context("the certificate's subjects")?;
    // Else it has a name of rcgen's own.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 30 * DAY).into();
    Ok(params)
}

/// ECDSA on P-256.
fn key_pair() -> Result<KeyPair> {
    KeyPair::generate().context("make a key")
}

/// Nobody else may read a key; the node's copies have modes of their own.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use xtask::shell;

    use super::*;

    #[test]
    fn certificates_are_what_openssl_takes_them_for() {
        let Some(openssl) = shell::find("openssl") else {
            println!("SKIPPED: no openssl here");
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::new(dir.path()).unwrap();
        pki.server("api", "kube-apiserver", &["192.0.2.1", "kubernetes.default"]).unwrap();
        let admin = Client { file: "admin", name: "a", group: Some("system:masters") };
        pki.client(&admin).unwrap();
        let verify = |purpose: &str, file: &str, more: &[&str]| {
            let mut verify = Command::new(&openssl);
            verify.args(["verify", "-x509_strict", "-purpose", purpose, "-CAfile"]);
            verify.arg(pki.certificate("ca")).args(more).arg(pki.certificate(file));
            shell::output(&mut verify)
        };
        verify("sslserver", "api", &["-verify_ip", "192.0.2.1"]).unwrap();
        verify("sslserver", "api", &["-verify_hostname", "kubernetes.default"]).unwrap();
        verify("sslserver", "api", &["-verify_ip", "192.0.2.2"]).unwrap_err();
        verify("sslclient", "api", &[]).unwrap_err();
        verify("sslclient", "admin", &[]).unwrap();
        let mut subject = Command::new(&openssl);
        subject.args(["x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"]);
        let subject = shell::output(subject.arg(pki.certificate("admin"))).unwrap();
        assert_eq!(subject.trim(), "subject=O=system:masters,CN=a");
        let kubeconfig = pki.kubeconfig(&admin, "https://192.0.2.1:6443").unwrap();
        let key = fs::read(pki.key("admin")).unwrap();
        assert!(kubeconfig.contains(&format!("client-key-data: {}\n", STANDARD.encode(key))));
    }
}
