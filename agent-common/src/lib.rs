//! Boundary between the kernel side and the user side of Podvitals.
//!
//! Everything here is plain data with a fixed layout: records that programs write and the agent
//! reads ([`event`]), offsets that the agent resolves and programs read with ([`layout`]), and the
//! names, keys and values of maps ([`map`]). This crate has no logic but for where a short name ends, and
//! integers cross the boundary, never enums: what the other side sent is mere data until it is validated.

#![no_std]

pub mod event;
pub mod layout;
pub mod map;
pub mod probes;
pub mod snapshot;
