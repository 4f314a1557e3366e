//! Becoming what the DaemonSet's container is: not root, no new privileges, three capabilities.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use caps::{CapSet, Capability, CapsHashSet};
use clap::Args;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

/// The capabilities that the Pod asks for.
const CAPABILITIES: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];

/// Arguments of `scenarios launch`.
#[derive(Args, Clone, Debug)]
pub(crate) struct LaunchArgs {
    /// User and group id; 0 changes nothing.
    #[arg(long)]
    user: u32,
    /// Keep no capability at all.
    #[arg(long)]
    no_capabilities: bool,
    /// Keep what the Pod asks for without CAP_NET_ADMIN, as the overlay without it.
    #[arg(long)]
    no_net_admin: bool,
    /// How much memory it may lock (`RLIMIT_MEMLOCK`).
    #[arg(long, value_name = "KIB")]
    memlock_kib: Option<u64>,
    /// What to execute.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Gives everything else away, then executes the command.
pub(crate) fn run(args: &LaunchArgs) -> Result<()> {
    if let Some(kib) = args.memlock_kib {
        let bytes = kib.saturating_mul(1024);
        setrlimit(Resource::RLIMIT_MEMLOCK, bytes, bytes).context("setrlimit(RLIMIT_MEMLOCK)")?;
    }
    if args.user != 0 {
        let keep = CAPABILITIES.into_iter().filter(|capability| {
            !args.no_capabilities
                && (!args.no_net_admin || *capability != Capability::CAP_NET_ADMIN)
        });
        drop_to(args.user, &keep.collect())?;
    }
    // With the runner gone, nobody would stop the agent. A change of user would clear this.
    prctl::set_pdeathsig(Signal::SIGKILL).context("prctl(PR_SET_PDEATHSIG)")?;
    let (program, rest) = args.command.split_first().context("no command")?;
    let error = Command::new(program).args(rest).exec();
    bail!("executing {}: {error}", program.display())
}

fn drop_to(user: u32, keep: &CapsHashSet) -> Result<()> {
    for capability in caps::read(None, CapSet::Bounding).context("reading the bounding set")? {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)
                .with_context(|| format!("dropping {capability} from the bounding set"))?;
        }
    }
    prctl::set_keepcaps(true).context("prctl(PR_SET_KEEPCAPS)")?;
    setgroups(&[]).context("setgroups")?;
    setgid(Gid::from_raw(user)).with_context(|| format!("setgid({user})"))?;
    setuid(Uid::from_raw(user)).with_context(|| format!("setuid({user})"))?;
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient] {
        caps::set(None, set, keep).with_context(|| format!("setting the {set:?} set"))?;
    }
    prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")
}
