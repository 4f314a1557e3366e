//! A cluster of one node: what scenarios work with.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::{
    binaries::Binaries,
    control_plane::{self, ControlPlane},
    lasting,
    netns::Namespace,
    node::{self, Archive, Node, Options, Output},
    pki::Pki,
    proxy::Proxy,
    reader::{self, Reader},
    rootfs::Disk,
    steps::Steps,
};
use testbed::http;
use xtask::{chart::Helm, child::Child, paths, shell, stop};

/// How often something that is waited for is looked at: a start of kubectl takes a CPU 0.2 s.
const POLL: Duration = Duration::from_millis(500);
/// How long the API server may take to answer (5 s on an idle machine).
const API_START: Duration = Duration::from_secs(120);
/// How long the node may take to take a command (20 s on an idle machine).
const BOOT: Duration = Duration::from_secs(180);
/// How long the node may then take to be Ready.
const READY: Duration = Duration::from_secs(300);
/// How long a command on the node may take.
const EXEC: Duration = Duration::from_secs(120);

/// The string at `pointer` (RFC 6901) of an object.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

/// A running cluster, which ends when dropped. All its methods can be called by several threads at
/// once.
pub(crate) struct Cluster {
    // Dropped from the top: the node first, which would miss the API.
    node: Mutex<Node>,
    _proxy: Child,
    reader: Reader,
    control_plane: Mutex<ControlPlane>,
    names: Namespace,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    dir: PathBuf,
}

