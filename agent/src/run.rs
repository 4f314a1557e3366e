//! Start of the agent: the only module that knows all others, and the only one that starts tasks.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};

use crate::bpf::{
    object,
    start::{self, Kernel},
    subjects::SUBJECTS,
};
use crate::cli::{self, AgentArgs, PodsArgs};
use crate::clock::Now;
use crate::escape;
use crate::http::{self, Listeners};
use crate::kernel::{capabilities, heap, host};
use crate::kube::{
    client::Client,
    event::{EVENTS_WAITING_MAX, LastContact, PodEvent},
    kubelet,
    read::Wanted,
    source::{self, Chosen},
    watch as pod_watch,
};
use crate::log;
use crate::node::{Node, Options, owner};
use crate::settings;
use crate::trace::{self, Traces, model::Trace, otlp};

/// Longest time from the stop signal to the end: the last scrape, and the last traces.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Limit of threads beside the owner's: they look up names and compress.
const THREADS_MAX: usize = 4;

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The agent cannot start: no cgroup v2, a port in use, an unusable setting. A part that is merely
/// missing is reported in the log and in the metrics instead.
pub fn main(args: &AgentArgs) -> anyhow::Result<()> {
    heap::share();
    log::start(&args.log_level, args.log_format)?;
    log::catch_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        // What they do has nothing to do with the kernel side.
        .on_thread_start(|| {
            let _ = capabilities::drop_all();
        })
        .build()?;
    let result = runtime.block_on(async {
        let listeners = http::bind(&args.listen_address).await?;
        agent(args, listeners, stop_signal()?).await
    });
    // A look-up of a name, or the compression of an answer that nobody wants any more, may take
    // seconds.
    runtime.shutdown_background();
    result
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
    listeners: Listeners,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let root = settings::cgroup_root(args.cgroup_root.as_deref())?;
    let mode = settings::mode(args.mode);
    object::check()?;
    // What is wrong with it is said before anything is loaded.
    let trace_settings = args.trace.settings()?;
    let kernel = start::start(&root, settings::objects_off(args));
    heap::trim();
    let pods = source::choose(args.pods.source, args.pods.surroundings())?;
    let last_contact = LastContact::default();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        kernel = host::release().unwrap_or_default(),
        mode = mode.describe(),
        root = escape::path(&root),
        names = pods.describe(),
        programs = kernel.as_ref().map_or(0, Kernel::attached),
        of = SUBJECTS.len(),
        addresses = ?listeners.addresses(),
        "starting podvitals"
    );
    for name in cli::unknown_variables() {
        tracing::warn!(name = %escape::line(&name), "this variable is no setting: is it misspelt?");
    }
    settings::check_log_dir(&args.pods.log_dir);
    let source =
        (!matches!(pods, Chosen::None(_))).then(|| (pods.describe(), last_contact.clone()));
    let exporter = match trace_settings {
        Some(settings) => {
            tracing::info!(to = settings.describe(), "traces are sent");
            let resource = settings.resource.clone();
            Some((otlp::start(settings)?, resource))
        }
        None => None,
    };
    let traces = exporter.as_ref().map(|(handle, resource)| {
        traces(handle, settings::trace_options(args, resource.clone(), source.is_some()))
    });
    let link_annotation = traces.is_some().then(|| args.trace.link_annotation.clone());
    let options = Options { traces, ..settings::options(args, root, mode, source) };
    let mut node = Node::new(options, kernel);
    node.start(Now::read());

    let (handle, inbox) = http::channel();
    let (closing, closed) = watch::channel(false);
    let server = tokio::spawn(http::serve(listeners, handle, async move {
        let mut closed = closed;
        let _ = closed.wait_for(|closing| *closing).await;
    }));
    let pod_events = watch_pods(pods, &args.pods, &last_contact, link_annotation)?;
    let stopped = Cell::new(None);
    let stop = async {
        stop.await;
        stopped.set(Some(Instant::now()));
    };
    owner::own(&mut node, inbox, pod_events, stop, closing).await;
    server.await.context("the server's task failed")?;
    if let Some((exporter, _)) = exporter {
        let since = stopped.get().map_or(Duration::ZERO, |at| at.elapsed());
        exporter.shutdown(STOP_MAX.saturating_sub(since));
    }
    tracing::info!("podvitals stopped");
    Ok(())
}

/// The reader that makes traces and queues them for the exporter.
fn traces(exporter: &otlp::Handle, options: trace::Options) -> Traces {
    let queue = Arc::clone(&exporter.queue);
    let send = move |trace: &Trace, wall| queue.push(otlp::encode(trace, wall));
    Traces::new(options, Box::new(send), Arc::clone(&exporter.stats), Now::read())
}

/// Starts the task that receives Pods, if there is a Pod source. It ends with the receiver.
fn watch_pods(
    chosen: Chosen,
    args: &PodsArgs,
    last_contact: &LastContact,
    link_annotation: Option<String>,
) -> anyhow::Result<mpsc::Receiver<PodEvent>> {
    let (events, inbox) = mpsc::channel(EVENTS_WAITING_MAX);
    let Some(endpoint) = args.endpoint(&chosen)? else { return Ok(inbox) };
    if endpoint.token.is_none() {
        tracing::warn!(url = %endpoint.url, "no token is sent to the Pod source: its URL has no TLS");
    }
    let client = Client::new(&endpoint, last_contact)
        .with_context(|| format!("cannot make a client for {}", endpoint.url))?;
    match chosen {
        Chosen::Api { node, .. } => {
            tokio::spawn(async move {
                pod_watch::run(client, &node, link_annotation.as_deref(), events).await;
            });
        }
        Chosen::Kubelet => {
            let node = args.node_name.clone();
            tokio::spawn(async move {
                let link_annotation = link_annotation.as_deref();
                let wanted = Wanted { node: node.as_deref(), link_annotation };
                kubelet::run(client, wanted, events).await;
            });
        }
        Chosen::None(_) => {}
    }
    Ok(inbox)
}
