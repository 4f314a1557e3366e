//! Packages of npm for a folder of ours, as its lock file pins them: in the cache, with a link to
//! them in the folder. No script of a package is run while it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{apt, paths, shell};

/// What decides which packages are there.
const PINS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];
/// The folder's name that every tool looks for.
const MODULES: &str = "node_modules";
/// The oldest Node.js that the packages run on.
const NODE_MAJOR: u32 = 18;

/// A folder of ours with its packages.
pub struct Packages {
    dir: PathBuf,
    node: PathBuf,
}

/// The folder `name` of the work tree with its packages, installed where they are not.
pub fn install(name: &str) -> Result<Packages> {
    let dir = paths::root().join(name);
    let (node, version) = node()?;
    let cache = paths::cache(&format!("tools/npm/{name}"))?;
    let mut stamp = version;
    for pin in PINS {
        let file = dir.join(pin);
        stamp.push_str(
            &fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?,
        );
    }
    let stamp_file = cache.join("stamp");
    if !fs::read_to_string(&stamp_file).is_ok_and(|it| it == stamp) {
        println!("setup: installing npm packages of {name}/ …");
        let _ = fs::remove_file(&stamp_file);
        for pin in PINS {
            fs::copy(dir.join(pin), cache.join(pin)).with_context(|| format!("copy {pin}"))?;
        }
        let mut npm = Command::new(apt::program("npm", "npm")?);
        npm.current_dir(&cache).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
        shell::run_quiet(&mut npm, &format!("npm-ci-{}", name.replace('/', "-")))
            .with_context(|| format!("install the npm packages of {name}/"))?;
        fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
    }
    link(&cache.join(MODULES), &dir.join(MODULES))?;
    Ok(Packages { dir, node })
}

/// Node.js and its version.
fn node() -> Result<(PathBuf, String)> {
    let node = apt::program("node", "nodejs")?;
    let version = shell::output(Command::new(&node).arg("--version"))?.trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    let major: u32 = major.parse().with_context(|| format!("node --version says {version:?}"))?;
    if major < NODE_MAJOR {
        bail!("{} is {version}; {NODE_MAJOR} or newer is needed", node.display());
    }
    Ok((node, version))
}

/// A link to the packages, renewed if it leads elsewhere.
fn link(to: &Path, link: &Path) -> Result<()> {
    if fs::read_link(link).is_ok_and(|it| it == to) {
        return Ok(());
    }
    if link.is_symlink() {
        fs::remove_file(link).with_context(|| format!("remove {}", link.display()))?;
    } else if link.exists() {
        bail!("{} is no link of ours; remove it", link.display());
    }
    std::os::unix::fs::symlink(to, link).with_context(|| format!("link {}", link.display()))
}

impl Packages {
    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Node.js, in the folder.
    pub fn node(&self) -> Command {
        let mut node = Command::new(&self.node);
        node.current_dir(&self.dir);
        node
    }

    /// A package's program, in the folder.
    pub fn program(&self, name: &str) -> Command {
        let mut program = self.node();
        program.arg(self.dir.join(MODULES).join(".bin").join(name));
        program
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_made_and_renewed_and_nothing_else_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two, at] = ["one", "two", "at"].map(|name| folder.path().join(name));
        link(&one, &at).unwrap();
        link(&one, &at).unwrap();
        link(&two, &at).unwrap();
        assert_eq!(fs::read_link(&at).unwrap(), two);
        fs::create_dir(folder.path().join("theirs")).unwrap();
        let error = link(&one, &folder.path().join("theirs")).unwrap_err();
        assert!(error.to_string().contains("no link of ours"), "{error}");
    }
}
