//! Starting the agent: the only place that knows every room, and the only one that starts tasks.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_common::{map::EVENTS_BYTES, snapshot::HAS_STATISTICS};
use anyhow::{Context as _, bail};
use bytes::Bytes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::bpf::{
    load::{self, Survey},
    plan::{self, SUBJECTS, Sizes},
    ring::Ring,
};
use crate::cgroup::{figures::Covered, statistics::Elements, tree, walk};
use crate::cli::{AgentArgs, Mode, PodsArgs};
use crate::http::{self, Request, Status};
use crate::kernel::{cgroup_mount, host, snapshot_offsets::SnapshotOffsets};
use crate::kube::{
    client::client,
    kubelet,
    news::{NEWS_WAITING_MAX, PodNews, Pulse},
    source::{self, Chosen},
    watch as pod_watch,
};
use crate::metrics::{edition::Edition, store::StoreOptions};
use crate::node::{Kernel, Node, Options};

/// File descriptors that are left for everything but cgroup files.
const FDS_RESERVED: u64 = 160;
/// A workload's counters stay this long after its last container has gone.
const WORKLOAD_LINGER: Duration = Duration::from_secs(3600);

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// If it cannot begin: no cgroup v2, a port that is in use, an unusable setting. What is only
/// missing in part is said in the log and in the metrics.
pub fn main(args: &AgentArgs) -> anyhow::Result<()> {
    start_log(&args.log_level)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = http::bind(args.listen_address).await?;
        agent(args, listener, stop_signal()?).await
    })
}

fn start_log(level: &str) -> anyhow::Result<()> {
    let mut filter = tracing_subscriber::EnvFilter::try_new(level)
        .with_context(|| format!("--log.level {level:?}"))?;
    if !level.contains("kube") {
        // They log each attempt; what changes is said here, once.
        for quiet in ["kube_client=off", "kube_runtime=off"] {
            filter = filter.add_directive(quiet.parse()?);
        }
    }
    // A second start in one process, as in tests, keeps the first log.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init();
    Ok(())
}

/// Ends with the first SIGTERM or SIGINT.
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

/// Runs the agent until `stop` ends.
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
    load::check_object()?;
    let kernel = match load_kernel(&root) {
        Ok(kernel) => Some(kernel),
        Err(error) => {
            tracing::error!(
                error = format!("{error:#}"),
                "no kernel events: only figures of cgroup files; see `podvitals check`"
            );
            None
        }
    };
    trim_heap();
    let address = listener.local_addr()?;
    let pods = source::choose(args.pods.source, args.pods.surroundings())?;
    let pulse = Pulse::default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = host::release().unwrap_or_default(),
        mode = ?mode,
        root = %root.display(),
        names = pods.describe(),
        programs = kernel.as_ref().map_or(0, attached_programs),
        of = SUBJECTS.len(),
        %address,
        "podvitals starts"
    );
    let options = Options {
        mode,
        cgroup_root: root,
        log_dir: args.pods_log_dir.clone(),
        pods: (!matches!(pods, Chosen::None(_))).then(|| (pods.describe(), pulse.clone())),
        source: args.cgroup_source,
        store: StoreOptions {
            linger: args.linger,
            workload_linger: WORKLOAD_LINGER,
            max_series: args.max_series,
        },
        max_fds: raise_file_limit(),
    };
    let mut node = Node::new(options, kernel);
    node.begin();

    let (handle, inbox) = http::channel();
    let (closing, closed) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, handle, async move {
        let mut closed = closed;
        let _ = closed.wait_for(|closing| *closing).await;
    }));
    let news = watch_pods(pods, &args.pods, &pulse)?;
    own(&mut node, inbox, news, stop, closing).await;
    server.await.context("the server's task failed")?;
    tracing::info!("podvitals has stopped");
    Ok(())
}

