//! Names: who a container is to the people who run it.

pub mod identity;
pub mod log_names;
pub mod naming;
