//! Host facts: the kernel's release, lockdown, PID namespace and page size.

/// Release of the kernel, as `uname -r` prints it.
///
/// # Errors
/// The kernel does not answer.
pub fn release() -> nix::Result<String> {
    Ok(nix::sys::utsname::uname()?.release().to_string_lossy().into_owned())
}

/// Lockdown of the kernel (`/sys/kernel/security/lockdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// No lockdown, or a kernel without it.
    None,
    /// Lockdown against changes of the kernel.
    Integrity,
    /// Lockdown also against reading the kernel: programs may not read untyped memory.
    Confidentiality,
}

/// The state of lockdown. Without securityfs none is assumed: whether programs may read untyped
/// memory then shows when they are loaded.
#[must_use]
pub fn lockdown() -> Lockdown {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .map_or(Lockdown::None, |text| parse_lockdown(&text))
}

fn parse_lockdown(text: &str) -> Lockdown {
    match text.split(['[', ']']).nth(1) {
        Some("integrity") => Lockdown::Integrity,
        Some("confidentiality") => Lockdown::Confidentiality,
        _ => Lockdown::None,
    }
}

/// Whether this process is in the node's own PID namespace, in which a task iterator shows all
/// processes.
#[must_use]
pub fn is_in_first_pid_namespace() -> bool {
    /// Inode of the first PID namespace: `PID_NS_INIT_INO` (include/uapi/linux/nsfs.h; before 6.18
    /// `PROC_PID_INIT_INO`).
    const FIRST: &str = "pid:[4026531836]";
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() == FIRST)
}

/// Page size in bytes: the unit in which the kernel counts memory.
#[must_use]
pub fn page_bytes() -> u64 {
    // Every host has an answer; 4 KiB is the most common one.
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(parse_lockdown("[none] integrity confidentiality\n"), Lockdown::None);
        assert_eq!(parse_lockdown("none [integrity] confidentiality\n"), Lockdown::Integrity);
        assert_eq!(parse_lockdown("none integrity [confidentiality]\n"), Lockdown::Confidentiality);
        assert_eq!(parse_lockdown(""), Lockdown::None);
    }
}
