//! `cargo xtask build`: the BPF objects, then the agent that embeds it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{object, paths, shell};

/// What the shipped binary may weigh (docs: budgets).
pub(crate) const MAX_BYTES: u64 = 12 * 1024 * 1024;

/// Arguments of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Link everything into the binary: what is shipped, and what the test VMs run.
    #[arg(long = "static")]
    is_static: bool,
    /// Build an agent for debugging, whose programs say in the log what they decide about a process.
    #[arg(long, conflicts_with = "is_static")]
    kernel_log: bool,
}

/// Release binaries.
pub struct Built {
    /// `podvitals`
    pub agent: PathBuf,
    /// `scenarios`
    pub scenarios: PathBuf,
    /// `bench`
    pub bench: PathBuf,
}

/// `cargo xtask build`
pub(crate) fn command(args: &Args) -> Result<()> {
    if args.kernel_log {
        println!("agent      {}", kernel_log()?.display());
        println!("run it with --log.level info,kernel=debug");
        return Ok(());
    }
    let objects = object::build()?;
    let built = if args.is_static { static_with(&objects)? } else { dynamic_with(&objects)? };
    println!("objects    {}", objects.display());
    println!("agent      {} ({})", built.agent.display(), size(&built.agent)?);
    println!("symbols    {}", symbols_of(&built.agent).display());
    println!("scenarios  {}", built.scenarios.display());
    Ok(())
}

/// All binaries, static.
pub fn static_release() -> Result<Built> {
    static_with(&object::build()?)
}

/// All binaries, linked as usual.
pub(crate) fn dynamic_release() -> Result<Built> {
    dynamic_with(&object::build()?)
}

/// The agent with the feature `kernel-log`. It is a debug build: no such build is shipped.
pub(crate) fn kernel_log() -> Result<PathBuf> {
    let objects = object::build_kernel_log()?;
    println!("building the agent, with kernel-log");
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--locked", "-p", "agent", "--features", "kernel-log"]);
    shell::run(cargo.env("AGENT_EBPF_OBJECT", objects))?;
    Ok(paths::target().join("debug/podvitals"))
}

fn dynamic_with(objects: &Path) -> Result<Built> {
    println!("building agent, scenarios and bench");
    shell::run(&mut cargo(objects))?;
    Built::in_dir(&paths::target().join("release")).strip()
}

/// The program in the Pods of the end-to-end tests, static.
pub fn static_workload() -> Result<PathBuf> {
    println!("building workload, static");
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--locked", "--release", "-p", "workload"]);
    Ok(run_static(&mut cargo)?.join("workload"))
}

fn static_with(objects: &Path) -> Result<Built> {
    println!("building agent, scenarios and bench, static");
    Built::in_dir(&run_static(&mut cargo(objects))?).strip()
}

/// Lets `cargo` build static programs, and says where they are.
fn run_static(cargo: &mut Command) -> Result<PathBuf> {
    let host = host()?;
    // A target named explicitly keeps the flag away from build scripts and procedural macros, and
    // a folder of its own keeps both kinds of build warm.
    let dir = paths::target().join("static");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    cargo.args(["--target", &host, "--target-dir"]).arg(&dir);
    shell::run(cargo)?;
    Ok(dir.join(host).join("release"))
}

fn cargo(objects: &Path) -> Command {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--locked", "--release", "-p", "agent"]);
    cargo.args(["-p", "scenarios", "-p", "bench"]);
    cargo.env("AGENT_EBPF_OBJECT", objects);
    cargo
}

fn host() -> Result<String> {
    let version = shell::output(Command::new("rustc").arg("-vV").current_dir(paths::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV tells no host")?.to_owned())
}

impl Built {
    fn in_dir(dir: &Path) -> Self {
        let [agent, scenarios, bench] = ["podvitals", "scenarios", "bench"].map(|it| dir.join(it));
        Self { agent, scenarios, bench }
    }

    /// The same binaries without symbols, in a folder beside them. The agent's are kept there, for
    /// debuggers and `perf`, which find them by the link that the binary has.
    fn strip(self) -> Result<Self> {
        let dir = self.agent.parent().context("the agent is in no folder")?.join("stripped");
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let stripped = Self::in_dir(&dir);
        objcopy(&["--only-keep-debug"], &self.agent, &symbols_of(&stripped.agent))?;
        let link = format!("--add-gnu-debuglink={}", symbols_of(&stripped.agent).display());
        objcopy(&["--strip-all", &link], &self.agent, &stripped.agent)?;
        objcopy(&["--strip-all"], &self.scenarios, &stripped.scenarios)?;
        objcopy(&["--strip-all"], &self.bench, &stripped.bench)?;
        Ok(stripped)
    }

    /// The agent where every user can execute it: the scenarios run it without root.
    pub(crate) fn public_agent(&self) -> Result<PublicAgent> {
        let mut folders = self.agent.ancestors().skip(1);
        let is_open =
            |dir: &Path| fs::metadata(dir).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0);
        if folders.all(is_open) {
            return Ok(PublicAgent { path: self.agent.clone(), _folder: None });
        }
        let folder = tempfile::Builder::new().prefix("podvitals-").tempdir();
        let folder = folder.context("make a folder that every user can enter")?;
        let path = folder.path().join("podvitals");
        fs::copy(&self.agent, &path).with_context(|| format!("copy {}", self.agent.display()))?;
        // Whatever the umask says.
        for opened in [folder.path(), &path] {
            fs::set_permissions(opened, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("open {} to every user", opened.display()))?;
        }
        Ok(PublicAgent { path, _folder: Some(folder) })
    }
}

/// An agent that every user can execute, as long as this lives.
pub(crate) struct PublicAgent {
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

impl PublicAgent {
    /// The binary.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The file with a stripped binary's symbols.
fn symbols_of(binary: &Path) -> PathBuf {
    binary.with_extension("debug")
}

/// `objcopy` comes with the linker that Rust needs anyway (binutils).
fn objcopy(flags: &[&str], from: &Path, to: &Path) -> Result<()> {
    let mut objcopy = Command::new("objcopy");
    shell::run(objcopy.args(flags).arg(from).arg(to))
}

/// A file's size beside the budget, for people.
pub(crate) fn size(file: &Path) -> Result<String> {
    let bytes = fs::metadata(file).with_context(|| format!("stat {}", file.display()))?.len();
    Ok(format!("{} of {} KiB allowed", bytes.div_ceil(1024), MAX_BYTES / 1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_behind_a_closed_folder_is_copied_to_an_open_one() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let built = Built::in_dir(closed.path());
        fs::write(&built.agent, "x").unwrap();
        let copy = built.public_agent().unwrap();
        assert_ne!(copy.path(), built.agent);
        assert_eq!(fs::read(copy.path()).unwrap(), b"x");
        let folder = copy.path().parent().unwrap().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755);
        drop(copy);
        assert!(!folder.exists());
    }
}
