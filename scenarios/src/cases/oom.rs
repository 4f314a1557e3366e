//! Out of memory: whose limit, which victim, how often.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use testbed::cgroup;
use testbed::scrape::{Key, View};

use super::common::{Case, born_at_zero, ended_once, lives, shutdowns};
use crate::container::{Container, Pod};
use crate::context::Context;
use crate::host::{Host, Need};
use crate::oom_line::OomLine;

pub(super) const CASES: &[fn() -> Case] = &[
    || Case::new("oom-container-limit", container_limit).needs(&[Need::Memory]),
    || Case::new("oom-pod-limit", pod_limit).needs(&[Need::Memory]),
    || Case::new("oom-equal-limits", equal_limits).needs(&[Need::Memory]),
    || Case::new("oom-child", child).needs(&[Need::Memory]),
    || Case::new("oom-group", group).needs(&[Need::Memory]),
    || Case::new("oom-exec-session", exec_session).needs(&[Need::Memory]),
    || Case::new("oom-of-a-neighbour", neighbour).needs(&[Need::Memory]),
];

const LIMIT: &str = "33554432";
const LIMIT_BYTES: u64 = 33_554_432;

/// A memory limit on a cgroup, without swap to escape to.
fn limit(dir: &Path) -> Result<()> {
    cgroup::write(&dir.join("memory.max"), LIMIT)?;
    let swap = dir.join("memory.swap.max");
    if swap.exists() { cgroup::write(&swap, "0") } else { Ok(()) }
}

fn container_limit(context: &Context) -> Result<String> {
    init_dies(context, "oom-container-limit", Some("container"), |_, container| {
        limit(&container.dir)
    })
}

fn pod_limit(context: &Context) -> Result<String> {
    init_dies(context, "oom-pod-limit", Some("pod"), |pod, _| limit(&pod.dir))
}

/// A Pod of one container has its limit. Which of the two is met first depends on what else is
/// charged to the Pod (the container's own kernel structures are, since 5.9): the files tell.
fn equal_limits(context: &Context) -> Result<String> {
    init_dies(context, "oom-equal-limits", None, |pod, container| {
        limit(&pod.dir)?;
        limit(&container.dir)
    })
}

fn init_dies(
    context: &Context,
    name: &str,
    wanted_scope: Option<&str>,
    limits: fn(&Pod, &Container) -> Result<()>,
) -> Result<String> {
    let pod = context.node.pod(name)?;
    let mut container = pod.container("app")?;
    // As the kubelet sets it.
    container.set("memory.oom.group", "1")?;
    limits(&pod, &container)?;
    container.start(&["--hog"], context.timeout())?;
    oom_killed(&mut container, context)?;
    let scope = witnessed_scope(&pod, &container)?;
    ensure!(wanted_scope.is_none_or(|wanted| wanted == scope), "the kernel says {scope}");
    let (killed, filled_mib) = (Some(container.pid()?), filled(&mut container, context)?);
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "oom")?;
        one_oom(&view, scope, "init")?;
        for (label, value) in [("signal", "SIGKILL"), ("sender", "kernel"), ("scope", scope)] {
            view.want_label("container_last_termination_info", label, value)?;
        }
        shutdowns(&view, 0.0, 0.0)
    })?;
    let line = context.oom_line(&container.key)?;
    let anon = details(&line, &context.host, (scope, "init"), killed, filled_mib)?;
    line.want("triggered_by", "same_container")?;
    Ok(format!("scope {scope}, {anon}"))
}

/// MiB that the hog said it had filled when it was killed.
fn filled(container: &mut Container, context: &Context) -> Result<u64> {
    let mut mib = 0;
    while let Some(line) = container.init()?.line(context.timeout())? {
        let said =
            line.strip_prefix("filled ").with_context(|| format!("the hog said {line:?}"))?;
        mib = said.parse().with_context(|| format!("the hog said {line:?}"))?;
    }
    Ok(mib)
}

