//! Clocks: the kernel's boot time, Unix time, and the offset between them.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// One second in nanoseconds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Current time of `CLOCK_BOOTTIME` in nanoseconds: the clock of every kernel event.
#[must_use]
pub fn boot_ns() -> u64 {
    // The clock exists on every Linux that runs this program.
    ClockId::CLOCK_BOOTTIME
        .now()
        .map_or(0, |time| u64::try_from(Duration::from(time).as_nanos()).unwrap_or(u64::MAX))
}

/// One reading of the clocks. The owner takes one for each tick and passes it on, so that all
/// decisions of a tick are made for the same moment, and tests choose the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Boot time (`CLOCK_BOOTTIME`) in nanoseconds.
    pub boot_ns: u64,
    /// Offset from boot time to Unix time.
    pub wall: WallOffset,
}

impl Now {
    /// Reads both clocks.
    #[must_use]
    pub fn read() -> Self {
        // Linux has both clocks; without the real-time clock, boot time is shown in its place.
        Self { boot_ns: boot_ns(), wall: WallOffset::now().unwrap_or_default() }
    }
}

/// Offset from boot time (`CLOCK_BOOTTIME`) to Unix time. It changes when the clock is set, so the
/// owner reads it again in each tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallOffset {
    /// Unix time minus boot time, in nanoseconds.
    pub unix_less_boot_ns: i64,
}

impl WallOffset {
    /// Reads both clocks: Unix time between two readings of boot time, again where the thread had to
    /// wait between them. A thread that is throttled waits for 0.1 s, and [`ShownOffset`] would keep
    /// what it has read.
    ///
    /// # Errors
    /// `clock_gettime(2)` fails; Linux has both clocks, so in practice it does not.
    pub fn now() -> nix::Result<Self> {
        const WAITED_NS: i64 = 100_000;
        const TRIES: usize = 4;
        let ns = |clock| {
            let time = clock_gettime(clock)?;
            let whole = time.tv_sec().saturating_mul(1_000_000_000);
            nix::Result::Ok(whole.saturating_add(time.tv_nsec()))
        };
        let mut best: Option<(i64, Self)> = None;
        for _ in 0..TRIES {
            let before = ns(ClockId::CLOCK_BOOTTIME)?;
            let unix = ns(ClockId::CLOCK_REALTIME)?;
            let took = ns(ClockId::CLOCK_BOOTTIME)?.saturating_sub(before);
            let unix_less_boot_ns = unix.saturating_sub(before.saturating_add(took / 2));
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, Self { unix_less_boot_ns }));
            }
            if took < WAITED_NS {
                break;
            }
        }
        Ok(best.map(|(_, offset)| offset).unwrap_or_default())
    }

    /// Boot time of a Unix time; `None` before the machine booted.
    #[must_use]
    pub const fn boot_ns(self, time_unix_ns: u64) -> Option<u64> {
        match self.unix_less_boot_ns.checked_neg() {
            Some(boot_less_unix_ns) => time_unix_ns.checked_add_signed(boot_less_unix_ns),
            None => None,
        }
    }

    /// Boot time of a Unix time in whole seconds, as the API has it; `None` before the machine booted.
    #[must_use]
    pub fn boot_ns_of_seconds(self, time_unix_s: i64) -> Option<u64> {
        self.boot_ns(u64::try_from(time_unix_s).ok()?.checked_mul(SECOND_NS)?)
    }

    /// Unix time of a boot time, not before 1970.
    #[must_use]
    pub const fn unix_ns(self, time_boot_ns: u64) -> u64 {
        time_boot_ns.saturating_add_signed(self.unix_less_boot_ns)
    }
}

/// Offset under which times are shown to people and to Prometheus. It stays as it is while the clock
/// is only slewed, so that a start time is the same at each scrape, and follows when it is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShownOffset(Option<WallOffset>);

impl ShownOffset {
    /// Difference that is no slewing: far more than two readings of the clocks differ by, and less
    /// than anybody minds in a start time.
    const STEP_NS: u64 = 500_000_000;

    /// Follows the clock, if it is further off than it can be read.
    pub const fn follow(&mut self, now: WallOffset) {
        match self.0 {
            Some(shown)
                if shown.unix_less_boot_ns.abs_diff(now.unix_less_boot_ns) < Self::STEP_NS => {}
            _ => self.0 = Some(now),
        }
    }

    /// The offset.
    #[must_use]
    pub fn offset(self) -> WallOffset {
        self.0.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Now, ShownOffset, WallOffset, boot_ns};

    #[test]
    fn the_shown_offset_follows_a_step_and_no_slewing() {
        let at = |unix_less_boot_ns| WallOffset { unix_less_boot_ns };
        let mut shown = ShownOffset::default();
        for (now, offset) in [
            (40, 40),
            (41, 40),
            (400_000_000, 40),
            (1_790_000_000_000_000_000, 1_790_000_000_000_000_000),
            (1_790_000_000_499_999_999, 1_790_000_000_000_000_000),
            (1_790_000_000_600_000_000, 1_790_000_000_600_000_000),
            (7, 7),
        ] {
            shown.follow(at(now));
            assert_eq!(shown.offset(), at(offset), "{now}");
        }
    }

    #[test]
    fn boot_clock_advances() {
        let first = Now::read();
        assert!(first.boot_ns > 0);
        assert!(boot_ns() >= first.boot_ns);
    }

    #[test]
    fn boot_time_and_unix_time_convert() {
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
