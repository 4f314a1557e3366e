//! Tests of the whole room: an exposition is written, parsed strictly, and looked at.

mod budget;
mod exemplars;
mod fixture;
mod format;
mod golden;
mod readers;
mod renamed;
mod room;
mod store;
