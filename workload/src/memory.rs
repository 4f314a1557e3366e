//! Memory that is allocated, used and never returned.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{cli::Allocate, log::log};

const MIB: usize = 1024 * 1024;

/// Allocates memory and keeps it for good.
pub(crate) fn allocate(how: Allocate) {
    thread::sleep(how.after);
    log("allocate", &json!({ "mib": how.mib }));
    let start = Instant::now();
    let mut kept: Vec<Vec<u8>> = Vec::new();
    for done in 0..how.mib {
        if let Some(due_ms) = done.saturating_mul(1000).checked_div(how.mib_per_second) {
            let due = start + Duration::from_millis(due_ms);
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let mut piece = Vec::new();
        if piece.try_reserve_exact(MIB).is_err() {
            log("allocate_refused", &json!({ "mib": done }));
            break;
        }
        // Zeros might stay one shared page.
        piece.resize(MIB, 1);
        kept.push(std::hint::black_box(piece));
    }
    log("allocated", &json!({ "mib": kept.len() }));
    std::mem::forget(kept);
}
