//! Queries by name: fields, elements of arrays, enumerators, parameters of tracepoints.
//!
//! Each query has a budget: broken types may refer to themselves, or branch at each of their
//! members, and a search without a limit would then end never, or after 65,535 to the power of 16
//! members.

use super::{
    Btf, BtfError, KIND_ARRAY, KIND_CONST, KIND_ENUM, KIND_ENUM64, KIND_FLOAT, KIND_FUNC,
    KIND_FUNC_PROTO, KIND_INT, KIND_PTR, KIND_RESTRICT, KIND_STRUCT, KIND_TYPE_TAG, KIND_TYPEDEF,
    KIND_UNION, KIND_VOLATILE, TYPE_BYTES, Type, read_u32,
};

/// Depth limit of typedefs and qualifiers, of unnamed members, and of arrays of arrays: they are
/// at most 5 deep in Linux 5.10 to 7.3.
const DEPTH_MAX: u32 = 16;
/// Limit of members and values that a query looks at: 1 ms. The largest struct of Linux 7.3 on
/// whose way a query lies has 300, and one type of a name is rarely more than two.
const STEPS_MAX: u32 = 1 << 18;
/// Size of a pointer on the 64-bit kernels that Podvitals runs on, in bytes.
const POINTER_BYTES: u32 = 8;

/// A field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset from the start of the outermost struct, in bytes.
    pub offset_bytes: u32,
    /// Id of the field's type.
    type_id: u32,
}

/// An array field of a struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// Offset from the start of the outermost struct, in bytes.
    pub offset_bytes: u32,
    /// Number of the elements.
    pub length: u32,
    /// Size of an element, in bytes.
    pub element_bytes: u32,
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

/// Reason why a search ended without an answer.
enum Trouble {
    Endless,
    Outside,
    BitField,
}

impl Trouble {
    fn of(self, name: &str, what: &str) -> BtfError {
        let (name, what) = (name.to_owned(), what.to_owned());
        match self {
            Self::Endless => BtfError::Endless(name, what),
            Self::Outside => BtfError::Outside(name, what),
            Self::BitField => BtfError::BitField(name, what),
        }
    }
}

/// The rest of a query's budget.
struct Steps(u32);

impl Steps {
    fn take(&mut self) -> Result<(), Trouble> {
        self.0 = self.0.checked_sub(1).ok_or(Trouble::Endless)?;
        Ok(())
    }
}

/// A member of a struct, as found.
struct Member {
    bits: u32,
    type_id: u32,
}

impl Btf {
    /// Finds a field by a path of member names, such as `se.sum_exec_runtime` or, with the element of
    /// an array on its way, `rss_stat[1].count`; unnamed structs and unions are searched as well.
    ///
    /// # Errors
    /// There is no such struct, field or element, or there are several with different answers.
    pub fn field(&self, struct_name: &str, path: &str) -> Result<Field, BtfError> {
        self.agree(struct_name, path, &[KIND_STRUCT], |found, steps| {
            let mut place = Field { offset_bytes: 0, type_id: 0 };
            let mut holder = found;
            for (depth, part) in path.split('.').enumerate() {
                let Some((name, index)) = element_of(part) else { return Ok(None) };
                if depth > 0 {
                    let Some(inner) = self.resolve(place.type_id)? else { return Ok(None) };
                    holder = inner;
                }
                let Some(member) = self.member(holder, name, 0, steps)? else { return Ok(None) };
                if member.bits % 8 != 0 {
                    return Err(Trouble::BitField);
                }
                let offset_bytes = place.offset_bytes.checked_add(member.bits / 8);
                let offset_bytes = offset_bytes.ok_or(Trouble::Outside)?;
                place = Field { offset_bytes, type_id: member.type_id };
                if let Some(index) = index {
                    let Some(element) = self.at_index(place, index)? else { return Ok(None) };
                    place = element;
                }
            }
            Ok(Some(place))
        })
    }

    /// Offset of a number of `size_bytes`, found as by [`Self::field`], in bytes.
    ///
    /// # Errors
    /// As [`Self::field`]; and if the field has another size.
    pub fn number(&self, struct_name: &str, path: &str, size_bytes: u32) -> Result<u32, BtfError> {
        let field = self.field(struct_name, path)?;
        let found = self.resolve(field.type_id).map_err(|it| it.of(struct_name, path))?;
        if found.and_then(size_bytes_of) == Some(size_bytes) {
            return Ok(field.offset_bytes);
        }
        let what = format!("{path} of {size_bytes} bytes");
        Err(BtfError::NoMember(struct_name.into(), what))
    }

