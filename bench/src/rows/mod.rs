//! The rows of the result, a file each.

mod binary;
mod cadvisor;
mod encode;
mod events;
mod files;
mod growth;
mod memory;
mod parts;
mod probes;
mod scrape;
mod shutdown;
mod start;
mod storm;
mod traces;
mod urgent;

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::context::{Args, Name};
use crate::report::{Line, Report, Row};

/// What measures a row.
type Measure = fn(&Args) -> Result<Vec<Line>>;

/// How a row is measured.
fn measure(name: Name) -> (Measure, &'static str) {
    match name {
        Name::Files => (files::measure, files::HOW),
        Name::Encode => (encode::measure, encode::HOW),
        Name::Scrape => (scrape::measure, scrape::HOW),
        Name::Parts => (parts::measure, parts::HOW),
        Name::Start => (start::measure, start::HOW),
        Name::Events => (events::measure, events::HOW),
        Name::Urgent => (urgent::measure, urgent::HOW),
        Name::Probes => (probes::measure, probes::HOW),
        Name::Storm => (storm::measure, storm::HOW),
        Name::Shutdown => (shutdown::measure, shutdown::HOW),
        Name::Growth => (growth::measure, growth::HOW),
        Name::Memory => (memory::measure, memory::HOW),
        Name::Traces => (traces::measure, traces::HOW),
        Name::Cadvisor => (cadvisor::measure, cadvisor::HOW),
        Name::Binary => (binary::measure, binary::HOW),
    }
}

/// Measures, prints, and writes if asked: true if no count is wrong.
pub(crate) fn run(args: &Args) -> Result<bool> {
    // 500 containers have some thousand files.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit")?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("setrlimit")?;
    let names = if args.rows.is_empty() { Name::ALL.to_vec() } else { args.rows.clone() };
    let mut report = Report { machine: machine(args)?, rows: Vec::new() };
    for name in names {
        let label = format!("{name:?}").to_lowercase();
        let start = Instant::now();
        let (measure, how) = measure(name);
        let lines = measure(args).with_context(|| format!("row {label}"))?;
        println!("{label}: {:.1} s", start.elapsed().as_secs_f64());
        report.rows.push(Row { name: label, how, lines });
    }
    println!("\n{}", report.text());
    if let Some(file) = &args.write {
        fs::write(file, report.markdown()).with_context(|| format!("write {}", file.display()))?;
        println!("written to {}", file.display());
    }
    Ok(report.good())
}

fn machine(args: &Args) -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("read /proc/cpuinfo")?;
    let models = || cpuinfo.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models().next().and_then(|line| line.split_once(": "));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read osrelease")?;
    let load = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    let date = Command::new("date").args(["-u", "+%F"]).output().context("date")?.stdout;
    Ok(format!(
        "{}, Linux {}, {} × {}{}; load average before the run {}.",
        String::from_utf8_lossy(&date).trim(),
        release.trim(),
        models().count(),
        model.map_or("unknown CPU", |(_, model)| model.trim()),
        if args.quick { ", short rounds" } else { "" },
        load.split(' ').next().unwrap_or_default(),
    ))
}
