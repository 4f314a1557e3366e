//! Real parts of the Prometheus family, for tests and for trying things: of the newest release and
//! of the oldest that can be had, as Debian packages unpacked into the cache. Nothing is installed,
//! so no service starts.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{self, Root},
    paths, shell, stop,
};

/// Suites that have newer releases than the machine's own, the newest first. Go programs link
/// statically, so that they run on an older suite.
const NEWER: [&str; 2] = ["sid", "trixie"];
/// What the pages of Debian's Prometheus 2 are made of, beside its own package. Later ones have no
/// pages.
const PAGES: [&str; 11] = [
    "fonts-glyphicons-halflings",
    "libjs-bootstrap4",
    "libjs-d3",
    "libjs-eonasdan-bootstrap-datetimepicker",
    "libjs-jquery",
    "libjs-jquery-hotkeys",
    "libjs-moment",
    "libjs-moment-timezone",
    "libjs-mustache",
    "libjs-popper.js",
    "libjs-rickshaw",
];
/// The file beside an unpacked package with its version and suite; written last.
const VERSION: &str = "version";

/// Which release of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The newest that Debian serves.
    Newest,
    /// That of the machine's own suite.
    Oldest,
}

impl Release {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Newest, Self::Oldest];

    const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }

    /// The suites to ask, one after the other.
    fn suites(self) -> Result<Vec<String>> {
        let own = apt::own_suite()?;
        Ok(match self {
            Self::Newest => NEWER.into_iter().map(str::to_owned).chain([own]).collect(),
            Self::Oldest => vec![own],
        })
    }
}

/// Prometheus and its checker.
pub struct Prometheus {
    /// Program of the Prometheus server.
    pub prometheus: PathBuf,
    /// Checks configurations and rules, and tests rules.
    pub promtool: PathBuf,
    /// Version and where it is from.
    pub version: String,
    /// What its pages are made of.
    share: Option<PathBuf>,
}

/// Alertmanager and its command line.
pub struct Alertmanager {
    alertmanager: PathBuf,
    /// Checks configurations and routes, and asks a server.
    pub amtool: PathBuf,
    /// Version and where it is from.
    pub version: String,
    /// What the server expects in `/usr/share`, if that has to be shown to it.
    share: Option<PathBuf>,
}

/// Debian's node_exporter.
pub struct NodeExporter {
    /// Program that serves the node's metrics.
    pub node_exporter: PathBuf,
    /// Version and where it is from.
    pub version: String,
}

/// Prometheus and promtool.
pub fn prometheus(release: Release) -> Result<Prometheus> {
    let [prometheus, promtool] = ["prometheus", "promtool"];
    // From 2.45 on promtool has a package of its own.
    let mut more = vec![promtool];
    if release == Release::Oldest {
        more.extend(PAGES);
    }
    let part = part("prometheus", &more, release, &[prometheus, promtool])?;
    Ok(Prometheus {
        prometheus: part.program(prometheus),
        promtool: part.program(promtool),
        share: part.share(),
        version: part.version,
    })
}

/// Alertmanager and amtool.
pub fn alertmanager(release: Release) -> Result<Alertmanager> {
    let [server, amtool] = ["prometheus-alertmanager", "amtool"];
    let part = part("prometheus-alertmanager", &[], release, &[server, amtool])?;
    Ok(Alertmanager {
        alertmanager: part.program(server),
        amtool: part.program(amtool),
        share: part.share(),
        version: part.version,
    })
}

/// Fetches node_exporter of a release.
pub fn node_exporter(release: Release) -> Result<NodeExporter> {
    let server = "prometheus-node-exporter";
    let part = part(server, &[], release, &[server])?;
    Ok(NodeExporter { node_exporter: part.program(server), version: part.version })
}

impl Prometheus {
    /// The server, without arguments, with its pages if it has any.
    pub fn command(&self) -> Command {
        with_share(&self.prometheus, self.share.as_deref())
    }
}

impl Alertmanager {
    /// The server, without arguments.
    pub fn command(&self) -> Command {
        with_share(&self.alertmanager, self.share.as_deref())
    }
}

/// The command that starts `program`. Debian's servers open templates below `/usr/share` by name: one
/// that is only unpacked sees the `share` of its own package there, in a mount namespace that ends
/// with it.
fn with_share(program: &Path, share: Option<&Path>) -> Command {
    const SCRIPT: &str = "mount -t overlay -o lowerdir=\"$1:/usr/share\" overlay /usr/share && \
                          shift && exec \"$@\"";
    let Some(share) = share else { return Command::new(program) };
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(share).arg(program);
    command
}

/// Programs of one package, and what they may need beside them.
struct Part {
    /// Where it is unpacked; `None` for what is installed on the machine.
    dir: Option<PathBuf>,
    version: String,
}

impl Part {
    fn share(&self) -> Option<PathBuf> {
        self.dir.as_ref().map(|dir| dir.join("usr/share"))
    }

    fn program(&self, name: &str) -> PathBuf {
        match &self.dir {
            Some(dir) => in_dir(dir, name),
            None => shell::find(name).unwrap_or_else(|| name.into()),
        }
    }
}

fn in_dir(dir: &Path, program: &str) -> PathBuf {
    dir.join("usr/bin").join(program)
}