/// The details of an OOM kill at a limit of [`LIMIT`]: the victim had filled so many MiB at least,
/// and the limit had room for no more. Returns its anonymous memory, for people.
fn details(
    line: &OomLine,
    host: &Host,
    (scope, victim): (&str, &str),
    killed: Option<Pid>,
    filled_mib: u64,
) -> Result<String> {
    /// What the kernel counts by CPU, up to 64 pages on each of a few (`percpu_counter_batch`), and
    /// what the program has besides.
    const SLACK_BYTES: u64 = 2 << 20;
    line.want("scope", scope)?;
    line.want("victim", victim)?;
    // By its path, or by what a child of it executes.
    let own = std::env::current_exe().context("read /proc/self/exe")?;
    let comm = line.text("comm")?;
    let is_own = own.file_name().is_some_and(|name| name == comm);
    ensure!(is_own || comm == "exe", "the victim is called {comm:?}");
    let limit = line.number("limit_bytes")?;
    ensure!(limit == LIMIT_BYTES, "the limit is {LIMIT_BYTES} bytes, and {limit} in the log");
    let usage = line.number("usage_bytes")?;
    let full = LIMIT_BYTES - SLACK_BYTES..=LIMIT_BYTES;
    ensure!(full.contains(&usage), "{usage} bytes charged at a limit of {LIMIT_BYTES}");
    let (anon, filled) = (line.number("anon_bytes")?, filled_mib << 20);
    let possible = filled.saturating_sub(SLACK_BYTES)..=LIMIT_BYTES + SLACK_BYTES;
    ensure!(possible.contains(&anon), "{anon} anonymous bytes of {filled} that were filled");
    // The program itself: of a few MiB, and in memory alone where it is a VM's init.
    let (file, shmem) = (line.number("file_bytes")?, line.number("shmem_bytes")?);
    ensure!((1..32 << 20).contains(&(file + shmem)), "{file} file and {shmem} shared bytes");
    let found = [anon, file, shmem].map(|bytes| bytes >> 10);
    let said = match killed {
        Some(pid) => kernel_message(pid)?,
        None => None,
    };
    // Later kernels sum up for their message what their CPUs have not handed over.
    let off = if host.is_since((6, 19)) { 256 } else { 0 };
    let is_same = |said: [u64; 3]| said.iter().zip(found).all(|(it, our)| it.abs_diff(our) <= off);
    ensure!(said.is_none_or(is_same), "{found:?} KiB, and {said:?} in the kernel's log");
    let witness = if said.is_some() { ", as the kernel says" } else { "" };
    let [anon, file, shmem] = found;
    Ok(format!("{filled_mib} MiB filled, KiB: anon {anon}, file {file}, shmem {shmem}{witness}"))
}

/// KiB of anonymous, file and shared memory in the kernel's own message about a kill; `None` where
/// its log may not be read, or does not have it any more.
fn kernel_message(killed: Pid) -> Result<Option<[u64; 3]>> {
    let log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg");
    let Ok(mut log) = log else { return Ok(None) };
    let wanted = format!("Killed process {killed} (");
    let mut record = [0; 8192];
    // Each read gives one record; the last is followed by EAGAIN, an overwritten one by EPIPE.
    loop {
        let read = match log.read(&mut record) {
            Ok(read) => record.get(..read).unwrap_or_default(),
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(_) => return Ok(None),
        };
        let text = String::from_utf8_lossy(read);
        if !text.contains(&wanted) {
            continue;
        }
        let number = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_once("kB")?.0.parse::<u64>().ok()
        };
        let numbers = [number("anon-rss:"), number("file-rss:"), number("shmem-rss:")];
        let [Some(anon), Some(file), Some(shmem)] = numbers else {
            bail!("the kernel's message has no memory: {text}");
        };
        return Ok(Some([anon, file, shmem]));
    }
}

/// One container of a Pod allocates, and another one dies of it.
fn neighbour(context: &Context) -> Result<String> {
    const FILLED_MIB: u64 = 16;
    let pod = context.node.pod("oom-of-a-neighbour")?;
    limit(&pod.dir)?;
    let mut victim = pod.container("app")?;
    victim.start(&["--touch-mib", "16", "--exit-after-ms", "900000"], context.timeout())?;
    // The OOM killer takes it first, however little it has.
    let adjust = format!("/proc/{}/oom_score_adj", victim.pid()?);
    std::fs::write(&adjust, "1000").with_context(|| format!("write {adjust}"))?;
    let mut greedy = pod.container("greedy")?;
    greedy.start(&["--hog"], context.timeout())?;
    oom_killed(&mut victim, context)?;
    oom_killed(&mut greedy, context)?;
    context.eventually(|s| one_oom(&s.of(&victim.key), "pod", "init"))?;
    let line = context.oom_line(&victim.key)?;
    let anon = details(&line, &context.host, ("pod", "init"), Some(victim.pid()?), FILLED_MIB)?;
    let most = (FILLED_MIB + 4) << 20;
    ensure!(line.number("anon_bytes")? < most, "it had no more than it filled: {anon}");
    line.want("triggered_by", "same_pod")?;
    let Key { namespace, pod, container } = &greedy.key;
    line.want("triggered_by_container", &format!("{namespace}/{pod}/{container}"))?;
    let own = context.oom_line(&greedy.key)?;
    let killed = Some(greedy.pid()?);
    details(&own, &context.host, ("pod", "init"), killed, filled(&mut greedy, context)?)?;
    own.want("triggered_by", "same_container")?;
    Ok(anon)
}

