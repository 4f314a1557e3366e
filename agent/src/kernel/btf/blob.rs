//! Small blobs of BTF, for tests and as seeds for fuzzing.

use super::MAGIC;

/// Builder of small blobs: types as words, strings by name.
#[derive(Default)]
pub(crate) struct Blob {
    pub(crate) types: Vec<u32>,
    pub(crate) strings: Vec<u8>,
}

impl Blob {
    pub(crate) fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    /// Adds a string.
    pub(crate) fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len();
        self.strings.extend(name.bytes().chain([0]));
        at as u32
    }

    /// Adds a type; its id is the number of types so far.
    pub(crate) fn push(
        &mut self,
        name: &str,
        kind: u32,
        vlen: u32,
        size_or_type: u32,
        rest: &[u32],
    ) {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.types.extend([name, kind << 24 | vlen, size_or_type]);
        self.types.extend(rest);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let type_len = self.types.len() as u32 * 4;
        let str_len = self.strings.len() as u32;
        let mut out = Vec::new();
        out.extend(MAGIC.to_ne_bytes());
        out.extend([1, 0]);
        for word in [24, 0, type_len, type_len, str_len] {
            out.extend(word.to_ne_bytes());
        }
        for word in &self.types {
            out.extend(word.to_ne_bytes());
        }
        out.extend(&self.strings);
        out
    }
}
