//! The BPF objects: which toolchain makes them here, and their making.

mod strip;

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use ::object::{File, Object as _, ObjectSymbol as _};
use anyhow::{Context as _, Result, bail, ensure};

use crate::{apt, paths, shell};

/// Where rustc finds BPF's `core` when a distribution ships it compiled.
const TARGET: &str = "bpfel-unknown-none";
/// The folder of objects to use instead of those built here.
const OVERRIDE: &str = "AGENT_EBPF_OBJECT";
const HELP: &str = "\
no toolchain for eBPF. One of these makes it work:
  rustup toolchain install nightly --component rust-src && cargo install bpf-linker
  Debian: apt-get install rustc-web libstd-rust-web-dev-bpf (as root this is done for you)
  AGENT_EBPF_OBJECT=<a folder of objects built elsewhere: <name>.bpf.o for each>";

/// The objects: binaries `podvitals-<name>` of agent-ebpf. `agent/build.rs` embeds the same.
const OBJECTS: [&str; 3] = ["core", "snapshot", "probes"];

/// Where the objects come from.
pub(crate) enum Source {
    /// Made elsewhere, named by `AGENT_EBPF_OBJECT`.
    Given(PathBuf),
    /// Made here.
    Build(Toolchain),
}

/// A compiler for `bpfel-unknown-none`; bpf-linker is then on `PATH`.
pub(crate) enum Toolchain {
    /// rustup's nightly, which compiles `core` from rust-src.
    Nightly,
    /// A distribution's rustc whose sysroot has `core` for BPF.
    Rustc(PathBuf),
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nightly => f.write_str("rustup's nightly with rust-src"),
            Self::Rustc(rustc) => write!(f, "{} with its own core for BPF", rustc.display()),
        }
    }
}

/// Whether the programs say in the log what they decide (feature `kernel-log`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    With,
    Without,
}

impl Lines {
    /// What aya-log puts into an object: a ring for the lines, and the level that is wanted.
    const SYMBOLS: [&str; 2] = ["AYA_LOGS", "AYA_LOG_LEVEL"];

    /// Checks that an object has what it should: what is shipped has nothing of it.
    fn check(self, name: &str, object: &[u8]) -> Result<()> {
        let elf = File::parse(object).with_context(|| format!("read the object {name}"))?;
        let found = elf.symbols().filter_map(|symbol| symbol.name().ok().map(str::to_owned));
        let found = found.filter(|name| Self::SYMBOLS.contains(&name.as_str())).count();
        // The programs of `snapshot` decide nothing about a process.
        let wanted = if self == Self::With && name == "core" { Self::SYMBOLS.len() } else { 0 };
        ensure!(
            found == wanted,
            "the object {name} has {found} of {:?}, and {wanted} are wanted ({self:?})",
            Self::SYMBOLS
        );
        Ok(())
    }
}

/// Chooses where the objects come from, and installs what that lacks.
pub(crate) fn source() -> Result<Source> {
    if let Some(given) = env::var_os(OVERRIDE) {
        let given = paths::absolute(Path::new(&given))?;
        for object in OBJECTS.map(|name| file(&given, name)) {
            if !object.is_file() {
                bail!("{OVERRIDE}={}: no such file: {}", given.display(), object.display());
            }
        }
        return Ok(Source::Given(given));
    }
    if shell::find("bpf-linker").is_some() && nightly_has_source() {
        return Ok(Source::Build(Toolchain::Nightly));
    }
    let rustc = PathBuf::from("/usr/bin/rustc");
    if !serves(&rustc) {
        if !apt::is_here() {
            bail!(HELP);
        }
        let packages = ["rustc-web", "libstd-rust-web-dev-bpf"].map(str::to_owned);
        apt::install(&packages).context(HELP)?;
        if !serves(&rustc) {
            // Old package lists have an old compiler.
            apt::upgrade(&packages).context(HELP)?;
        }
        if !serves(&rustc) {
            bail!("{} is too old, or has no core for {TARGET}\n{HELP}", rustc.display());
        }
    }
    if shell::find("bpf-linker").is_none() {
        install_linker(&rustc)?;
    }
    Ok(Source::Build(Toolchain::Rustc(rustc)))
}

