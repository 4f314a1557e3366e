//! Parsers of a cgroup's files (Documentation/admin-guide/cgroup-v2.rst). Pure: bytes in, figures
//! out, no allocation unless a file is malformed.
//!
//! Keys that are not known are passed over unread, and keys that are not there are `None`: both
//! differ from kernel to kernel. A known key with a value that is no number is an error for its
//! whole file.

use super::sample::{MemoryEvents, Pressure};

/// Why a file could not be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// There should be a number.
    #[error("`{key}` is not a number: {text:?}")]
    NotANumber {
        /// The key, or the meaning of the field.
        key: &'static str,
        /// What is there, cut to 32 characters.
        text: String,
    },
    /// More than 64 bits hold.
    #[error("`{key}` does not fit in 64 bits")]
    Overflow {
        /// The key, or the meaning of the field.
        key: &'static str,
    },
}

/// A file that is read for a [`Sample`](super::sample::Sample).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`name` says what each is")]
pub enum FileName {
    CpuMax,
    CpuPressure,
    CpuStat,
    IoPressure,
    MemoryCurrent,
    MemoryEvents,
    MemoryMax,
    MemoryPeak,
    MemoryPressure,
    MemoryStat,
    MemorySwapCurrent,
    MemorySwapMax,
    PidsCurrent,
    PidsMax,
}

impl FileName {
    /// How many there are.
    pub const COUNT: usize = 14;

    /// The name in the cgroup's directory.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuMax => "cpu.max",
            Self::CpuPressure => "cpu.pressure",
            Self::CpuStat => "cpu.stat",
            Self::IoPressure => "io.pressure",
            Self::MemoryCurrent => "memory.current",
            Self::MemoryEvents => "memory.events",
            Self::MemoryMax => "memory.max",
            Self::MemoryPeak => "memory.peak",
            Self::MemoryPressure => "memory.pressure",
            Self::MemoryStat => "memory.stat",
            Self::MemorySwapCurrent => "memory.swap.current",
            Self::MemorySwapMax => "memory.swap.max",
            Self::PidsCurrent => "pids.current",
            Self::PidsMax => "pids.max",
        }
    }
}

/// `cpu.stat`. Without the cpu controller only the usage is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// `usage_usec`.
    pub usage_us: Option<u64>,
    /// `nr_periods`.
    pub periods: Option<u64>,
    /// `nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// `throttled_usec`.
    pub throttled_us: Option<u64>,
}

/// Reads `cpu.stat`.
///
/// # Errors
/// A known key without a number.
pub fn cpu_stat(bytes: &[u8]) -> Result<CpuStat, ParseError> {
    let mut stat = CpuStat::default();
    for (key, value) in pairs(bytes) {
        match key {
            b"usage_usec" => stat.usage_us = Some(number("usage_usec", value)?),
            b"nr_periods" => stat.periods = Some(number("nr_periods", value)?),
            b"nr_throttled" => stat.throttled_periods = Some(number("nr_throttled", value)?),
            b"throttled_usec" => stat.throttled_us = Some(number("throttled_usec", value)?),
            _ => {}
        }
    }
    Ok(stat)
}

/// `cpu.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuMax {
    /// Microseconds of CPU in each period.
    pub quota_us: u64,
    /// Microseconds of a period.
    pub period_us: u64,
}

/// Reads `cpu.max`: `None` for `max` (no limit) and for an empty file.
///
/// # Errors
/// One of the two words is not a number, or the second is missing.
pub fn cpu_max(bytes: &[u8]) -> Result<Option<CpuMax>, ParseError> {
    let mut words = words(bytes);
    let quota = match words.next() {
        None | Some(b"max") => return Ok(None),
        Some(quota) => number("quota", quota)?,
    };
    let period_us = number("period", words.next().unwrap_or_default())?;
    Ok(Some(CpuMax { quota_us: quota, period_us }))
}

