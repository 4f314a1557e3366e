//! What runs inside the containers: one program with the behaviours that containers have.

use std::io::Write as _;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::sys::wait::waitpid;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{Pid, alarm, pause, pipe2};

use crate::guise::Guise;
use crate::process::SELF_EXE;

/// Arguments of `scenarios work`. It says `ready` on stdout when all is set up.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct WorkArgs {
    /// What SIGTERM does.
    #[arg(long, value_enum, default_value_t)]
    on_term: OnTerm,
    /// With `--on-term handle`: time from the signal to the exit.
    #[arg(long, default_value_t = 300)]
    term_ms: u64,
    /// Exit by itself after this time; without it, run until a signal ends it.
    #[arg(long)]
    exit_after_ms: Option<u64>,
    /// Exit code.
    #[arg(long, default_value_t = 0)]
    code: u8,
    /// Threads, the first included.
    #[arg(long, default_value_t = 1)]
    threads: u16,
    /// The first thread leaves before the others.
    #[arg(long, value_enum)]
    leader_leaves: Option<LeaderLeaves>,
    /// Memory to fill before `ready`.
    #[arg(long, default_value_t = 0)]
    touch_mib: usize,
    /// Size of a file to write before `ready`, and to keep.
    #[arg(long, default_value_t = 0)]
    file_mib: usize,
    /// CPU time to use before `ready`.
    #[arg(long, default_value_t = 0)]
    burn_ms: u64,
    /// CPU time that a child uses before `ready`, which is waited for.
    #[arg(long, default_value_t = 0)]
    child_burn_ms: u64,
    /// Children to leave behind: each sleeps for a second.
    #[arg(long, default_value_t = 0)]
    leave: u32,
    /// After `ready`, use CPU without end.
    #[arg(long)]
    spin: bool,
    /// After `ready`, fill memory without end (1 GiB at most), and say so after each few MiB.
    #[arg(long)]
    hog: bool,
    /// After `ready`, start a child that fills memory without end; say `child-ended` when it has.
    #[arg(long)]
    child_hog: bool,
    /// After `ready` and `exit_after_ms`, end by this instead.
    #[arg(long, value_enum)]
    crash: Option<Crash>,
    /// Do not write `ready`.
    #[arg(long)]
    quiet: bool,
    /// Do nothing on SIGHUP and SIGUSR1, as a program that reads its configuration again.
    #[arg(long)]
    reloads: bool,
    /// First, say the process id of a sibling that enters this cgroup without an exec, as a restored
    /// process does, and leave the rest to it.
    #[arg(long)]
    restored_in: Option<PathBuf>,
    /// Before `ready`, say the process id of a child and leave the rest to it, as a daemon does.
    #[arg(long)]
    daemonize: bool,
    /// After `ready`, send SIGTERM to this process.
    #[arg(long)]
    term_pid: Option<i32>,
    /// Whom it passes for.
    #[command(flatten)]
    guise: Guise,
}

/// The ways to meet SIGTERM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OnTerm {
    /// No handler: the kernel's default action.
    #[default]
    Default,
    /// A handler, then an orderly exit.
    Handle,
    /// `SIG_IGN`.
    Ignore,
    /// Blocked for ever.
    Block,
}

/// When the first thread leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LeaderLeaves {
    /// Before `ready`.
    Start,
    /// On SIGTERM; the others exit after `term_ms`.
    Term,
}

/// Ends by a signal of its own making.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Crash {
    /// A write to address 0.
    Segv,
    /// `abort(3)`.
    Abort,
    /// SIGTERM to itself.
    Term,
}

/// Where the handler tells that SIGTERM came.
static TERM_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn on_term(_signal: libc::c_int) {
    let fd = TERM_PIPE.load(Ordering::Relaxed);
    // SAFETY: write(2) is async-signal-safe, the byte is static, and a bad descriptor is harmless.
    unsafe { libc::write(fd, c"t".as_ptr().cast(), 1) };
}

/// A file without a name, and so gone with the process.
fn write_file(mib: usize) -> Result<Option<std::fs::File>> {
    if mib == 0 {
        return Ok(None);
    }
    let path = std::env::temp_dir().join(format!("work-{}", std::process::id()));
    let mut file =
        std::fs::File::create(&path).with_context(|| format!("making {}", path.display()))?;
    std::fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    for _ in 0..mib {
        file.write_all(&[b'x'; 1 << 20]).context("writing a file")?;
    }
    Ok(Some(file))
}

