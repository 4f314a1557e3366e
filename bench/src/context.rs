//! What every row is given.

use std::path::PathBuf;

use crate::rows::Name;

/// Arguments of `bench run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Rows to measure; all if none is named.
    #[arg(value_enum)]
    pub(crate) rows: Vec<Name>,
    /// Short rounds: an impression, and the counts.
    #[arg(long)]
    pub(crate) quick: bool,
    /// The agent as it is shipped.
    #[arg(long, value_name = "PATH")]
    pub(crate) agent: PathBuf,
    /// The scenarios, which measure shutdowns.
    #[arg(long, value_name = "PATH")]
    pub(crate) scenarios: PathBuf,
    /// A cgroup v2 directory that does not exist yet; it is made and removed.
    #[arg(long, value_name = "DIR")]
    pub(crate) cgroup_root: PathBuf,
    /// The peer of the scrapes.
    #[arg(long, value_name = "PATH")]
    pub(crate) node_exporter: Option<PathBuf>,
    /// The peer that watches the same containers.
    #[arg(long, value_name = "PATH")]
    pub(crate) cadvisor: Option<PathBuf>,
    /// Why there is none.
    #[arg(long, value_name = "WHY", default_value = "only a full run builds it")]
    pub(crate) no_cadvisor: String,
    /// Write the result as Markdown.
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
}

impl Args {
    /// `full`, or `short` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, short: T) -> T {
        if self.quick { short } else { full }
    }
}