/// Reads a file that holds one number: `memory.current`, `memory.max`, `pids.max` and their like.
/// `None` for `max` (no limit) and for an empty file.
///
/// # Errors
/// It is not a number; the error calls it by `file`'s name.
pub fn single(file: FileName, bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    match bytes.trim_ascii() {
        b"" | b"max" => Ok(None),
        value => number(file.name(), value).map(Some),
    }
}

/// The part of `memory.stat` that is used, in bytes and in faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// `anon`.
    pub anon_bytes: Option<u64>,
    /// `file`.
    pub file_bytes: Option<u64>,
    /// `kernel`, from Linux 5.18.
    pub kernel_bytes: Option<u64>,
    /// `shmem`.
    pub shmem_bytes: Option<u64>,
    /// `inactive_file`.
    pub inactive_file_bytes: Option<u64>,
    /// `pgfault`: minor and major.
    pub faults: Option<u64>,
    /// `pgmajfault`.
    pub major_faults: Option<u64>,
}

/// Reads `memory.stat`, some 60 lines: one pass, in which only the wanted values are read.
///
/// # Errors
/// A known key without a number.
pub fn memory_stat(bytes: &[u8]) -> Result<MemoryStat, ParseError> {
    let mut stat = MemoryStat::default();
    for (key, value) in pairs(bytes) {
        match key {
            b"anon" => stat.anon_bytes = Some(number("anon", value)?),
            b"file" => stat.file_bytes = Some(number("file", value)?),
            b"kernel" => stat.kernel_bytes = Some(number("kernel", value)?),
            b"shmem" => stat.shmem_bytes = Some(number("shmem", value)?),
            b"inactive_file" => stat.inactive_file_bytes = Some(number("inactive_file", value)?),
            b"pgfault" => stat.faults = Some(number("pgfault", value)?),
            b"pgmajfault" => stat.major_faults = Some(number("pgmajfault", value)?),
            _ => {}
        }
    }
    Ok(stat)
}

/// Reads `memory.events` or `memory.events.local`.
///
/// # Errors
/// A known key without a number.
pub fn memory_events(bytes: &[u8]) -> Result<MemoryEvents, ParseError> {
    let mut events = MemoryEvents::default();
    for (key, value) in pairs(bytes) {
        match key {
            b"high" => events.high = Some(number("high", value)?),
            b"max" => events.max = Some(number("max", value)?),
            b"oom" => events.oom = Some(number("oom", value)?),
            b"oom_kill" => events.oom_kill = Some(number("oom_kill", value)?),
            _ => {}
        }
    }
    Ok(events)
}

/// Reads a pressure file: the totals; the averages are left to whoever draws the graph.
///
/// # Errors
/// A total that is not a number.
pub fn pressure(bytes: &[u8]) -> Result<Pressure, ParseError> {
    let mut pressure = Pressure::default();
    for (kind, rest) in pairs(bytes) {
        let (key, slot) = match kind {
            b"some" => ("some total", &mut pressure.some_us),
            b"full" => ("full total", &mut pressure.full_us),
            _ => continue,
        };
        if let Some(total) = words(rest).find_map(|word| word.strip_prefix(b"total=")) {
            *slot = Some(number(key, total)?);
        }
    }
    Ok(pressure)
}

/// The lines, each cut at its first space.
fn pairs(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines(bytes).map(|line| {
        let end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
        let (key, rest) = line.split_at(end);
        (key, rest.strip_prefix(b" ").unwrap_or_default())
    })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty())
}

fn words(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty())
}

fn number(key: &'static str, bytes: &[u8]) -> Result<u64, ParseError> {
    if bytes.is_empty() || !bytes.iter().all(u8::is_ascii_digit) {
        let text = String::from_utf8_lossy(bytes).chars().take(32).collect();
        return Err(ParseError::NotANumber { key, text });
    }
    bytes
        .iter()
        .try_fold(0_u64, |value, digit| {
            value.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
        })
        .ok_or(ParseError::Overflow { key })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
