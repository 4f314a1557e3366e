//! The node: a virtual machine with systemd, containerd and the kubelet.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::{
    binaries::Binaries,
    control_plane,
    netns::Namespace,
    pki::{Client, Pki},
    rootfs::{self, Disk, File},
};
use xtask::{child::Child, qemu};

/// The node's name in the API.
pub(crate) const NAME: &str = "node-1";
/// The node's address.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Where the node takes commands (`exec.socket`).
pub(crate) const EXEC: SocketAddr = SocketAddr::new(IpAddr::V4(ADDRESS), 514);
/// How long the node may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
const KUBELET: Client =
    Client { file: "kubelet", name: "system:node:node-1", group: Some("system:nodes") };
/// The units of `e2e/node` but the kubelet's, and what wants them.
const UNITS: [(&str, &str); 4] = [
    ("containerd.service", "multi-user.target"),
    ("exec.socket", "sockets.target"),
    ("images.service", "multi-user.target"),
    ("network.service", "multi-user.target"),
];
/// The kubelet's unit, whatever its name.
const KUBELET_UNIT: &str = include_str!("../node/etc/systemd/system/kubelet.service");

/// What a node may differ in.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Who makes the cgroups of Pods.
    #[arg(long, value_name = "DRIVER", default_value_t = Self::default().cgroup_driver, value_parser = ["systemd", "cgroupfs"])]
    pub(crate) cgroup_driver: String,
    /// An OOM kills one process of a container, not all of them.
    #[arg(long)]
    pub(crate) single_process_oom_kill: bool,
    /// The agent is deployed without CAP_NET_ADMIN.
    #[arg(long)]
    pub(crate) without_net_admin: bool,
    /// The kubelet's unit. RKE2's has other processes in it, which share its cgroup.
    #[arg(long, value_name = "UNIT", default_value_t = Self::default().kubelet_unit, value_parser = ["kubelet", "rke2-agent"])]
    pub(crate) kubelet_unit: String,
    /// The node's CPUs; one thread emulates all of them.
    #[arg(long, value_name = "N", default_value_t = Self::default().cpus)]
    pub(crate) cpus: u32,
    /// The node's memory.
    #[arg(long, value_name = "MIB", default_value_t = Self::default().memory)]
    pub(crate) memory: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroup_driver: "systemd".to_owned(),
            single_process_oom_kill: false,
            without_net_admin: false,
            kubelet_unit: "kubelet".to_owned(),
            cpus: 2,
            memory: 3072,
        }
    }
}

/// An image archive that the node imports at boot.
pub(crate) struct Archive {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// A running node.
pub(crate) struct Node {
    qemu: Child,
    pub(crate) console: PathBuf,
    /// The release of its kernel.
    pub(crate) release: String,
}

/// How a command on the node ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// What it printed, on both streams.
    pub(crate) text: String,
    pub(crate) status: i32,
}

/// The node's disk, with everything that it runs.
pub(crate) fn disk(
    options: &Options,
    binaries: &Binaries,
    pki: &Pki,
    images: &[Archive],
) -> Result<Disk> {
    let debian = rootfs::debian()?;
    pki.client(&KUBELET)?;
    pki.server("kubelet-serving", NAME, &["192.0.2.2", NAME])?;
    let read = |path: PathBuf| fs::read(&path).with_context(|| format!("read {}", path.display()));
    let mut files = Vec::new();
    for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
        let path = format!("usr/local/bin/{program}");
        files.push(File::program(&path, &binaries.containerd.join(program)));
    }
    files.push(File::program("usr/local/bin/kubelet", &binaries.kubernetes.join("kubelet")));
    let kubernetes = "etc/kubernetes";
    files.push(File::new(&format!("{kubernetes}/pki/ca.crt"), read(pki.certificate("ca"))?));
    let serving = "kubelet-serving";
    let certificate = read(pki.certificate(serving))?;
    files.push(File::new(&format!("{kubernetes}/pki/{serving}.crt"), certificate));
    let mut key = File::new(&format!("{kubernetes}/pki/{serving}.key"), read(pki.key(serving))?);
    key.mode = 0o600;
    files.push(key);
    let kubeconfig = pki.kubeconfig(&KUBELET, control_plane::API)?;
    let mut kubeconfig = File::new(&format!("{kubernetes}/kubelet.kubeconfig"), kubeconfig);
    kubeconfig.mode = 0o600;
    files.push(kubeconfig);
    files.extend(drop_ins(options));
    for image in images {
        let path = format!("usr/local/share/images/{}.tar", image.name);
        files.push(File::new(&path, image.bytes.clone()));
    }
    let kubelet = format!("{}.service", options.kubelet_unit);
    files.push(File::new(&format!("etc/systemd/system/{kubelet}"), KUBELET_UNIT));
    let units = [&UNITS[..], &[(&kubelet, "multi-user.target")]].concat();
    rootfs::disk(&debian, &files, &units)
}

