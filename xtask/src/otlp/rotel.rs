//! rotel: a receiver of OTLP in Rust, which prints the spans that it is sent. Beside the Collector it
//! is a second implementation that shares nothing with it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use testbed::otlp::Span;

use super::listen::Listen;
use crate::{apt, monitoring, paths, shell};

/// The pin, of one file for one platform.
const PINS: &str = "xtask/rotel/requirements.txt";
const PLATFORM: [&str; 6] = [
    "--python-version=3.11",
    "--implementation=cp",
    "--abi=cp311",
    "--platform=manylinux_2_34_x86_64",
    "--only-binary=:all:",
    "--require-hashes",
];
/// What the program links to, which Debian 12 has.
const LIBRARY: &str = "libpython3.11";

/// A rotel that can be run.
pub struct Rotel {
    program: PathBuf,
    /// Its version, in its own words.
    pub version: String,
}

/// The rotel that `xtask/rotel/requirements.txt` pins, unpacked once.
///
/// # Errors
/// It cannot be fetched, or does not run here.
pub fn program() -> Result<Rotel> {
    let dir = paths::cache("tools/rotel")?;
    let pins = paths::root().join(PINS);
    let stamp = fs::read_to_string(&pins).with_context(|| format!("read {}", pins.display()))?;
    let stamp_file = dir.join("stamp");
    let program = dir.join("rotel/rotel-agent");
    if !fs::read_to_string(&stamp_file).is_ok_and(|it| it == stamp) {
        println!("setup: unpacking rotel …");
        let _ = fs::remove_file(&stamp_file);
        unpack(&dir, &pins)?;
        fs::write(&stamp_file, stamp).with_context(|| format!("write {}", stamp_file.display()))?;
    }
    if shell::output(Command::new(&program).arg("--version")).is_err() {
        apt::install(&[LIBRARY.to_owned()])?;
    }
    let version = shell::output(Command::new(&program).arg("--version"))?.trim().to_owned();
    Ok(Rotel { program, version })
}

/// The package is a zip file; nothing of it is installed.
fn unpack(dir: &Path, pins: &Path) -> Result<()> {
    let new =
        tempfile::tempdir_in(dir).with_context(|| format!("a folder in {}", dir.display()))?;
    let mut pip = Command::new(apt::program("pip3", "python3-pip")?);
    pip.args(["download", "--quiet", "--disable-pip-version-check", "--no-deps"]).args(PLATFORM);
    pip.arg("--requirement").arg(pins).arg("--dest").arg(new.path());
    shell::run_quiet(&mut pip, "pip-download-rotel").context("fetch rotel")?;
    let list = || format!("list {}", new.path().display());
    let entry = fs::read_dir(new.path()).with_context(list)?.next().with_context(list)?;
    let mut unzip = Command::new(apt::program("unzip", "unzip")?);
    unzip.args(["-q", "-o"]).arg(entry.with_context(list)?.path()).arg("-d").arg(dir);
    shell::output(&mut unzip).context("unpack rotel")?;
    // Zip files of Python tell no modes.
    shell::output(Command::new("chmod").arg("755").arg(dir.join("rotel/rotel-agent"))).map(drop)
}

impl Rotel {
    /// The command that starts it with its files in `dir`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn command(&self, dir: &Path, listen: Listen) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.current_dir(dir).arg("start");
        command.arg(format!("--otlp-grpc-endpoint={}", listen.grpc));
        command.arg(format!("--otlp-http-endpoint={}", listen.http));
        command.args(["--exporter=blackhole", "--debug-log=traces"]);
        command.arg("--debug-log-verbosity=detailed");
        command.arg(format!("--pid-file={}", dir.join("rotel.pid").display()));
        monitoring::log_to(&mut command, &log(dir))?;
        Ok(command)
    }
}

/// What a rotel whose files are in `dir` prints.
pub fn log(dir: &Path) -> PathBuf {
    dir.join("rotel.log")
}

/// A span as rotel prints it: what tells it apart, and its times.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Printed {
    /// Id of the trace.
    pub trace_id: String,
    /// Id of the span.
    pub span_id: String,
    /// Id of the span above it; empty for a root.
    pub parent_id: String,
    /// Name of the span.
    pub name: String,
    /// Start, in nanoseconds of Unix time.
    pub start_unix_ns: u64,
    /// End, in nanoseconds of Unix time.
    pub end_unix_ns: u64,
}

impl Printed {
    /// A span as rotel must print it.
    pub fn of(span: &Span) -> Self {
        Self {
            trace_id: span.trace_id.clone(),
            span_id: span.span_id.clone(),
            parent_id: span.parent_id.clone().unwrap_or_default(),
            name: span.name.clone(),
            start_unix_ns: span.start_unix_ns,
            end_unix_ns: span.end_unix_ns,
        }
    }
}

/// The spans in what rotel has printed so far. The last one may still be cut short, and then it is left
/// out.
///
/// # Errors
/// A line that is not as rotel writes it.
pub fn spans(text: &str) -> Result<Vec<Printed>> {
    let mut all = Vec::new();
    for part in text.split("\nSpan #").skip(1) {
        let field = |name: &str| {
            part.lines().find_map(|line| {
                let (key, value) = line.trim_start().split_once(':')?;
                (key.trim_end() == name).then(|| value.trim().to_owned())
            })
        };
        // What comes next, and so the end of what is read here. A status is there if it was set.
        if !part.contains("\nAttributes:\n") {
            continue;
        }
        let text = |name: &str| field(name).with_context(|| format!("a span without {name}"));
        let time = |name: &str| -> Result<u64> {
            let time = text(name)?;
            time.parse().with_context(|| format!("{name} {time:?}"))
        };
        all.push(Printed {
            trace_id: text("Trace ID")?,
            span_id: text("ID")?,
            parent_id: text("Parent ID")?,
            name: text("Name")?,
            start_unix_ns: time("Start time")?,
            end_unix_ns: time("End time")?,
        });
    }
    Ok(all)
}
