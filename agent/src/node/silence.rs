//! Silence: the kubelet's cgroup is observed, and no connection is seen from it. Pure.

use crate::clock::SECOND_NS;

/// Least time without a connection. Thirty attempts at the default period: longer than a kubelet takes
/// to start, or is held up on a busy node.
const SILENCE_NS: u64 = 300 * SECOND_NS;

/// Time for which no connection was seen.
#[derive(Debug)]
pub(super) struct Silence {
    since_boot_ns: u64,
    noted: bool,
}

impl Silence {
    pub(super) const fn new() -> Self {
        Self { since_boot_ns: 0, noted: false }
    }

    /// Whether it is noted that none is seen.
    pub(super) const fn is_noted(&self) -> bool {
        self.noted
    }

    /// Another cgroup is observed, or in another way.
    pub(super) const fn begin(&mut self, now_boot_ns: u64) {
        *self = Self { since_boot_ns: now_boot_ns, noted: false };
    }

    /// Takes in a connection. Whether it ends what was noted.
    pub(super) const fn heard(&mut self, now_boot_ns: u64) -> bool {
        self.since_boot_ns = now_boot_ns;
        std::mem::replace(&mut self.noted, false)
    }

    /// Notes that none was seen for long, if there must have been one since that time. Whether it is
    /// noted now, and was not before.
    pub(super) fn is_new(&mut self, now_boot_ns: u64, is_due: impl FnOnce(u64) -> bool) -> bool {
        let is_long = now_boot_ns.saturating_sub(self.since_boot_ns) >= SILENCE_NS;
        let is_new = !self.noted && is_long && is_due(self.since_boot_ns);
        self.noted |= is_new;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1000 * SECOND_NS;

    #[test]
    fn silence_is_noted_once_and_ends_with_a_connection() {
        let mut silence = Silence::new();
        silence.begin(START);
        assert!(!silence.is_new(START + SILENCE_NS - 1, |_| true), "it is too short");
        assert!(!silence.is_new(START + SILENCE_NS, |since| since != START), "nothing is due");
        assert!(!silence.is_noted());
        assert!(silence.is_new(START + SILENCE_NS, |since| since == START));
        assert!(!silence.is_new(START + 2 * SILENCE_NS, |_| true), "it is noted already");
        assert!(silence.is_noted());
        assert!(silence.heard(START + 3 * SILENCE_NS));
        assert!(!silence.is_noted() && !silence.heard(START + 3 * SILENCE_NS));
        assert!(!silence.is_new(START + 4 * SILENCE_NS - 1, |_| true));
        assert!(silence.is_new(START + 4 * SILENCE_NS, |_| true), "it begins again");
        silence.begin(START + 5 * SILENCE_NS);
        assert!(!silence.is_noted(), "another cgroup");
    }
}
