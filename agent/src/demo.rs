//! Command `podvitals demo`: real processes in real cgroups of the kubelet's shape, to observe.
//!
//! The processes stop in order, ignore their stop signal, crash, run out of memory. The host is not
//! changed, except for one cgroup and one directory of the demo, both removed at the end.

mod actors;
mod tree;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

pub use self::work::{DemoWorkArgs, run_work};

use self::actors::{Actor, Stage};
use self::tree::Tree;

/// Arguments of `podvitals demo`.
#[derive(Args, Clone, Debug, Default)]
pub struct DemoArgs {
    /// cgroup v2 directory in which the demo makes its own cgroup [default: the root of the
    /// hierarchy]
    #[arg(long = "cgroup.root", value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Directory for the links that name the containers [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
    /// Stop after this time.
    #[arg(long = "for", value_name = "SECONDS")]
    pub for_seconds: Option<u64>,
    /// Also write the first line of stdout to this file, once everything is set up.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

/// Runs the demo until SIGINT or SIGTERM, or until its time is over, and removes all that it made.
///
/// The first line on stdout is `DEMO cgroup_root=<dir> log_dir=<dir>`, for programs.
///
/// # Errors
/// Not root, no cgroup v2, a cgroup or directory that cannot be made: each with its remedy.
pub fn run(args: DemoArgs) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "the demo creates cgroups, which needs root: run it with sudo"
    );
    let DemoArgs { cgroup_root, log_dir, for_seconds, ready_file } = args;
    let root = cgroup_root.map_or_else(tree::mount_point, Ok)?;
    // Signals first: from here on, a signal leaves nothing behind.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let _entered = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt()).context("listening to SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening to SIGTERM")?;

    let tree = Arc::new(Tree::make(&root, log_dir.as_deref())?);
    let line =
        format!("DEMO cgroup_root={} log_dir={}", tree.root().display(), tree.log_dir().display());
    announce(&line, &tree)?;

    let stage = Arc::new(Stage::default());
    let threads = Actor::ALL
        .into_iter()
        .filter(|actor| !actor.needs_memory_limit() || tree.has_memory())
        .map(|actor| actor.start(&tree, &stage))
        .collect::<Result<Vec<_>>>();
    let written = ready_file.map_or(Ok(()), |path| {
        std::fs::write(&path, format!("{line}\n"))
            .with_context(|| format!("writing {}", path.display()))
    });
    if threads.is_ok() && written.is_ok() {
        runtime.block_on(async {
            let end = async {
                match for_seconds {
                    Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = end => {}
            }
        });
    }
    // Each thread kills and waits for its own process; the tree removes the cgroups when the
    // last of them has let go of it.
    stage.close();
    for thread in threads? {
        ensure!(thread.join().is_ok(), "a thread of the demo panicked");
    }
    written
}

fn announce(line: &str, tree: &Tree) -> Result<()> {
    let mut text = format!("{line}\nRunning until Ctrl-C:\n");
    for actor in Actor::ALL {
        if actor.needs_memory_limit() && !tree.has_memory() {
            text.push_str(&format!(
                "  {:<10} left out: the memory controller is not enabled in this cgroup v2 hierarchy \
                 (boot with systemd.unified_cgroup_hierarchy=1, or write +memory to \
                 cgroup.subtree_control of {})\n",
                actor.pod(),
                tree.parent().display()
            ));
        } else {
            text.push_str(&format!("  {:<10} {}\n", actor.pod(), actor.about()));
        }
    }
    text.push_str(&format!(
        "Watch them with:\n  podvitals agent --mode kubernetes --cgroup.root {} --pods.source none \
         --pods.log-dir {}\n",
        tree.root().display(),
        tree.log_dir().display()
    ));
    // Who reads the first line alone has seen enough: the demo goes on.
    crate::output::print(&text)
}
