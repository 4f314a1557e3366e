//! etcd, the API server, the controller manager and the scheduler: real ones, native, in the
//! cluster's network namespace.

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    binaries::Binaries,
    lasting,
    netns::Namespace,
    pki::{Client, Pki},
};
use xtask::child::Child;

/// Where the API server listens.
pub(crate) const ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 6443);
/// The same as an URL.
pub(crate) const API: &str = "https://192.0.2.1:6443";
/// Who may do everything.
pub(crate) const ADMIN: Client =
    Client { file: "admin", name: "admin", group: Some("system:masters") };
const CONTROLLER_MANAGER: Client =
    Client { file: "controller-manager", name: "system:kube-controller-manager", group: None };
const SCHEDULER: Client = Client { file: "scheduler", name: "system:kube-scheduler", group: None };
/// The API server, to a kubelet.
const KUBELET_CLIENT: Client = Client {
    file: "apiserver-kubelet-client",
    name: "kube-apiserver-kubelet-client",
    group: Some("system:masters"),
};

/// The four programs.
pub(crate) struct ControlPlane {
    dir: PathBuf,
    etcd: PathBuf,
    kubernetes: PathBuf,
    pki: Pki,
    scheduler: Option<Child>,
    controller_manager: Option<Child>,
    api_server: Option<Child>,
    etcd_server: Option<Child>,
}

impl ControlPlane {
    /// Starts all of them; each tries again until the one that it needs answers.
    pub(crate) fn start(
        dir: &Path,
        binaries: &Binaries,
        pki: Pki,
        names: &Namespace,
    ) -> Result<Self> {
        pki.server(
            "apiserver",
            "kube-apiserver",
            &[
                "192.0.2.1",
                "127.0.0.1",
                "203.0.113.1",
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
            ],
        )?;
        for client in [&ADMIN, &CONTROLLER_MANAGER, &SCHEDULER, &KUBELET_CLIENT] {
            pki.client(client)?;
        }
        for client in [&CONTROLLER_MANAGER, &SCHEDULER] {
            let file = dir.join(format!("{}.kubeconfig", client.file));
            fs::write(&file, pki.kubeconfig(client, API)?)
                .with_context(|| format!("write {}", file.display()))?;
        }
        let mut plane = Self {
            dir: dir.to_owned(),
            etcd: binaries.etcd.clone(),
            kubernetes: binaries.kubernetes.clone(),
            pki,
            scheduler: None,
            controller_manager: None,
            api_server: None,
            etcd_server: None,
        };
        plane.start_etcd(names)?;
        plane.start_api_server(names)?;
        plane.start_controller_manager(names)?;
        plane.start_scheduler(names)?;
        Ok(plane)
    }

    fn start_etcd(&mut self, names: &Namespace) -> Result<()> {
        let data = self.dir.join("etcd");
        let _ = fs::remove_dir_all(&data);
        let mut etcd = Command::new(&self.etcd);
        etcd.arg("--data-dir").arg(data);
        // Nobody else is on this loopback, and what it writes is thrown away.
        etcd.args(["--listen-client-urls=http://127.0.0.1:2379", "--unsafe-no-fsync"]);
        etcd.args(["--advertise-client-urls=http://127.0.0.1:2379"]);
        etcd.args(["--listen-peer-urls=http://127.0.0.1:2380"]);
        self.etcd_server = Some(self.spawn("etcd", etcd, names)?);
        Ok(())
    }

    /// Starts the API server, at first or after [`Self::stop_api_server`].
    pub(crate) fn start_api_server(&mut self, names: &Namespace) -> Result<()> {
        let pki = &self.pki;
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        let mut command = Command::new(self.kubernetes.join("kube-apiserver"));
        command.args([
            "--advertise-address=192.0.2.1",
            "--allow-privileged=true",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            // Names of nodes are in no DNS here.
            "--kubelet-preferred-address-types=InternalIP",
            "--etcd-servers=http://127.0.0.1:2379",
            "--secure-port=6443",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=203.0.113.0/24",
            "--v=2",
        ]);
        command.args([
            file("client-ca-file", pki.certificate("ca")),
            file("kubelet-certificate-authority", pki.certificate("ca")),
            file("kubelet-client-certificate", pki.certificate(KUBELET_CLIENT.file)),
            file("kubelet-client-key", pki.key(KUBELET_CLIENT.file)),
            file("service-account-key-file", pki.public_key("service-account")),
            file("service-account-signing-key-file", pki.key("service-account")),
            file("tls-cert-file", pki.certificate("apiserver")),
            file("tls-private-key-file", pki.key("apiserver")),
        ]);
        self.api_server = Some(self.spawn("kube-apiserver", command, names)?);
        Ok(())
    }

    /// Ends the API server at once, as a crash would: asked to end, it waits for its watchers. The
    /// others stay.
    pub(crate) fn stop_api_server(&mut self) -> Result<()> {
        match self.api_server.take() {
            Some(mut child) => child.kill().map(drop),
            None => bail!("the API server does not run"),
        }
    }

    fn start_controller_manager(&mut self, names: &Namespace) -> Result<()> {
        let pki = &self.pki;
        let mut command = Command::new(self.kubernetes.join("kube-controller-manager"));
        command.args(["--leader-elect=false", "--use-service-account-credentials=true"]);
        command.args(["--bind-address=127.0.0.1", "--v=2"]);
        let file = |flag: &str, path: PathBuf| format!("--{flag}={}", path.display());
        command.args([
            file("kubeconfig", self.dir.join("controller-manager.kubeconfig")),
            file("root-ca-file", pki.certificate("ca")),
            file("service-account-private-key-file", pki.key("service-account")),
        ]);
        self.controller_manager = Some(self.spawn("kube-controller-manager", command, names)?);
        Ok(())
    }

    fn start_scheduler(&mut self, names: &Namespace) -> Result<()> {
        let mut command = Command::new(self.kubernetes.join("kube-scheduler"));
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1", "--v=2"]);
        command.arg("--kubeconfig").arg(self.dir.join("scheduler.kubeconfig"));
        self.scheduler = Some(self.spawn("kube-scheduler", command, names)?);
        Ok(())
    }

    fn spawn(&self, name: &'static str, mut command: Command, names: &Namespace) -> Result<Child> {
        let log = self.log(name);
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stderr(file.try_clone().context("share a log")?).stdout(file);
        names.enter(&mut command)?;
        lasting::spawn(name, command)
    }

    /// Where a program of it logs.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.log"))
    }

    /// The certificates.
    pub(crate) fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Fails if one has ended that nobody stopped: none of them ever ends by itself when all is
    /// well, except that the two clients give up on an API server that is away.
    pub(crate) fn check(&mut self) -> Result<()> {
        let dir = self.dir.clone();
        let programs = [
            ("etcd", &mut self.etcd_server),
            ("kube-apiserver", &mut self.api_server),
            ("kube-controller-manager", &mut self.controller_manager),
            ("kube-scheduler", &mut self.scheduler),
        ];
        for (name, child) in programs {
            if let Some(status) = child.as_mut().map(Child::ended).transpose()?.flatten() {
                bail!("{name} ended by itself: {status} (log: {}/{name}.log)", dir.display());
            }
        }
        Ok(())
    }
}

impl Drop for ControlPlane {
    /// All at once, since none has anything to save.
    fn drop(&mut self) {
        let programs = [
            &mut self.scheduler,
            &mut self.controller_manager,
            &mut self.api_server,
            &mut self.etcd_server,
        ];
        for child in programs.into_iter().flatten() {
            if let Err(error) = child.kill() {
                eprintln!("{error:#}");
            }
        }
    }
}
