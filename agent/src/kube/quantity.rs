//! Quantities of Kubernetes (`500m`, `128Mi`, `1e3`) as integers.
//!
//! The grammar is that of apimachinery (`pkg/api/resource/quantity.go`). As there, fractions of the
//! requested unit are rounded up.

/// Limit of digits. No amount of anything on a node needs more.
const TEXT_MAX: usize = 32;

/// A quantity in units of 10⁻⁹: the finest that the grammar has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Nanos(u128);

/// A quantity in thousandths, as CPUs are counted. `None` if the text is not a quantity, is
/// negative or too large.
#[must_use]
pub fn millis(text: &str) -> Option<u64> {
    u64::try_from(parse(text)?.0.div_ceil(1_000_000)).ok()
}

/// A quantity in whole units: bytes, seconds. `None` as in [`millis`].
#[must_use]
pub fn units(text: &str) -> Option<u64> {
    u64::try_from(parse(text)?.0.div_ceil(1_000_000_000)).ok()
}

fn parse(text: &str) -> Option<Nanos> {
    if text.len() > TEXT_MAX {
        return None;
    }
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let digits = |digits: &str, from: u128| {
        digits.bytes().try_fold(from, |value, digit| {
            value.checked_mul(10)?.checked_add(u128::from(digit - b'0'))
        })
    };
    let mantissa = digits(fraction, digits(whole, 0)?)?;
    let (factor, exponent) = scale(suffix)?;
    let fraction_digits = i32::try_from(fraction.len()).ok()?;
    let exponent = exponent.checked_add(9)?.checked_sub(fraction_digits)?;
    let value = mantissa.checked_mul(factor)?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs());
    match (exponent >= 0, power) {
        _ if value == 0 => Some(Nanos(0)),
        (true, power) => value.checked_mul(power?).map(Nanos),
        (false, Some(power)) => Some(Nanos(value.div_ceil(power))),
        // Less than one of the smallest units.
        (false, None) => Some(Nanos(1)),
    }
}

/// Multiplier of a suffix: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(u128, i32)> {
    Some(match suffix {
        "" => (1, 0),
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            // `parse` would take a second sign.
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
                return None;
            }
            (1, exponent.parse().ok()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{millis, units};

    #[test]
    fn quantities_are_read() {
        for (text, milli) in [
            ("0", 0),
            ("1", 1000),
            ("500m", 500),
            ("0.5", 500),
            (".5", 500),
            ("1.", 1000),
            ("+2", 2000),
            ("100u", 1),
            ("1n", 1),
            ("1e3", 1_000_000),
            ("1E-2", 10),
            ("1e+1", 10_000),
            ("0.0001", 1),
            ("0e-9999", 0),
            ("1e-9999", 1),
        ] {
            assert_eq!(millis(text), Some(milli), "{text}");
        }
        for (text, bytes) in [
            ("128Mi", 128 << 20),
            ("1.5Gi", 3 << 29),
            ("64M", 64_000_000),
            ("1k", 1000),
            ("2E", 2_000_000_000_000_000_000),
            ("15Ei", 15 << 60),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("128974848000m", 128_974_848),
            ("1m", 1),
        ] {
            assert_eq!(units(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            ".",
            "-1",
            "-",
            "+",
            "++1",
            "1..2",
            "1.2.3",
            "m",
            "Mi",
            "1mi",
            "1KB",
            "1 Mi",
            "1e",
            "1e+",
            "1e+-3",
            "1e9999",
            "16Ei",
            "0x10",
            "1Mi ",
            "९",
            "1\0",
            "inf",
            "NaN",
            "99999999999999999999999999999999",
            "000000000000000000000000000000001",
        ] {
            assert_eq!(units(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,40}") {
            let _ = (millis(&text), units(&text));
        }

        #[test]
        fn any_likely_text_is_safe(text in "[+-]?[0-9]{0,30}\\.?[0-9]{0,12}[numkMGTPEeKi+-]{0,3}[0-9]{0,6}") {
            let _ = (millis(&text), units(&text));
        }

        #[test]
        fn integers_round_trip(value in 0..u64::MAX) {
            prop_assert_eq!(units(&value.to_string()), Some(value));
            prop_assert_eq!(millis(&format!("{value}m")), Some(value));
        }
    }
}
