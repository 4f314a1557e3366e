//! Files that other hands write and the agent reads again and again: a token, certificates.
//!
//! They are read on the thread that serves probes and reads the kernel's records. What stands in
//! their place may be anything: a FIFO would be waited for without end, and a device fills the
//! memory.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

/// Longest file that is read, in bytes. A bundle of all public authorities has some 250 KB.
const BYTES_MAX: u64 = 1 << 20;

/// The bytes of a regular file of a sensible length. Never waits for a writer.
///
/// # Errors
/// The file cannot be read, is no regular one, or is too long.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    // Its length may change while it is read.
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("longer than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn error(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_file_of_a_sensible_length_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let [file, fifo, long] = ["file", "fifo", "long"].map(|name| dir.path().join(name));
        std::fs::write(&file, "some bytes").unwrap();
        assert_eq!(read(&file).unwrap(), b"some bytes");
        mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        assert_eq!(error(&fifo), "not a regular file");
        assert_eq!(error(Path::new("/dev/zero")), "not a regular file");
        assert_eq!(error(dir.path()), "is a directory");
        let hole = std::fs::File::create(&long).unwrap();
        hole.set_len(BYTES_MAX).unwrap();
        assert!(read(&long).is_ok());
        hole.set_len(1 << 40).unwrap();
        assert_eq!(error(&long), "longer than 1048576 bytes");
    }
}