/// Starts the task that asks for Pods, if there is one. It ends with the receiver.
fn watch_pods(
    chosen: Chosen,
    args: &PodsArgs,
    pulse: &Pulse,
) -> anyhow::Result<mpsc::Receiver<PodNews>> {
    let (news, inbox) = mpsc::channel(NEWS_WAITING_MAX);
    let Some(reach) = args.reach(&chosen) else { return Ok(inbox) };
    let client = client(&reach, pulse).with_context(|| format!("the client for {}", reach.url))?;
    match chosen {
        Chosen::Api { node, .. } => {
            tokio::spawn(async move { pod_watch::run(client, &node, news).await });
        }
        Chosen::Kubelet => {
            tokio::spawn(kubelet::run(client, news));
        }
        Chosen::None(_) => {}
    }
    Ok(inbox)
}

/// The owner's loop. After `stop` it answers until the server has closed its last connection.
async fn own(
    node: &mut Node,
    mut inbox: mpsc::Receiver<Request>,
    mut news: mpsc::Receiver<PodNews>,
    stop: impl Future<Output = ()>,
    closing: watch::Sender<bool>,
) {
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let mut answered = false;
    loop {
        tokio::select! {
            () = woken(node.ring()) => node.turn(),
            () = tokio::time::sleep(node.rest()) => {
                node.turn();
                // The bodies have been sent by now, and are some MB on a large node.
                if std::mem::take(&mut answered) {
                    trim_heap();
                }
            }
            Some(news) = news.recv() => node.pod_news(news),
            request = inbox.recv() => match request {
                Some(request) => {
                    answer(node, request, &mut inbox, stopping);
                    answered = true;
                }
                None => return,
            },
            () = &mut stop, if !stopping => {
                stopping = true;
                node.stop();
                let _ = closing.send(true);
            }
        }
    }
}

async fn woken(ring: Option<&Ring>) {
    match ring {
        Some(ring) => ring.woken().await,
        None => std::future::pending().await,
    }
}

/// Answers a request, and with it all scrapes that wait behind it: one look at the node serves
/// them all, and each edition is written once.
fn answer(node: &mut Node, first: Request, inbox: &mut mpsc::Receiver<Request>, stopping: bool) {
    let mut look = None;
    let mut editions = HashMap::<Edition, Vec<Bytes>>::new();
    let mut next = Some(first);
    while let Some(request) = next {
        // Who asked may have gone; that is no one's fault.
        match request {
            Request::Scrape(_, reply) if reply.is_closed() => {}
            Request::Scrape(edition, reply) => {
                let look = look.get_or_insert_with(|| node.look());
                let pieces = editions.entry(edition).or_insert_with(|| node.expose(look, edition));
                let _ = reply.send(pieces.clone());
            }
            Request::Ready(reply) => {
                let _ = reply.send(readiness(stopping));
            }
            Request::Status(reply) => {
                let not_ready = readiness(stopping).err();
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let _ = reply.send(Status { version, not_ready, facts: node.facts() });
            }
        }
        next = inbox.try_recv().ok();
    }
}

fn readiness(stopping: bool) -> Result<(), String> {
    if stopping { Err("the agent is stopping".into()) } else { Ok(()) }
}

/// The cgroup v2 directory to watch.
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
                "the cgroup v2 hierarchy lacks a controller: its figures are missing; it may be \
                 bound to a cgroup v1 hierarchy"
            );
        }
    }
    // In a Pod and with symbolic links the path is still the one that the tree is built on.
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

