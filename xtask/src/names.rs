//! Whether every family of the catalogue is really exported by the demo's scrape.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Result, bail};

use crate::shell;

/// Families that a demo on a test machine cannot show, each with the reason. One that appears all
/// the same must leave this table.
const EXCUSED: [(&str, &str); 0] = [];

/// `Some(why)` if the agent cannot tell its catalogue.
pub(crate) fn check(agent: &Path, scrape: &str) -> Result<Option<String>> {
    // One family a line, its name first.
    let Ok(catalogue) = shell::output(Command::new(agent).arg("catalogue")) else {
        return Ok(Some("the agent has no command `catalogue`".to_owned()));
    };
    let listed: BTreeSet<&str> =
        catalogue.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let problems = compare(&listed, &exported(scrape), &EXCUSED);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    println!("names: {} families, {} of them excused", listed.len(), EXCUSED.len());
    for (family, reason) in EXCUSED {
        println!("  {family}: {reason}");
    }
    Ok(None)
}

/// Families with at least one sample, by their `# TYPE` lines.
fn exported(scrape: &str) -> BTreeSet<&str> {
    let mut types = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((family, kind)) = rest.split_once(' ') {
                types.insert(family, kind.trim());
            }
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| name.strip_suffix(suffix))
                .find(|family| types.get(family) == Some(&"histogram"))
                .unwrap_or(name);
            seen.insert(family);
        }
    }
    seen.remove("");
    seen
}

fn compare(
    catalogue: &BTreeSet<&str>,
    exported: &BTreeSet<&str>,
    excused: &[(&str, &str)],
) -> Vec<String> {
    let excused: BTreeSet<&str> = excused.iter().map(|&(family, _)| family).collect();
    let missing = catalogue.difference(exported).filter(|family| !excused.contains(*family));
    let unlisted = exported.iter().filter(|family| family.starts_with("podvitals_"));
    let unlisted = unlisted.filter(|family| !catalogue.contains(*family));
    let stale = excused.iter().filter(|family| exported.contains(*family));
    let unknown = excused.iter().filter(|family| !catalogue.contains(*family));
    missing
        .map(|family| format!("{family}: in the catalogue, not in the scrape"))
        .chain(unlisted.map(|family| format!("{family}: in the scrape, not in the catalogue")))
        .chain(stale.map(|family| format!("{family}: excused, but it is in the scrape")))
        .chain(unknown.map(|family| format!("{family}: excused, but not in the catalogue")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRAPE: &str = "\
# HELP podvitals_a_seconds Text.
# TYPE podvitals_a_seconds histogram
podvitals_a_seconds_bucket{le=\"+Inf\"} 0
podvitals_a_seconds_sum 0
podvitals_a_seconds_count 0
# TYPE podvitals_b_total counter
podvitals_b_total{x=\"1\"} 2
# TYPE podvitals_empty gauge
# TYPE podvitals_probe_count gauge
podvitals_probe_count 2
";

    #[test]
    fn families_are_those_with_samples() {
        let expected = ["podvitals_a_seconds", "podvitals_b_total", "podvitals_probe_count"];
        assert_eq!(exported(SCRAPE), BTreeSet::from(expected));
    }

    #[test]
    fn every_difference_is_named() {
        let catalogue = BTreeSet::from(["podvitals_a_seconds", "podvitals_c", "podvitals_d"]);
        let exported = exported(SCRAPE);
        let excused = [("podvitals_d", "why"), ("podvitals_a_seconds", "why"), ("podvitals_e", "")];
        assert_eq!(
            compare(&catalogue, &exported, &excused),
            [
                "podvitals_c: in the catalogue, not in the scrape",
                "podvitals_b_total: in the scrape, not in the catalogue",
                "podvitals_probe_count: in the scrape, not in the catalogue",
                "podvitals_a_seconds: excused, but it is in the scrape",
                "podvitals_e: excused, but not in the catalogue",
            ]
        );
    }
}
