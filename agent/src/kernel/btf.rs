//! BPF Type Format (BTF): just enough of it to find a field by its name.
//!
//! The format is Documentation/bpf/btf.rst. Parsing is total: any bytes give an answer or an
//! error. Types are indexed once, names are compared on demand, since only some thirty fields of
//! 126,000 types are needed.

pub mod reduced;

use std::path::{Path, PathBuf};

/// File with the kernel's own types.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;

const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FWD: u32 = 7;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_TYPE_TAG: u32 = 18;

/// Depth of nested types and unnamed members at which a loop is assumed.
const MAX_DEPTH: u32 = 16;

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

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the outermost struct, in bytes.
    pub offset_bytes: u32,
    /// Id of the field's type.
    type_id: u32,
}

/// Type of a tracepoint's parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A pointer to a struct of this name.
    StructPointer(String),
    /// An integer type.
    Integer,
    /// Another type.
    Other,
}

impl Btf {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// The file cannot be read or is malformed.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let bytes = std::fs::read(path)
            .map_err(|source| BtfError::Read { path: path.to_owned(), source })?;
        Self::parse(bytes)
    }

    /// Parses a blob in the machine's own byte order.
    ///
    /// # Errors
    /// The blob is malformed.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
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
            types.push(position);
            at += 12 + trailing;
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

    /// Finds a field by a path of member names, such as `se.sum_exec_runtime`; unnamed structs and
    /// unions are searched as well.
    ///
    /// # Errors
    /// There is no such struct or field, or there are several with different answers.
    pub fn field(&self, struct_name: &str, path: &str) -> Result<Field, BtfError> {
        self.agree(struct_name, path, KIND_STRUCT, |found| {
            let mut place = Field { offset_bytes: 0, type_id: 0 };
            let mut holder = found;
            for (depth, member) in path.split('.').enumerate() {
                if depth > 0 {
                    holder = self.resolve(place.type_id)?;
                }
                let (bits, type_id) = self.member(holder, member, 0)?;
                if bits % 8 != 0 {
                    return Some(Err(BtfError::BitField(struct_name.into(), path.into())));
                }
                place = Field { offset_bytes: place.offset_bytes.checked_add(bits / 8)?, type_id };
            }
            Some(Ok(place))
        })
    }

    /// Offset of an element in an array field, in bytes.
    ///
    /// # Errors
    /// As [`Self::field`]; and if the field is not an array, or has no such element.
    pub fn element(
        &self,
        struct_name: &str,
        path: &str,
        index: u32,
        size_bytes: u32,
    ) -> Result<u32, BtfError> {
        let missing = || BtfError::NoMember(struct_name.into(), format!("{path}[{index}]"));
        let (offset_bytes, length) = self.array(struct_name, path)?;
        if index >= length {
            return Err(missing());
        }
        index.checked_mul(size_bytes).and_then(|n| n.checked_add(offset_bytes)).ok_or_else(missing)
    }

    /// Offset of an array field in bytes, and the number of its elements.
    ///
    /// # Errors
    /// As [`Self::field`]; and if the field is not an array.
    pub fn array(&self, struct_name: &str, path: &str) -> Result<(u32, u32), BtfError> {
        let field = self.field(struct_name, path)?;
        let array = self.resolve(field.type_id).filter(|t| t.kind() == KIND_ARRAY);
        let length = array.and_then(|t| read_u32(&self.bytes, t.at + 20));
        let missing = || BtfError::NoMember(struct_name.into(), format!("{path}[]"));
        length.map(|length| (field.offset_bytes, length)).ok_or_else(missing)
    }

    /// Value of an enumerator, such as `MEMCG_OOM` of `memcg_memory_event`.
    ///
    /// # Errors
    /// There is no such enum or value, or there are several with different answers.
    pub fn enumerator(&self, enum_name: &str, name: &str) -> Result<u32, BtfError> {
        self.agree(enum_name, name, KIND_ENUM, |found| {
            (0..found.vlen()).find_map(|n| {
                let at = found.at + 12 + 8 * n;
                let name_off = read_u32(&self.bytes, at)?;
                (self.string(name_off) == Some(name.as_bytes()))
                    .then(|| read_u32(&self.bytes, at + 4).map(Ok))?
            })
        })
    }

    /// Whether the kernel has a function of this name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, KIND_FUNC).next().is_some()
    }

    /// Type of parameter `n` of a tracepoint, from its typedef `btf_trace_<name>`; `None` when the
    /// kernel has no such tracepoint or parameter.
    #[must_use]
    pub fn tracepoint_parameter(&self, tracepoint: &str, n: usize) -> Option<Parameter> {
        let name = format!("btf_trace_{tracepoint}");
        let typedef = self.named(&name, KIND_TYPEDEF).next()?;
        let pointer = self.get(typedef.size_or_type).filter(|t| t.kind() == KIND_PTR)?;
        let proto = self.get(pointer.size_or_type).filter(|t| t.kind() == KIND_FUNC_PROTO)?;
        // The first parameter is the `void *` that each handler gets.
        let n = n.checked_add(1)?;
        if n >= proto.vlen() {
            return None;
        }
        let type_id = read_u32(&self.bytes, proto.at + 12 + 8 * n + 4)?;
        let own = self.resolve(type_id);
        if own.is_some_and(|t| t.kind() == KIND_INT) {
            return Some(Parameter::Integer);
        }
        let target = own
            .filter(|t| t.kind() == KIND_PTR)
            .and_then(|t| self.resolve(t.size_or_type))
            .filter(|t| t.kind() == KIND_STRUCT);
        let Some(target) = target else { return Some(Parameter::Other) };
        let name = self.string(target.name_off)?;
        Some(Parameter::StructPointer(String::from_utf8_lossy(name).into_owned()))
    }

    /// Queries every type of a name and kind, and returns the answer on which all that have one
    /// agree.
    fn agree<T: PartialEq>(
        &self,
        name: &str,
        what: &str,
        kind: u32,
        ask: impl Fn(Type) -> Option<Result<T, BtfError>>,
    ) -> Result<T, BtfError> {
        let mut answer = None;
        let mut exists = false;
        for found in self.named(name, kind) {
            exists = true;
            match (ask(found).transpose()?, &answer) {
                (None, _) => {}
                (Some(new), None) => answer = Some(new),
                (Some(new), Some(old)) if new == *old => {}
                (Some(_), Some(_)) => return Err(BtfError::Ambiguous(name.into(), what.into())),
            }
        }
        match answer {
            Some(answer) => Ok(answer),
            None if exists => Err(BtfError::NoMember(name.into(), what.into())),
            None => Err(BtfError::NoType(name.into())),
        }
    }

    /// Whether there is a struct of this name.
    #[must_use]
    pub fn has_struct(&self, name: &str) -> bool {
        self.named(name, KIND_STRUCT).next().is_some()
    }

    /// All types with their ids.
    fn iter(&self) -> impl Iterator<Item = (usize, Type)> + '_ {
        let places = self.types.iter().enumerate().skip(1);
        places.filter_map(|(id, &at)| Some((id, read_type(&self.bytes, at as usize)?)))
    }

    fn named<'a>(&'a self, name: &'a str, kind: u32) -> impl Iterator<Item = Type> + 'a {
        self.iter().filter_map(move |(_, found)| {
            (found.kind() == kind && self.string(found.name_off)? == name.as_bytes())
                .then_some(found)
        })
    }

    fn get(&self, id: u32) -> Option<Type> {
        let at = *self.types.get(id as usize)?;
        if id == 0 { None } else { read_type(&self.bytes, at as usize) }
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<Type> {
        for _ in 0..MAX_DEPTH {
            let found = self.get(id)?;
            match found.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type;
                }
                _ => return Some(found),
            }
        }
        None
    }

    /// Position in bits and type id of a member; unnamed members are searched as well.
    fn member(&self, holder: Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        if !matches!(holder.kind(), KIND_STRUCT | KIND_UNION) || depth > MAX_DEPTH {
            return None;
        }
        (0..holder.vlen()).find_map(|n| {
            let at = holder.at + 12 + 12 * n;
            let name_off = read_u32(&self.bytes, at)?;
            let type_id = read_u32(&self.bytes, at + 4)?;
            let mut bits = read_u32(&self.bytes, at + 8)?;
            if holder.kind_flag() {
                // The upper byte is the size of a bit field.
                bits &= 0x00ff_ffff;
            }
            let member_name = self.string(name_off)?;
            if member_name == name.as_bytes() {
                return Some((bits, type_id));
            }
            if !member_name.is_empty() {
                return None;
            }
            let (inner, type_id) = self.member(self.resolve(type_id)?, name, depth + 1)?;
            Some((bits.checked_add(inner)?, type_id))
        })
    }

    fn string(&self, offset: u32) -> Option<&[u8]> {
        let start = self.strings_at.checked_add(offset as usize)?;
        let rest = self.bytes.get(start..self.strings_end)?;
        rest.split(|&b| b == 0).next()
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
        // DATASEC, ENUM64
        15 | 19 => 12 * found.vlen(),
        // PTR, FWD, TYPEDEF, qualifiers, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

#[cfg(test)]
#[path = "btf_tests.rs"]
mod tests;