/// `package` with those of `more` that its suite has, unpacked once; on a machine without apt, what
/// is installed there under the same names.
fn part(package: &str, more: &[&str], release: Release, programs: &[&str]) -> Result<Part> {
    if !apt::is_here() {
        let missing: Vec<&str> =
            programs.iter().copied().filter(|it| shell::find(it).is_none()).collect();
        if !missing.is_empty() {
            bail!("missing here: {}; please install it", missing.join(", "));
        }
        return Ok(Part { dir: None, version: "of this machine".to_owned() });
    }
    let dir = paths::cache(&format!("tools/{}", release.name()))?.join(package);
    if let Some(version) = unpacked(&dir, programs) {
        return Ok(Part { dir: Some(dir), version });
    }
    let mut errors = Vec::new();
    for suite in release.suites()? {
        println!("setup: unpacking {package} of Debian's {suite} …");
        match unpack(package, more, &suite, &dir, programs) {
            Ok(version) => {
                println!("setup: {package} {version}");
                return Ok(Part { dir: Some(dir), version });
            }
            Err(error) => {
                stop::check()?;
                println!("setup: {suite} has none that runs here: {error:#}");
                errors.push(format!("{suite}: {error:#}"));
            }
        }
    }
    bail!(
        "no {package} can be had, which is fetched once and then kept in {}: {}",
        dir.display(),
        errors.join("; ")
    )
}

/// Version and suite of what is in `dir`, if all of it is.
fn unpacked(dir: &Path, programs: &[&str]) -> Option<String> {
    let version = fs::read_to_string(dir.join(VERSION)).ok()?;
    let is_whole = !version.is_empty() && programs.iter().all(|it| in_dir(dir, it).is_file());
    is_whole.then_some(version)
}

/// Version and suite of what was unpacked into `dir`. Each program has to start. What is there before
/// that, by a run that was ended or another one at the same time, is beside it.
fn unpack(
    package: &str,
    more: &[&str],
    suite: &str,
    dir: &Path,
    programs: &[&str],
) -> Result<String> {
    let parent = dir.parent().context("a part is in no folder")?;
    let new = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir_in(parent)
        .with_context(|| format!("make a folder in {}", parent.display()))?;
    let root = Root::fetch(suite)?;
    let version = root.unpack(package, new.path())?;
    for other in more {
        if root.packages(other)?.iter().any(|it| it == other) {
            root.unpack(other, new.path())?;
        }
    }
    for program in programs {
        shell::output(Command::new(in_dir(new.path(), program)).arg("--version"))?;
    }
    let version = format!("{version} ({suite})");
    fs::write(new.path().join(VERSION), &version).context("write the version")?;
    put(new, dir, programs)?;
    Ok(version)
}

/// Moves a whole part to its place, unless another run was faster.
fn put(new: tempfile::TempDir, dir: &Path, programs: &[&str]) -> Result<()> {
    if unpacked(dir, programs).is_some() {
        return Ok(());
    }
    let _ = fs::remove_dir_all(dir);
    match fs::rename(new.path(), dir) {
        Ok(()) => {
            let _moved_away = new.keep();
            Ok(())
        }
        Err(_) if unpacked(dir, programs).is_some() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("make {}", dir.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_looked_for_before_the_machines_own() {
        if !apt::is_here() {
            println!("this machine is not Debian's");
            return;
        }
        let own = apt::own_suite().unwrap();
        assert_eq!(Release::Oldest.suites().unwrap(), [own.as_str()]);
        assert_eq!(Release::Newest.suites().unwrap(), ["sid", "trixie", own.as_str()]);
    }

    #[test]
    fn a_part_that_is_not_whole_is_none() {
        let cache = tempfile::tempdir().unwrap();
        let dir = cache.path().join("part");
        let new = |version: &str, program: &str| {
            let new = tempfile::tempdir_in(cache.path()).unwrap();
            fs::create_dir_all(new.path().join("usr/bin")).unwrap();
            fs::write(in_dir(new.path(), program), "").unwrap();
            fs::write(new.path().join(VERSION), version).unwrap();
            new
        };
        assert_eq!(unpacked(&dir, &["a"]), None);
        put(new("", "a"), &dir, &["a"]).unwrap();
        assert_eq!(unpacked(&dir, &["a"]), None, "a version of which nothing could be written");
        put(new("1", "b"), &dir, &["a"]).unwrap();
        assert_eq!(unpacked(&dir, &["a"]), None, "its program is gone");
        put(new("2", "a"), &dir, &["a"]).unwrap();
        assert_eq!(unpacked(&dir, &["a"]).as_deref(), Some("2"));
        put(new("3", "a"), &dir, &["a"]).unwrap();
        assert_eq!(unpacked(&dir, &["a"]).as_deref(), Some("2"), "another run was faster");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn an_unpacked_alertmanager_sees_its_own_share() {
        let of = |share: Option<&str>| Alertmanager {
            alertmanager: "/cache/usr/bin/prometheus-alertmanager".into(),
            amtool: "/cache/usr/bin/amtool".into(),
            version: String::new(),
            share: share.map(PathBuf::from),
        };
        let command = of(Some("/cache/usr/share")).command();
        assert_eq!(command.get_program(), "unshare");
        let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap()).collect();
        assert!(args.ends_with(&[
            "sh",
            "/cache/usr/share",
            "/cache/usr/bin/prometheus-alertmanager"
        ]));
        let own = of(None).command();
        assert_eq!(
            (own.get_program().to_str().unwrap(), own.get_args().count()),
            ("/cache/usr/bin/prometheus-alertmanager", 0)
        );
    }
}
