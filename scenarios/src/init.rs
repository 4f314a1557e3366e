//! PID 1 of the test VM: an initramfs with this binary and the agent's, nothing else.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::utsname::uname;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, getpid, sync};
use testbed::cgroup;

use crate::process::SELF_EXE;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
const AGENT: &str = "/bin/podvitals";
/// Deadlines in the VM, which is emulated, against those on a machine.
const PATIENCE: &str = "3";

/// Whether this process was started as the VM's init, under whatever name: PID 1 without a
/// subcommand of ours (the kernel hands unknown words of its command line to init).
pub(crate) fn is_init(argv: &[String]) -> bool {
    let roles = ["work", "signal", "launch", "run", "bench-shutdown", "rehearse"];
    getpid() == Pid::from_raw(1) && argv.get(1).is_none_or(|arg| !roles.contains(&arg.as_str()))
}

/// Sets the machine up, runs the scenarios, tells their exit status, powers off.
pub(crate) fn run() -> Result<bool> {
    ensure!(getpid() == Pid::from_raw(1), "`scenarios init` is for PID 1 of a virtual machine");
    let release = uname().context("uname")?.release().to_string_lossy().into_owned();
    println!("SCENARIOS-HELLO {release}");
    let code = match set_up().and_then(|()| run_scenarios()) {
        Ok(code) => code,
        Err(error) => {
            println!("scenarios: {error:#}");
            2
        }
    };
    println!("SCENARIOS-EXIT {code}");
    std::io::stdout().flush().context("writing to the console")?;
    sync();
    let Err(error) = reboot(RebootMode::RB_AUTOBOOT);
    bail!("reboot: {error}")
}

fn set_up() -> Result<()> {
    for (source, target, kind) in [
        ("proc", "/proc", "proc"),
        ("sysfs", "/sys", "sysfs"),
        ("devtmpfs", "/dev", "devtmpfs"),
        ("tmpfs", "/tmp", "tmpfs"),
        ("tmpfs", "/run", "tmpfs"),
        ("cgroup2", CGROUP_ROOT, "cgroup2"),
    ] {
        mount_at(source, target, kind)?;
    }
    // As root of an initramfs would have it.
    set_mode("/tmp", 0o1777)?;
    loopback_up()?;
    cgroup::turn_on_controllers(Path::new(CGROUP_ROOT))?;
    for resource in [Resource::RLIMIT_MEMLOCK, Resource::RLIMIT_CORE] {
        let limit = if resource == Resource::RLIMIT_CORE { 0 } else { RLIM_INFINITY };
        setrlimit(resource, limit, limit).with_context(|| format!("setrlimit({resource:?})"))?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, 65536, 65536).context("setrlimit(RLIMIT_NOFILE)")
}

fn mount_at(source: &str, target: &str, kind: &str) -> Result<()> {
    if let Err(error) = fs::create_dir_all(target) {
        ensure!(Path::new(target).is_dir(), "making {target}: {error}");
    }
    match mount(Some(source), target, Some(kind), MsFlags::empty(), None::<&str>) {
        // The kernel mounts /dev itself with CONFIG_DEVTMPFS_MOUNT, though not in an initramfs.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("mounting {kind} at {target}")),
    }
}

fn set_mode(path: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("chmod {path}"))
}

/// Brings `lo` up; the kernel gives it its address.
fn loopback_up() -> Result<()> {
    // Any socket serves for the ioctl; an unbound one needs no interface.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("making a socket")?;
    // SAFETY: all fields of this plain C structure may be 0.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which this is, through a pointer that is valid.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    ensure!(result == 0, "bringing lo up: {}", Errno::last());
    Ok(())
}

fn run_scenarios() -> Result<i32> {
    let command_line = fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
    let args = arguments(&command_line);
    let child = Command::new(SELF_EXE).args(&args).spawn().context("starting the scenarios")?;
    let child = Pid::from_raw(i32::try_from(child.id())?);
    // PID 1 inherits every orphan.
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return Ok(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                bail!("{signal} ended the scenarios")
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => bail!("wait: {error}"),
        }
    }
}

/// What to run, by the kernel's command line: `scenarios.only=a,b`, `scenarios.jobs=2`,
/// `scenarios.agent-user=0`, `scenarios.patience=5`; with the word `scenarios.rehearse`, no agent.
fn arguments(command_line: &str) -> Vec<&str> {
    let words =
        || command_line.split_ascii_whitespace().filter_map(|word| word.strip_prefix("scenarios."));
    if words().any(|word| word == "rehearse") {
        return vec!["rehearse", "--cgroup-root", CGROUP_ROOT];
    }
    let mut args = vec!["run", "--agent", AGENT, "--cgroup-root", CGROUP_ROOT, "--strict"];
    let mut patience = PATIENCE;
    for word in words() {
        match word.split_once('=') {
            Some(("only", value)) => args.extend(["--only", value]),
            Some(("jobs", value)) => args.extend(["--jobs", value]),
            Some(("agent-user", value)) => args.extend(["--agent-user", value]),
            Some(("patience", value)) => patience = value,
            _ => println!("scenarios: unknown scenarios.{word} in the kernel's command line"),
        }
    }
    args.extend(["--patience", patience]);
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_from_the_command_line() {
        let run = ["run", "--agent", AGENT, "--cgroup-root", CGROUP_ROOT, "--strict"];
        let with = |more: &[&'static str]| [run.as_slice(), more].concat();
        assert_eq!(arguments("console=ttyS0 quiet"), with(&["--patience", "3"]));
        assert_eq!(
            arguments("scenarios.only=oom,kill-after x scenarios.patience=9 scenarios.jobs=2"),
            with(&["--only", "oom,kill-after", "--jobs", "2", "--patience", "9"])
        );
        assert_eq!(
            arguments("quiet scenarios.rehearse"),
            ["rehearse", "--cgroup-root", CGROUP_ROOT]
        );
    }
}
