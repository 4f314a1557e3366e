//! Heap: free memory that the allocator keeps.

/// Returns free memory from the allocator to the kernel: that of loading (the kernel's types alone
/// are some 30 MB), and of scrape bodies.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions, and touches free memory only.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
