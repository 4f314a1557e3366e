//! What Debian serves: packages installed on the machine, and packages only unpacked into a folder
//! of ours, of this suite or another, through a private apt root that leaves the machine's alone.

mod lock;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, shell};

/// What `apt-get install` locks first.
const DPKG_LOCK: &str = "/var/lib/dpkg/lock-frontend";
/// What `apt-get update` locks.
const LISTS_LOCK: &str = "/var/lib/apt/lists/lock";

/// Whether this machine is Debian or its like, with apt.
pub fn is_here() -> bool {
    let release = os_release();
    let like = |key: &str| {
        release
            .get(key)
            .is_some_and(|ids| ids.split(' ').any(|id| id == "debian" || id == "ubuntu"))
    };
    (like("ID") || like("ID_LIKE")) && shell::find("apt-get").is_some()
}

/// Installs `packages` on the machine; says so first. The machine's package lists are trusted
/// until they fail.
pub fn install(packages: &[String]) -> Result<()> {
    let list = check(packages)?;
    println!("setup: installing {list} …");
    let has_lists = fs::read_dir("/var/lib/apt/lists").is_ok_and(|lists| {
        lists.flatten().any(|list| list.file_name().to_string_lossy().contains("Packages"))
    });
    if has_lists {
        if apt_install(packages).is_ok() {
            return Ok(());
        }
        println!("setup: once more with new package lists …");
    }
    apt_update()?;
    apt_install(packages)
}

/// `program`, of Debian's `package`, installed if it is not there.
pub fn program(program: &str, package: &str) -> Result<PathBuf> {
    if let Some(file) = shell::find(program) {
        return Ok(file);
    }
    install(&[package.to_owned()])?;
    shell::find(program).with_context(|| format!("{package} is installed, but has no {program}"))
}

/// Installs the newest `packages`, by new package lists.
pub(crate) fn upgrade(packages: &[String]) -> Result<()> {
    println!("setup: installing the newest {} …", check(packages)?);
    apt_update()?;
    apt_install(packages)
}

/// The packages' names, if they can be installed here; else an error that says what to do.
fn check(packages: &[String]) -> Result<String> {
    let list = packages.join(" ");
    if !is_here() {
        bail!("missing here: {list} (by Debian's package names); please install them");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("missing here: {list}; as root: apt-get install {list}");
    }
    Ok(list)
}

fn apt_update() -> Result<()> {
    lock::retry(Command::new("apt-get").arg("update"), "apt-update", Path::new(LISTS_LOCK))
}

fn apt_install(packages: &[String]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    lock::retry(&mut command, "apt-install", Path::new(DPKG_LOCK))
        .with_context(|| format!("install {}", packages.join(" ")))
}

/// A private apt root for one suite of the machine's own archive.
pub struct Root {
    dir: PathBuf,
    suite: String,
}

