//! Settings: what the flags and the host make of the owner's options.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use opentelemetry::KeyValue;

use crate::bpf::object::ObjectId;
use crate::cgroup::{files::Parts, tree};
use crate::cli::{AgentArgs, Mode};
use crate::escape;
use crate::kernel::cgroup_mount;
use crate::kube::{event::LastContact, log_names};
use crate::metrics::collector::Collector;
use crate::metrics::store::StoreOptions;
use crate::node::{Options, Source};
use crate::trace::{self, names};

/// File descriptors that are reserved for everything but cgroup files.
const FDS_RESERVED: u64 = 192;
/// Retention of a workload's counters after its last container is gone.
const WORKLOAD_RETENTION: Duration = Duration::from_secs(3600);

/// The options of the owner. `pods` is the Pod source, as people call it, and its last contact.
pub(crate) fn options(
    args: &AgentArgs,
    cgroup_root: PathBuf,
    mode: tree::Mode,
    pods: Option<(String, LastContact)>,
) -> Options {
    Options {
        mode,
        cgroup_root,
        log_dir: args.pods.log_dir.clone(),
        pods,
        store: StoreOptions {
            collectors: args.collectors.0,
            retention: args.retention,
            workload_retention: WORKLOAD_RETENTION,
            max_series: args.max_series,
        },
        traces: None,
        probes: args.collectors.0.has(Collector::Probes),
        kubelet_cgroup: args.kubelet_cgroup.clone(),
        max_fds: raise_file_limit(),
    }
}

/// Tells the log if the directory of the containers' logs cannot be read. That there is none is usual
/// where there is no kubelet, unless it is named.
pub(crate) fn check_log_dir(dir: &Path) {
    let Err(error) = std::fs::read_dir(dir) else { return };
    if error.kind() != ErrorKind::NotFound || dir != Path::new(log_names::DEFAULT_DIR) {
        let dir = escape::path(dir);
        tracing::warn!(dir, %error, "no names come from the logs of containers (--pods.log-dir)");
    }
}

/// Options of the traces. `resource`: attributes that the user has set.
pub(crate) fn trace_options(
    args: &AgentArgs,
    mut resource: Vec<KeyValue>,
    pods_may_come: bool,
) -> trace::Options {
    let name = args.pods.node_name.clone();
    let known =
        |attributes: &[KeyValue]| attributes.iter().any(|it| it.key.as_str() == names::NODE.name);
    if let Some(name) = name.filter(|_| !known(&resource)) {
        resource.push(KeyValue::new(names::NODE.name, name));
    }
    trace::Options { resource, limits: args.trace.limits(), pods_may_come }
}

/// The BPF objects that the flags make superfluous.
pub(crate) fn objects_off(args: &AgentArgs) -> Vec<ObjectId> {
    let reads_cgroups = args.collectors.0.parts() != Parts::NONE;
    let mut off = match args.cgroup_source {
        Source::Auto if reads_cgroups => Vec::new(),
        Source::Auto | Source::Files => vec![ObjectId::Snapshot],
    };
    if !args.collectors.0.has(Collector::Probes) {
        off.push(ObjectId::Probes);
    }
    off
}

/// The root of the cgroup v2 hierarchy to observe.
pub(crate) fn cgroup_root(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let root = match given {
        Some(root) => root.to_owned(),
        None => match cgroup_mount::find().context("cannot read the mounts")?.unified {
            Some(root) => root,
            None => bail!(
                "no cgroup v2 hierarchy is mounted: mount one (mount -t cgroup2 none \
                 /sys/fs/cgroup), boot with systemd.unified_cgroup_hierarchy=1, or name one with \
                 --cgroup.root"
            ),
        },
    };
    let offered = cgroup_mount::controllers(&root).with_context(|| no_root(&root))?;
    let is_missing = |wanted: &&str| !offered.iter().any(|offered| offered == wanted);
    let missing: Vec<_> = ["cpu", "memory", "pids"].into_iter().filter(is_missing).collect();
    if !missing.is_empty() {
        tracing::warn!(
            controllers = missing.join(", "),
            root = escape::path(&root),
            "the cgroup v2 hierarchy lacks controllers, and their metrics are missing; cgroup v1 may have \
             them: boot with systemd.unified_cgroup_hierarchy=1"
        );
    }
    // In a Pod and with symbolic links the tree is still built on this path.
    Ok(root)
}

/// Words for a root that is none, with what to give in its place.
pub(crate) fn no_root(root: &Path) -> String {
    let mounted = cgroup_mount::find().ok().and_then(|mounts| mounts.unified);
    let remedy = match mounted {
        Some(at) => format!("cgroup v2 is mounted at {}", escape::path(&at)),
        None => "no cgroup v2 hierarchy is mounted here".to_owned(),
    };
    let why = if root.is_dir() {
        "is no cgroup v2 directory: it has no file cgroup.controllers"
    } else {
        "cannot be read as a directory"
    };
    format!("{remedy}; {} (--cgroup.root) {why}", escape::path(root))
}

/// The kind of node.
pub(crate) const fn mode(wanted: Mode) -> tree::Mode {
    match wanted {
        Mode::Auto => tree::Mode::Auto,
        Mode::Kubernetes => tree::Mode::Kubernetes,
        Mode::Host => tree::Mode::Host,
    }
}

/// Raises the limit of open files as far as possible, and returns how many cgroup files that
/// allows.
fn raise_file_limit() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let soft = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    usize::try_from(soft.saturating_sub(FDS_RESERVED)).unwrap_or(0)
}
