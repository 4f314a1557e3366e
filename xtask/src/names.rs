//! Whether every family of the catalogue is really exported by the demo's scrape.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, bail};
use testbed::catalogue::{self, Host};
use testbed::{cgroup, scrape::Scrape};

/// Holds the scrape of the demo against the catalogue.
pub(crate) fn check(agent: &Path, scrape: &Scrape) -> Result<()> {
    let catalogue = catalogue::read(agent)?;
    let listed: BTreeSet<&str> = catalogue.iter().map(|family| &*family.name).collect();
    let controllers = cgroup::controllers(&cgroup::mount()?)?;
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let release = catalogue::release(&release).with_context(|| format!("release {release:?}"))?;
    let host = Host { controllers: &controllers, release };
    let excused: Vec<(&str, String)> = catalogue
        .iter()
        .filter_map(|family| Some((family.name.as_str(), host.excuse(family)?)))
        .collect();
    let families = &scrape.exposition().families;
    let exported = families.iter().map(|family| family.name.as_str()).collect();
    let problems = compare(&listed, &exported, &excused);
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    println!("names: {} families, {} of them excused", listed.len(), excused.len());
    for (family, reason) in excused {
        println!("  {family}: {reason}");
    }
    Ok(())
}

fn compare(
    catalogue: &BTreeSet<&str>,
    exported: &BTreeSet<&str>,
    excused: &[(&str, String)],
) -> Vec<String> {
    let excused: BTreeSet<&str> = excused.iter().map(|(family, _)| *family).collect();
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

    #[test]
    fn every_difference_is_named() {
        let catalogue = BTreeSet::from(["podvitals_a_seconds", "podvitals_c", "podvitals_d"]);
        let exported =
            BTreeSet::from(["podvitals_a_seconds", "podvitals_b_total", "podvitals_probe_count"]);
        let excused = ["podvitals_d", "podvitals_a_seconds", "podvitals_e"]
            .map(|family| (family, "why".to_owned()));
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
