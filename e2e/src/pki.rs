//! The cluster's certificates, as kubeadm lays them out, made anew for each run by openssl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use xtask::{apt, shell};

/// A folder of keys and certificates.
pub(crate) struct Pki {
    dir: PathBuf,
    openssl: PathBuf,
}

/// Who a client is to the API server: the name, and the group, of its certificate.
pub(crate) struct Client {
    pub(crate) file: &'static str,
    pub(crate) name: &'static str,
    pub(crate) group: Option<&'static str>,
}

impl Pki {
    /// A new authority, and a key that signs service accounts' tokens.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let pki = Self { dir: dir.to_owned(), openssl: apt::program("openssl", "openssl")? };
        let mut ca = pki.request("ca", "/CN=kubernetes");
        ca.args(["-addext", "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"]);
        shell::output(&mut ca).context("make the certificate authority")?;
        let mut key = Command::new(&pki.openssl);
        key.args(["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"]);
        shell::output(key.arg(pki.key("service-account"))).context("make a key for tokens")?;
        Ok(pki)
    }

    /// A server's certificate, for these addresses and names (`IP:…`, `DNS:…`).
    pub(crate) fn server(&self, file: &str, name: &str, subjects: &[&str]) -> Result<()> {
        let mut command = self.request(file, &format!("/CN={name}"));
        command.args(["-addext", &format!("subjectAltName={}", subjects.join(","))]);
        self.sign(&mut command, "serverAuth").with_context(|| format!("a certificate for {name}"))
    }

    /// A client's certificate.
    pub(crate) fn client(&self, client: &Client) -> Result<()> {
        let group = client.group.map_or_else(String::new, |group| format!("/O={group}"));
        let mut command = self.request(client.file, &format!("{group}/CN={}", client.name));
        self.sign(&mut command, "clientAuth")
            .with_context(|| format!("a certificate for {}", client.name))
    }

    fn request(&self, file: &str, subject: &str) -> Command {
        let mut command = Command::new(&self.openssl);
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command.args(["-nodes", "-days", "30", "-subj", subject, "-keyout"]).arg(self.key(file));
        command.arg("-out").arg(self.certificate(file));
        command
    }

    fn sign(&self, command: &mut Command, usage: &str) -> Result<()> {
        command.arg("-CA").arg(self.certificate("ca")).arg("-CAkey").arg(self.key("ca"));
        command.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        command.args(["-addext", "keyUsage=critical,digitalSignature"]);
        command.args(["-addext", &format!("extendedKeyUsage={usage}")]);
        shell::output(command).map(drop)
    }

    /// The file of a private key.
    pub(crate) fn key(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.key"))
    }

    /// The file of a certificate.
    pub(crate) fn certificate(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.crt"))
    }

    /// A kubeconfig for `client` of the API at `server`, with all files in it.
    pub(crate) fn kubeconfig(&self, client: &Client, server: &str) -> Result<String> {
        let read = |path: PathBuf| {
            let mut base64 = Command::new("base64");
            shell::output(base64.arg("--wrap=0").arg(path))
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