/// What this run wants otherwise than `e2e/node` has it.
fn drop_ins(options: &Options) -> Vec<File> {
    let kubelet = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n\
         cgroupDriver: {}\nsingleProcessOOMKill: {}\n",
        options.cgroup_driver, options.single_process_oom_kill
    );
    let mut containerd = "version = 4\n".to_owned();
    for runtime in ["runc", "crun"] {
        containerd.push_str(&format!(
            "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.{runtime}.options]\n  \
             SystemdCgroup = {}\n",
            options.cgroup_driver == "systemd"
        ));
    }
    vec![
        File::new("etc/kubernetes/kubelet.conf.d/10-run.conf", kubelet),
        File::new("etc/containerd/conf.d/run.toml", containerd),
        // Newer than /usr: nothing has to be brought up to date at the first boot.
        File::new("etc/.updated", ""),
        File::new("var/.updated", ""),
        // The kubelet watches it, and says so again and again if it is not there.
        File::new("etc/kubernetes/manifests/.keep", ""),
    ]
}

impl Node {
    /// Switches it on.
    pub(crate) fn start(
        dir: &Path,
        disk: &Disk,
        options: &Options,
        names: &Namespace,
    ) -> Result<Self> {
        let console = dir.join("console.log");
        let mut command = Command::new(qemu::program()?);
        command
            .args(qemu::MACHINE)
            .args(["-smp", &options.cpus.to_string(), "-m", &options.memory.to_string()])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-drive")
            // Writes go to a file without a name, which ends with QEMU.
            .arg(format!(
                "file={},format=raw,if=virtio,snapshot=on,cache=unsafe",
                disk.image.display()
            ))
            .args(["-netdev", "tap,id=net,ifname=tap0,script=no,downscript=no"])
            .args(["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"])
            .arg("-kernel")
            .arg(&disk.kernel)
            .arg("-initrd")
            .arg(&disk.initrd)
            .args(["-append", APPEND])
            .env("TMPDIR", dir)
            .stdin(Stdio::null());
        let log = fs::File::create(dir.join("qemu.log")).context("create QEMU's log")?;
        command.stdout(log.try_clone().context("share QEMU's log")?).stderr(log);
        let qemu = Child::spawn("qemu", names.enter(&mut command)?)?;
        Ok(Self { qemu, console, release: disk.release.clone() })
    }

    /// Fails if the machine has gone or its kernel has panicked.
    pub(crate) fn check(&mut self) -> Result<()> {
        let console =
            String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned();
        if let Some(line) = console.lines().find(|line| line.contains("Kernel panic - not syncing"))
        {
            bail!("the node's kernel: {} (console: {})", line.trim(), self.console.display());
        }
        if let Some(status) = self.qemu.ended()? {
            bail!("the node has gone: QEMU {status} (console: {})", self.console.display());
        }
        Ok(())
    }

    /// Switches it off at once.
    pub(crate) fn stop(&mut self) -> Result<()> {
        self.qemu.stop().map(drop)
    }

    /// Whether the machine has ended, as after a shutdown from within.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        Ok(self.qemu.wait(limit)?.is_some())
    }
}

/// The kernel's command line. The disk's tables were made whole.
const APPEND: &str = "root=/dev/vda rw rootflags=noinit_itable console=ttyS0 quiet panic=-1 \
    net.ifnames=0 systemd.show_status=false systemd.unit=multi-user.target";

/// Runs a shell's command on the node, as root.
pub(crate) fn exec(names: &Namespace, command: &str, limit: Duration) -> Result<Output> {
    let what = || format!("on the node: {command}");
    let stream = names.connect(EXEC, CONNECT).with_context(what)?;
    exchange(stream, command, limit).with_context(what)
}

/// The same over a connection that is open.
pub(crate) fn exchange(mut stream: TcpStream, command: &str, limit: Duration) -> Result<Output> {
    stream.set_read_timeout(Some(limit)).context("set a time limit")?;
    stream.write_all(command.as_bytes()).context("send the command")?;
    stream.shutdown(Shutdown::Write).context("end the command")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("read the answer")?;
    parse(&String::from_utf8_lossy(&answer))
}

/// The command's output, a newline, its status, a newline.
fn parse(answer: &str) -> Result<Output> {
    let (text, status) = answer
        .strip_suffix('\n')
        .and_then(|answer| answer.rsplit_once('\n'))
        .with_context(|| format!("no status at the end of {answer:?}"))?;
    let status = status.parse().with_context(|| format!("{status:?} is no status"))?;
    Ok(Output { text: text.to_owned(), status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_the_status() {
        let output = |text: &str, status| Output { text: text.to_owned(), status };
        assert_eq!(parse("a\nb\n\n0\n").unwrap(), output("a\nb\n", 0));
        assert_eq!(parse("\n3\n").unwrap(), output("", 3));
        assert!(parse("").is_err(), "the node went away");
        assert!(parse("half a line").is_err());
    }
}