/// Makes the objects, or takes the given ones: their folder, absolute. Each is touched only when it
/// changed.
pub(crate) fn build() -> Result<PathBuf> {
    match source()? {
        Source::Given(folder) => Ok(folder),
        Source::Build(toolchain) => build_with(&toolchain, Lines::Without),
    }
}

/// Makes the objects whose programs say in the log what they decide. They are for debugging, and in
/// a folder apart.
pub(crate) fn build_kernel_log() -> Result<PathBuf> {
    match source()? {
        Source::Given(_) => bail!("{OVERRIDE} is given: nothing is built"),
        Source::Build(toolchain) => build_with(&toolchain, Lines::With),
    }
}

fn build_with(toolchain: &Toolchain, lines: Lines) -> Result<PathBuf> {
    println!("building the BPF objects ({toolchain})");
    let (dir, folder) = match lines {
        Lines::Without => (target_dir(), "objects"),
        Lines::With => (paths::target().join("bpf-kernel-log"), "objects-kernel-log"),
    };
    let mut cargo = toolchain.cargo("build", &dir);
    if lines == Lines::With {
        cargo.args(["--features", "kernel-log"]);
    }
    shell::run(&mut cargo)?;
    let folder = paths::target().join(folder);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for name in OBJECTS {
        let built = dir.join(TARGET).join("release").join(format!("podvitals-{name}"));
        let bytes = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
        let bytes = strip::strip(&bytes).with_context(|| format!("strip {}", built.display()))?;
        lines.check(name, &bytes)?;
        let object = file(&folder, name);
        if fs::read(&object).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::write(&object, bytes).with_context(|| format!("write {}", object.display()))?;
    }
    Ok(folder)
}

/// An object in a folder of them.
fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.bpf.o"))
}

/// Clippy over the kernel side, with warnings as errors. `Some(why)` if this toolchain has none.
pub(crate) fn lint() -> Result<Option<String>> {
    let toolchain = match source()? {
        Source::Given(_) => return Ok(Some(format!("{OVERRIDE} is given: no toolchain chosen"))),
        Source::Build(toolchain) => toolchain,
    };
    let mut cargo = match &toolchain {
        Toolchain::Nightly => {
            let mut clippy = Command::new("rustup");
            clippy.args(["run", "nightly", "cargo-clippy", "--version"]);
            if shell::output(&mut clippy).is_err() {
                return Ok(Some("rustup's nightly has no clippy".to_owned()));
            }
            let mut cargo = toolchain.cargo("clippy", &target_dir());
            cargo.args(["--", "-D", "warnings"]);
            cargo
        }
        Toolchain::Rustc(rustc) => {
            let driver = rustc.with_file_name("clippy-driver");
            if !driver.is_file()
                && let Err(error) = apt::install(&["rust-web-clippy".to_owned()])
            {
                return Ok(Some(format!("no clippy of {}: {error:#}", rustc.display())));
            }
            let mut cargo = toolchain.cargo("check", &target_dir());
            cargo.env("RUSTC_WORKSPACE_WRAPPER", driver).env("CLIPPY_ARGS", "-Dwarnings");
            cargo
        }
    };
    shell::run(&mut cargo)?;
    Ok(None)
}

impl Toolchain {
    /// `cargo <command>` for the kernel side, with the flags that aya and bpf-linker want.
    fn cargo(&self, command: &str, target_dir: &Path) -> Command {
        let mut cargo = match self {
            Self::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.current_dir(paths::root()).env_remove("RUSTC");
                rustup.args(["run", "nightly", "cargo", command, "-Z", "build-std=core"]);
                rustup
            }
            Self::Rustc(rustc) => {
                let mut cargo = shell::cargo();
                // aya-ebpf has BPF assembly, which is not stable.
                cargo.arg(command).env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        cargo.env_remove("RUSTC_WORKSPACE_WRAPPER").env_remove("RUSTFLAGS");
        // Which registers a program's arguments are in; line numbers; BTF for the verifier's log.
        let arch = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
        let flags = [arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"];
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
        cargo.args(["--quiet", "--locked", "--release", "--package", "agent-ebpf"]);
        cargo.args(["--target", TARGET, "--target-dir"]).arg(target_dir);
        cargo
    }
}

/// Apart from the host's, or the two compilers would rebuild each other's work.
fn target_dir() -> PathBuf {
    paths::target().join("bpf")
}

/// Whether rustup's nightly is installed (never installing it) and has core's source.
fn nightly_has_source() -> bool {
    let installed = shell::output(Command::new("rustup").args(["toolchain", "list"]))
        .is_ok_and(|list| list.lines().any(|line| line.starts_with("nightly-")));
    installed
        && shell::output(
            Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]),
        )
        .is_ok_and(|sysroot| {
            Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
        })
}

