//! The boundary between the kernel side and the user side of Podvitals.
//!
//! Everything here is plain data with a fixed layout: records that programs write and the agent
//! reads ([`event`]), offsets that the agent resolves and programs read with ([`layout`]), and the
//! names, keys and values of maps ([`map`]). There is no logic in this crate, and integers cross
//! the boundary, never enums: what the other side sent is data until it was checked.

#![no_std]

pub mod event;
pub mod layout;
pub mod map;
pub mod snapshot;