/// Whose limit it was, by `memory.events.local`, which has no part in its children's.
fn witnessed_scope(pod: &Pod, container: &Container) -> Result<&'static str> {
    let ooms = |dir: &Path| cgroup::read_field(&dir.join("memory.events.local"), "oom");
    Ok(match (ooms(&container.dir)?, ooms(&pod.dir)?) {
        (1.., _) => "container",
        (0, 1..) => "pod",
        (0, 0) => "node",
    })
}

fn oom_killed(container: &mut Container, context: &Context) -> Result<()> {
    let end = container.wait(context.timeout() * 2)?;
    ensure!(
        matches!(end.status, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "the workload ended otherwise: {:?}",
        end.status
    );
    Ok(())
}

/// One event of this scope and victim, and no other.
fn one_oom(view: &View<'_>, scope: &str, victim: &str) -> Result<()> {
    view.want("oom_events_total", &[], 1.0)
        .with_context(|| format!("wanted scope {scope}, victim {victim}"))?;
    view.want("oom_events_total", &[("scope", scope), ("victim", victim)], 1.0)
}

/// One child dies, init lives: nobody but the kernel would know.
fn child(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-child")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "0")?;
    limit(&container.dir)?;
    container.start(&["--child-hog"], context.timeout())?;
    context.eventually(|s| born_or_dead(&s.of(&container.key)))?;
    container.init()?.expect_line("child-ended", context.timeout() * 2)?;
    let kills = container.read_field("memory.events", "oom_kill")?;
    ensure!(kills == 1, "memory.events says {kills} kills");
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        one_oom(&view, "container", "child")?;
        same_events(&view, &container)
    })?;
    ensure!(!container.init()?.has_ended(), "init has ended");
    // It leaves half of the limit at most to init.
    let anon = details(
        &context.oom_line(&container.key)?,
        &context.host,
        ("container", "child"),
        None,
        16,
    )?;
    Ok(format!("{kills} kill, {anon}"))
}

/// The container is known, whatever has happened in it by now.
fn born_or_dead(view: &View<'_>) -> Result<()> {
    view.value("container_info", &[]).map(drop)
}

/// `container_memory_events_total` says what the file says.
fn same_events(view: &View<'_>, container: &Container) -> Result<()> {
    for event in ["high", "max", "oom", "oom_kill"] {
        let file = container.read_field("memory.events", event)?;
        let agent = view.value("container_memory_events_total", &[("event", event)])?;
        ensure!(
            (agent - f64::from(u32::try_from(file)?)).abs() < 0.5,
            "memory event {event}: agent {agent}, file {file}"
        );
    }
    Ok(())
}

/// The kubelet's default: one OOM kills all. One event, however many die.
fn group(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-group")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "1")?;
    limit(&container.dir)?;
    container.start(&["--child-hog"], context.timeout())?;
    oom_killed(&mut container, context)?;
    let kills = container.read_field("memory.events", "oom_kill")?;
    // Two processes; the first victim is taken a second time (mm/oom_kill.c, oom_kill_process).
    ensure!((2..=3).contains(&kills), "memory.events says {kills} kills");
    container.remove_cgroup()?;
    context.eventually(|s| {
        let view = s.of(&container.key);
        ended_once(&view, "oom")?;
        one_oom(&view, "container", "init")
    })?;
    Ok(format!("oom_kill {kills}, one event"))
}

/// An exec session takes too much; with the group killed separately, only it dies.
fn exec_session(context: &Context) -> Result<String> {
    let pod = context.node.pod("oom-exec-session")?;
    let mut container = pod.container("app")?;
    container.set("memory.oom.group", "0")?;
    limit(&container.dir)?;
    container.start(&["--exit-after-ms", "900000"], context.timeout())?;
    context.eventually(|s| born_at_zero(s, &container.key))?;
    let mut session = container.exec(&["work", "--hog"])?;
    session.end_ns(context.timeout() * 2)?;
    let status = session.reap()?;
    ensure!(matches!(status, WaitStatus::Signaled(..)), "the session ended by {status:?}");
    std::thread::sleep(Duration::from_millis(50));
    context.eventually(|s| {
        let view = s.of(&container.key);
        lives(&view)?;
        one_oom(&view, "container", "exec")?;
        same_events(&view, &container)
    })?;
    let killed = Some(session.pid());
    details(&context.oom_line(&container.key)?, &context.host, ("container", "exec"), killed, 16)
}