/// Whether `rustc` is new enough for the workspace and has core for BPF.
fn serves(rustc: &Path) -> bool {
    let version = shell::output(Command::new(rustc).arg("-vV")).unwrap_or_default();
    let needed = minor(env!("CARGO_PKG_RUST_VERSION"));
    let found = version.lines().find_map(|line| line.strip_prefix("release: ")).and_then(minor);
    found >= needed && has_bpf_core(rustc)
}

/// The 90 of Rust "1.90" or "1.90.1".
fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

fn has_bpf_core(rustc: &Path) -> bool {
    let Ok(sysroot) = shell::output(Command::new(rustc).args(["--print", "sysroot"])) else {
        return false;
    };
    let lib = Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(lib).is_ok_and(|files| {
        files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

/// bpf-linker must read what `rustc` writes, so it is built on the same LLVM.
fn install_linker(rustc: &Path) -> Result<()> {
    let version = shell::output(Command::new(rustc).arg("-vV"))?;
    let llvm = llvm_major(&version)
        .with_context(|| format!("{} -vV tells no LLVM version", rustc.display()))?;
    let mut packages = vec![format!("llvm-{llvm}-dev"), format!("libllvm{llvm}")];
    packages.extend(["zlib1g-dev", "libzstd-dev", "libxml2-dev"].map(str::to_owned));
    apt::install(&packages)?;
    println!("setup: installing bpf-linker on LLVM {llvm} (about a minute) …");
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs =
        std::iter::once(PathBuf::from(format!("{prefix}/bin"))).chain(env::split_paths(&path));
    let mut cargo = shell::cargo();
    cargo
        .env("PATH", env::join_paths(dirs).context("put LLVM on PATH")?)
        .env("LLVM_PREFIX", &prefix)
        .args(["install", "bpf-linker", "--locked", "--no-default-features", "--features"])
        .arg(format!("llvm-{llvm}"));
    shell::run_quiet(&mut cargo, "bpf-linker")?;
    if shell::find("bpf-linker").is_none() {
        bail!("bpf-linker is installed, but its folder (~/.cargo/bin) is not on PATH");
    }
    Ok(())
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    line.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_versions_are_told_apart_by_their_minor() {
        assert_eq!(minor("1.90"), Some(90));
        assert_eq!(minor("1.96.0"), Some(96));
        assert!(minor("") < minor("1.85.0"), "no rustc is older than any");
    }

    #[test]
    fn a_shipped_object_has_no_ring_for_lines() {
        let object = |names: &[&str]| {
            use ::object::write::{Object, Symbol, SymbolSection};
            use ::object::{
                Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolKind, SymbolScope,
            };
            let mut made = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
            for name in ["LAYOUT"].iter().chain(names) {
                made.add_symbol(Symbol {
                    name: name.as_bytes().to_vec(),
                    value: 0,
                    size: 8,
                    kind: SymbolKind::Data,
                    scope: SymbolScope::Dynamic,
                    weak: false,
                    section: SymbolSection::Absolute,
                    flags: SymbolFlags::None,
                });
            }
            made.write().unwrap()
        };
        Lines::Without.check("core", &object(&[])).unwrap();
        Lines::With.check("core", &object(&Lines::SYMBOLS)).unwrap();
        Lines::With.check("snapshot", &object(&[])).unwrap();
        for some in [&Lines::SYMBOLS[..], &Lines::SYMBOLS[..1]] {
            let error = Lines::Without.check("core", &object(some)).unwrap_err().to_string();
            assert!(error.contains("AYA_LOGS"), "{error}");
        }
        assert!(Lines::With.check("core", &object(&[])).is_err(), "the feature is lost");
    }

    #[test]
    fn llvm_is_read_from_what_rustc_says() {
        assert_eq!(llvm_major("rustc 1.96.0\nhost: x\nLLVM version: 22.1.8\n"), Some(22));
        assert_eq!(llvm_major("rustc 1.96.0\n"), None);
    }
}