/// Runs it. Returns only on errors of the set-up.
pub(crate) fn run(args: &WorkArgs) -> Result<()> {
    args.guise.take()?;
    if let Some(dir) = &args.restored_in
        && !is_restored(dir)?
    {
        return Ok(());
    }
    if args.daemonize && !is_daemon()? {
        // What a daemon's parent waits for, it does not say.
        std::thread::sleep(Duration::from_millis(50));
        return Ok(());
    }
    // A safety net: no workload outlives its test by more than this.
    alarm::set(900);
    if args.reloads {
        reload_on(&[Signal::SIGHUP, Signal::SIGUSR1])?;
    }
    let wait_term = prepare_term(args.on_term)?;
    children(args)?;

    let mut memory = Vec::new();
    fill(&mut memory, args.touch_mib);
    let _file = write_file(args.file_mib)?;
    burn(Duration::from_millis(args.burn_ms));
    for _ in 1..args.threads {
        std::thread::Builder::new()
            .stack_size(64 * 1024)
            .spawn(|| {
                loop {
                    pause();
                }
            })
            .context("starting a thread")?;
    }

    match args.leader_leaves {
        None => {}
        Some(LeaderLeaves::Start) => {
            let args = args.clone();
            std::thread::spawn(move || {
                // Time for the first thread to be gone before anyone is told.
                std::thread::sleep(Duration::from_millis(100));
                live(&args, wait_term)
            });
            leave_thread();
        }
        Some(LeaderLeaves::Term) => {
            ready(args)?;
            if let Some(fd) = wait_term {
                read_byte(fd);
            }
            let term = Duration::from_millis(args.term_ms);
            let code = i32::from(args.code);
            std::thread::spawn(move || {
                std::thread::sleep(term);
                std::process::exit(code);
            });
            leave_thread();
        }
    }
    live(args, wait_term)
}

/// Leaves a sibling in another cgroup. Returns whether this is the sibling.
fn is_restored(dir: &Path) -> Result<bool> {
    let is_sibling = clone(libc::CLONE_PARENT)?;
    if is_sibling {
        let procs = dir.join("cgroup.procs");
        std::fs::write(&procs, "0").with_context(|| format!("writing {}", procs.display()))?;
    }
    Ok(is_sibling)
}

/// Leaves a child in a session of its own. Returns whether this is the child.
fn is_daemon() -> Result<bool> {
    let is_child = clone(0)?;
    if is_child {
        nix::unistd::setsid().context("setsid")?;
    }
    Ok(is_child)
}

/// Starts the children that are asked for, and waits for the one that works.
fn children(args: &WorkArgs) -> Result<()> {
    for _ in 0..args.leave {
        if fork(0)?.is_none() {
            std::thread::sleep(Duration::from_secs(1));
            std::process::exit(0);
        }
    }
    if args.child_burn_ms == 0 {
        return Ok(());
    }
    let Some(child) = fork(0)? else {
        burn(Duration::from_millis(args.child_burn_ms));
        std::process::exit(0);
    };
    waitpid(child, None).context("waiting for a child").map(drop)
}

/// Forks and says the new process's id. Returns whether this is the new process.
fn clone(flags: libc::c_int) -> Result<bool> {
    let child = fork(flags)?;
    if child.is_none() {
        say(&std::process::id().to_string())?;
    }
    Ok(child.is_none())
}

/// Forks. Returns the child's id, or `None` in the child.
fn fork(flags: libc::c_int) -> Result<Option<Pid>> {
    // SAFETY: without CLONE_VM this is a fork, of a process that has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        0 => Ok(None),
        pid if pid > 0 => Ok(Some(Pid::from_raw(i32::try_from(pid).context("a process id")?))),
        _ => Err(Errno::last()).context("clone"),
    }
}

extern "C" fn on_reload(_signal: libc::c_int) {}

fn reload_on(signals: &[Signal]) -> Result<()> {
    let handler = SigHandler::Handler(on_reload);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    for signal in signals {
        // SAFETY: the handler does nothing.
        unsafe { sigaction(*signal, &action) }.with_context(|| format!("sigaction({signal})"))?;
    }
    Ok(())
}

