//! Start of the agent: the only module that knows all others, and the only one that starts tasks.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::bpf::{
    object::{self, ObjectId},
    start::{self, Kernel},
    subjects::SUBJECTS,
};
use crate::cgroup::{tree, walk};
use crate::cli::{AgentArgs, Mode, PodsArgs};
use crate::clock::Now;
use crate::http;
use crate::kernel::{cgroup_mount, heap, host};
use crate::kube::{
    client::client,
    event::{EVENTS_WAITING_MAX, LastContact, PodEvent},
    kubelet,
    source::{self, Chosen},
    watch as pod_watch,
};
use crate::log;
use crate::metrics::store::StoreOptions;
use crate::node::{Node, Options, Source, owner};

/// File descriptors that are reserved for everything but cgroup files.
const FDS_RESERVED: u64 = 160;
/// Retention of a workload's counters after its last container is gone.
const WORKLOAD_RETENTION: Duration = Duration::from_secs(3600);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The agent cannot start: no cgroup v2, a port in use, an unusable setting. A part that is merely
/// missing is reported in the log and in the metrics instead.
pub fn main(args: &AgentArgs) -> anyhow::Result<()> {
    log::start(&args.log_level, args.log_format)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = http::bind(args.listen_address).await?;
        agent(args, listener, stop_signal()?).await
    })
}

/// A future that completes with the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Runs the agent until `stop` completes.
///
/// # Errors
/// As [`main`].
pub async fn agent(
    args: &AgentArgs,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let root = cgroup_root(args.cgroup_root.as_deref())?;
    let mode = mode(args.mode, &root);
    object::check()?;
    let off = match args.cgroup_source {
        Source::Auto => Vec::new(),
        Source::Files => vec![ObjectId::Snapshot],
    };
    let kernel = start::start(&root, off);
    heap::trim();
    let address = listener.local_addr()?;
    let pods = source::choose(args.pods.source, args.pods.surroundings())?;
    let last_contact = LastContact::default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = host::release().unwrap_or_default(),
        mode = ?mode,
        root = %root.display(),
        names = pods.describe(),
        programs = kernel.as_ref().map_or(0, Kernel::attached),
        of = SUBJECTS.len(),
        %address,
        "starting podvitals"
    );
    let options = Options {
        mode,
        cgroup_root: root,
        log_dir: args.pods_log_dir.clone(),
        pods: (!matches!(pods, Chosen::None(_))).then(|| (pods.describe(), last_contact.clone())),
        store: StoreOptions {
            collectors: args.collectors.0,
            retention: args.retention,
            workload_retention: WORKLOAD_RETENTION,
            max_series: args.max_series,
        },
        max_fds: raise_file_limit(),
    };
    let mut node = Node::new(options, kernel);
    node.start(Now::read());

    let (handle, inbox) = http::channel();
    let (closing, closed) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, handle, async move {
        let mut closed = closed;
        let _ = closed.wait_for(|closing| *closing).await;
    }));
    let pod_events = watch_pods(pods, &args.pods, &last_contact)?;
    owner::own(&mut node, inbox, pod_events, stop, closing).await;
    server.await.context("the server's task failed")?;
    tracing::info!("podvitals stopped");
    Ok(())
}

/// Starts the task that receives Pods, if there is a Pod source. It ends with the receiver.
fn watch_pods(
    chosen: Chosen,
    args: &PodsArgs,
    last_contact: &LastContact,
) -> anyhow::Result<mpsc::Receiver<PodEvent>> {
    let (events, inbox) = mpsc::channel(EVENTS_WAITING_MAX);
    let Some(endpoint) = args.endpoint(&chosen) else { return Ok(inbox) };
    let client = client(&endpoint, last_contact)
        .with_context(|| format!("cannot make a client for {}", endpoint.url))?;
    match chosen {
        Chosen::Api { node, .. } => {
            tokio::spawn(async move { pod_watch::run(client, &node, events).await });
        }
        Chosen::Kubelet => {
            tokio::spawn(kubelet::run(client, events));
        }
        Chosen::None(_) => {}
    }
    Ok(inbox)
}

/// The root of the cgroup v2 hierarchy to observe.
fn cgroup_root(given: Option<&Path>) -> anyhow::Result<PathBuf> {
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
    let offered = cgroup_mount::controllers(&root).with_context(|| {
        format!("{} is not a readable cgroup v2 directory (--cgroup.root)", root.display())
    })?;
    for controller in ["cpu", "memory", "pids"] {
        if !offered.iter().any(|offered| offered == controller) {
            tracing::warn!(
                controller,
                root = %root.display(),
                "the cgroup v2 hierarchy lacks a controller: its metrics are missing; it may be \
                 bound to a cgroup v1 hierarchy"
            );
        }
    }
    // In a Pod and with symbolic links the tree is still built on this path.
    Ok(root)
}

fn mode(wanted: Mode, root: &Path) -> tree::Mode {
    match wanted {
        Mode::Kubernetes => tree::Mode::Kubernetes,
        Mode::Host => tree::Mode::Host,
        Mode::Auto if walk::find_kubepods(root).is_some() => tree::Mode::Kubernetes,
        Mode::Auto => tree::Mode::Host,
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
