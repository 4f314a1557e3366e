//! Values of OpenTelemetry's environment variables, and of the flags with the same meaning. Pure.
//!
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/> and
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A value that was set, with the name of the flag or variable that sets it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Given {
    /// The flag or the variable.
    pub(super) name: String,
    /// The value; never empty.
    pub(super) value: String,
}

impl Given {
    /// The error that the value is not what is expected. It says the value.
    pub(super) fn expected(&self, what: &str) -> anyhow::Error {
        anyhow::anyhow!("{}={:?}: expected {what}", self.name, self.value)
    }

    /// A number of milliseconds, at least one: to wait without a limit is not possible.
    pub(super) fn milliseconds(&self) -> anyhow::Result<Duration> {
        const WHAT: &str = "a whole number of milliseconds from 1 to 86400000";
        Ok(Duration::from_millis(self.number(WHAT, 86_400_000)?))
    }

    /// A number, at least one.
    pub(super) fn number(&self, what: &str, max: u64) -> anyhow::Result<u64> {
        let number = self.value.parse().ok().filter(|number| (1..=max).contains(number));
        number.ok_or_else(|| self.expected(what))
    }

    /// `true` or `false`, in any case.
    pub(super) fn boolean(&self) -> anyhow::Result<bool> {
        match self.value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A list `key=value,key=value` with percent-encoded values (W3C Baggage). Errors do not repeat
    /// what may be secret.
    pub(super) fn pairs(&self) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
        let items = self.value.split(',').enumerate();
        let items = items.filter(|(_, item)| !item.trim().is_empty());
        let pair = |(n, item): (usize, &str)| {
            let at = || format!("{}: item {} of the list", self.name, n + 1);
            let Some((key, value)) = item.split_once('=') else {
                bail!("{} is not of the form key=value", at());
            };
            let key = key.trim();
            if key.is_empty() {
                bail!("{} has no key", at());
            }
            let value = percent_decoded(value.trim().as_bytes()).with_context(|| {
                format!("{} has a % that is not followed by two hexadecimal digits", at())
            })?;
            Ok((key.to_owned(), value))
        };
        items.map(pair).collect()
    }
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digits = str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = after;
    }
    Some(bytes)
}

/// The environment; tests have their own.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<OsString>);

impl Variables<'_> {
    /// The first of these variables that is set. An empty value is none, as the specification has it.
    pub(super) fn first(&self, names: &[&str]) -> anyhow::Result<Option<Given>> {
        for name in names {
            match (self.0)(name).map(OsString::into_string) {
                Some(Ok(value)) if value.trim().is_empty() => {}
                Some(Ok(value)) => {
                    let (name, value) = ((*name).to_owned(), value.trim().to_owned());
                    return Ok(Some(Given { name, value }));
                }
                Some(Err(_)) => bail!("{name}: the value is no UTF-8"),
                None => {}
            }
        }
        Ok(None)
    }

    /// The flag's value, or that of the exporter's variable for traces, or for all signals.
    pub(super) fn exporter(
        &self,
        flag: &str,
        value: Option<&str>,
        variable: &str,
    ) -> anyhow::Result<Option<Given>> {
        let traces = format!("OTEL_EXPORTER_OTLP_TRACES_{variable}");
        let all = format!("OTEL_EXPORTER_OTLP_{variable}");
        self.flag_or(flag, value, &[&traces, &all])
    }

    /// The flag's value, or the first of these variables that is set.
    pub(super) fn flag_or(
        &self,
        flag: &str,
        value: Option<&str>,
        names: &[&str],
    ) -> anyhow::Result<Option<Given>> {
        match value.map(str::trim).filter(|value| !value.is_empty()) {
            Some(value) => Ok(Some(Given { name: flag.to_owned(), value: value.to_owned() })),
            None => self.first(names),
        }
    }
}