/// Facts, decision, action: the kernel side as far as this host allows it.
fn load_kernel(root: &Path) -> anyhow::Result<Kernel> {
    let survey = Survey::read_raised()?;
    if let Err(error) = &survey.offsets.memory {
        tracing::warn!(%error, "whose limit an OOM is about cannot be told on this kernel");
    }
    if let Ok(Sizes { events_bytes, tracked_max }) = plan::sizes(&survey.facts)
        && events_bytes < EVENTS_BYTES
    {
        tracing::warn!(
            events_bytes,
            tracked_max,
            memlock_bytes = survey.facts.memlock_bytes,
            "little locked memory: a storm of events is sooner lost, and counted; {}",
            plan::MEMLOCK_REMEDY
        );
    }
    let (programs, ring) = load::load(&survey, cgroup_mount::descendants(root))?;
    for attached in &programs.attached {
        if let Err(why) = &attached.outcome {
            tracing::warn!(program = attached.name, why, lost = attached.lost, "not attached");
        } else if !attached.lost.is_empty() {
            tracing::warn!(program = attached.name, lost = attached.lost, "attached in part");
        }
    }
    let ring = Ring::new(ring).context("the ring buffer cannot be waited for")?;
    let (covered, elements) = match &survey.snapshot {
        Ok(snapshot) => (Covered::by(snapshot.layout.known.into()), elements(snapshot)),
        Err(_) => (Covered::default(), Elements::none()),
    };
    Ok(Kernel { programs, ring, snapshot: None, covered, elements })
}

/// What the kernel's types tell of the arrays behind `memory.stat`.
fn elements(snapshot: &SnapshotOffsets) -> Elements {
    const WORD_BYTES: u32 = 8;
    let layout = &snapshot.layout;
    if u64::from(layout.known) & HAS_STATISTICS == 0 {
        return Elements::none();
    }
    let [state, events] =
        [layout.vmstats_state_bytes, layout.vmstats_events_bytes].map(|bytes| bytes / WORD_BYTES);
    Elements::new(state, events, snapshot.state_elements)
}

fn attached_programs(kernel: &Kernel) -> usize {
    kernel.programs.attached.iter().filter(|attached| attached.outcome.is_ok()).count()
}

/// Gives free memory back that the allocator keeps: what loading took (the kernel's types alone are
/// some 30 MB), and the bodies of scrapes.
fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and touches free memory only.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}

/// Raises the limit of open files as far as it may be, and says how many cgroup files that allows.
fn raise_file_limit() -> usize {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((1024, 1024));
    let soft = match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    };
    usize::try_from(soft.saturating_sub(FDS_RESERVED)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::metrics::edition::{Format, Reader};

    #[test]
    fn one_look_serves_all_who_wait() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            mode: tree::Mode::Host,
            cgroup_root: dir.path().to_owned(),
            log_dir: dir.path().to_owned(),
            pods: None,
            source: crate::node::Source::Files,
            store: StoreOptions::default(),
            max_fds: 10,
        };
        let mut node = Node::new(options, None);
        let (questions, mut inbox) = mpsc::channel(8);
        let ask = |reader, format| {
            let (to, answer) = oneshot::channel();
            questions.try_send(Request::Scrape(Edition { reader, format }, to)).unwrap();
            answer
        };
        let mut answers = [
            ask(Reader::Scraper, Format::Text),
            ask(Reader::Scraper, Format::OpenMetrics),
            ask(Reader::Person, Format::Text),
            ask(Reader::Scraper, Format::Text),
        ];
        drop(ask(Reader::Person, Format::OpenMetrics));
        let first = inbox.try_recv().unwrap();
        answer(&mut node, first, &mut inbox, false);
        let bodies = answers.each_mut().map(|answer| answer.try_recv().unwrap());
        let samples = |pieces: &[Bytes]| {
            let text = String::from_utf8(pieces.concat()).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let [text, open_metrics, person, again] = &bodies;
        // What a look costs is in it: there was one.
        assert_eq!(samples(text), samples(open_metrics));
        assert_eq!(samples(text), samples(person));
        assert!(samples(text).iter().any(|line| line.contains("collector_duration_seconds")));
        assert_eq!(text[0].as_ptr(), again[0].as_ptr(), "the same edition is written once");
        assert!(open_metrics.concat().ends_with(b"# EOF\n"));
    }
}
