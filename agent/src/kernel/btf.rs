//! BPF Type Format (BTF): just enough of it to find a field by its name.
//!
//! The format is Documentation/bpf/btf.rst. Parsing is total: any bytes give an answer or an
//! error, in bounded time and memory. Types are indexed once, names are compared on demand, since
//! only some thirty fields of 126,000 types are needed.

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod blob;
pub mod lookup;
pub mod reduced;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// File with the kernel's own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;

pub(crate) const KIND_INT: u32 = 1;
pub(crate) const KIND_PTR: u32 = 2;
pub(crate) const KIND_ARRAY: u32 = 3;
pub(crate) const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
pub(crate) const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
pub(crate) const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
pub(crate) const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
pub(crate) const KIND_FUNC: u32 = 12;
pub(crate) const KIND_FUNC_PROTO: u32 = 13;
const KIND_FLOAT: u32 = 16;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;

/// Size of a type's fixed part, in bytes.
const TYPE_BYTES: usize = 12;
/// Size limit of a blob, in bytes: some ten times that of a kernel with everything built in.
const BLOB_MAX: usize = 64 << 20;
/// Limit of types in a blob: `BTF_MAX_TYPE` (include/uapi/linux/btf.h).
const TYPES_MAX: usize = 0x000f_ffff;
/// Length limit of a name, in bytes: `KSYM_NAME_LEN` (include/linux/kallsyms.h).
const NAME_MAX: usize = 512;

/// Reason why a name has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Error of the read.
        source: std::io::Error,
    },
    /// The bytes are not BTF.
    #[error("malformed BTF: {0}")]
    Malformed(&'static str),
    /// The BTF has no type of this name.
    #[error("the kernel's BTF has no {0}")]
    NoType(String),
    /// The type has no such member or value.
    #[error("the kernel's BTF has no {0}.{1}")]
    NoMember(String, String),
    /// Several types of this name give different answers.
    #[error("the kernel's BTF has several {0} that disagree on {1}")]
    Ambiguous(String, String),
    /// A bit field, or a position that is not a whole byte.
    #[error("{0}.{1} is a bit field")]
    BitField(String, String),
    /// A member that begins behind the end of its struct.
    #[error("malformed BTF: {0}.{1} is outside its struct")]
    Outside(String, String),
    /// Types that are nested too deeply or in a circle: the search was given up.
    #[error("malformed BTF: {0}.{1} is nested too deeply, or in a circle")]
    Endless(String, String),
}

/// A parsed BTF blob.
#[derive(Debug)]
pub struct Btf {
    bytes: Vec<u8>,
    /// Byte position of each type's record; index 0 is `void` and has none.
    types: Vec<u32>,
    strings_at: usize,
    strings_end: usize,
}

/// The fixed part of a type.
#[derive(Clone, Copy, Debug)]
struct Type {
    at: usize,
    name_off: u32,
    info: u32,
    size_or_type: u32,
}

impl Type {
    const fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    const fn vlen(self) -> usize {
        (self.info & 0xffff) as usize
    }

    const fn kind_flag(self) -> bool {
        self.info >> 31 != 0
    }
}

