//! What this kernel's release promises, and what it gives.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use testbed::agent::scrape;
use testbed::cgroup::Cgroup;
use testbed::child;

use super::common::Case;
use crate::agent::{Plan, Watch};
use crate::context::Context;
use crate::host::PROGRAMS;
use crate::process::SELF_EXE;

/// A user of whom no other agent runs: what is charged to a user is charged to all of them.
const SOMEBODY: u32 = 65533;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("agent-attaches-all", attaches_all),
    || Case::new("agent-with-little-locked-memory", little_locked_memory).alone(),
];

/// A line for the table of docs/KERNELS.md: `cargo xtask vm` collects them.
pub(super) fn tabulate(row: &str, cell: &str) {
    println!("TABLE {row} | {cell}");
}

/// Every program is attached from the release on that it is promised for, and `podvitals check`
/// says the same as the agent.
fn attaches_all(context: &Context) -> Result<String> {
    let checked = child::command(SELF_EXE)
        .args(["launch", "--user", &context.plan.user.to_string(), "--"])
        .arg(&context.plan.path)
        .arg("check")
        .arg("--cgroup.root")
        .arg(context.node.root())
        .output()
        .context("running podvitals check")?;
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    // Those for the kubelet's connections are attached to its cgroup.
    let name = "kubelet-of-all";
    let _kubelet = Cgroup::make(context.node.root().join(name))?;
    let watch = Watch { kubelet: Some(Path::new(name)), ..Watch::from(&context.node) };
    let mut agent = context.plan.start(watch, context.timeout() * 2)?;
    let scrape = scrape(agent.address(), context.timeout())?;
    let status = agent.stop(context.timeout())?;
    ensure!(status.success(), "SIGTERM ended the agent with {status}");
    for sample in scrape.all("program_attached", &[]) {
        let name = sample.labels.get("program").context("no label program")?;
        let known = PROGRAMS.iter().any(|(program, _)| program == name);
        ensure!(known, "no release is promised for the program {name}: enter it in host::PROGRAMS");
    }
    let mut attached = 0;
    for (program, since) in PROGRAMS {
        let finding = checked
            .lines()
            .find_map(|line| {
                line.strip_prefix("program ")?.strip_prefix(program)?.strip_prefix(' ')
            })
            .with_context(|| format!("check does not name the program {program}:\n{checked}"))?
            .trim();
        let is_attached = scrape.sum("program_attached", &[("program", program)]) == Some(1.0);
        let excused = !context.host.is_since(since);
        ensure!(is_attached || excused, "{program} is not attached: {finding}");
        let whole = finding.strip_prefix("ok").map(str::trim);
        ensure!(whole.is_some() || excused, "{program} is attached in part only: {finding}");
        attached += u32::from(is_attached);
        let cell = match whole {
            Some("loads") => "yes",
            Some(loads) => loads.strip_prefix("loads, as ").unwrap_or(loads),
            None => "no",
        };
        tabulate(&format!("program `{program}`"), cell);
    }
    ensure!(checked.contains("self-check  "), "check does not check itself:\n{checked}");
    Ok(format!("{attached} of {} programs", PROGRAMS.len()))
}

/// Before Linux 5.11 maps and programs are charged to the locked memory of the agent's user: with
/// little of it they are smaller, with too little there are none, and the log says so.
fn little_locked_memory(context: &Context) -> Result<String> {
    let charged = !context.host.is_since((5, 11));
    let name = "kubelet-of-little";
    let _kubelet = Cgroup::make(context.node.root().join(name))?;
    for (kib, enough) in [(8192, true), (512, true), (64, !charged)] {
        let plan = Plan { user: SOMEBODY, memlock_kib: Some(kib), ..context.plan.clone() };
        let watch = Watch { kubelet: Some(Path::new(name)), ..Watch::from(&context.node) };
        let mut agent = plan.start(watch, context.timeout() * 2)?;
        let scrape = scrape(agent.address(), context.timeout())?;
        let attached = scrape.sum("program_attached", &[]).context("no program_attached")?;
        let promised = PROGRAMS.iter().filter(|(_, since)| context.host.is_since(*since));
        let whole = promised
            .map(|(name, _)| *name)
            .all(|program| scrape.sum("program_attached", &[("program", program)]) == Some(1.0));
        let log = agent.log()?;
        if enough {
            ensure!(whole, "{kib} KiB: {attached} programs\n{log}");
        } else {
            ensure!(attached == 0.0, "{kib} KiB: {attached} programs");
            ensure!(log.contains("RLIMIT_MEMLOCK"), "the log does not name the limit:\n{log}");
        }
        let status = agent.stop(context.timeout())?;
        ensure!(status.success(), "SIGTERM ended the agent with {status}");
    }
    let where_ = if charged { "to the user" } else { "to the memory cgroup" };
    Ok(format!("maps are charged {where_}"))
}
