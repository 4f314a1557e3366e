//! Values with their units, and the only place where these are converted.
//!
//! Integers go through `itoa`, times become seconds by moving the decimal point in the digits, so no
//! precision is lost.

use crate::clock::WallOffset;

/// Value of a sample with its unit; it is written in the base unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number of bytes, tasks or events, written as it is.
    Count(u64),
    /// Microseconds, written as seconds.
    Micros(u64),
    /// Nanoseconds, written as seconds.
    Nanos(u64),
    /// A moment in nanoseconds of `CLOCK_BOOTTIME`, written in Unix time, as seconds.
    Moment(u64),
    /// A ratio: the first number divided by the second, which is not 0.
    Ratio(u64, u64),
}

impl Value {
    /// Whether the value is this whole number of base units.
    pub(super) const fn is(self, whole: u64) -> bool {
        match self {
            Self::Count(value) => value == whole,
            Self::Micros(value) => value == whole.saturating_mul(1_000_000),
            Self::Nanos(value) => value == whole.saturating_mul(1_000_000_000),
            Self::Moment(_) => false,
            Self::Ratio(value, by) => value == whole.saturating_mul(by),
        }
    }

    /// Appends the value, in its base unit; a moment under this offset to Unix time.
    pub fn write(self, out: &mut Vec<u8>, wall: WallOffset) {
        match self {
            Self::Count(value) => write_integer(out, value),
            Self::Micros(value) => write_decimal::<6>(out, value),
            Self::Nanos(value) => write_decimal::<9>(out, value),
            Self::Moment(boot_ns) => write_decimal::<9>(out, wall.unix_ns(boot_ns)),
            Self::Ratio(_, 0) => out.extend_from_slice(b"NaN"),
            Self::Ratio(value, by) if value % by == 0 => write_integer(out, value / by),
            Self::Ratio(value, by) => {
                // Shortest digits that give the same f64; never an exponent.
                out.extend_from_slice((value as f64 / by as f64).to_string().as_bytes());
            }
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes `value` / 10^`DIGITS` exactly, without zeros at the end.
fn write_decimal<const DIGITS: u32>(out: &mut Vec<u8>, value: u64) {
    let unit = 10_u64.pow(DIGITS);
    write_integer(out, value / unit);
    let mut rest = value % unit;
    if rest == 0 {
        return;
    }
    out.push(b'.');
    let mut scale = unit / 10;
    while rest != 0 {
        out.push(b'0' + (rest / scale) as u8);
        rest %= scale;
        scale /= 10;
    }
}
