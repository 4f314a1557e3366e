//! The allocator's free memory.

/// Gives free memory back that the allocator keeps: what loading took (the kernel's types alone are
/// some 30 MB), and the bodies of scrapes.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and touches free memory only.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
