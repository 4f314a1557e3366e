//! What every row is given.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// The rows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Reading the figures of 500 cgroups.
    Files,
    /// 20,000 series as text.
    Encode,
    /// A scrape of 500 containers.
    Scrape,
    /// Where the time of a scrape goes.
    Parts,
    /// From the start to the first good scrape.
    Start,
    /// 200,000 records a second.
    Events,
    /// From the signal to user space.
    Urgent,
    /// A connection of the kubelet.
    Probes,
    /// Forks of a watched load.
    Storm,
    /// Shutdown times against pidfd.
    Shutdown,
    /// 10 to 2000 containers.
    Growth,
    /// Many scrapes, many containers that come and go.
    Memory,
    /// 100 deaths a second, each a trace.
    Traces,
    /// The size of the binary.
    Binary,
    /// cAdvisor over the same containers.
    Cadvisor,
}

impl Name {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 15] = [
        Self::Files,
        Self::Encode,
        Self::Scrape,
        Self::Parts,
        Self::Start,
        Self::Events,
        Self::Urgent,
        Self::Probes,
        Self::Storm,
        Self::Shutdown,
        Self::Growth,
        Self::Memory,
        Self::Traces,
        Self::Cadvisor,
        Self::Binary,
    ];
}

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

/// Size of the pieces in which containerd writes the files of an image (2.4.2, pkg/archive/tar.go).
const PIECE_BYTES: usize = 32 << 10;

impl Args {
    /// Replaces the agent by a copy that was written as a node has it. The page cache has a file in the
    /// pieces in which it was written, and maps them as a whole (seen on Linux 6.18): what a linker has
    /// just written at once would be resident at once.
    pub(crate) fn unpack_agent(&mut self) -> Result<TempDir> {
        let folder = tempfile::Builder::new().prefix("podvitals-bench-").tempdir();
        let folder = folder.context("make a folder for the agent")?;
        let path = folder.path().join("podvitals");
        let bytes = fs::read(&self.agent).with_context(|| format!("read {:?}", self.agent))?;
        let mut file = File::create(&path).context("create a copy of the agent")?;
        for piece in bytes.chunks(PIECE_BYTES) {
            file.write_all(piece).context("write a copy of the agent")?;
        }
        for opened in [folder.path(), &path] {
            let mode = Permissions::from_mode(0o755);
            fs::set_permissions(opened, mode).context("open the agent to every user")?;
        }
        self.agent = path;
        Ok(folder)
    }

    /// `full`, or `short` in a quick run.
    pub(crate) fn pick<T>(&self, full: T, short: T) -> T {
        if self.quick { short } else { full }
    }
}
