//! Passing for another program, or another user's.

use std::ffi::CString;

use anyhow::{Context as _, Result};
use clap::Args;
use nix::sys::prctl;
use nix::unistd::{Uid, setuid};

/// Arguments of whoever passes for another.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Guise {
    /// Short name to take.
    #[arg(long)]
    comm: Option<String>,
    /// Id of the user that the process becomes.
    #[arg(long)]
    uid: Option<u32>,
}

impl Guise {
    /// Takes the name, and becomes the user.
    pub(crate) fn take(&self) -> Result<()> {
        if let Some(uid) = self.uid {
            setuid(Uid::from_raw(uid)).with_context(|| format!("setuid({uid})"))?;
        }
        let Some(comm) = &self.comm else { return Ok(()) };
        let comm = CString::new(comm.as_str()).context("a name with NUL")?;
        prctl::set_name(&comm).context("prctl(PR_SET_NAME)")
    }
}
