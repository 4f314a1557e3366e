//! A network of our own: a namespace without a name, which the kernel takes down, with all in it,
//! when its last process and this tool have ended, however they ended.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, setns, unshare};

use xtask::{apt, shell};

/// A network namespace.
pub(crate) struct Namespace {
    file: File,
}

impl Namespace {
    /// A new one, with nothing but a loopback that is down.
    pub(crate) fn new() -> Result<Self> {
        // Only the thread moves into it, and it ends here.
        let thread = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("unshare(CLONE_NEWNET)")?;
            let path = "/proc/thread-self/ns/net";
            File::open(path).with_context(|| format!("open {path}"))
        });
        let file = thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
        Ok(Self { file })
    }

    /// Another handle of the same.
    pub(crate) fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().context("duplicate a namespace's descriptor")?;
        Ok(Self { file })
    }

    /// Makes `command` run in it.
    pub(crate) fn enter<'a>(&self, command: &'a mut Command) -> Result<&'a mut Command> {
        let Self { file } = self.try_clone()?;
        // SAFETY: between fork and exec only one system call is made: no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                setns(&file, CloneFlags::CLONE_NEWNET)?;
                Ok(())
            });
        }
        Ok(command)
    }

    /// Runs these commands of `ip`, one a line.
    pub(crate) fn ip(&self, batch: &str) -> Result<()> {
        let mut command = Command::new(apt::program("ip", "iproute2")?);
        let done = shell::output_with(self.enter(command.args(["-batch", "-"]))?, batch);
        done.map(drop).with_context(|| format!("ip -batch of {batch:?}"))
    }

    /// Listens within at `address`; connections can be taken from anywhere.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<TcpListener> {
        self.within(|| TcpListener::bind(address).with_context(|| format!("listen at {address}")))
    }

    /// Connects from within to `server`; the connection can be used from anywhere.
    pub(crate) fn connect(&self, server: SocketAddr, limit: Duration) -> Result<TcpStream> {
        self.within(|| {
            TcpStream::connect_timeout(&server, limit)
                .with_context(|| format!("connect to {server}"))
        })
    }

    /// Runs `work` on a thread that is in it.
    fn within<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).context("setns")?;
                work()
            });
            thread.join().map_err(|_| anyhow::anyhow!("the thread panicked"))?
        })
    }
}
