//! Standard output of the commands.

use std::io::{ErrorKind, Write as _};

use anyhow::Context as _;

use crate::escape;

/// Prints a command's result. Names in it, as of directories, may be hostile.
///
/// # Errors
/// If it cannot be written, as to a full disk. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(escape::lines(text).as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}
