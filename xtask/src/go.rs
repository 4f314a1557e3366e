//! Programs that are built from their Go modules, as a `go.mod` and `go.sum` of ours pin them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{paths, shell};

/// Builds the tools of the module in `folder`, all in one go, so that what they share is compiled
/// once, into `dir` of the cache, unless they are there already. Returns where they are. `what` is
/// what is said of the build.
pub fn tools(folder: &Path, dir: &str, what: &str, ldflags: &str) -> Result<PathBuf> {
    let dir = paths::cache(dir)?;
    let mut stamp = shell::output(Command::new("go").arg("version"))?;
    stamp.push_str(ldflags);
    for file in ["go.mod", "go.sum"] {
        let file = folder.join(file);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
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
    go.args(["build", "-trimpath", "-ldflags", ldflags, "-o"]).arg(format!("{}/", dir.display()));
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    shell::run_quiet(go.arg("tool"), &format!("go-build-{name}"))
        .with_context(|| format!("build {what}"))?;
    fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
    Ok(dir)
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
    fn versions_are_read_from_both_forms_of_require() {
        let alone = "module m\n\nrequire k8s.io/kubernetes v1.37.2\n";
        assert_eq!(version(alone, "k8s.io/kubernetes").unwrap(), "v1.37.2");
        let block = "require (\n\ta.b/c v0.1.0 // indirect\n\ta.b/c/v2 v2.4.2\n)\nreplace a.b/d => a.b/d v1.0.0";
        assert_eq!(version(block, "a.b/c/v2").unwrap(), "v2.4.2");
        assert!(version(block, "a.b/d").is_none(), "replaced is not required");
    }
}
