//! Linux signals: their names and numbers.

/// Number of SIGKILL.
pub const SIGKILL: u32 = 9;
/// Number of SIGTERM, the default stop signal.
pub const SIGTERM: u32 = 15;

/// Name of numbers that are no signal, and of signals that are not distinguished.
pub const OTHER: &str = "other";

/// Name of a signal on Linux (x86, Arm, RISC-V: `include/uapi/asm-generic/signal.h`).
///
/// Real-time signals count from 34, as in glibc and systemd; 32 and 33 are glibc's own.
#[must_use]
pub fn name(signal: u32) -> &'static str {
    const NAMES: [&str; 64] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
        "SIG32",
        "SIG33",
        "SIGRTMIN",
        "SIGRTMIN+1",
        "SIGRTMIN+2",
        "SIGRTMIN+3",
        "SIGRTMIN+4",
        "SIGRTMIN+5",
        "SIGRTMIN+6",
        "SIGRTMIN+7",
        "SIGRTMIN+8",
        "SIGRTMIN+9",
        "SIGRTMIN+10",
        "SIGRTMIN+11",
        "SIGRTMIN+12",
        "SIGRTMIN+13",
        "SIGRTMIN+14",
        "SIGRTMIN+15",
        "SIGRTMIN+16",
        "SIGRTMIN+17",
        "SIGRTMIN+18",
        "SIGRTMIN+19",
        "SIGRTMIN+20",
        "SIGRTMIN+21",
        "SIGRTMIN+22",
        "SIGRTMIN+23",
        "SIGRTMIN+24",
        "SIGRTMIN+25",
        "SIGRTMIN+26",
        "SIGRTMIN+27",
        "SIGRTMIN+28",
        "SIGRTMIN+29",
        "SIGRTMIN+30",
    ];
    let index = signal.checked_sub(1).and_then(|index| usize::try_from(index).ok());
    index.and_then(|index| NAMES.get(index)).copied().unwrap_or(OTHER)
}

/// Number of a signal by its name, as Kubernetes writes it
/// (`staging/src/k8s.io/api/core/v1/types.go`, `Signal`, Kubernetes 1.37).
#[must_use]
pub fn number(of: &str) -> Option<u32> {
    const SIGRTMAX: u32 = 64;
    if let Some(below) = of.strip_prefix("SIGRTMAX") {
        let below = if below.is_empty() { 0 } else { below.strip_prefix('-')?.parse().ok()? };
        return SIGRTMAX.checked_sub(below).filter(|signal| *signal >= 34);
    }
    match of {
        "SIGIOT" => Some(6),
        "SIGCLD" => Some(17),
        "SIGPOLL" => Some(29),
        _ => (1..=SIGRTMAX).find(|signal| name(*signal) == of),
    }
}

#[cfg(test)]
mod tests {
    use super::{name, number};

    #[test]
    fn signals_have_their_common_names() {
        for (text, expected) in [
            ("SIGTERM", Some(15)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGRTMAX", Some(64)),
            ("SIGRTMAX-14", Some(50)),
            ("SIGRTMAX-31", None),
            ("SIGRTMAXx", None),
            ("SIGPOLL", Some(29)),
            ("other", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
        let known = [(1, "SIGHUP"), (9, "SIGKILL"), (11, "SIGSEGV"), (15, "SIGTERM")];
        for (signal, expected) in known {
            assert_eq!(name(signal), expected);
        }
        for signal in 1..=31 {
            let oracle = nix::sys::signal::Signal::try_from(signal).unwrap();
            assert_eq!(name(signal as u32), oracle.as_str());
        }
        assert_eq!((name(28), name(34), name(37)), ("SIGWINCH", "SIGRTMIN", "SIGRTMIN+3"));
        assert_eq!(
            (name(64), name(0), name(65), name(u32::MAX)),
            ("SIGRTMIN+30", "other", "other", "other")
        );
    }
}
