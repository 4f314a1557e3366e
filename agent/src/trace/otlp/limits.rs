//! Limits of what a receiver may say, and what the agent calls itself.

/// Longest answer, its trailers included, in bytes.
pub(super) const ANSWER_MAX: usize = 64 << 10;
/// Longest text of a receiver in the log, in characters.
pub(super) const TEXT_MAX: usize = 240;
/// Value of the header `user-agent`, unless another is set.
pub(super) const USER_AGENT: &str = concat!("podvitals/", env!("CARGO_PKG_VERSION"));
