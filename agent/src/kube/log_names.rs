//! Names from the kubelet's log links, for nodes without access to the API.
//!
//! The kubelet makes a link for every container in `/var/log/containers/`, named
//! `<pod>_<namespace>_<container>-<container id>.log` (pkg/kubelet/kuberuntime/legacy.go). Pod and
//! namespace are DNS names, so they contain no `_`; the id has a fixed length. The kubelet
//! truncates names longer than 255 bytes, and with them the id: those containers are not found
//! here.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::time::ClockId;

/// Directory where the kubelet puts the links.
pub const DEFAULT_DIR: &str = "/var/log/containers";

/// Time for which a name is kept after its link is gone: the container's last facts may come later,
/// but they never wait longer than this.
const KEEP: Duration = Duration::from_secs(60);

/// Part of the time that lists of the directory may take: one in so many. A directory of the usual
/// size takes less than a millisecond; in one where links of the dead have piled up by the hundred
/// thousand the agent would do nothing else.
const COST: u32 = 10;
/// Cost below which a list is no matter.
const CHEAP: Duration = Duration::from_millis(10);

/// Length of a container id in hexadecimal digits.
const ID_DIGITS: usize = 64;

/// Names of a container, from its log link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogName {
    /// Kubernetes namespace.
    pub namespace: String,
    /// Pod name. For a static Pod it includes the node's name, as in the API.
    pub pod: String,
    /// Container name.
    pub container: String,
}

/// Parts of a log link's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// Pod name.
    pub pod: &'a str,
    /// Kubernetes namespace.
    pub namespace: &'a str,
    /// Container name.
    pub container: &'a str,
    /// Container id: 64 hexadecimal digits.
    pub container_id: &'a str,
}

/// Splits the name of a log link into its parts. `None` for any other name.
#[must_use]
pub fn parse(file_name: &[u8]) -> Option<Parts<'_>> {
    let stem = std::str::from_utf8(file_name).ok()?.strip_suffix(".log")?;
    let (pod, rest) = stem.split_once('_')?;
    let (namespace, rest) = rest.split_once('_')?;
    let (container, container_id) = rest.rsplit_once('-')?;
    let is_id = container_id.len() == ID_DIGITS
        && container_id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_name = [pod, namespace, container].iter().all(|name| !name.is_empty());
    (is_id && is_name && !container.contains('_')).then_some(Parts {
        pod,
        namespace,
        container,
        container_id,
    })
}

struct Known {
    name: LogName,
    seen: Instant,
}

/// Names of this node's containers from their log links, by container id.
pub struct LogNames {
    dir: PathBuf,
    names: HashMap<String, Known>,
    /// Whether the directory held a link of any container, wanted or not.
    any: bool,
    /// Moment before which the directory is not listed again; `None` if it is cheap.
    rests_until: Option<Instant>,
}

impl LogNames {
    /// Names from the links in `dir`, usually [`DEFAULT_DIR`]. Nothing is read yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), names: HashMap::new(), any: false, rests_until: None }
    }

    /// Directory of the links.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the directory exists.
    #[must_use]
    pub fn available(&self) -> bool {
        self.dir.is_dir()
    }

    /// Lists the directory once, without following the links, and takes the names of the containers
    /// that are `wanted`. There may be any number of others: links of the dead can pile up.
    ///
    /// # Errors
    /// The directory cannot be read; the names known before are kept.
    pub fn refresh(&mut self, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let now = Instant::now();
        if self.rests_until.is_some_and(|until| now < until) {
            return Ok(());
        }
        let before = cpu_time();
        let refreshed = self.refresh_at(now, wanted);
        self.listed(Instant::now(), cpu_time().saturating_sub(before));
        refreshed
    }

    /// Notes what a list has cost.
    fn listed(&mut self, now: Instant, cost: Duration) {
        self.rests_until = (cost > CHEAP).then(|| now + cost * (COST - 1));
    }

    fn refresh_at(&mut self, now: Instant, wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let mut any = false;
        for entry in fs::read_dir(&self.dir)? {
            let file_name = entry?.file_name();
            let Some(parts) = parse(file_name.as_bytes()) else { continue };
            any = true;
            if let Some(known) = self.names.get_mut(parts.container_id) {
                known.seen = now;
            } else if wanted(parts.container_id) {
                let name = LogName {
                    namespace: crate::escape::name(parts.namespace.as_bytes()),
                    pod: crate::escape::name(parts.pod.as_bytes()),
                    container: crate::escape::name(parts.container.as_bytes()),
                };
                self.names.insert(parts.container_id.to_owned(), Known { name, seen: now });
            }
        }
        self.any = any;
        self.names.retain(|id, known| wanted(id) || now.duration_since(known.seen) < KEEP);
        Ok(())
    }

    /// The names of a container. `None` can also mean that it is newer than the last
    /// [`Self::refresh`].
    #[must_use]
    pub fn lookup(&self, container_id: &str) -> Option<&LogName> {
        self.names.get(container_id).map(|known| &known.name)
    }

    /// Whether the directory held a link of any container when it was listed last.
    #[must_use]
    pub const fn any(&self) -> bool {
        self.any
    }

    /// Number of known names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no name is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// Time for which this thread has run. The time of day would also count what others run.
fn cpu_time() -> Duration {
    // The clock exists on every Linux.
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
#[path = "log_names_tests.rs"]
mod tests;
