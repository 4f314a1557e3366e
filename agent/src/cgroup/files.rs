//! Files of a cgroup that are read, and their parsers (Documentation/admin-guide/cgroup-v2.rst).
//! Pure: bytes in, values out, no allocation unless a file is malformed.
//!
//! Unknown keys are skipped unread, and missing keys are `None`: both differ from kernel to kernel.
//! A known key whose value is not a number is an error for its whole file.

use super::sample::{Cpu, MemoryEvents, MemoryStat, Pressure, Sample};

/// Error of a file that could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A value that is not a number.
    #[error("`{key}` is not a number: {text:?}")]
    NotANumber {
        /// The key, or the meaning of the field.
        key: &'static str,
        /// The text in its place, cut to 32 characters.
        text: String,
    },
    /// A number that does not fit in 64 bits.
    #[error("`{key}` does not fit in 64 bits")]
    Overflow {
        /// The key, or the meaning of the field.
        key: &'static str,
    },
}

/// Parts of a sample: each is the content of some files, which another source may provide as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Files `cpu.max` and `cpu.stat`.
    pub cpu: bool,
    /// Files `memory.current`, `.max`, `.peak`, `.swap.current`, `.swap.max` and `.events`.
    pub memory: bool,
    /// File `memory.stat`.
    pub memory_stat: bool,
    /// Files `pids.current` and `pids.max`.
    pub pids: bool,
    /// Files `cpu.pressure`, `memory.pressure` and `io.pressure`.
    pub pressure: bool,
    /// Files that no other source covers: a new file starts here.
    pub other: bool,
}

impl Parts {
    /// Set without any part.
    pub const NONE: Self = Self {
        cpu: false,
        memory: false,
        memory_stat: false,
        pids: false,
        pressure: false,
        other: false,
    };
    /// Set of all parts, whether they have files or not.
    pub const ALL: Self = Self::NONE.complement();
    /// Set of the part `cpu` alone.
    pub const CPU: Self = Self { cpu: true, ..Self::NONE };
    /// Set of the part `memory` alone.
    pub const MEMORY: Self = Self { memory: true, ..Self::NONE };
    /// Set of the part `memory_stat` alone.
    pub const MEMORY_STAT: Self = Self { memory_stat: true, ..Self::NONE };
    /// Set of the part `pids` alone.
    pub const PIDS: Self = Self { pids: true, ..Self::NONE };
    /// Set of the part `pressure` alone.
    pub const PRESSURE: Self = Self { pressure: true, ..Self::NONE };
    /// Set of the part `other` alone.
    pub const OTHER: Self = Self { other: true, ..Self::NONE };

    /// The parts of either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self {
            cpu: self.cpu || other.cpu,
            memory: self.memory || other.memory,
            memory_stat: self.memory_stat || other.memory_stat,
            pids: self.pids || other.pids,
            pressure: self.pressure || other.pressure,
            other: self.other || other.other,
        }
    }

    /// The parts that are not in this set.
    #[must_use]
    pub const fn complement(self) -> Self {
        Self {
            cpu: !self.cpu,
            memory: !self.memory,
            memory_stat: !self.memory_stat,
            pids: !self.pids,
            pressure: !self.pressure,
            other: !self.other,
        }
    }

    /// Whether the sets have a part in common.
    #[must_use]
    pub const fn meets(self, other: Self) -> bool {
        self.cpu && other.cpu
            || self.memory && other.memory
            || self.memory_stat && other.memory_stat
            || self.pids && other.pids
            || self.pressure && other.pressure
            || self.other && other.other
    }
}

/// A file of a cgroup that is read for a [`Sample`].
#[derive(Debug)]
pub struct File {
    /// Name of the file in the cgroup's directory.
    pub name: &'static str,
    /// Part of a sample that the file belongs to.
    pub part: Parts,
    /// Flag: the file is read for a Pod's cgroup too.
    pub of_pod: bool,
    /// Parser of the file, which fills the sample.
    pub parse: fn(&[u8], &mut Sample) -> Result<(), ParseError>,
}

const fn file(name: &'static str, part: Parts, parse: Parse) -> File {
    File { name, part, of_pod: false, parse }
}

const fn of_pod(name: &'static str, part: Parts, parse: Parse) -> File {
    File { name, part, of_pod: true, parse }
}

type Parse = fn(&[u8], &mut Sample) -> Result<(), ParseError>;