impl Cluster {
    /// Brings it up, with `images` on the node, until the node is Ready.
    pub(crate) fn start(
        options: &Options,
        binaries: &Binaries,
        images: &[Archive],
        steps: &mut Steps,
    ) -> Result<Self> {
        let dir = paths::work("e2e")?;
        for entry in
            fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))?.flatten()
        {
            // An earlier run's.
            if entry.path().extension().is_some_and(|end| end == "log") {
                let _ = fs::remove_file(entry.path());
            }
        }
        steps.begin("certificates, and the node's disk");
        let pki = Pki::new(&dir.join("pki"))?;
        let disk = node::disk(options, binaries, &pki, images)?;
        stop::check()?;

        steps.begin("network, control plane, power on");
        let names = Namespace::new()?;
        names.ip("link set lo up\n\
             tuntap add dev tap0 mode tap\n\
             address add 192.0.2.1/24 dev tap0\n\
             link set tap0 up\n\
             route add 198.51.100.0/24 via 192.0.2.2\n")?;
        let node = Node::start(&dir, &disk, options, &names)?;
        let control_plane = ControlPlane::start(&dir, binaries, pki, &names)?;
        let kubeconfig = dir.join("admin.kubeconfig");
        let admin = control_plane.pki().kubeconfig(&control_plane::ADMIN, control_plane::API)?;
        fs::write(&kubeconfig, admin).with_context(|| format!("write {}", kubeconfig.display()))?;
        let kubectl = binaries.kubernetes.join("kubectl");
        let proxy = start_proxy(&kubectl, &kubeconfig, &dir, &names)?;
        let cluster = Self {
            node: Mutex::new(node),
            _proxy: proxy,
            reader: Reader::new(names.try_clone()?),
            control_plane: Mutex::new(control_plane),
            names,
            kubectl,
            kubeconfig,
            dir,
        };
        let result = cluster.bring_up(&disk, options, steps);
        if result.is_err() && !stop::asked() {
            cluster.save_logs();
        }
        result.map(|()| cluster)
    }

    fn bring_up(&self, disk: &Disk, options: &Options, steps: &mut Steps) -> Result<()> {
        steps.begin("API server: ready");
        self.wait_api()?;
        steps.begin("node: boots, and takes a command");
        if let Err(error) = self.wait_boot() {
            stop::check()?;
            // Software emulation loses a boot now and then: repeated, once.
            println!("{error:#}: once more");
            let mut node = self.node();
            node.stop()?;
            *node = Node::start(&self.dir, disk, options, &self.names)?;
            drop(node);
            self.wait_boot()?;
        }
        steps.begin("node: Ready");
        self.wait_ready()?;
        steps.begin("default service account");
        self.wait("the default service account is there", API_START, || {
            Ok(self.kubectl(&["get", "serviceaccount", "default"]).ok())
        })?;
        steps.end();
        Ok(())
    }

    /// Waits for what `look` returns; `Ok(None)` is "not yet". Ends early when the cluster is
    /// broken or the user wants to stop.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look().with_context(|| format!("waiting until {what}"))? {
                return Ok(found);
            }
            stop::check()?;
            self.check()?;
            if Instant::now() >= deadline {
                bail!("after {} s it is still not so that {what}", limit.as_secs());
            }
            thread::sleep(POLL);
        }
    }

    /// Fails if a program of the control plane has ended by itself, or the node has gone.
    pub(crate) fn check(&self) -> Result<()> {
        self.control_plane().check()?;
        self.node().check()
    }

    /// What `kubectl` prints, as the cluster's administrator.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.kubectl_with(args, "")
    }

    /// What the API has at `path`; `None` if there is nothing. Costs little: no process is started.
    pub(crate) fn read(&self, path: &str) -> Result<Option<Value>> {
        self.reader.read(path)
    }

    /// A reader that does not need the cluster to live.
    pub(crate) fn reader(&self) -> Result<Reader> {
        self.names.try_clone().map(Reader::new)
    }

    /// A Pod of the namespace `default`, if there is one.
    pub(crate) fn pod(&self, name: &str) -> Result<Option<Value>> {
        self.read(&format!("/api/v1/namespaces/default/pods/{name}"))
    }

    /// The Pods of a namespace that have a label.
    pub(crate) fn pods(&self, namespace: &str, selector: &str) -> Result<Value> {
        let selector = http::escape(selector);
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}");
        self.read(&path)?.with_context(|| format!("nothing at {path}"))
    }

    /// `kubectl apply` of these documents.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], yaml)
    }

    /// `kubectl` with something on its standard input.
    pub(crate) fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig);
        // Discovery is cached here, not in the user's home.
        command.arg("--cache-dir").arg(self.dir.join("kubectl-cache"));
        command.args(args);
        shell::output_with(self.names.enter(&mut command)?, input)
    }

    /// What `helm` prints, as the cluster's administrator.
    pub(crate) fn helm(&self, helm: &Helm, args: &[&str]) -> Result<String> {
        let mut command = helm.command(args);
        command.env("KUBECONFIG", &self.kubeconfig);
        shell::output(self.names.enter(&mut command)?)
    }

    /// Removes what a scenario of this name has left.
    pub(crate) fn clear(&self, name: &str) -> Result<()> {
        let kinds = "pod,job,cronjob,deployment";
        let at_once = ["--ignore-not-found", "--wait=false", "--force", "--grace-period=0"];
        self.kubectl(&[["delete", kinds, name].as_slice(), &at_once].concat()).map(drop)
    }

    /// Starts `kubectl`, whose output the caller reads.
    pub(crate) fn kubectl_child(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Child::spawn("kubectl", self.names.enter(&mut command)?)
    }

    /// Runs a shell's command on the node, as root.
    pub(crate) fn node_exec(&self, command: &str) -> Result<Output> {
        node::exec(&self.names, command, EXEC)
    }

    /// Runs a shell's command on the node, as root, which has to succeed.
    pub(crate) fn node_run(&self, command: &str) -> Result<()> {
        let done = self.node_exec(command)?;
        ensure!(done.status == 0, "{command}: {}", done.text);
        Ok(())
    }

    /// Starts `command` in the cluster's network, beside the control plane.
    pub(crate) fn spawn(&self, name: &str, command: &mut Command) -> Result<Child> {
        Child::spawn(name, self.names.enter(command)?)
    }

    /// The same for a program that outlives the thread which starts it.
    pub(crate) fn spawn_lasting(&self, name: &'static str, mut command: Command) -> Result<Child> {
        self.names.enter(&mut command)?;
        lasting::spawn(name, command)
    }

    /// Whether something listens at an address of the cluster's network.
    pub(crate) fn is_open(&self, address: SocketAddr) -> bool {
        self.names.connect(address, Duration::from_secs(1)).is_ok()
    }

    /// Listens at an address of the cluster's network, beside the control plane.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.names.listen(address)
    }

    /// The body of a server's answer to a plain GET, if it is 200.
    pub(crate) fn fetch(&self, server: SocketAddr, path: &str) -> Result<String> {
        self.reader.fetch(server, path)
    }

    /// Makes a server in the cluster reachable at `listen`, as long as the proxy lives.
    pub(crate) fn forward(&self, listen: SocketAddr, server: SocketAddr) -> Result<Proxy> {
        Proxy::start(listen, server, self.names.try_clone()?)
    }

    /// Ends the API server.
    pub(crate) fn stop_api(&self) -> Result<()> {
        self.control_plane().stop_api_server()
    }

    /// Starts the API server again, and waits until it answers.
    pub(crate) fn start_api(&self) -> Result<()> {
        self.control_plane().start_api_server(&self.names)?;
        self.wait_api()
    }

    /// Waits until the node is Ready.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let conditions = "jsonpath={.status.conditions[?(@.type=='Ready')].status}";
        self.wait("the node is Ready", READY, || {
            let status = self.kubectl(&["get", "node", node::NAME, "-o", conditions]);
            Ok(status.is_ok_and(|status| status == "True").then_some(()))
        })
    }

    fn wait_boot(&self) -> Result<()> {
        self.wait("the node takes a command", BOOT, || {
            Ok(self.node_exec("true").is_ok_and(|output| output.status == 0).then_some(()))
        })
    }

    fn wait_api(&self) -> Result<()> {
        self.wait("the API server is ready", API_START, || {
            Ok(self.kubectl(&["get", "--raw=/readyz"]).ok())
        })
        .map(drop)
    }

    /// A kubeconfig of the administrator for an API server that is reached at `server`.
    pub(crate) fn write_kubeconfig(&self, file: &Path, server: &str) -> Result<()> {
        let text = self.control_plane().pki().kubeconfig(&control_plane::ADMIN, server)?;
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Waits until the machine has ended, as after a shutdown from within; whether it has.
    pub(crate) fn wait_power_off(&self, limit: Duration) -> Result<bool> {
        self.node().wait(limit)
    }

    /// Where logs are.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The node's kernel.
    pub(crate) fn kernel(&self) -> String {
        self.node().release.clone()
    }

    fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn control_plane(&self) -> MutexGuard<'_, ControlPlane> {
        self.control_plane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's journal and the state of all Pods, beside the other logs: for whoever has to
    /// find out what went wrong.
    pub(crate) fn save_logs(&self) {
        let journal = self.node_exec("journalctl --no-pager -o short-precise").map(|it| it.text);
        let pods = self.kubectl(&["get", "pods,events", "-A", "-o", "wide"]);
        for (name, text) in [("journal", journal), ("pods", pods)] {
            let file = self.dir.join(format!("{name}.log"));
            let text = text.unwrap_or_else(|error| format!("{error:#}\n"));
            if let Err(error) = fs::write(&file, text) {
                eprintln!("write {}: {error}", file.display());
            }
        }
    }
}

/// Starts `kubectl proxy`.
fn start_proxy(kubectl: &Path, kubeconfig: &Path, dir: &Path, names: &Namespace) -> Result<Child> {
    let log = dir.join("kubectl-proxy.log");
    let log = fs::File::create(&log).with_context(|| format!("create {}", log.display()))?;
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig).arg("proxy");
    let address = reader::API;
    command.arg(format!("--address={}", address.ip())).arg(format!("--port={}", address.port()));
    command.stdin(Stdio::null()).stderr(log.try_clone().context("share a log")?).stdout(log);
    Child::spawn("kubectl proxy", names.enter(&mut command)?)
}
