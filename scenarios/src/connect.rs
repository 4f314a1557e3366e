//! What asks as the kubelet does: a connection for each attempt, a request, the first bytes of the
//! answer, and the end. It says when each was.

use std::fmt;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result};
use clap::Args;

use crate::guise::Guise;
use crate::witness::boot_ns;

/// Arguments of `scenarios connect`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ConnectArgs {
    /// Whom to connect to.
    #[arg(long)]
    to: SocketAddr,
    /// Connections, one after the other.
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// What to send; nothing if it is empty.
    #[arg(long, default_value = "")]
    send: String,
    /// How long to wait for a connection, and then for an answer.
    #[arg(long, default_value_t = 1000)]
    timeout_ms: u64,
    /// Whom it passes for.
    #[command(flatten)]
    guise: Guise,
}

/// Clocks of one connection, by who asked for it: `CLOCK_BOOTTIME`, 0 where it did not come to that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Before `connect`.
    pub(crate) start_ns: u64,
    /// After it had succeeded.
    pub(crate) connected_ns: u64,
    /// After the first bytes had been read.
    pub(crate) first_byte_ns: u64,
    /// Before the end: before the close, or once the connection had failed.
    pub(crate) end_ns: u64,
    /// After the close.
    pub(crate) closed_ns: u64,
    /// Port of this side; 0 where it is not known.
    pub(crate) port: u16,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start_ns, connected_ns, first_byte_ns, end_ns, closed_ns, port } = self;
        write!(f, "{start_ns} {connected_ns} {first_byte_ns} {end_ns} {closed_ns} {port}")
    }
}

impl FromStr for Asked {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        let mut words = line.split(' ');
        let mut next = || -> Result<u64> {
            let word = words.next().with_context(|| format!("too short: {line:?}"))?;
            word.parse().with_context(|| format!("no number: {line:?}"))
        };
        Ok(Self {
            start_ns: next()?,
            connected_ns: next()?,
            first_byte_ns: next()?,
            end_ns: next()?,
            closed_ns: next()?,
            port: u16::try_from(next()?).context("no port")?,
        })
    }
}

/// Runs it.
pub(crate) fn run(args: &ConnectArgs) -> Result<()> {
    args.guise.take()?;
    for _ in 0..args.rounds {
        println!("{}", ask(args)?);
    }
    Ok(())
}

fn ask(args: &ConnectArgs) -> Result<Asked> {
    let timeout = Duration::from_millis(args.timeout_ms);
    let mut asked = Asked { start_ns: boot_ns(), ..Asked::default() };
    let connected = TcpStream::connect_timeout(&args.to, timeout);
    let now_ns = boot_ns();
    // Refused, or given up.
    let Ok(mut stream) = connected else {
        return Ok(Asked { end_ns: now_ns, closed_ns: now_ns, ..asked });
    };
    asked.connected_ns = now_ns;
    asked.port = stream.local_addr().context("the address of this side")?.port();
    stream.set_read_timeout(Some(timeout)).context("the timeout")?;
    // Who has reset the connection reads nothing.
    let sent = stream.write_all(args.send.as_bytes());
    let mut head = [0; 512];
    match sent.and_then(|()| stream.read(&mut head)) {
        Ok(0) => {}
        Ok(_) => asked.first_byte_ns = boot_ns(),
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(_) => {}
    }
    asked.end_ns = boot_ns();
    drop(stream);
    asked.closed_ns = boot_ns();
    Ok(asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let asked = Asked {
            start_ns: 1,
            connected_ns: 2,
            first_byte_ns: 3,
            end_ns: 4,
            closed_ns: 5,
            port: 65_535,
        };
        assert_eq!(asked.to_string().parse::<Asked>().unwrap(), asked);
        assert!("1 2 3".parse::<Asked>().is_err() && "1 2 3 4 5 65536".parse::<Asked>().is_err());
    }
}
