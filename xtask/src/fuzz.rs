//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, by cargo-fuzz where it is installed.
//!
//! Their bodies are in `agent/src/fuzz`, and the unit tests run them with a bounded number of
//! inputs everywhere. Here coverage leads, and what it has found is kept as a corpus.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, shell};

/// Seconds for each target, when nothing is said.
pub(crate) const SECONDS: u32 = 5;
/// Length limit of an input, in bytes; the unit tests have the same.
const INPUT_MAX: u32 = 8192;

/// Arguments of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = SECONDS)]
    seconds: u32,
    /// Only these targets.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
}

/// `cargo xtask fuzz`
pub(crate) fn command(args: &Args) -> Result<()> {
    match check(args.seconds, &args.targets)? {
        None => Ok(()),
        Some(why) => bail!("{why}"),
    }
}

/// Compiles the targets, and runs those of these names, or all; `Ok(Some(why))` if they cannot be
/// run here.
pub(crate) fn check(seconds: u32, only: &[String]) -> Result<Option<String>> {
    let folder = paths::root().join("fuzz");
    let all = targets(&folder)?;
    if let Some(unknown) = only.iter().find(|name| !all.contains(name)) {
        bail!("no fuzz target is called {unknown}: there are {}", all.join(", "));
    }
    // The versions that are shipped; cargo adds what only the targets need.
    let lock = folder.join("Cargo.lock");
    fs::copy(paths::root().join("Cargo.lock"), &lock)
        .with_context(|| format!("copy Cargo.lock to {}", lock.display()))?;
    // They must not rot where they are not run.
    let mut check = shell::cargo();
    check.args(["check", "--quiet", "--all-targets", "--manifest-path"]);
    check.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(paths::target());
    shell::run(&mut check)?;
    if let Some(why) = unfit() {
        return Ok(Some(why));
    }
    let work = paths::work("fuzz")?;
    let seeds = work.join("seeds");
    let mut write = shell::cargo();
    write.args(["run", "--quiet", "--locked", "--example", "seeds", "--manifest-path"]);
    write.arg(folder.join("Cargo.toml")).arg("--target-dir").arg(paths::target());
    shell::run(write.arg("--").arg(&seeds))?;
    for name in all.iter().filter(|name| only.is_empty() || only.contains(name)) {
        let corpus = work.join("corpus").join(name);
        fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
        println!("{name}, {seconds} s …");
        let mut fuzz = Command::new("rustup");
        fuzz.current_dir(&folder).args(["run", "nightly", "cargo", "fuzz", "run"]);
        fuzz.arg("--fuzz-dir").arg(&folder).arg("--target-dir").arg(work.join("target"));
        fuzz.arg(name).arg(&corpus).arg(seeds.join(name)).arg("--");
        fuzz.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={INPUT_MAX}"));
        // The corpus says what came of it, and an input that fails is named.
        shell::run_quiet(&mut fuzz, &format!("fuzz-{name}"))?;
    }
    Ok(None)
}

/// Names of all targets, in order.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("fuzz_targets");
    let files = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let files: Vec<PathBuf> = files.flatten().map(|entry| entry.path()).collect();
    let names = files.iter().filter(|file| file.extension().is_some_and(|end| end == "rs"));
    let mut names: Vec<String> =
        names.filter_map(|file| Some(file.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// Reason why they cannot be run here, if so.
fn unfit() -> Option<String> {
    let bounded = "the unit tests run the targets with bounded inputs";
    if shell::find("cargo-fuzz").is_none() {
        return Some(format!("cargo-fuzz is not installed; {bounded}"));
    }
    let mut nightly = Command::new("rustup");
    if shell::output(nightly.args(["run", "nightly", "cargo", "--version"])).is_err() {
        return Some(format!("cargo-fuzz needs a nightly toolchain; {bounded}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_the_files() {
        let targets = targets(&paths::root().join("fuzz")).unwrap();
        assert!(targets.is_sorted() && targets.iter().any(|name| name == "records"), "{targets:?}");
        let error = check(1, &["no-such".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no-such") && error.contains("records"), "{error}");
    }
}