    /// Offset of an element of `size_bytes` in an array field, in bytes.
    ///
    /// # Errors
    /// As [`Self::array`]; and if the array has no such element, or elements of another size.
    pub fn element(
        &self,
        struct_name: &str,
        path: &str,
        index: u32,
        size_bytes: u32,
    ) -> Result<u32, BtfError> {
        let array = self.array(struct_name, path)?;
        let is_there = index < array.length && array.element_bytes == size_bytes;
        let offset = index.checked_mul(size_bytes).filter(|_| is_there);
        offset.and_then(|offset| offset.checked_add(array.offset_bytes)).ok_or_else(|| {
            let what = format!("{path}[{index}] of {size_bytes} bytes");
            BtfError::NoMember(struct_name.into(), what)
        })
    }

    /// Finds an array field. An array of arrays counts as one array of their elements: whether it
    /// is described as such or as one dimension depends on what wrote the types (nested where gcc
    /// 16 has compiled the kernel, flat with gcc 14), and the bytes are the same.
    ///
    /// # Errors
    /// As [`Self::field`]; and if the field is not an array.
    pub fn array(&self, struct_name: &str, path: &str) -> Result<Array, BtfError> {
        let field = self.field(struct_name, path)?;
        let found = self.flat_array(field).map_err(|trouble| trouble.of(struct_name, path))?;
        found
            .map(|(array, _)| array)
            .ok_or_else(|| BtfError::NoMember(struct_name.into(), format!("{path}[]")))
    }

    /// An element of an array field, as a field of its own.
    fn at_index(&self, field: Field, index: u32) -> Result<Option<Field>, Trouble> {
        let Some((array, type_id)) = self.flat_array(field)? else { return Ok(None) };
        if index >= array.length {
            return Ok(None);
        }
        let place = index.checked_mul(array.element_bytes);
        let offset_bytes = place.and_then(|place| place.checked_add(array.offset_bytes));
        Ok(Some(Field { offset_bytes: offset_bytes.ok_or(Trouble::Outside)?, type_id }))
    }

    /// The array of a field, and the id of its elements' type.
    fn flat_array(&self, field: Field) -> Result<Option<(Array, u32)>, Trouble> {
        let mut length = None::<u32>;
        let mut type_id = field.type_id;
        for _ in 0..DEPTH_MAX {
            let Some(found) = self.resolve(type_id)? else { return Ok(None) };
            if found.kind() != KIND_ARRAY {
                let array = length.zip(size_bytes_of(found)).map(|(length, element_bytes)| Array {
                    offset_bytes: field.offset_bytes,
                    length,
                    element_bytes,
                });
                return Ok(array.map(|array| (array, type_id)));
            }
            // `struct btf_array`: type of the elements, type of the index, their number.
            let word = |n: usize| read_u32(&self.bytes, found.at + TYPE_BYTES + 4 * n);
            let (Some(elements), Some(count)) = (word(0), word(2)) else { return Ok(None) };
            length = Some(length.unwrap_or(1).checked_mul(count).ok_or(Trouble::Outside)?);
            type_id = elements;
        }
        Err(Trouble::Endless)
    }

    /// Value of an enumerator, such as `MEMCG_OOM` of `memcg_memory_event`.
    ///
    /// # Errors
    /// There is no such enum or value, or there are several with different answers.
    pub fn enumerator(&self, enum_name: &str, name: &str) -> Result<u32, BtfError> {
        self.agree(enum_name, name, &[KIND_ENUM, KIND_ENUM64], |found, steps| {
            // Which of the two an enum is may depend on a sibling's value.
            let words = if found.kind() == KIND_ENUM { 2 } else { 3 };
            for n in 0..found.vlen() {
                steps.take()?;
                let at = found.at + TYPE_BYTES + 4 * words * n;
                let word = |n: usize| read_u32(&self.bytes, at + 4 * n);
                if word(0).is_some_and(|name_off| self.is_named(name_off, name)) {
                    let fits = words == 2 || word(2) == Some(0);
                    return Ok(word(1).filter(|_| fits));
                }
            }
            Ok(None)
        })
    }

