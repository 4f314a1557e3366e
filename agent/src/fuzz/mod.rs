//! Fuzz targets: inputs that others write, and what must hold of every answer to them.
//!
//! A target takes any bytes and panics where a property does not hold. Two things call it: the crate
//! `fuzz/` (cargo-fuzz), whose inputs are led by coverage, for as long as one likes; and the tests
//! here, with the seeds and a bounded number of mutations of them, the same at each run.
//!
//! Only in tests, and with the feature `fuzz`.

mod btf;
mod cgroup_files;
mod cgroup_paths;
mod connections;
mod labels;
#[cfg(test)]
mod mutate;
mod negotiation;
mod pods;
mod records;
mod seeds;
#[cfg(test)]
mod tests;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target, and of its file in `fuzz/fuzz_targets`.
    pub name: &'static str,
    /// The body: whether the input was understood, which it need not be.
    ///
    /// # Panics
    /// A property does not hold.
    pub run: fn(&[u8]) -> bool,
    /// Inputs to start from, all of which are understood.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "btf", run: btf::run, seeds: btf::seeds },
    Target { name: "cgroup_files", run: cgroup_files::run, seeds: cgroup_files::seeds },
    Target { name: "cgroup_paths", run: cgroup_paths::run, seeds: cgroup_paths::seeds },
    Target { name: "connections", run: connections::run, seeds: connections::seeds },
    Target { name: "labels", run: labels::run, seeds: labels::seeds },
    Target { name: "negotiation", run: negotiation::run, seeds: negotiation::seeds },
    Target { name: "pods", run: pods::run, seeds: pods::seeds },
    Target { name: "records", run: records::run, seeds: records::seeds },
];

/// Runs the target of this name on an input.
///
/// # Panics
/// There is no such target, or a property does not hold.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let understood = target.map(|target| (target.run)(input));
    assert!(understood.is_some(), "no fuzz target is called {name}");
}
