//! Seeds of targets whose inputs are texts.

/// Inputs of these texts.
pub(super) fn texts(all: &[&str]) -> Vec<Vec<u8>> {
    all.iter().map(|text| text.as_bytes().to_vec()).collect()
}
