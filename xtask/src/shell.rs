//! Short commands: run, checked, and their output kept when it is only noise.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{child::Child, paths};

/// How many lines of a log are shown when its command failed.
const TAIL_LINES: usize = 25;

/// The cargo that runs this tool, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(paths::root());
    command
}

/// Runs `command`, its output to the terminal.
pub fn run(command: &mut Command) -> Result<()> {
    let status = finish(command.stdin(Stdio::null()), "above")?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs `command`, its output to a log file whose tail is shown only if it fails.
pub fn run_quiet(command: &mut Command, log_name: &str) -> Result<()> {
    let log = paths::work("log")?.join(format!("{log_name}.log"));
    let file = File::create(&log).with_context(|| format!("create {}", log.display()))?;
    command.stdin(Stdio::null());
    command.stdout(file.try_clone().context("share the log")?).stderr(file);
    let status = finish(command, &log.display().to_string())?;
    if !status.success() {
        eprintln!("{}", tail(&fs::read_to_string(&log).unwrap_or_default(), TAIL_LINES));
        bail!("{}: {status} (all of it: {})", line(command), log.display());
    }
    Ok(())
}

/// What `command` prints; its complaints are part of the error.
pub fn output(command: &mut Command) -> Result<String> {
    output_with(command, "")
}

/// What `command` prints when it reads `input`.
pub fn output_with(command: &mut Command, input: &str) -> Result<String> {
    let Ended { status, stdout, stderr } = ended(command, input)?;
    if !status.success() {
        bail!("{}: {status}: {}", line(command), stderr.trim());
    }
    String::from_utf8(stdout).with_context(|| format!("{}: not UTF-8", line(command)))
}

/// A command's end, whatever its status is.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: String,
}

/// Runs `command` on `input` until it ends. Files carry all three streams: a pipe that nobody reads
/// would hold it up.
pub fn ended(command: &mut Command, input: &str) -> Result<Ended> {
    let file = || tempfile::tempfile().context("make a file for a command's stream");
    let (mut stdin, mut stdout, mut stderr) = (file()?, file()?, file()?);
    stdin.write_all(input.as_bytes()).context("write a command's input")?;
    stdin.rewind().context("write a command's input")?;
    let share = |file: &File| file.try_clone().context("share a command's stream");
    command.stdin(stdin).stdout(share(&stdout)?).stderr(share(&stderr)?);
    let status = finish(command, "not kept")?;
    let read = |file: &mut File| -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let stdout = read(&mut stdout).context("read a command's output")?;
    let stderr = read(&mut stderr).context("read a command's complaints")?;
    Ok(Ended { status, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() })
}

fn finish(command: &mut Command, output: &str) -> Result<ExitStatus> {
    Child::spawn(&line(command), command)?.finish(output)
}

/// The program's file, if it is on `PATH` or where a system keeps its own.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The last `lines` lines of `text`.
pub(crate) fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// A command as one would type it, for messages.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_takes_the_last_lines_or_all() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a", 9), "a");
        assert_eq!(tail("", 9), "");
    }

    #[test]
    fn a_failed_command_is_named_with_its_complaint() {
        let error = output(Command::new("sh").args(["-c", "echo no >&2; exit 3"])).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("exit status: 3") && message.ends_with("no"), "{message}");
    }

    #[test]
    fn a_command_reads_its_input_and_may_print_much() {
        let input = "x".repeat(1 << 20);
        assert_eq!(output_with(&mut Command::new("cat"), &input).unwrap(), input);
    }
}