/// List of the files that are read, in this order.
pub const FILES: &[File] = &[
    of_pod("cpu.max", Parts::CPU, cpu_max),
    file("cpu.stat", Parts::CPU, cpu_stat),
    of_pod("memory.current", Parts::MEMORY, |bytes, sample| {
        number_or_none("memory.current", bytes, &mut sample.memory.usage_bytes)
    }),
    of_pod("memory.events", Parts::MEMORY, |bytes, sample| {
        sample.memory.events = Some(memory_events(bytes)?);
        Ok(())
    }),
    of_pod("memory.max", Parts::MEMORY, |bytes, sample| {
        number_or_none("memory.max", bytes, &mut sample.memory.limit_bytes)
    }),
    file("memory.peak", Parts::MEMORY, |bytes, sample| {
        number_or_none("memory.peak", bytes, &mut sample.memory.peak_bytes)
    }),
    of_pod("memory.stat", Parts::MEMORY_STAT, |bytes, sample| {
        sample.memory.set_stat(&memory_stat(bytes)?);
        Ok(())
    }),
    file("memory.swap.current", Parts::MEMORY, |bytes, sample| {
        number_or_none("memory.swap.current", bytes, &mut sample.memory.swap_bytes)
    }),
    file("memory.swap.max", Parts::MEMORY, |bytes, sample| {
        number_or_none("memory.swap.max", bytes, &mut sample.memory.swap_limit_bytes)
    }),
    file("cpu.pressure", Parts::PRESSURE, |bytes, sample| {
        sample.cpu_pressure = Pressure { full_us: None, ..pressure(bytes)? };
        Ok(())
    }),
    file("memory.pressure", Parts::PRESSURE, |bytes, sample| {
        sample.memory_pressure = pressure(bytes)?;
        Ok(())
    }),
    file("io.pressure", Parts::PRESSURE, |bytes, sample| {
        sample.io_pressure = pressure(bytes)?;
        Ok(())
    }),
    file("pids.current", Parts::PIDS, |bytes, sample| {
        number_or_none("pids.current", bytes, &mut sample.tasks)
    }),
    file("pids.max", Parts::PIDS, |bytes, sample| {
        number_or_none("pids.max", bytes, &mut sample.tasks_limit)
    }),
];

/// Parses `cpu.stat`. Without the cpu controller it has the usage only.
fn cpu_stat(bytes: &[u8], sample: &mut Sample) -> Result<(), ParseError> {
    let mut stat = Cpu::default();
    for (key, value) in pairs(bytes) {
        match key {
            b"usage_usec" => stat.usage_us = Some(number("usage_usec", value)?),
            b"nr_periods" => stat.periods = Some(number("nr_periods", value)?),
            b"nr_throttled" => stat.throttled_periods = Some(number("nr_throttled", value)?),
            b"throttled_usec" => stat.throttled_us = Some(number("throttled_usec", value)?),
            _ => {}
        }
    }
    sample.cpu = Cpu { quota_us: sample.cpu.quota_us, period_us: sample.cpu.period_us, ..stat };
    Ok(())
}

/// Parses `cpu.max`. `max` (no limit) and an empty file have no values.
fn cpu_max(bytes: &[u8], sample: &mut Sample) -> Result<(), ParseError> {
    let mut words = words(bytes);
    let quota_us = match words.next() {
        None | Some(b"max") => return Ok(()),
        Some(quota) => number("quota", quota)?,
    };
    let period_us = number("period", words.next().unwrap_or_default())?;
    sample.cpu.quota_us = Some(quota_us);
    sample.cpu.period_us = Some(period_us);
    Ok(())
}

/// Parses a file that holds one number: `None` for `max` (no limit) and for an empty file.
fn number_or_none(
    name: &'static str,
    bytes: &[u8],
    to: &mut Option<u64>,
) -> Result<(), ParseError> {
    *to = match bytes.trim_ascii() {
        b"" | b"max" => None,
        value => Some(number(name, value)?),
    };
    Ok(())
}

/// Parses `memory.stat`, some 60 lines, in one pass; only the values that are used are parsed.
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

/// Parses `memory.events` or `memory.events.local`.
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

/// Parses the totals of a pressure file; averages are left to PromQL.
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

/// Lines of a file, each split at its first space.
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
        let text = crate::escape::name(bytes.get(..32).unwrap_or(bytes));
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
