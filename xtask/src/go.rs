//! Programs that are built from their Go modules, as a `go.mod` and `go.sum` of ours pin them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{paths, shell};

/// A module of ours, and how its programs are built.
pub struct Module<'a> {
    /// Folder with its `go.mod` and `go.sum`.
    pub folder: &'a Path,
    /// Folder in the cache where the programs are put.
    pub dir: &'a str,
    /// What is said of the build.
    pub what: &'a str,
    /// Flags for the linker.
    pub ldflags: &'a str,
    /// Build tags, with commas between them.
    pub tags: &'a str,
}

/// Builds the tools of the module in `folder`, all in one go, so that what they share is compiled
/// once, into `dir` of the cache, unless they are there already. Returns where they are. `what` is
/// what is said of the build.
pub fn tools(folder: &Path, dir: &str, what: &str, ldflags: &str) -> Result<PathBuf> {
    Module { folder, dir, what, ldflags, tags: "" }.build("tool")
}

impl Module<'_> {
    /// Builds the program whose source is in the folder, as [`tools`] does. It is called as the module
    /// is.
    pub fn program(&self) -> Result<PathBuf> {
        self.build(".")
    }

    fn build(&self, package: &str) -> Result<PathBuf> {
        let Self { folder, what, ldflags, tags, .. } = *self;
        let dir = paths::cache(self.dir)?;
        let mut stamp = shell::output(Command::new("go").arg("version"))?;
        stamp.push_str(ldflags);
        stamp.push_str(tags);
        for file in sources(folder)? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            stamp.push_str(&text);
        }
        let stamp_file = dir.join("stamp");
        if fs::read_to_string(&stamp_file).is_ok_and(|it| it == stamp) {
            return Ok(dir);
        }
        println!("setup: building {what} …");
        // Half a build must not pass for a whole one.
        let _ = fs::remove_file(&stamp_file);
        let mut go = Command::new("go");
        go.current_dir(folder).env("CGO_ENABLED", "0");
        go.args(["build", "-trimpath", "-tags", tags, "-ldflags", ldflags, "-o"]);
        go.arg(format!("{}/", dir.display()));
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        shell::run_quiet(go.arg(package), &format!("go-build-{name}"))
            .with_context(|| format!("build {what}"))?;
        fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
        Ok(dir)
    }
}

/// What decides what is built: the module's pins, and sources of ours.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![folder.join("go.mod"), folder.join("go.sum")];
    let list = || format!("list {}", folder.display());
    for entry in fs::read_dir(folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        if path.extension().is_some_and(|end| end == "go") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The version of `package` that the `go.mod` in `folder` requires.
pub fn required(folder: &Path, package: &str) -> Result<String> {
    let file = folder.join("go.mod");
    let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    version(&text, package).with_context(|| format!("{} requires no {package}", file.display()))
}

fn version(go_mod: &str, package: &str) -> Option<String> {
    go_mod
        .lines()
        .filter_map(|line| {
            let mut words = line.trim().trim_start_matches("require ").split_whitespace();
            (words.next() == Some(package)).then(|| words.next().map(str::to_owned))?
        })
        .find(|version| version.starts_with('v'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_depends_on_pins_and_sources() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["go.mod", "main.go", "go.sum", "README.md"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let names = ["go.mod", "go.sum", "main.go"].map(|name| folder.path().join(name));
        assert_eq!(sources(folder.path()).unwrap(), names);
    }

    #[test]
    fn versions_are_read_from_both_forms_of_require() {
        let alone = "module m\n\nrequire k8s.io/kubernetes v1.37.2\n";
        assert_eq!(version(alone, "k8s.io/kubernetes").unwrap(), "v1.37.2");
        let block = "require (\n\ta.b/c v0.1.0 // indirect\n\ta.b/c/v2 v2.4.2\n)\nreplace a.b/d => a.b/d v1.0.0";
        assert_eq!(version(block, "a.b/c/v2").unwrap(), "v2.4.2");
        assert!(version(block, "a.b/d").is_none(), "replaced is not required");
    }
}
