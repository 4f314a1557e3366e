//! What Debian serves: packages installed on the machine, and packages only unpacked into a folder
//! of ours, of this suite or another, through a private apt root that leaves the machine's alone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, shell};

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
    shell::run_quiet(Command::new("apt-get").arg("update"), "apt-update")
}

fn apt_install(packages: &[String]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    shell::run_quiet(&mut command, "apt-install")
        .with_context(|| format!("install {}", packages.join(" ")))
}

/// An archive as the machine's own apt configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

/// A private apt root for one suite of the machine's own archive.
pub struct Root {
    dir: PathBuf,
    suite: String,
}

impl Root {
    /// The suite's package lists, fetched anew.
    pub fn fetch(suite: &str) -> Result<Self> {
        let source = machine_source()?;
        let dir = paths::work(&format!("apt-{suite}"))?;
        for folder in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(folder))
                .with_context(|| format!("create {folder} in {}", dir.display()))?;
        }
        let signed_by =
            source.signed_by.map_or_else(String::new, |key| format!(" signed-by={key}"));
        let line = format!(
            "deb [arch={}{signed_by}] {} {suite} {}\n",
            debian_arch(),
            source.uri,
            source.components.join(" ")
        );
        fs::write(dir.join("sources.list"), line).context("write a sources.list")?;
        fs::write(dir.join("status"), "").context("write an empty dpkg status")?;
        let root = Self { dir, suite: suite.to_owned() };
        shell::run_quiet(root.apt("apt-get").arg("update"), &format!("apt-update-{suite}"))
            .with_context(|| format!("fetch the package lists of {suite}"))?;
        Ok(root)
    }

    /// The suite of this very machine.
    pub fn fetch_own() -> Result<Self> {
        Self::fetch(&own_suite()?)
    }

    /// Names of all packages that begin with `prefix`.
    pub fn packages(&self, prefix: &str) -> Result<Vec<String>> {
        let names = shell::output(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Downloads `package` and unpacks it into `dir`; nothing is installed, nothing of it is run.
    pub fn unpack(&self, package: &str, dir: &Path) -> Result<()> {
        let debs = self.dir.join("debs").join(package);
        let _ = fs::remove_dir_all(&debs);
        fs::create_dir_all(&debs).with_context(|| format!("create {}", debs.display()))?;
        let mut download = self.apt("apt-get");
        download.current_dir(&debs).args(["download", package]);
        shell::run_quiet(&mut download, &format!("apt-download-{package}"))
            .with_context(|| format!("download {package} from {}", self.suite))?;
        let deb = fs::read_dir(&debs)
            .with_context(|| format!("list {}", debs.display()))?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|end| end == "deb"))
            .with_context(|| format!("apt-get download {package} left no .deb"))?;
        shell::run_quiet(Command::new("dpkg").arg("-x").arg(&deb).arg(dir), "dpkg-x")
            .with_context(|| format!("unpack {}", deb.display()))?;
        fs::remove_dir_all(&debs).with_context(|| format!("remove {}", debs.display()))
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

fn own_suite() -> Result<String> {
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

/// Where the machine's own packages come from, for a tool that asks for it.
pub struct Archive {
    /// The mirror's address.
    pub uri: String,
    /// The file with the keys that sign it, where apt's configuration names one.
    pub signed_by: Option<String>,
}

/// The archive as the machine's own apt configuration names it.
pub fn archive() -> Result<Archive> {
    let Source { uri, signed_by, .. } = machine_source()?;
    Ok(Archive { uri, signed_by })
}

/// The archive that this machine's own suite comes from.
fn machine_source() -> Result<Source> {
    let suite = own_suite()?;
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let mut parts: Vec<PathBuf> = fs::read_dir("/etc/apt/sources.list.d")
        .map(|dir| dir.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    parts.sort();
    files.append(&mut parts);
    let mut sources = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        match file.extension().and_then(|end| end.to_str()) {
            Some("list") => sources.extend(parse_list(&text)),
            Some("sources") => sources.extend(parse_deb822(&text)),
            _ => {}
        }
    }
    sources
        .into_iter()
        .find(|source| source.suites.contains(&suite) && source.components.contains(&"main".into()))
        .with_context(|| {
            format!("apt's configuration in /etc/apt names no archive of {suite} main")
        })
}

/// The one-line form: `deb [signed-by=key arch=amd64] uri suite component…`.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let rest = line.trim().strip_prefix("deb ")?.trim_start();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace().map(str::to_owned);
            Some(Source {
                uri: words.next()?,
                suites: vec![words.next()?],
                components: words.collect(),
                signed_by: options
                    .split_whitespace()
                    .find_map(|option| option.strip_prefix("signed-by="))
                    .map(str::to_owned),
            })
        })
        .collect()
}

/// The paragraph form of `*.sources`.
fn parse_deb822(text: &str) -> Vec<Source> {
    let words = |value: &str| value.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    text.split("\n\n")
        .filter_map(|paragraph| {
            let fields: BTreeMap<String, &str> = paragraph
                .lines()
                // A line that begins with a blank continues a key written out in full.
                .filter(|line| !line.starts_with(['#', ' ', '\t']))
                .filter_map(|line| line.split_once(':'))
                .map(|(key, value)| (key.to_ascii_lowercase(), value.trim()))
                .collect();
            let field = |key: &str| fields.get(key).copied();
            if field("enabled") == Some("no") || !field("types")?.split(' ').any(|it| it == "deb") {
                return None;
            }
            Some(Source {
                uri: words(field("uris")?).into_iter().next()?,
                suites: words(field("suites")?),
                components: words(field("components").unwrap_or_default()),
                signed_by: field("signed-by").filter(|key| key.starts_with('/')).map(str::to_owned),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(suites: &[&str], signed_by: Option<&str>) -> Source {
        Source {
            uri: "http://mirror.example/debian".to_owned(),
            suites: suites.iter().map(|&suite| suite.to_owned()).collect(),
            components: vec!["main".to_owned(), "contrib".to_owned()],
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn one_line_sources_with_and_without_options() {
        let text = "# deb http://old.example/debian bookworm main\n\
                    deb http://mirror.example/debian bookworm main contrib\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian sid main contrib\n";
        assert_eq!(
            parse_list(text),
            [source(&["bookworm"], None), source(&["sid"], Some("/k.gpg"))]
        );
    }

    #[test]
    fn paragraphs_of_sources() {
        let text = "Types: deb deb-src\n# a remark: with a colon\nURIs: http://mirror.example/debian\n\
                    Suites: trixie trixie-updates\nComponents: main contrib\nSigned-By: /k.gpg\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: trixie\n\n\
                    Types: deb\nURIs: http://mirror.example/debian\nSuites: sid\n\
                    Components: main contrib\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n Version: x\n";
        assert_eq!(
            parse_deb822(text),
            [source(&["trixie", "trixie-updates"], Some("/k.gpg")), source(&["sid"], None)]
        );
    }
}
