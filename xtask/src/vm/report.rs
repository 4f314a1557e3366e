//! How it went, kernel by kernel.

use std::time::Duration;

/// How it went on one kernel.
pub(super) struct Report {
    pub(super) kernel: String,
    pub(super) package: String,
    /// Boots that never said hello, and were repeated.
    pub(super) repeated: u32,
    pub(super) boot: Option<Duration>,
    pub(super) whole: Duration,
    /// The scenarios' own line of counts, or why there is none.
    pub(super) result: Result<String, String>,
    /// What they found, for docs/KERNELS.md.
    pub(super) table: Vec<(String, String)>,
}

/// Prints a table.
pub(super) fn summary(reports: &[Report]) {
    println!("\n{:<7} {:>7} {:>8} {:>9}  result", "kernel", "boot s", "whole s", "repeated");
    for Report { kernel, package, repeated, boot, whole, result, .. } in reports {
        let boot = boot.map_or("-".to_owned(), |boot| format!("{:.1}", boot.as_secs_f64()));
        let whole = whole.as_secs_f64();
        let (word, detail) = match result {
            Ok(counts) => ("ok", counts),
            Err(why) => ("FAILED", why),
        };
        println!("{kernel:<7} {boot:>7} {whole:>8.1} {repeated:>9}  {word}: {detail} ({package})");
    }
}
