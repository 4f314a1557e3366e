//! Figures against the cgroup's own files.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::cgroup;
use testbed::scrape::View;

use super::common::{Case, lives};
use crate::container::Container;
use crate::context::Context;
use crate::host::Need;
use crate::witness::boot_ns;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("figures-cpu", cpu),
    || Case::new("figures-pressure", pressure),
    || Case::new("figures-identity", identity),
    || Case::new("figures-memory", memory).needs(&[Need::Memory]),
    || Case::new("figures-memory-pressure", memory_pressure).needs(&[Need::Memory]),
    || Case::new("figures-throttling", throttling).needs(&[Need::Cpu]),
    || Case::new("figures-tasks", tasks).needs(&[Need::Pids]),
];

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "figures of a test, far below 2^53")]
fn float(number: u64) -> f64 {
    number as f64
}

/// The agent's figure lies between the file's before and after the scrape, give or take `slack`.
fn between(what: &str, agent: f64, before: f64, after: f64, slack: f64) -> Result<()> {
    ensure!(
        agent >= before - slack && agent <= after + slack,
        "{what}: agent {agent}, file {before} before and {after} after, {slack} allowed"
    );
    Ok(())
}

/// Scrapes between two reads of a file.
fn bracketed(
    context: &Context,
    container: &Container,
    file: &dyn Fn() -> Result<f64>,
    what: &str,
    slack: f64,
    agent: &dyn Fn(&View<'_>) -> Result<f64>,
) -> Result<f64> {
    let before = file()?;
    let scrape = context.scrape()?;
    let after = file()?;
    let agent = agent(&scrape.of(&container.key))?;
    between(what, agent, before, after, slack)?;
    Ok(agent)
}

fn cpu(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-cpu")?;
    let mut container = pod.container("app")?;
    container.start(&["--burn-ms", "500", "--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    let agent = bracketed(
        context,
        &container,
        &|| Ok(seconds(container.read_field("cpu.stat", "usage_usec")?)),
        "cpu usage",
        0.02,
        &|view| view.value("container_cpu_usage_seconds_total", &[]),
    )?;
    Ok(format!("{agent:.4} s"))
}

/// `total` of a line of a pressure file, seconds.
fn stalled(container: &Container, file: &str, kind: &str) -> Result<f64> {
    let text = container.read(file)?;
    let total = text
        .lines()
        .find(|line| line.split_ascii_whitespace().next() == Some(kind))
        .and_then(|line| line.rsplit_once("total="))
        .and_then(|(_, total)| total.trim().parse().ok())
        .with_context(|| format!("{file}: {text:?}"))?;
    Ok(seconds(total))
}

/// Two spinning containers share the CPUs with everybody: some wait.
fn pressure(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-pressure")?;
    let mut container = pod.container("app")?;
    if !container.dir.join("cpu.pressure").exists() {
        return Ok("no cpu.pressure on this kernel: nothing compared".into());
    }
    container.start(&["--burn-ms", "300", "--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    // The kernel's averages settle every 2 s.
    let some = || stalled(&container, "cpu.pressure", "some");
    let labels = [("resource", "cpu"), ("kind", "some")];
    let agent = bracketed(context, &container, &some, "cpu pressure", 0.05, &|view| {
        view.value("container_pressure_seconds_total", &labels)
    })?;
    Ok(format!("{agent:.4} s"))
}

fn identity(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-identity")?;
    let mut container = pod.container("app")?;
    let started_ns = container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    let age = crate::witness::seconds_between(started_ns, boot_ns());
    let started = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .context("the clock is before 1970")?
        .as_secs_f64()
        - age;
    let agent = context.eventually(|s| {
        let view = s.of(&container.key);
        for (label, wanted) in [
            ("pod_uid", container.pod_uid.as_str()),
            ("container_id", container.id.as_str()),
            ("qos", "burstable"),
            ("runtime", "containerd"),
            ("workload_kind", "Pod"),
            ("workload", pod.name.as_str()),
        ] {
            view.want_label("container_info", label, wanted)?;
        }
        view.value("container_start_time_seconds", &[])
    })?;
    between("start time", agent, started, started, 2.0)?;
    Ok(String::new())
}

fn memory(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-memory")?;
    let mut container = pod.container("app")?;
    container.set("memory.max", "134217728")?;
    cgroup::write(&pod.dir.join("memory.max"), "268435456")?;
    container.start(&["--touch-mib", "48", "--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| lives(&s.of(&container.key)))?;
    let file = |name: &'static str| {
        let container = &container;
        move || Ok(float(container.read_number(name)?))
    };
    let mib = 1_048_576.0;
    let usage =
        bracketed(context, &container, &file("memory.current"), "memory usage", mib, &|view| {
            view.value("container_memory_usage_bytes", &[])
        })?;
    // The statistics may lag 2 s or 64 pages × CPUs, in the file as well as in the kernel.
    bracketed(
        context,
        &container,
        &|| Ok(float(container.read_field("memory.stat", "anon")?)),
        "anonymous memory",
        2.0 * mib,
        &|view| view.value("container_memory_anon_bytes", &[]),
    )?;
    if container.dir.join("memory.peak").exists() {
        let peak = |view: &View<'_>| view.value("container_memory_peak_bytes", &[]);
        bracketed(context, &container, &file("memory.peak"), "peak", mib, &peak)?;
    }
    context.eventually(|s| {
        let view = s.of(&container.key);
        view.want("container_memory_limit_bytes", &[], 134_217_728.0)?;
        view.want("pod_memory_limit_bytes", &[], 268_435_456.0)?;
        let working_set = view.value("container_memory_working_set_bytes", &[])?;
        ensure!(
            working_set >= 48.0 * mib && working_set <= usage + mib,
            "{working_set} working set"
        );
        view.want_none("container_cpu_limit_cores", &[])
    })?;
    Ok(format!("{:.1} MiB", usage / mib))
}

/// It wants more than `memory.high`: the kernel makes it wait.
fn memory_pressure(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-memory-pressure")?;
    let mut container = pod.container("app")?;
    container.set("memory.high", "8388608")?;
    // Should the waiting not be long enough, it ends here.
    container.set("memory.max", "67108864")?;
    if container.dir.join("memory.swap.max").exists() {
        container.set("memory.swap.max", "0")?;
    }
    let has_pressure = container.dir.join("memory.pressure").exists();
    container.start(&["--hog"], context.timeout())?;
    context.eventually(|s| {
        let high = [("event", "high")];
        let seen = s.of(&container.key).value("container_memory_events_total", &high)?;
        ensure!(seen >= 10.0, "{seen} times over memory.high");
        let waited =
            if has_pressure { stalled(&container, "memory.pressure", "some")? } else { 1.0 };
        ensure!(waited > 0.2, "{waited} s of pressure");
        Ok(())
    })?;
    let events = || Ok(float(container.read_field("memory.events", "high")?));
    let high = bracketed(context, &container, &events, "memory.events high", 0.0, &|view| {
        view.value("container_memory_events_total", &[("event", "high")])
    })?;
    let mut waited = Vec::new();
    if has_pressure {
        for kind in ["some", "full"] {
            // A microsecond, since the same one has two ways to become a float.
            let file = || stalled(&container, "memory.pressure", kind);
            waited.push(bracketed(context, &container, &file, "memory pressure", 1e-6, &|view| {
                let labels = [("resource", "memory"), ("kind", kind)];
                view.value("container_pressure_seconds_total", &labels)
            })?);
        }
    }
    ensure!(!container.init()?.has_ended(), "it has ended");
    Ok(format!("{high} times over memory.high, waited {waited:.3?} s"))
}

/// Half a CPU for one that wants a whole one.
fn throttling(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-throttling")?;
    let mut container = pod.container("app")?;
    container.set("cpu.max", "50000 100000")?;
    container.start(&["--spin", "--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        view.want("container_cpu_limit_cores", &[], 0.5)
    })?;
    std::thread::sleep(Duration::from_secs(2));
    let field = |name: &'static str| {
        let container = &container;
        move || container.read_field("cpu.stat", name)
    };
    for (family, name) in [
        ("container_cpu_periods_total", "nr_periods"),
        ("container_cpu_throttled_periods_total", "nr_throttled"),
    ] {
        let file = field(name);
        bracketed(context, &container, &|| Ok(float(file()?)), name, 1.0, &|view| {
            view.value(family, &[])
        })?;
    }
    let file = field("throttled_usec");
    let agent =
        bracketed(context, &container, &|| Ok(seconds(file()?)), "throttled time", 0.1, &|view| {
            view.value("container_cpu_throttled_seconds_total", &[])
        })?;
    ensure!(agent > 0.0, "not throttled at all");
    Ok(format!("throttled {agent:.3} s"))
}

fn tasks(context: &Context) -> Result<String> {
    let pod = context.node.pod("figures-tasks")?;
    let mut container = pod.container("app")?;
    container.set("pids.max", "64")?;
    container.start(&["--threads", "5", "--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        view.want("container_tasks", &[], float(container.read_number("pids.current")?))?;
        view.want("container_tasks_limit", &[], 64.0)
    })?;
    Ok(String::new())
}
