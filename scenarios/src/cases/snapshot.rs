//! The one pass over all cgroups against the files of each: two agents look at the same containers,
//! one with each source.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::Pid;
use testbed::agent::scrape;
use testbed::scrape::{Scrape, View};

use super::common::Case;
use crate::agent::Watch;
use crate::container::Container;
use crate::context::Context;

pub(super) const CASES: &[fn() -> Case] =
    &[|| Case::new("snapshot-equals-files", equals_files).alone()];

/// The kernel adds up CPU time every 2 s at the latest, or when somebody asks: a lag would be seen
/// only in what nobody has asked for longer.
const UNREAD: Duration = Duration::from_secs(3);

/// Looks after which no file shall be read any more. What differs between the pass and a file has to
/// differ twice, and these containers may be the first to show that.
const ATTEMPTS: u32 = 6;

/// Both times of a process are rounded to hundredths of a second.
const TICKS: f64 = 0.02;

/// A family, the labels beside the container's, and by how much the two sources may differ: the
/// containers sleep, but for a moment when their runner looks after them.
type Compared = (&'static str, &'static [(&'static str, &'static str)], f64);

/// What the pass tells.
const FAMILIES: [Compared; 28] = [
    ("container_cpu_usage_seconds_total", &[], 0.02),
    ("container_cpu_throttled_seconds_total", &[], 0.0),
    ("container_cpu_periods_total", &[], 1.0),
    ("container_cpu_throttled_periods_total", &[], 0.0),
    ("container_cpu_limit_cores", &[], 0.0),
    ("container_memory_usage_bytes", &[], 65_536.0),
    ("container_memory_working_set_bytes", &[], 65_536.0),
    ("container_memory_anon_bytes", &[], 65_536.0),
    ("container_memory_file_bytes", &[], 65_536.0),
    ("container_memory_shmem_bytes", &[], 0.0),
    ("container_memory_kernel_bytes", &[], 65_536.0),
    ("container_memory_page_faults_total", &[("kind", "minor")], 16.0),
    ("container_memory_page_faults_total", &[("kind", "major")], 0.0),
    ("container_memory_limit_bytes", &[], 0.0),
    ("container_memory_peak_bytes", &[], 65_536.0),
    ("container_memory_swap_bytes", &[], 0.0),
    ("container_memory_swap_limit_bytes", &[], 0.0),
    ("container_memory_events_total", &[("event", "max")], 0.0),
    ("container_memory_events_total", &[("event", "oom_kill")], 0.0),
    ("container_pressure_seconds_total", &[("resource", "cpu"), ("kind", "some")], 0.02),
    ("container_pressure_seconds_total", &[("resource", "memory"), ("kind", "some")], 0.0),
    ("container_pressure_seconds_total", &[("resource", "memory"), ("kind", "full")], 0.0),
    ("container_pressure_seconds_total", &[("resource", "io"), ("kind", "some")], 0.02),
    ("container_pressure_seconds_total", &[("resource", "io"), ("kind", "full")], 0.02),
    ("container_tasks", &[], 0.0),
    ("container_tasks_limit", &[], 0.0),
    ("pod_memory_limit_bytes", &[], 0.0),
    ("pod_memory_working_set_bytes", &[], 65_536.0),
];

/// The pass is asked first. Where there is none the files serve both, and that is said.
fn equals_files(context: &Context) -> Result<String> {
    let pod = context.node.pod("snapshot-equals-files")?;
    let mut limited = pod.container("limited")?;
    for (file, value) in [
        ("cpu.max", "20000 100000"),
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("pids.max", "64"),
    ] {
        if limited.dir.join(file).exists() {
            limited.set(file, value)?;
        }
    }
    let mut plain = pod.container("plain")?;
    for (container, memory, file) in [(&mut limited, "16", "5"), (&mut plain, "11", "0")] {
        let work = ["--burn-ms", "200", "--on-term", "handle"];
        let size = ["--touch-mib", memory, "--file-mib", file];
        container.start(&[&work[..], &size[..]].concat(), context.timeout() * 2)?;
    }
    let files = Watch { source: "files", ..Watch::from(&context.node) };
    let mut files = context.plan.start(files, context.timeout() * 2)?;
    // The cgroup iterator is as old as Linux 6.1.
    let has_pass = context.host.is_since((6, 1));
    let reads = |scrape: &Scrape| {
        scrape.sum("cgroup_files_read_total", &[]).context("no cgroup_files_read_total")
    };
    let mut result = None;
    for attempt in 1..=ATTEMPTS {
        let before = reads(&context.scrape()?)?;
        context.pause(UNREAD);
        let by_pass = context.scrape()?;
        let by_files = scrape(files.address(), context.timeout())?;
        let mut compared = 0;
        for container in [&limited, &plain] {
            compared += compare(&by_pass, &by_files, container)?;
            let used =
                by_pass.of(&container.key).value("container_cpu_usage_seconds_total", &[])?;
            let witness = cpu_seconds(container.pid()?)?;
            ensure!(
                used + TICKS >= witness,
                "{used} s of CPU time, but init alone used {witness} s"
            );
        }
        let passes = [("collector", "cgroup_iterator")];
        let passes = by_pass.sum("collector_success", &passes).context("no collector_success")?;
        let wanted = if has_pass { 1.0 } else { 0.0 };
        let release = &context.host.release;
        ensure!(passes == wanted, "snapshots: {passes}, wanted {wanted} on {release}");
        let read = reads(&by_pass)? - before;
        if read == 0.0 || !has_pass {
            let source = if has_pass { "the pass" } else { "files" };
            result = Some(format!("{compared} series equal, all by {source}, look {attempt}"));
            break;
        }
    }
    let status = files.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    result.with_context(|| format!("files were read in spite of the pass, {ATTEMPTS} times"))
}

/// What a process has used so far, by `/proc/<pid>/stat`: user and system time.
fn cpu_seconds(pid: Pid) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    // The name in brackets may hold anything; behind it the state is field 3.
    let (_, fields) = stat.rsplit_once(") ").with_context(|| format!("{path}: {stat:?}"))?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>);
    let ticks = ticks.sum::<Result<u32, _>>().with_context(|| format!("{path}: {stat:?}"))?;
    Ok(f64::from(ticks) / 100.0)
}

/// How many series of a container are the same in both.
fn compare(by_pass: &Scrape, by_files: &Scrape, container: &Container) -> Result<usize> {
    let mut compared = 0;
    for (family, labels, slack) in FAMILIES {
        let value = |view: View<'_>| view.get(family, labels);
        match (value(by_pass.of(&container.key)), value(by_files.of(&container.key))) {
            (Some(one), Some(other)) => {
                ensure!(
                    (one - other).abs() <= slack,
                    "{family}{labels:?}: {one} by pass, {other} by files"
                );
                compared += 1;
            }
            (None, None) => {}
            (one, other) => {
                anyhow::bail!("{family}{labels:?}: {one:?} by the pass, {other:?} by the files");
            }
        }
    }
    Ok(compared)
}
