//! Which capabilities this process has.

use caps::{CapSet, Capability};

/// The capabilities that Podvitals has a use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `CAP_BPF`: load programs, make maps.
    pub bpf: bool,
    /// `CAP_PERFMON`: tracing programs.
    pub perfmon: bool,
}

impl Capabilities {
    /// Whether both needed for tracing programs are there.
    #[must_use]
    pub const fn can_trace(self) -> bool {
        self.bpf && self.perfmon
    }
}

/// Raises what is permitted into the effective set, and says what is effective then.
///
/// File capabilities are given as permitted only, since a program whose file asks for more
/// effective capabilities than its bounding set has cannot even be executed.
///
/// # Errors
/// If the kernel does not answer.
pub fn raise() -> Result<Capabilities, caps::errors::CapsError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    // CAP_SYS_ADMIN stands for both in the kernel (include/linux/capability.h, `bpf_capable`).
    let admin = permitted.contains(&Capability::CAP_SYS_ADMIN);
    for capability in [Capability::CAP_BPF, Capability::CAP_PERFMON] {
        if permitted.contains(&capability) {
            caps::raise(None, CapSet::Effective, capability)?;
        }
    }
    Ok(Capabilities {
        bpf: admin || permitted.contains(&Capability::CAP_BPF),
        perfmon: admin || permitted.contains(&Capability::CAP_PERFMON),
    })
}
