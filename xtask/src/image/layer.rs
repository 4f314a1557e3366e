//! One layer: a tar archive of a few files, with their capabilities.

use anyhow::{Context as _, Result};
use tar::{Builder, EntryType, Header};

/// Where Linux keeps a file's capabilities.
pub(crate) const CAPABILITY_XATTR: &str = "security.capability";
/// How a PAX record is called that holds an extended attribute: what containerd, Docker and GNU tar
/// read and write.
const XATTR_RECORD: &str = "SCHILY.xattr.";
/// `VFS_CAP_REVISION_2` (include/uapi/linux/capability.h).
const REVISION_2: u32 = 0x0200_0000;

/// A capability that a file can give (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    number: u32,
    name: &'static str,
}

impl Capability {
    /// Sockets' and cgroups' network programs.
    pub const NET_ADMIN: Self = Self { number: 12, name: "cap_net_admin" };
    /// Addresses in `/proc/kallsyms`.
    pub const SYSLOG: Self = Self { number: 34, name: "cap_syslog" };
    /// Tracing programs.
    pub const PERFMON: Self = Self { number: 38, name: "cap_perfmon" };
    /// Programs and maps.
    pub const BPF: Self = Self { number: 39, name: "cap_bpf" };

    /// Its bit in a set of 64.
    pub const fn bit(self) -> u64 {
        1 << self.number
    }

    /// As libcap calls it.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// A regular file, owned by root: a process of another user cannot change its own program.
#[derive(Clone, Debug)]
pub struct File {
    /// From the image's root, without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The content.
    pub bytes: Vec<u8>,
    /// What the file may give to who executes it: permitted only, never effective.
    pub capabilities: Vec<Capability>,
}

impl File {
    /// A program that anyone may execute and that gives nobody anything.
    pub fn program(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o755, bytes, capabilities: Vec::new() }
    }
}

/// The tar archive of `files`: the same bytes whatever their order is, every entry of time `mtime`.
pub(crate) fn tar(files: &[File], mtime: u64) -> Result<Vec<u8>> {
    let mut sorted: Vec<&File> = files.iter().collect();
    sorted.sort_by(|one, other| one.path.cmp(&other.path));
    let mut tar = Builder::new(Vec::new());
    let mut made: Vec<String> = Vec::new();
    for file in sorted {
        for dir in parents(&file.path) {
            if !made.contains(&dir) {
                let mut header = header(EntryType::Directory, 0o755, 0, mtime);
                tar.append_data(&mut header, &dir, &[][..])
                    .with_context(|| format!("put {dir} into the layer"))?;
                made.push(dir);
            }
        }
        let put = || format!("put {} into the layer", file.path);
        if !file.capabilities.is_empty() {
            let value = vfs_cap_data(&file.capabilities);
            let name = format!("{XATTR_RECORD}{CAPABILITY_XATTR}");
            tar.append_pax_extensions([(name.as_str(), value.as_slice())]).with_context(put)?;
        }
        let size = u64::try_from(file.bytes.len()).with_context(put)?;
        let mut header = header(EntryType::Regular, file.mode, size, mtime);
        tar.append_data(&mut header, &file.path, file.bytes.as_slice()).with_context(put)?;
    }
    tar.into_inner().context("end the layer")
}

/// The folders above `path`, the outermost first.
fn parents(path: &str) -> Vec<String> {
    path.match_indices('/').filter_map(|(at, _)| Some(format!("{}/", path.get(..at)?))).collect()
}

fn header(kind: EntryType, mode: u32, size: u64, mtime: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(mtime);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The kernel's `struct vfs_cap_data`, revision 2: a word of magic, then for each half of the 64
/// capabilities the permitted and the inheritable ones, all little-endian.
///
/// The effective bit of the magic stays clear: with it, an exec where the bounding set lacks one of
/// the capabilities fails with EPERM (security/commoncap.c, `bprm_caps_from_vfs_caps`).
pub(crate) fn vfs_cap_data(capabilities: &[Capability]) -> Vec<u8> {
    let permitted = capabilities.iter().fold(0, |set, capability| set | capability.bit());
    let [a, b, c, d, e, f, g, h] = permitted.to_le_bytes();
    [REVISION_2.to_le_bytes(), [a, b, c, d], [0; 4], [e, f, g, h], [0; 4]].concat()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn capabilities_are_the_kernels_struct() {
        // What `setcap cap_net_admin,cap_syslog,cap_perfmon,cap_bpf=p` wrote, read by getxattr(2).
        let ours = vfs_cap_data(&[
            Capability::BPF,
            Capability::PERFMON,
            Capability::NET_ADMIN,
            Capability::SYSLOG,
        ]);
        let kernels = [0, 0, 0, 2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0xc4, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(ours, kernels);
    }

    #[test]
    fn entries_keep_mode_time_owner_and_capabilities() {
        let mut program = File::program("usr/bin/p", b"#!".to_vec());
        program.capabilities = vec![Capability::BPF];
        let plain = File { mode: 0o640, ..File::program("etc/f", b"text".to_vec()) };
        let layer = tar(&[program.clone(), plain.clone()], 7).unwrap();
        assert_eq!(layer, tar(&[plain, program], 7).unwrap(), "the order does not matter");

        let mut seen = Vec::new();
        let mut archive = tar::Archive::new(layer.as_slice());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 7);
            let mode = header.mode().unwrap();
            let path = entry.path().unwrap().display().to_string();
            let xattrs: Vec<(String, Vec<u8>)> = entry
                .pax_extensions()
                .unwrap()
                .into_iter()
                .flatten()
                .map(|record| record.unwrap())
                .map(|record| (record.key().unwrap().to_owned(), record.value_bytes().to_vec()))
                .collect();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            seen.push((path, mode, bytes, xattrs));
        }
        let bpf = vfs_cap_data(&[Capability::BPF]);
        let expected = [
            ("etc/", 0o755, vec![], vec![]),
            ("etc/f", 0o640, b"text".to_vec(), vec![]),
            ("usr/", 0o755, vec![], vec![]),
            ("usr/bin/", 0o755, vec![], vec![]),
            ("usr/bin/p", 0o755, b"#!".to_vec(), vec![("SCHILY.xattr.security.capability", bpf)]),
        ]
        .map(|(path, mode, bytes, xattrs)| {
            let xattrs: Vec<_> =
                xattrs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            (path.to_owned(), mode, bytes, xattrs)
        });
        assert_eq!(seen, expected);
    }
}
