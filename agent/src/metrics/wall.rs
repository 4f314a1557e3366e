//! From the kernel's clock to the calendar's.

use nix::time::{ClockId, clock_gettime};

/// What to add to a `CLOCK_BOOTTIME` to get Unix time. It changes when the clock is set, so the
/// owner reads it anew for each batch of facts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallOffset {
    /// Unix time less boot time.
    pub unix_less_boot_ns: i64,
}

impl WallOffset {
    /// Reads both clocks.
    ///
    /// # Errors
    /// What `clock_gettime(2)` says; Linux has both clocks, so in practice none.
    pub fn now() -> nix::Result<Self> {
        let unix = clock_gettime(ClockId::CLOCK_REALTIME)?;
        let boot = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
        let ns = |time: nix::sys::time::TimeSpec| {
            time.tv_sec().saturating_mul(1_000_000_000).saturating_add(time.tv_nsec())
        };
        Ok(Self { unix_less_boot_ns: ns(unix).saturating_sub(ns(boot)) })
    }

    /// The moment of a Unix time; `None` before the machine booted.
    #[must_use]
    pub const fn boot_ns(self, time_unix_ns: u64) -> Option<u64> {
        match self.unix_less_boot_ns.checked_neg() {
            Some(boot_less_unix_ns) => time_unix_ns.checked_add_signed(boot_less_unix_ns),
            None => None,
        }
    }

    /// Unix time of a moment, not before 1970.
    #[must_use]
    pub const fn unix_ns(self, time_boot_ns: u64) -> u64 {
        time_boot_ns.saturating_add_signed(self.unix_less_boot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::WallOffset;

    #[test]
    fn boot_time_and_offset_make_unix_time() {
        let offset = WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 };
        assert_eq!(offset.unix_ns(5), 1_700_000_000_000_000_005);
        assert_eq!(WallOffset { unix_less_boot_ns: -9 }.unix_ns(5), 0);
        assert_eq!(offset.boot_ns(1_700_000_000_000_000_005), Some(5));
        assert_eq!(offset.boot_ns(7), None);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let boot = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap();
        let boot_ns = boot.tv_sec() as u64 * 1_000_000_000;
        let shown = WallOffset::now().unwrap().unix_ns(boot_ns);
        assert!(shown.abs_diff(now.as_nanos() as u64) < 10_000_000_000);
    }
}