    /// Whether the kernel has a function of this name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, &[KIND_FUNC]).next().is_some()
    }

    /// Whether there is a struct of this name.
    #[must_use]
    pub fn has_struct(&self, name: &str) -> bool {
        self.named(name, &[KIND_STRUCT]).next().is_some()
    }

    /// Type of parameter `n` of a tracepoint, from its typedef `btf_trace_<name>`; `None` when the
    /// kernel has no such tracepoint or parameter.
    #[must_use]
    pub fn tracepoint_parameter(&self, tracepoint: &str, n: usize) -> Option<Parameter> {
        let name = format!("btf_trace_{tracepoint}");
        let typedef = self.named(&name, &[KIND_TYPEDEF]).next()?;
        let pointer = self.get(typedef.size_or_type).filter(|t| t.kind() == KIND_PTR)?;
        let proto = self.get(pointer.size_or_type).filter(|t| t.kind() == KIND_FUNC_PROTO)?;
        // The first parameter is the `void *` that each handler gets.
        let n = n.checked_add(1)?;
        if n >= proto.vlen() {
            return None;
        }
        let type_id = read_u32(&self.bytes, proto.at + TYPE_BYTES + 8 * n + 4)?;
        let resolve = |id| self.resolve(id).ok().flatten();
        let own = resolve(type_id);
        if own.is_some_and(|t| t.kind() == KIND_INT) {
            return Some(Parameter::Integer);
        }
        let target = own
            .filter(|t| t.kind() == KIND_PTR)
            .and_then(|t| resolve(t.size_or_type))
            .filter(|t| t.kind() == KIND_STRUCT);
        let Some(target) = target else { return Some(Parameter::Other) };
        let name = self.string(target.name_off)?;
        Some(Parameter::StructPointer(String::from_utf8_lossy(name).into_owned()))
    }

    /// Queries every type of a name and kind, and returns the answer on which all that have one
    /// agree. All of them share one budget.
    fn agree<T: PartialEq>(
        &self,
        name: &str,
        what: &str,
        kinds: &[u32],
        ask: impl Fn(Type, &mut Steps) -> Result<Option<T>, Trouble>,
    ) -> Result<T, BtfError> {
        let mut answer = None;
        let mut exists = false;
        let mut steps = Steps(STEPS_MAX);
        for found in self.named(name, kinds) {
            exists = true;
            let new = ask(found, &mut steps).map_err(|trouble| trouble.of(name, what))?;
            match (new, &answer) {
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

    /// The type behind typedefs and qualifiers; `None` where there is none.
    fn resolve(&self, mut id: u32) -> Result<Option<Type>, Trouble> {
        for _ in 0..DEPTH_MAX {
            let Some(found) = self.get(id) else { return Ok(None) };
            match found.kind() {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type;
                }
                _ => return Ok(Some(found)),
            }
        }
        Err(Trouble::Endless)
    }

    /// The member of this name; unnamed members are searched as well.
    fn member(
        &self,
        holder: Type,
        name: &str,
        depth: u32,
        steps: &mut Steps,
    ) -> Result<Option<Member>, Trouble> {
        if !matches!(holder.kind(), KIND_STRUCT | KIND_UNION) {
            return Ok(None);
        }
        if depth > DEPTH_MAX {
            return Err(Trouble::Endless);
        }
        for n in 0..holder.vlen() {
            steps.take()?;
            let word = |k: usize| read_u32(&self.bytes, holder.at + TYPE_BYTES + 12 * n + 4 * k);
            let (Some(name_off), Some(type_id), Some(place)) = (word(0), word(1), word(2)) else {
                return Ok(None);
            };
            // The upper byte is the size of a bit field.
            let (bits, field_bits) =
                if holder.kind_flag() { (place & 0x00ff_ffff, place >> 24) } else { (place, 0) };
            let found = if self.is_named(name_off, name) {
                Some(Member { bits: 0, type_id })
            } else if self.is_named(name_off, "") {
                match self.resolve(type_id)? {
                    Some(inner) => self.member(inner, name, depth + 1, steps)?,
                    None => None,
                }
            } else {
                None
            };
            let Some(found) = found else { continue };
            // An array without a length begins at the very end.
            if bits / 8 > holder.size_or_type {
                return Err(Trouble::Outside);
            }
            if field_bits != 0 {
                return Err(Trouble::BitField);
            }
            let bits = bits.checked_add(found.bits).ok_or(Trouble::Outside)?;
            return Ok(Some(Member { bits, type_id: found.type_id }));
        }
        Ok(None)
    }
}

/// A part of a path: a member's name, and which element of it, if it says so. `None` if it is
/// neither.
fn element_of(part: &str) -> Option<(&str, Option<u32>)> {
    let Some((name, index)) = part.split_once('[') else { return Some((part, None)) };
    Some((name, Some(index.strip_suffix(']')?.parse().ok()?)))
}

/// Size of a type's values, in bytes; `None` where it has none of its own.
const fn size_bytes_of(of: Type) -> Option<u32> {
    match of.kind() {
        KIND_INT | KIND_FLOAT | KIND_ENUM | KIND_ENUM64 | KIND_STRUCT | KIND_UNION => {
            Some(of.size_or_type)
        }
        KIND_PTR => Some(POINTER_BYTES),
        _ => None,
    }
}
