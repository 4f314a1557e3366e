//! Reduced types of the kernel, for a loader that needs the ids of some names and nothing else.
//!
//! A generic parser keeps each of the 126,000 types with its members, some 15 MiB, and finds six.
//! An id is a type's place in the list, so an unneeded type is replaced by the smallest type there
//! is, and all types after the last needed one are left out.

use super::{Btf, KIND_FUNC, KIND_FWD, KIND_TYPEDEF, MAGIC, TYPE_BYTES};

/// A wanted type, by kind and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A typedef of this name.
    Typedef(String),
    /// A function of this name.
    Function(String),
}

impl Wanted {
    fn parts(&self) -> (u32, &str) {
        match self {
            Self::Typedef(name) => (KIND_TYPEDEF, name),
            Self::Function(name) => (KIND_FUNC, name),
        }
    }
}

impl Btf {
    /// The wanted types under the same ids, as a blob: the first of each name and kind.
    #[must_use]
    pub fn reduced(&self, wanted: &[Wanted]) -> Vec<u8> {
        let mut open: Vec<_> = wanted.iter().map(Wanted::parts).collect();
        let mut kept = Vec::new();
        for (id, found) in self.iter() {
            if open.is_empty() {
                break;
            }
            let kind = found.kind();
            if kind != KIND_TYPEDEF && kind != KIND_FUNC {
                continue;
            }
            let is = |(wanted, name): &(u32, &str)| {
                *wanted == kind && self.is_named(found.name_off, name)
            };
            if let Some(at) = open.iter().position(is) {
                kept.push((id, open.swap_remove(at)));
            }
        }
        encode(&kept)
    }
}

/// Encodes types by ascending id, with an unnamed declaration for every id between.
fn encode(kept: &[(usize, (u32, &str))]) -> Vec<u8> {
    const HEADER_BYTES: u32 = 24;
    let last = kept.last().map_or(0, |(id, _)| *id);
    let mut strings = vec![0];
    let mut types = Vec::with_capacity(last * TYPE_BYTES);
    let mut kept = kept.iter().peekable();
    for id in 1..=last {
        let (kind, name_at) = match kept.next_if(|(at, _)| *at == id) {
            None => (KIND_FWD, 0),
            Some((_, (kind, name))) => {
                let at = strings.len() as u32;
                strings.extend_from_slice(name.as_bytes());
                strings.push(0);
                (*kind, at)
            }
        };
        // The type that it refers to is left open: `void`.
        types.extend([name_at, kind << 24, 0].map(u32::to_ne_bytes).as_flattened());
    }
    let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
    let mut blob = Vec::with_capacity(HEADER_BYTES as usize + types.len() + strings.len());
    blob.extend(MAGIC.to_ne_bytes());
    // Version and flags.
    blob.extend([1, 0]);
    let header = [HEADER_BYTES, 0, types_len, types_len, strings_len];
    blob.extend(header.map(u32::to_ne_bytes).as_flattened());
    blob.append(&mut types);
    blob.append(&mut strings);
    blob
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::btf::VMLINUX;

    fn wanted() -> [Wanted; 4] {
        [
            Wanted::Function("bpf_iter_task".into()),
            Wanted::Typedef("btf_trace_cgroup_mkdir".into()),
            Wanted::Typedef("no_such_typedef".into()),
            Wanted::Typedef("btf_trace_signal_generate".into()),
        ]
    }

    #[test]
    fn ids_and_names_are_kept_and_other_types_replaced() {
        let blob = encode(&[(3, (KIND_TYPEDEF, "a")), (5, (KIND_FUNC, "bc"))]);
        let types = Btf::parse(blob).unwrap();
        assert_eq!(types.len(), 6);
        let kinds: Vec<_> = types.iter().map(|(id, found)| (id, found.kind())).collect();
        let fwd = |id| (id, KIND_FWD);
        assert_eq!(kinds, [fwd(1), fwd(2), (3, KIND_TYPEDEF), fwd(4), (5, KIND_FUNC)]);
        assert!(types.has_function("bc") && !types.has_function("a"));
        assert!(Btf::parse(encode(&[])).unwrap().is_empty());
    }

    /// aya's own parser finds the same ids in the reduced types as in all of them.
    #[test]
    fn the_running_kernels_ids_are_kept() {
        if !Path::new(VMLINUX).exists() {
            println!("SKIPPED: this kernel has no {VMLINUX}");
            return;
        }
        let whole = Btf::from_file(Path::new(VMLINUX)).unwrap();
        let cut = Btf::parse(whole.reduced(&wanted())).unwrap();
        let ids = |types: &Btf| {
            wanted().map(|wanted| {
                let (kind, name) = wanted.parts();
                let is = |found: super::super::Type| {
                    found.kind() == kind && types.is_named(found.name_off, name)
                };
                types.iter().find(|(_, found)| is(*found)).map(|(id, _)| id)
            })
        };
        assert_eq!(ids(&cut), ids(&whole));
        assert!(ids(&cut)[0].is_some() && ids(&cut)[1].is_some() && ids(&cut)[2].is_none());
        assert!(aya::Btf::parse(&whole.reduced(&wanted()), aya::Endianness::default()).is_ok());
    }
}
