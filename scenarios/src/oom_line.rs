//! The agent's line of log about an OOM kill, field by field.

use anyhow::{Context as _, Result, ensure};
use testbed::scrape::Key;

/// One line `OOM kill`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OomLine(String);

impl OomLine {
    /// The only line about an OOM kill of this container in a log.
    pub(crate) fn find(log: &str, key: &Key) -> Result<Self> {
        let about = |line: &Self| {
            [("namespace", &key.namespace), ("pod", &key.pod), ("container", &key.container)]
                .iter()
                .all(|(field, value)| line.text(field).is_ok_and(|found| found == **value))
        };
        let lines = log.lines().filter(|line| line.contains(" OOM kill "));
        let mut found = lines.map(|line| Self(line.to_owned())).filter(about);
        let line = found.next().context("the log has no line about this OOM kill")?;
        ensure!(found.next().is_none(), "the log has a second line about this OOM kill");
        Ok(line)
    }

    /// Value of a text field.
    pub(crate) fn text(&self, field: &str) -> Result<&str> {
        let start = format!(" {field}=\"");
        let (_, rest) = self.0.split_once(&start).with_context(|| self.lacks(field))?;
        rest.split_once('"').map(|(value, _)| value).with_context(|| self.lacks(field))
    }

    /// Value of a number field.
    pub(crate) fn number(&self, field: &str) -> Result<u64> {
        let start = format!(" {field}=");
        let (_, rest) = self.0.split_once(&start).with_context(|| self.lacks(field))?;
        let digits = rest.split(' ').next().unwrap_or(rest);
        digits.parse().with_context(|| format!("{field}={digits} in {}", self.0))
    }

    /// Fails unless a text field has this value.
    pub(crate) fn want(&self, field: &str, value: &str) -> Result<()> {
        let found = self.text(field)?;
        ensure!(found == value, "{field} is {found:?}, not {value:?}, in {}", self.0);
        Ok(())
    }

    fn lacks(&self, field: &str) -> String {
        format!("no {field} in {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_by_its_container_and_read_by_field() {
        let line = |pod: &str| {
            format!(
                "2026-01-01T00:00:00Z  INFO agent::log: OOM kill namespace=\"n\" pod=\"{pod}\" \
                 container=\"app\" scope=\"pod\" limit_bytes=33554432 killed=1"
            )
        };
        let log = [line("other"), line("web"), "INFO OOM killer".to_owned()].join("\n");
        let key =
            |pod: &str| Key { namespace: "n".into(), pod: pod.into(), container: "app".into() };
        let found = OomLine::find(&log, &key("web")).unwrap();
        assert_eq!(found.text("scope").unwrap(), "pod");
        assert_eq!(found.number("limit_bytes").unwrap(), 33_554_432);
        assert_eq!(found.number("killed").unwrap(), 1);
        found.want("scope", "pod").unwrap();
        assert!(found.want("scope", "node").is_err() && found.number("anon_bytes").is_err());
        assert!(OomLine::find(&log, &key("none")).is_err());
        let twice = [line("web"), line("web")].join("\n");
        assert!(OomLine::find(&twice, &key("web")).is_err());
    }
}
