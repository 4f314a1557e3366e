//! The size of the binary.

use std::fs;

use anyhow::{Context as _, Result};

use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::mib;

pub(super) const HOW: &str =
    "The static release binary with its BPF objects; its symbols are in a file beside it.";

const MAX_BYTES: u64 = 12 << 20;

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let bytes = fs::metadata(&args.agent).context("stat the agent")?.len();
    let met = Verdict::count(bytes <= MAX_BYTES);
    Ok(vec![Line::new("size", mib(bytes)).goal("≤ 12 MiB", met)])
}
