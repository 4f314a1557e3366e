//! Reading the stats of all cgroups: our kept descriptors against open, read, close.

use std::fs;
use std::hint::black_box;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use agent::bpf::{load, survey::Survey};
use agent::cgroup::CgroupId;
use agent::cgroup::reader::{Detail, Reader};
use anyhow::{Context as _, Result, ensure};

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::{Series, cpu_seconds};

pub(super) const HOW: &str = "CPU time to read all stats of 500 cgroups once: cpu.stat, the \
    pressure files, and whatever else the cgroup has of cpu.max, memory.* and pids.*. The peer \
    reads the same files with std::fs::read_to_string and picks the same fields; the floor is a \
    pread of each file kept open with nothing done about what it says.";

const CGROUPS: usize = 500;
/// All that a sample of ours may come from.
const FILES: [&str; 14] = [
    "cpu.stat",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
    "cpu.max",
    "memory.current",
    "memory.events",
    "memory.max",
    "memory.peak",
    "memory.stat",
    "memory.swap.current",
    "memory.swap.max",
    "pids.current",
    "pids.max",
];

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    node.grow(CGROUPS)?;
    let cgroups: Vec<(CgroupId, PathBuf)> = node
        .containers
        .iter()
        .map(|it| Ok((it.id()?, it.dir().to_owned())))
        .collect::<Result<_>>()?;
    let (_, first) = cgroups.first().context("no cgroup")?;
    let files: Vec<&str> = FILES.into_iter().filter(|file| first.join(file).exists()).collect();
    let pressure: Vec<&str> =
        files.iter().copied().filter(|file| file.ends_with(".pressure")).collect();

    let mut reader = Reader::new(CGROUPS * Detail::Container.files());
    let kept = keep_open(&cgroups, &files)?;
    let kept_pressure = keep_open(&cgroups, &pressure)?;
    ensure!(ours(&mut reader, &cgroups) == theirs(&cgroups, &files), "the two readers differ");

    let (mut a, mut b) = (Series::default(), Series::default());
    let (mut floor, mut floor_pressure) = (Series::default(), Series::default());
    for _ in 0..args.pick(40, 5) {
        a.push(cpu_seconds(|| ours(&mut reader, &cgroups)));
        b.push(cpu_seconds(|| theirs(&cgroups, &files)));
        floor.push(cpu_seconds(|| touch(&kept)));
        floor_pressure.push(cpu_seconds(|| touch(&kept_pressure)));
    }
    ensure!(reader.stats().evictions == 0, "not all files were kept open");
    let ratio = |a: &Series, b: &Series| a.median() / b.median();
    let what = format!("{} files of {CGROUPS} cgroups", files.len());
    Ok(vec![
        Line::new(what, a.ms())
            .peer(b.ms())
            .ratio(ratio(&a, &b))
            .goal("≤ 1/3 of open/read/close", Verdict::goal(ratio(&a, &b) <= 1.0 / 3.0))
            .because(format!(
                "the kernel's own share of the reads is {:.2} of the peer's time, and no reader of \
                 these files can be below it",
                ratio(&floor, &b)
            )),
        Line::new("the same, against the floor", a.ms()).peer(floor.ms()).ratio(ratio(&a, &floor)),
        Line::new("floor of the pressure files alone", floor_pressure.ms()),
        pass(args, &node, &cgroups)?,
    ])
}

/// What three files a cgroup are here; the usual three, of CPU and memory, need controllers.
const THREE: [&str; 3] = ["cpu.stat", "cpu.pressure", "memory.pressure"];

/// One pass of the cgroup iterator, the flush before it and finding each cgroup's stats included,
/// against open/read/close of files whose stats it has.
fn pass(args: &Args, node: &Node, cgroups: &[(CgroupId, PathBuf)]) -> Result<Line> {
    const WHAT: &str = "cgroup iterator, against three files";
    let mut programs = match load::load(&Survey::of_this_process()?, 0) {
        Ok((programs, _)) => programs,
        Err(error) => return Ok(Line::skipped(WHAT, format!("{error:#}"))),
    };
    let mut snapshot = match programs.snapshot(node.root()) {
        Ok(snapshot) => snapshot,
        Err(error) => return Ok(Line::skipped(WHAT, format!("{error:#}"))),
    };
    let flushed = node.root().join("cpu.stat");
    let mut take = || -> Result<u64> {
        black_box(fs::read(&flushed).ok());
        let stats = snapshot.pass()?;
        let found = cgroups.iter().filter_map(|(id, _)| stats.of(*id));
        Ok(found.map(|stats| stats.cpu_usage_ns / 1000).sum())
    };
    ensure!(take()? == theirs(cgroups, &["cpu.stat"]).0, "the pass and the files differ");
    let (mut a, mut b) = (Series::default(), Series::default());
    for _ in 0..args.pick(40, 5) {
        a.push(cpu_seconds(|| black_box(take().ok())));
        b.push(cpu_seconds(|| theirs(cgroups, &THREE)));
    }
    let ratio = a.median() / b.median();
    let goal = Verdict::goal(ratio <= 1.0 / 40.0);
    Ok(Line::new(WHAT, a.ms()).peer(b.ms()).ratio(ratio).goal("≤ 1/40", goal))
}

/// Sums, so that the readers can be compared: CPU time and stalls.
type Sums = (u64, u64);

fn ours(reader: &mut Reader, cgroups: &[(CgroupId, PathBuf)]) -> Sums {
    let mut sums = (0, 0);
    for (id, dir) in cgroups {
        if let Ok(sample) = black_box(reader.sample(*id, dir, Detail::Container)) {
            sums.0 += sample.cpu.usage_us.unwrap_or_default();
            for pressure in [sample.cpu_pressure, sample.memory_pressure, sample.io_pressure] {
                sums.1 += pressure.some_us.unwrap_or_default();
            }
        }
    }
    sums
}

/// What one writes at first: read, split, look for the key.
fn theirs(cgroups: &[(CgroupId, PathBuf)], files: &[&str]) -> Sums {
    let mut sums = (0, 0);
    for (_, dir) in cgroups {
        for file in files {
            let Ok(text) = fs::read_to_string(dir.join(file)) else { continue };
            match *file {
                "cpu.stat" => {
                    for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
                        let value: u64 = value.parse().unwrap_or_default();
                        match key {
                            "usage_usec" => sums.0 += value,
                            "nr_periods" | "nr_throttled" | "throttled_usec" => {
                                black_box(value);
                            }
                            _ => {}
                        }
                    }
                }
                "memory.stat" | "memory.events" => {
                    for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
                        black_box((key, value.parse::<u64>().unwrap_or_default()));
                    }
                }
                _ if file.ends_with(".pressure") => {
                    for line in text.lines() {
                        let total =
                            line.split_once("total=").map(|(_, total)| total.parse::<u64>());
                        if let (true, Some(Ok(total))) = (line.starts_with("some"), total) {
                            sums.1 += total;
                        }
                    }
                }
                _ => {
                    black_box(text.trim().parse::<u64>().ok());
                }
            }
        }
    }
    sums
}

fn keep_open(cgroups: &[(CgroupId, PathBuf)], files: &[&str]) -> Result<Vec<fs::File>> {
    let open = |path: &Path| fs::File::open(path).with_context(|| format!("open {path:?}"));
    cgroups.iter().flat_map(|(_, dir)| files.iter().map(|file| open(&dir.join(file)))).collect()
}

fn touch(files: &[fs::File]) {
    let mut buffer = [0; 8192];
    for file in files {
        let _ = black_box(file.read_at(&mut buffer, 0));
    }
}