impl Root {
    /// The suite's package lists, fetched anew.
    pub fn fetch(suite: &str) -> Result<Self> {
        let archive = archive()?;
        let dir = paths::work(&format!("apt-{suite}"))?;
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder))
                .with_context(|| format!("create {folder} in {}", dir.display()))?;
        }
        let signed_by =
            archive.signed_by.map_or_else(String::new, |key| format!(" signed-by={key}"));
        let line = format!(
            "deb [arch={}{signed_by}] {} {suite} {}\n",
            debian_arch(),
            archive.uri,
            archive.components.join(" ")
        );
        fs::write(dir.join("sources.list"), line).context("write a sources.list")?;
        fs::write(dir.join("status"), "").context("write an empty dpkg status")?;
        let root = Self { dir, suite: suite.to_owned() };
        let lock = root.dir.join("lists/lock");
        lock::retry(root.apt("apt-get").arg("update"), &format!("apt-update-{suite}"), &lock)
            .with_context(|| format!("fetch the package lists of {suite}"))?;
        Ok(root)
    }

    /// Names of all packages that begin with `prefix`.
    pub fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads `package` and unpacks it into `dir`; nothing is installed, nothing of it is run.
    /// Its version.
    pub fn unpack(&self, package: &str, dir: &Path) -> Result<String> {
        // A folder of its own: another run may fetch the same.
        let debs = tempfile::Builder::new()
            .prefix("debs-")
            .tempdir_in(&self.dir)
            .with_context(|| format!("make a folder in {}", self.dir.display()))?;
        let mut download = self.apt("apt-get");
        download.current_dir(debs.path()).args(["download", package]);
        shell::run_quiet(&mut download, &format!("apt-download-{package}"))
            .with_context(|| format!("download {package} from {}", self.suite))?;
        let deb = fs::read_dir(debs.path())
            .with_context(|| format!("list {}", debs.path().display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| format!("apt-get download {package} left no .deb"))?;
        shell::run_quiet(Command::new("dpkg").arg("-x").arg(&deb).arg(dir), "dpkg-x")
            .with_context(|| format!("unpack {}", deb.display()))?;
        let version =
            shell::output(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Version"))
                .with_context(|| format!("read the version of {}", deb.display()))?;
        Ok(version.trim().to_owned())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let dir = self.dir.display();
        for option in [
            format!("Dir::Etc::sourcelist={dir}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            "Dir::Etc::preferencesparts=-".to_owned(),
            format!("Dir::State::lists={dir}/lists"),
            format!("Dir::State::status={dir}/status"),
            format!("Dir::Cache={dir}/cache"),
            "Acquire::Languages=none".to_owned(),
            // The folder need not be readable for apt's own user.
            "APT::Sandbox::User=root".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// The suite of this very machine.
pub fn own_suite() -> Result<String> {
    os_release().remove("VERSION_CODENAME").context("no VERSION_CODENAME in /etc/os-release")
}

fn os_release() -> BTreeMap<String, String> {
    fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

/// Debian's word for this machine's architecture.
pub fn debian_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Where the machine's own packages come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Archive {
    /// The mirror's address.
    pub uri: String,
    /// The file with the keys that sign it, where apt's configuration names one.
    pub signed_by: Option<String>,
    components: Vec<String>,
}

/// The archive of this machine's own suite, as apt understands its configuration.
pub fn archive() -> Result<Archive> {
    let suite = own_suite()?;
    let mut apt = Command::new("apt-get");
    // Also what has not been downloaded yet. That apt tells no key (2.6 leaves `$(SIGNED_BY)` as it
    // is), but the file and the entry in it that may name one.
    apt.args(["indextargets", "--no-release-info", "Created-By: Packages"]);
    apt.arg(format!("Release: {suite}"));
    apt.args(["--format", "$(COMPONENT) $(REPO_URI) $(SOURCESENTRY)"]);
    let (mut archive, file, entry) = parse(&shell::output(&mut apt)?)
        .with_context(|| format!("apt's configuration names no archive of {suite} main"))?;
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let is_list = file.extension().is_some_and(|end| end == "list");
    archive.signed_by = key(&text, is_list, entry);
    Ok(archive)
}

/// The first archive with a component `main` among lines of component, address, and
/// `<file>:<number of the entry>`; and its file and entry.
fn parse(targets: &str) -> Option<(Archive, PathBuf, usize)> {
    let lines = || targets.lines().filter_map(|line| line.split_once(' '));
    let (_, source) = lines().find(|(component, _)| *component == "main")?;
    let mut components: Vec<String> = Vec::new();
    for (component, _) in lines().filter(|(_, other)| *other == source) {
        // One target for each architecture.
        if !components.iter().any(|known| known == component) {
            components.push(component.to_owned());
        }
    }
    let (uri, entry) = source.split_once(' ')?;
    let (file, entry) = entry.rsplit_once(':')?;
    let archive = Archive { uri: uri.to_owned(), signed_by: None, components };
    Some((archive, PathBuf::from(file), entry.parse().ok()?))
}

/// The file of keys that an entry names: a line of a `*.list` (`[signed-by=/key]`), or a paragraph of
/// a `*.sources` (`Signed-By: /key`), counted from 1. A key written out in full is none.
fn key(text: &str, is_list: bool, entry: usize) -> Option<String> {
    let text: String = if is_list {
        text.lines().nth(entry.checked_sub(1)?)?.to_owned()
    } else {
        let is_comment = |line: &&str| line.starts_with('#');
        let lines: Vec<&str> = text.lines().filter(|line| !is_comment(line)).collect();
        let mut paragraphs = lines.split(|line| line.trim().is_empty());
        paragraphs.by_ref().filter(|it| !it.is_empty()).nth(entry.checked_sub(1)?)?.join("\n")
    };
    let name = "signed-by";
    let at = text.to_ascii_lowercase().find(name)? + name.len();
    let value = text.get(at..)?.trim_start_matches(['=', ':', ' ', '\t']);
    let key = value.split([' ', '\t', '\n', ']']).next()?;
    key.starts_with('/').then(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_the_first_with_main() {
        let targets = "contrib http://a.example/debian/ /etc/apt/a.list:2\n\
                       main http://b.example/debian/ /etc/apt/b c.sources:3\n\
                       main http://b.example/debian/ /etc/apt/b c.sources:3\n\
                       contrib http://b.example/debian/ /etc/apt/b c.sources:3\n\
                       main http://c.example/debian/ /etc/apt/c.list:1\n";
        let archive = Archive {
            uri: "http://b.example/debian/".to_owned(),
            signed_by: None,
            components: vec!["main".to_owned(), "contrib".to_owned()],
        };
        assert_eq!(parse(targets), Some((archive, PathBuf::from("/etc/apt/b c.sources"), 3)));
        assert_eq!(parse(""), None);
    }

    #[test]
    fn a_key_is_the_entrys_own() {
        let list = "# deb [signed-by=/no.gpg] x\n\
                    deb [arch=amd64 signed-by=/one.gpg] http://a.example/debian sid main\n\
                    deb http://a.example/debian sid main\n";
        assert_eq!(key(list, true, 2).as_deref(), Some("/one.gpg"));
        assert_eq!(key(list, true, 3), None);
        let sources = "Types: deb\n# Signed-By: /no.gpg\nSuites: a\n\n# a remark\n\n\
                       Types: deb\nSuites: b\nSigned-By: /two.gpg\n\n\
                       Types: deb\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(key(sources, false, 1), None);
        assert_eq!(key(sources, false, 2).as_deref(), Some("/two.gpg"));
        assert_eq!(key(sources, false, 3), None);
        assert_eq!(key(sources, false, 9), None);
    }
}