/// From `ready` to the end.
fn live(args: &WorkArgs, wait_term: Option<i32>) -> Result<()> {
    ready(args)?;
    let code = i32::from(args.code);
    if let Some(pid) = args.term_pid {
        nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGTERM)
            .with_context(|| format!("kill({pid})"))?;
    }
    if args.hog {
        return hog(args.quiet);
    }
    if args.child_hog {
        child_hog()?;
    }
    if args.spin {
        std::thread::spawn(|| burn(Duration::from_secs(900)));
    }
    if let Some(after_ms) = args.exit_after_ms {
        std::thread::sleep(Duration::from_millis(after_ms));
        if let Some(crash) = args.crash {
            self::crash(crash)?;
        }
        std::process::exit(code);
    }
    if let Some(fd) = wait_term {
        read_byte(fd);
        std::thread::sleep(Duration::from_millis(args.term_ms));
        std::process::exit(code);
    }
    loop {
        pause();
    }
}

fn ready(args: &WorkArgs) -> Result<()> {
    if args.quiet { Ok(()) } else { say("ready") }
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to stdout")
}

/// Arranges for SIGTERM; returns what to read to wait for it.
fn prepare_term(on_term_: OnTerm) -> Result<Option<i32>> {
    let handler = match on_term_ {
        OnTerm::Default => return Ok(None),
        OnTerm::Block => {
            let mut set = SigSet::empty();
            set.add(Signal::SIGTERM);
            set.thread_block().context("blocking SIGTERM")?;
            return Ok(None);
        }
        OnTerm::Ignore => SigHandler::SigIgn,
        OnTerm::Handle => SigHandler::Handler(on_term),
    };
    let (read, write) = pipe2(OFlag::O_CLOEXEC).context("pipe2")?;
    TERM_PIPE.store(write.as_raw_fd(), Ordering::Relaxed);
    // Both ends live as long as the process.
    let _ = write.into_raw_fd();
    let read = read.into_raw_fd();
    // SAFETY: the handler only makes an async-signal-safe call on a descriptor that stays open.
    unsafe {
        sigaction(Signal::SIGTERM, &SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty()))
    }
    .context("sigaction(SIGTERM)")?;
    Ok((on_term_ == OnTerm::Handle).then_some(read))
}

fn read_byte(fd: i32) {
    let mut byte = 0_u8;
    // SAFETY: one byte into a variable of our own; the descriptor is the pipe's, open for ever.
    while unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } < 0 {}
}

/// Ends this thread and no other, as `pthread_exit` of the first thread does in the end.
fn leave_thread() -> ! {
    loop {
        // SAFETY: `exit` ends the calling thread; its stack is left as it is, and nothing on it
        // is used by another thread.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
}

/// Fills that much memory with something.
fn fill(memory: &mut Vec<Vec<u8>>, mib: usize) {
    for _ in 0..mib {
        memory.push(std::hint::black_box(vec![1; 1 << 20]));
    }
}

/// Uses that much CPU time.
fn burn(time: Duration) {
    let used = || {
        let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
        now.map_or(Duration::MAX, Duration::from)
    };
    let until = used().saturating_add(time);
    let mut x = 1_u64;
    while used() < until {
        for _ in 0..1000 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
    }
}

/// Fills memory until the kernel ends it.
fn hog(quiet: bool) -> Result<()> {
    let mut memory = Vec::new();
    for _ in 0..256 {
        fill(&mut memory, 4);
        if !quiet {
            say(&format!("filled {}", memory.len()))?;
        }
    }
    bail!("filled 1 GiB and no limit ended it")
}

/// One child that hogs; lives on when it has been killed.
fn child_hog() -> Result<()> {
    let mut child = Command::new(SELF_EXE)
        .arg0("scenarios")
        .args(["work", "--quiet", "--hog"])
        .spawn()
        .context("starting the child")?;
    child.wait().context("waiting for the child")?;
    say("child-ended")
}

fn crash(how: Crash) -> Result<()> {
    // The runtime's own handler for stack overflows would see the fault first.
    // SAFETY: the default action is no code.
    unsafe {
        sigaction(
            Signal::SIGSEGV,
            &SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()),
        )
    }
    .context("sigaction(SIGSEGV)")?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0)
        .context("setrlimit(core)")?;
    match how {
        Crash::Segv => {
            let nowhere = std::hint::black_box(8_usize) as *mut u64;
            // SAFETY: none: the fault is the purpose, and the process ends with it.
            unsafe { nowhere.write_volatile(1) };
        }
        Crash::Abort => std::process::abort(),
        Crash::Term => raise(Signal::SIGTERM).context("raise(SIGTERM)")?,
    }
    Ok(())
}
