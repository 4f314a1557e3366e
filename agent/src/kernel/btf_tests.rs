use super::*;
use proptest::prelude::*;

/// Builds small blobs: types as words, strings by name.
#[derive(Default)]
struct Blob {
    types: Vec<u32>,
    strings: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0] }
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = self.strings.len();
        self.strings.extend(name.bytes().chain([0]));
        u32::try_from(at).unwrap()
    }

    fn push(&mut self, name: &str, kind: u32, vlen: u32, size_or_type: u32, rest: &[u32]) {
        let name = if name.is_empty() { 0 } else { self.name(name) };
        self.types.extend([name, kind << 24 | vlen, size_or_type]);
        self.types.extend(rest);
    }

    fn bytes(&self) -> Vec<u8> {
        let type_len = u32::try_from(self.types.len() * 4).unwrap();
        let str_len = u32::try_from(self.strings.len()).unwrap();
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

fn sample() -> Blob {
    let mut blob = Blob::new();
    blob.push("int", 1, 0, 4, &[32]); // 1
    let (a, b) = (blob.name("a"), blob.name("b"));
    blob.push("", KIND_STRUCT, 1, 4, &[b, 1, 32]); // 2: unnamed { b at 4 }
    blob.push("outer", KIND_STRUCT, 2, 16, &[a, 1, 0, 0, 2, 64]); // 3
    blob.push("", KIND_ARRAY, 0, 0, &[1, 1, 3]); // 4: int[3]
    let list = blob.name("list");
    blob.push("holder", KIND_STRUCT, 1, 32, &[list, 4, 128]); // 5
    let (x, y) = (blob.name("X"), blob.name("Y"));
    blob.push("letters", KIND_ENUM, 2, 4, &[x, 7, y, 9]); // 6
    blob
}

#[test]
fn finds_members_through_unnamed_structs() {
    let btf = Btf::parse(sample().bytes()).unwrap();
    assert_eq!(btf.field("outer", "a").unwrap().offset_bytes, 0);
    assert_eq!(btf.field("outer", "b").unwrap().offset_bytes, 12);
    assert!(matches!(btf.field("outer", "c"), Err(BtfError::NoMember(..))));
    assert!(matches!(btf.field("none", "c"), Err(BtfError::NoType(_))));
}

#[test]
fn finds_elements_within_the_array_only() {
    let btf = Btf::parse(sample().bytes()).unwrap();
    assert_eq!(btf.element("holder", "list", 2, 4).unwrap(), 24);
    assert!(matches!(btf.element("holder", "list", 3, 4), Err(BtfError::NoMember(..))));
    assert!(matches!(btf.element("outer", "a", 0, 4), Err(BtfError::NoMember(..))));
}

#[test]
fn finds_enumerators() {
    let btf = Btf::parse(sample().bytes()).unwrap();
    assert_eq!(btf.enumerator("letters", "Y").unwrap(), 9);
    assert!(btf.enumerator("letters", "Z").is_err());
}

#[test]
fn two_types_that_disagree_are_an_error() {
    let mut blob = sample();
    let a = blob.name("a");
    blob.push("outer", KIND_STRUCT, 1, 16, &[a, 1, 32]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert!(matches!(btf.field("outer", "a"), Err(BtfError::Ambiguous(..))));
    // Only one of them has `b`, so its answer stands.
    assert_eq!(btf.field("outer", "b").unwrap().offset_bytes, 12);
}

#[test]
fn a_loop_of_types_ends() {
    let mut blob = Blob::new();
    blob.push("loop", KIND_TYPEDEF, 0, 1, &[]);
    let m = blob.name("m");
    blob.push("s", KIND_STRUCT, 1, 4, &[m, 1, 0]);
    blob.push("", KIND_STRUCT, 1, 4, &[0, 3, 0]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert!(btf.field("s", "m.n").is_err());
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Btf::parse(bytes);
    }

    #[test]
    fn a_damaged_blob_never_panics(at in 0usize..400, value in any::<u8>()) {
        let mut bytes = sample().bytes();
        let len = bytes.len();
        bytes[at % len] = value;
        if let Ok(btf) = Btf::parse(bytes) {
            let _ = btf.field("outer", "b");
            let _ = btf.element("holder", "list", 1, 8);
            let _ = btf.enumerator("letters", "Y");
            let _ = btf.tracepoint_parameter("x", 0);
        }
    }
}
