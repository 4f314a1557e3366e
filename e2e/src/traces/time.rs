//! Times as the API writes them.

use anyhow::{Context as _, Result, ensure};

/// Seconds of Unix time of a time as `2026-01-31T12:00:00Z`.
pub(super) fn unix_s(text: &str) -> Result<f64> {
    let read = || -> Result<i64> {
        let (date, time) =
            text.strip_suffix('Z').context("not UTC")?.split_once('T').context("no T")?;
        let [year, month, day] = numbers(date, '-')?;
        let [hours, minutes, seconds] = numbers(time, ':')?;
        // Days since 1970 in the Gregorian calendar, with years that begin in March.
        let year = if month <= 2 { year - 1 } else { year };
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468;
        Ok(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    };
    let unix_s = read().with_context(|| format!("{text:?} is no time"))?;
    Ok(unix_s as f64)
}

fn numbers(text: &str, between: char) -> Result<[i64; 3]> {
    let numbers: Vec<i64> = text.split(between).map(str::parse).collect::<Result<_, _>>()?;
    ensure!(numbers.iter().all(|number| *number >= 0), "a negative number");
    numbers.try_into().ok().context("not three numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_the_api_is_unix_time() {
        let is = |text: &str, unix_s_: f64| assert_eq!(unix_s(text).unwrap(), unix_s_, "{text}");
        is("1970-01-01T00:00:00Z", 0.0);
        is("2000-02-29T00:00:00Z", 951_782_400.0);
        is("2026-03-01T00:00:01Z", 1_772_323_201.0);
        is("2023-11-14T22:13:20Z", 1_700_000_000.0);
        for wrong in ["", "2026-03-01", "2026-03-01T00:00:01+01:00", "2026-03T00:00:01Z"] {
            assert!(unix_s(wrong).is_err(), "{wrong}");
        }
    }
}