impl Btf {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// The file cannot be read or is malformed.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| {
                let size = file.metadata()?.len().min(BLOB_MAX as u64);
                bytes.reserve_exact(usize::try_from(size).unwrap_or(0) + 1);
                // One more than may be: a blob that is too large is refused, not cut.
                file.take(BLOB_MAX as u64 + 1).read_to_end(&mut bytes)
            })
            .map_err(|source| BtfError::Read { path: path.to_owned(), source })?;
        Self::parse(bytes)
    }

    /// Parses a blob in the machine's own byte order.
    ///
    /// # Errors
    /// The blob is malformed, or larger than any kernel's.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        if bytes.len() > BLOB_MAX {
            return Err(BtfError::Malformed("the blob is too large"));
        }
        let short = BtfError::Malformed("the header is cut");
        let word = |at: usize| read_u32(&bytes, at);
        let magic = bytes.get(..2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        if magic != Some(MAGIC) {
            return Err(BtfError::Malformed("the magic number is wrong"));
        }
        let (Some(header), Some(type_off), Some(type_len), Some(str_off), Some(str_len)) =
            (word(4), word(8), word(12), word(16), word(20))
        else {
            return Err(short);
        };
        let section = |off: u32, len: u32| {
            let start = (header as usize).checked_add(off as usize)?;
            let end = start.checked_add(len as usize)?;
            (end <= bytes.len()).then_some((start, end))
        };
        let Some((mut at, types_end)) = section(type_off, type_len) else {
            return Err(BtfError::Malformed("the type section is outside the blob"));
        };
        let Some((strings_at, strings_end)) = section(str_off, str_len) else {
            return Err(BtfError::Malformed("the string section is outside the blob"));
        };

        let mut types = vec![0];
        while at < types_end {
            let Some(found) = read_type(&bytes, at) else {
                return Err(BtfError::Malformed("a type is cut"));
            };
            let Some(trailing) = trailing_bytes(found) else {
                return Err(BtfError::Malformed("a type has an unknown kind"));
            };
            let Ok(position) = u32::try_from(at) else {
                return Err(BtfError::Malformed("the blob is too large"));
            };
            if types.len() > TYPES_MAX {
                return Err(BtfError::Malformed("there are too many types"));
            }
            types.push(position);
            at += TYPE_BYTES + trailing;
        }
        if at != types_end {
            return Err(BtfError::Malformed("the last type is cut"));
        }
        Ok(Self { bytes, types, strings_at, strings_end })
    }

    /// Number of types, `void` included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there is no type but `void`.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.types.len() <= 1
    }

    /// All types with their ids.
    fn iter(&self) -> impl Iterator<Item = (usize, Type)> + '_ {
        let places = self.types.iter().enumerate().skip(1);
        places.filter_map(|(id, &at)| Some((id, read_type(&self.bytes, at as usize)?)))
    }

    fn named<'a>(&'a self, name: &'a str, kinds: &'a [u32]) -> impl Iterator<Item = Type> + 'a {
        self.iter().filter_map(move |(_, found)| {
            (kinds.contains(&found.kind()) && self.is_named(found.name_off, name)).then_some(found)
        })
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.types.get(id as usize)?;
        if id == 0 { None } else { read_type(&self.bytes, at as usize) }
    }

    /// Whether the string at `offset` is `name`. Costs no more than `name` is long: strings may
    /// overlap, and the section may have no end of string at all.
    fn is_named(&self, offset: u32, name: &str) -> bool {
        let rest = self.strings_from(offset).and_then(|rest| rest.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// The string at `offset`; `None` for one that is longer than any name.
    fn string(&self, offset: u32) -> Option<&[u8]> {
        let rest = self.strings_from(offset)?;
        let end = rest.iter().take(NAME_MAX).position(|&b| b == 0)?;
        rest.get(..end)
    }

    fn strings_from(&self, offset: u32) -> Option<&[u8]> {
        let start = self.strings_at.checked_add(offset as usize)?;
        self.bytes.get(start..self.strings_end)
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    bytes.get(at..end)?.try_into().ok().map(u32::from_ne_bytes)
}

fn read_type(bytes: &[u8], at: usize) -> Option<Type> {
    Some(Type {
        at,
        name_off: read_u32(bytes, at)?,
        info: read_u32(bytes, at.checked_add(4)?)?,
        size_or_type: read_u32(bytes, at.checked_add(8)?)?,
    })
}

/// Bytes that follow the fixed part; `None` for a kind that this version of the agent does not
/// know.
fn trailing_bytes(found: Type) -> Option<usize> {
    Some(match found.kind() {
        // VAR, DECL_TAG
        KIND_INT | 14 | 17 => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION => 12 * found.vlen(),
        KIND_ENUM | KIND_FUNC_PROTO => 8 * found.vlen(),
        // DATASEC
        KIND_ENUM64 | 15 => 12 * found.vlen(),
        // TYPEDEF, qualifiers and FUNC lie between FWD and FUNC_PROTO.
        KIND_PTR | KIND_FWD..KIND_FUNC_PROTO | KIND_FLOAT | KIND_TYPE_TAG => 0,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
