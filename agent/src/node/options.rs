//! Options of the owner: the kind of node, its sources, and what is kept.

use std::path::PathBuf;

use crate::cgroup::tree;
use crate::kube::event::LastContact;
use crate::metrics::store::StoreOptions;
use crate::trace::Traces;

/// The source of the cgroups' resource usage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Source {
    /// One run of the kernel's cgroup iterator where it can, the files for the rest.
    Auto,
    /// The files of each cgroup.
    Files,
}

/// Options of the owner, set from the flags.
#[derive(Debug)]
pub struct Options {
    /// The kind of node: whose cgroups are shown. With [`tree::Mode::Auto`] that may change.
    pub mode: tree::Mode,
    /// The cgroup v2 directory to watch.
    pub cgroup_root: PathBuf,
    /// The directory of the kubelet's log links.
    pub log_dir: PathBuf,
    /// The Pod source, as people call it, and when it was last heard; `None` without one.
    pub pods: Option<(String, LastContact)>,
    /// Limits and retention of the metrics.
    pub store: StoreOptions,
    /// The reader that makes traces; `None` if they are sent nowhere.
    pub traces: Option<Traces>,
    /// Whether the kubelet's network probes are observed.
    pub probes: bool,
    /// The kubelet's cgroup, as the user names it.
    pub kubelet_cgroup: Option<PathBuf>,
    /// Files of cgroups that may be kept open.
    pub max_fds: usize,
}
