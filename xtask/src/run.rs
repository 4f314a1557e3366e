//! `cargo xtask run`: the agent on this very machine.

use std::{
    ffi::{OsStr, OsString},
    net::SocketAddr,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    child::Child,
    demo::{self, Demo},
    paths, ports, stop,
    terminal::try_say,
};

const ADDRESS_FLAG: &str = "--web.listen-address";
/// How often the children and the signals are looked at.
const POLL: Duration = Duration::from_millis(100);

/// Arguments of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Stop after so many seconds instead of at Ctrl-C.
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Start this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Build an agent whose programs say in the log what they decide about a process, as `build
    /// --kernel-log` does; `-- --log.level info,kernel=debug` shows it.
    #[arg(long, conflicts_with = "agent")]
    kernel_log: bool,
    /// Watch the demo even if containers run here.
    #[arg(long)]
    demo: bool,
    /// Arguments for `podvitals agent`; they come last, and so win.
    #[arg(last = true)]
    agent_args: Vec<OsString>,
}

/// `cargo xtask run`
pub(crate) fn command(args: &Args) -> Result<()> {
    demo::check_root()?;
    let asked: Option<SocketAddr> = listen_address(&args.agent_args)
        .map(|address| address.parse())
        .transpose()
        .with_context(|| {
            format!("{ADDRESS_FLAG} wants an IP address and a port here, such as 127.0.0.1:9551")
        })?;
    asked.map_or(Ok(()), demo::check_free)?;
    let agent = match &args.agent {
        Some(agent) => paths::absolute(agent)?,
        None if args.kernel_log => build::kernel_log()?,
        None => build::dynamic_release()?.agent,
    };

    let address = match asked {
        Some(address) => address,
        None => ports::choose("the agent", None, ports::AGENT)?.release(),
    };
    let mut demo = Demo::start_unless_busy(&agent, args.demo)?;
    let mut agent_args = demo::agent_args(demo.as_ref());
    agent_args.extend([ADDRESS_FLAG.into(), address.to_string().into()]);
    agent_args.extend(without_address(&args.agent_args));
    let (mut child, took) = demo::start_agent(&agent, address, &agent_args, None)?;
    let what = demo
        .as_ref()
        .map_or("this machine".to_owned(), |demo| demo.cgroup_root().display().to_string());
    println!("\npodvitals was ready after {:.2} s and watches {what}", took.as_secs_f64());
    println!("  binary   {}", agent.display());
    println!("  page     http://{address}/");
    println!("  metrics  curl -s http://{address}/metrics | grep ^podvitals_");
    match args.seconds {
        Some(seconds) => println!("It ends by itself after {seconds} s, or at Ctrl-C.\n"),
        None => println!("Ctrl-C ends it.\n"),
    }
    let ending = watch(&mut child, demo.as_mut(), args.seconds)?;
    try_say(format_args!("{ending}: stopping"));
    let status = child.stop()?;
    drop(demo);
    if !status.success() {
        bail!("podvitals agent: {status}");
    }
    try_say("all has ended");
    Ok(())
}

/// Waits for a reason to stop, and tells it; a child that ends by itself is an error.
fn watch(agent: &mut Child, mut demo: Option<&mut Demo>, seconds: Option<u64>) -> Result<String> {
    let deadline = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        if let Some(signal) = stop::signal() {
            return Ok(signal.to_string());
        }
        if let Some(status) = agent.ended()? {
            bail!("podvitals agent ended by itself: {status}");
        }
        if let Some(demo) = &mut demo
            && let Some(status) = demo.ended()?
        {
            bail!("podvitals demo ended by itself: {status}");
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok("time is up".to_owned());
        }
        thread::sleep(POLL);
    }
}

/// The last address among the agent's arguments.
fn listen_address(args: &[OsString]) -> Option<String> {
    let mut address = None;
    let mut args = args.iter().map(|arg| arg.to_string_lossy());
    while let Some(arg) = args.next() {
        match arg.strip_prefix(ADDRESS_FLAG) {
            Some("") => address = Some(args.next().unwrap_or_default().into_owned()),
            Some(value) => address = Some(value.trim_start_matches('=').to_owned()),
            None => {}
        }
    }
    address
}

/// The same arguments less the address, which is given in one place.
fn without_address(args: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == OsStr::new(ADDRESS_FLAG) {
            args.next();
        } else if !arg.to_string_lossy().starts_with(&format!("{ADDRESS_FLAG}=")) {
            kept.push(arg.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_address_wins_in_both_spellings() {
        let args = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let spaced = args("-v --web.listen-address 127.0.0.1:1 -x");
        let joined = args("-v --web.listen-address=127.0.0.1:2 -x");
        assert_eq!(listen_address(&spaced).as_deref(), Some("127.0.0.1:1"));
        assert_eq!(listen_address(&joined).as_deref(), Some("127.0.0.1:2"));
        assert_eq!(listen_address(&args("-v")), None);
        assert_eq!(without_address(&spaced), args("-v -x"));
        assert_eq!(without_address(&joined), args("-v -x"));
    }
}
