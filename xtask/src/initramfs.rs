//! The VM's file system: an uncompressed cpio archive ("newc", the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst), unpacked by the kernel at boot.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CHAR_DEVICE: u32 = 0o020_600;

/// An archive with the folders that an init expects, and a console for its standard streams.
pub(crate) fn build(init: &Path, agent: &Path) -> Result<Vec<u8>> {
    let read = |file: &Path| fs::read(file).with_context(|| format!("read {}", file.display()));
    let mut archive = Archive::default();
    for dir in ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "var", "var/log"] {
        archive.add(dir, DIRECTORY, (0, 0), &[]);
    }
    archive.add("dev/console", CHAR_DEVICE, (5, 1), &[]);
    archive.add("dev/null", CHAR_DEVICE, (1, 3), &[]);
    archive.add("init", PROGRAM, (0, 0), &read(init)?);
    archive.add("bin/podvitals", PROGRAM, (0, 0), &read(agent)?);
    Ok(archive.finish())
}

#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    /// Appends an entry, owned by root; `device` is (major, minor) of a device node.
    fn add(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device (2), device node (2), name size, check
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, device.0, device.1, name_size, 0]
        {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_laid_out_as_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.add("dev/console", CHAR_DEVICE, (5, 1), &[]);
        archive.add("f", PROGRAM, (0, 0), b"hello");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.starts_with("07070100000001000021800000000000000000"), "{text}");
        assert_eq!(&text[78..94], "0000000500000001", "the device node's numbers");
        // 110 bytes of header, the name with its NUL, padded: 124; then the next header.
        assert_eq!(&text[124..130], "070701");
        assert_eq!(&text[124 + 54..124 + 62], "00000005", "the size of the content");
        assert_eq!(&text[124 + 112..124 + 117], "hello");
        assert!(text.contains("TRAILER!!!") && bytes.len().is_multiple_of(4));
    }
}
