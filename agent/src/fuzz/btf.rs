//! Types of a kernel (BTF): a broken blob gives errors, soon, and never an offset outside.

use crate::kernel::btf::blob::Blob;
use crate::kernel::btf::{
    Btf, BtfError, KIND_ARRAY, KIND_CONST, KIND_ENUM, KIND_FUNC, KIND_FUNC_PROTO, KIND_INT,
    KIND_PTR, KIND_STRUCT, KIND_TYPEDEF, reduced::Wanted,
};
use crate::kernel::{offsets, snapshot_offsets};

/// Arrays and fields that the seeds have.
const FIELDS: [(&str, &str); 7] = [
    ("outer", "a"),
    ("outer", "b"),
    ("outer", "inner.b"),
    ("memcg_vmstats", "state[1]"),
    ("psi_group", "total"),
    ("psi_group", "enabled"),
    ("memcg_vmstats", "state"),
];

/// The input as a blob.
pub(super) fn run(input: &[u8]) -> bool {
    let Ok(btf) = Btf::parse(input.to_vec()) else { return false };
    assert!(btf.len() <= input.len() / 12 + 1, "{} types", btf.len());
    for (holder, path) in FIELDS {
        check_array(&btf, holder, path);
        let field = btf.field(holder, path);
        assert!(field.is_err() || btf.has_struct(holder), "a field of nothing");
    }
    // All that the agent asks a kernel for.
    let all = offsets::resolve(&btf);
    if let Ok(found) = &all {
        assert!(found.missing.len() <= 2, "{:?}", found.missing);
    }
    let snapshot = snapshot_offsets::resolve(&btf);
    if let Ok(found) = &snapshot {
        assert!(found.missing.len() <= 5, "{:?}", found.missing);
    }
    for error in [all.as_ref().err(), snapshot.as_ref().err()].into_iter().flatten() {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let parameter = btf.tracepoint_parameter("signal_generate", 2);
    assert!(parameter.is_none() || btf.len() > 3, "{parameter:?} of {} types", btf.len());
    check_reduced(&btf, input.len());
    true
}

/// The last element is inside, and the one after it is not.
fn check_array(btf: &Btf, holder: &str, path: &str) {
    let Ok(array) = btf.array(holder, path) else { return };
    let element = |index| btf.element(holder, path, index, array.element_bytes);
    let after = element(array.length);
    assert!(matches!(after, Err(BtfError::NoMember(..))), "{after:?}");
    if array.length > 0 && element(0).is_ok() {
        assert_eq!(element(0).ok(), Some(array.offset_bytes));
    }
    assert!(btf.element(holder, path, 0, array.element_bytes.wrapping_add(1)).is_err());
}

/// Property: the cut that a loader gets is BTF itself, no longer, with the same answers.
fn check_reduced(btf: &Btf, input_bytes: usize) {
    let name = "bpf_iter_cgroup";
    let wanted = [Wanted::Function(name.into()), Wanted::Typedef("btf_trace_x".into())];
    let bytes = btf.reduced(&wanted);
    assert!(bytes.len() <= input_bytes.max(24) + 64, "{} bytes of {input_bytes}", bytes.len());
    let cut = Btf::parse(bytes);
    let same = cut.as_ref().map(|cut| (cut.has_function(name), cut.len() <= btf.len()));
    assert!(matches!(same, Ok((has, true)) if has == btf.has_function(name)), "{same:?}");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    vec![types(true), types(false), Blob::new().bytes()]
}

/// Types of most kinds, with nested or flat arrays.
fn types(nested: bool) -> Vec<u8> {
    let mut blob = Blob::new();
    blob.push("u64", KIND_INT, 0, 8, &[64]); // 1
    let names = ["a", "b", "inner", "total", "enabled", "state", "PSI_AVGS", "PSI_IO_SOME"];
    let [a, b, inner, total, enabled, state, avgs, io] = names.map(|name| blob.name(name));
    blob.push("", KIND_STRUCT, 1, 16, &[b, 1, 64]); // 2
    blob.push("", KIND_CONST, 0, 2, &[]); // 3
    blob.push("outer", KIND_STRUCT, 3, 48, &[a, 1, 0, 0, 3, 64, inner, 2, 192]); // 4
    blob.push("", KIND_ARRAY, 0, 0, &[1, 1, if nested { 6 } else { 12 }]); // 5
    blob.push("", KIND_ARRAY, 0, 0, &[if nested { 5 } else { 1 }, 1, if nested { 2 } else { 12 }]); // 6
    blob.push("totals", KIND_TYPEDEF, 0, 6, &[]); // 7
    blob.push("psi_group", KIND_STRUCT, 2, 112, &[enabled, 1, 0, total, 7, 64]); // 8
    blob.push("psi_aggregators", KIND_ENUM, 1, 4, &[avgs, 0]); // 9
    blob.push("psi_states", KIND_ENUM, 1, 4, &[io, 2]); // 10
    blob.push("memcg_vmstats", KIND_STRUCT, 1, 48, &[state, 5, 0]); // 11
    blob.push("", KIND_PTR, 0, 8, &[]); // 12
    blob.push("", KIND_FUNC_PROTO, 4, 0, &[0, 12, 0, 1, 0, 1, 0, 12]); // 13
    blob.push("", KIND_PTR, 0, 13, &[]); // 14
    blob.push("btf_trace_signal_generate", KIND_TYPEDEF, 0, 14, &[]); // 15
    blob.push("bpf_iter_cgroup", KIND_FUNC, 1, 13, &[]); // 16
    blob.bytes()
}
