//! Heap: memory that the allocator keeps.

/// Gives all threads one heap. The allocator makes one for each that finds the others in use, and keeps
/// it: half a MiB for the thread that compresses a scrape. Before there is another thread.
pub fn share() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions but that no other thread allocates meanwhile.
    unsafe {
        nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1);
    }
}

/// Returns free memory from the allocator to the kernel: that of loading (the kernel's types alone
/// are some 30 MB), and of scrape bodies.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and touches free memory only.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
