use std::time::{Duration, Instant};

use super::blob::Blob;
use super::lookup::Array;
use super::*;
use proptest::prelude::*;

fn sample() -> Blob {
    let mut blob = Blob::new();
    blob.push("int", 1, 0, 4, &[32]); // 1
    let (a, b) = (blob.name("a"), blob.name("b"));
    blob.push("", KIND_STRUCT, 1, 8, &[b, 1, 32]); // 2: unnamed { b at 4 }
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
    let other_size = btf.element("holder", "list", 0, 8);
    assert!(matches!(other_size, Err(BtfError::NoMember(..))), "{other_size:?}");
}

#[test]
fn a_path_may_lead_through_an_element_of_an_array() {
    let mut blob = Blob::new();
    blob.push("s64", KIND_INT, 0, 8, &[64]); // 1
    let [lock, count, stat] = ["lock", "count", "stat"].map(|name| blob.name(name));
    blob.push("counter", KIND_STRUCT, 2, 40, &[lock, 1, 0, count, 1, 64]); // 2
    blob.push("", KIND_ARRAY, 0, 0, &[2, 1, 4]); // 3
    blob.push("mm", KIND_STRUCT, 1, 200, &[stat, 3, 32 * 8]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    let offset = |path| btf.field("mm", path).map(|field| field.offset_bytes);
    assert_eq!(offset("stat[0].count").unwrap(), 40);
    assert_eq!(offset("stat[3].count").unwrap(), 160);
    assert_eq!(offset("stat[3]").unwrap(), 152);
    for path in ["stat[4].count", "stat.count", "stat[1].count[0]", "stat[].count", "stat[-1]"] {
        assert!(matches!(offset(path), Err(BtfError::NoMember(..))), "{path}");
    }
    assert_eq!(btf.number("mm", "stat[1].count", 8).unwrap(), 80);
    for (path, bytes) in [("stat[1].count", 4), ("stat[1]", 8), ("stat", 8)] {
        let error = btf.number("mm", path, bytes);
        assert!(matches!(error, Err(BtfError::NoMember(..))), "{path}");
    }
}

/// `u64 total[2][6]`, as it is written for a kernel of gcc 14 and for one of gcc 16.
#[test]
fn an_array_of_arrays_is_the_same_nested_or_flat() {
    let array = |nested: bool| {
        let mut blob = Blob::new();
        blob.push("u64", KIND_INT, 0, 8, &[64]); // 1
        blob.push("", KIND_ARRAY, 0, 0, &[1, 1, if nested { 6 } else { 12 }]); // 2
        let row = if nested { 2 } else { 1 };
        blob.push("", KIND_ARRAY, 0, 0, &[row, 1, if nested { 2 } else { 12 }]); // 3
        blob.push("typedef", KIND_TYPEDEF, 0, 3, &[]); // 4
        let total = blob.name("total");
        blob.push("psi_group", KIND_STRUCT, 1, 400, &[total, 4, 240 * 8]);
        Btf::parse(blob.bytes()).unwrap()
    };
    for nested in [false, true] {
        let btf = array(nested);
        let all = btf.array("psi_group", "total").unwrap();
        assert_eq!(all, Array { offset_bytes: 240, length: 12, element_bytes: 8 });
        assert_eq!(btf.element("psi_group", "total", 4, 8).unwrap(), 272, "nested: {nested}");
        assert_eq!(btf.element("psi_group", "total", 11, 8).unwrap(), 328);
        assert!(btf.element("psi_group", "total", 12, 8).is_err());
    }
}

#[test]
fn finds_enumerators() {
    let btf = Btf::parse(sample().bytes()).unwrap();
    assert_eq!(btf.enumerator("letters", "Y").unwrap(), 9);
    assert!(btf.enumerator("letters", "Z").is_err());
}

/// An enum with one value that is larger than 32 bits is of another kind.
#[test]
fn finds_enumerators_among_large_ones() {
    let mut blob = Blob::new();
    let (x, y) = (blob.name("X"), blob.name("Y"));
    blob.push("letters", KIND_ENUM64, 2, 8, &[x, 0, 1, y, 9, 0]);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert_eq!(btf.enumerator("letters", "Y").unwrap(), 9);
    assert!(btf.enumerator("letters", "X").is_err(), "it does not fit");
}

#[test]
fn a_bit_field_and_a_member_outside_are_no_fields() {
    let mut blob = Blob::new();
    blob.push("int", KIND_INT, 0, 4, &[32]); // 1
    let (flag, far, end) = (blob.name("flag"), blob.name("far"), blob.name("end"));
    let members = [flag, 1, 3 << 24 | 8, far, 1, 9 * 8, end, 1, 8 * 8];
    blob.push("s", KIND_STRUCT | 1 << 7, 3, 8, &members);
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert!(matches!(btf.field("s", "flag"), Err(BtfError::BitField(..))));
    assert!(matches!(btf.field("s", "far"), Err(BtfError::Outside(..))));
    assert_eq!(btf.field("s", "end").unwrap().offset_bytes, 8, "an array without a length");
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
fn a_circle_of_types_is_an_error() {
    let mut blob = Blob::new();
    blob.push("loop", KIND_TYPEDEF, 0, 1, &[]); // 1
    let (m, n) = (blob.name("m"), blob.name("n"));
    blob.push("s", KIND_STRUCT, 1, 4, &[m, 1, 0]); // 2
    blob.push("unnamed", KIND_STRUCT, 1, 4, &[0, 3, 0]); // 3: it is its own member
    blob.push("", KIND_ARRAY, 0, 0, &[4, 4, 1]); // 4: it is its own element
    blob.push("array", KIND_STRUCT, 1, 4, &[n, 4, 0]); // 5
    let btf = Btf::parse(blob.bytes()).unwrap();
    let endless = [
        btf.field("s", "m.n"),
        btf.field("unnamed", "n"),
        btf.array("array", "n").map(|_| unreachable!()),
    ];
    for error in endless.map(Result::unwrap_err) {
        let text = error.to_string();
        assert!(matches!(error, BtfError::Endless(..)) && text.contains("in a circle"), "{text}");
    }
}

/// Each unnamed member is searched, and each has as many again.
#[test]
fn types_that_branch_without_end_are_an_error_soon() {
    let mut blob = Blob::new();
    let members: Vec<u32> = [0, 1, 0].repeat(60_000);
    blob.push("s", KIND_STRUCT, 60_000, 4, &members);
    let start = Instant::now();
    let btf = Btf::parse(blob.bytes()).unwrap();
    let error = btf.field("s", "m").unwrap_err();
    assert!(matches!(error, BtfError::Endless(..)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Three hundred types share one budget, or each would have a millisecond.
#[test]
fn all_types_of_a_name_share_a_budget() {
    let mut blob = Blob::new();
    let members: Vec<u32> = [1, 1, 0].repeat(1000);
    for _ in 0..300 {
        blob.push("", KIND_STRUCT, 1000, 4, &members);
    }
    let btf = Btf::parse(blob.bytes()).unwrap();
    assert!(matches!(btf.field("", "m"), Err(BtfError::Endless(..))));
}

/// 20,000 names that begin at each byte of one string of 8 MB cost no more than others.
#[test]
fn names_that_overlap_are_compared_soon() {
    let mut blob = Blob::new();
    for n in 0..20_000 {
        blob.types.extend([n, KIND_STRUCT << 24, 0]);
    }
    blob.strings = vec![b'x'; 8 << 20];
    let btf = Btf::parse(blob.bytes()).unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        assert!(!btf.has_struct("task_struct"));
        assert!(matches!(btf.field("x", "m"), Err(BtfError::NoType(_))));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(btf.string(0), None, "longer than any name");
}

#[test]
fn what_no_kernel_has_is_refused() {
    let mut blob = Blob::new();
    blob.types = [0, KIND_FWD << 24, 0].repeat(TYPES_MAX + 1);
    assert!(
        matches!(Btf::parse(blob.bytes()), Err(BtfError::Malformed(what)) if what.contains("many"))
    );
    let large = vec![0; BLOB_MAX + 1];
    assert!(matches!(Btf::parse(large), Err(BtfError::Malformed(what)) if what.contains("large")));
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(BLOB_MAX as u64 * 100).unwrap();
    let error = Btf::from_file(file.path()).unwrap_err();
    assert!(matches!(error, BtfError::Malformed(what) if what.contains("large")));
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
