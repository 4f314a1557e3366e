//! Whether every family of the catalogue is really exported by the demo's scrape.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use testbed::{cgroup, scrape::Scrape};

use crate::shell;

/// The reason why the demo on this machine cannot show a family that needs this; `None` if it can.
fn unmet(need: &str, controllers: &[String], release: (u32, u32)) -> Result<Option<String>> {
    match need.split_once('=') {
        None if need == "pods" => Ok(Some("the demo has no Pod source".to_owned())),
        Some(("controller", name)) if controllers.iter().any(|offered| offered == name) => Ok(None),
        Some(("controller", name)) => {
            Ok(Some(format!("this cgroup v2 hierarchy has no {name} controller")))
        }
        Some(("linux", since)) => {
            let since_release = parse_release(since).with_context(|| format!("need {need:?}"))?;
            Ok((release < since_release).then(|| format!("it is there since Linux {since}")))
        }
        _ => bail!("the catalogue has an unknown need: {need:?}"),
    }
}

fn parse_release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn name_of(family: &Value) -> Result<&str> {
    family["name"].as_str().context("a family without a name")
}

/// Holds the scrape of the demo against the catalogue.
pub(crate) fn check(agent: &Path, scrape: &Scrape) -> Result<()> {
    let catalogue = shell::output(Command::new(agent).args(["catalogue", "--json"]))?;
    let families: Vec<Value> = serde_json::from_str(&catalogue).context("the catalogue")?;
    let listed: BTreeSet<&str> = families.iter().map(name_of).collect::<Result<_>>()?;
    let controllers = cgroup::controllers(&cgroup::mount()?)?;
    let release = nix::sys::utsname::uname()?.release().to_string_lossy().into_owned();
    let release = parse_release(&release).with_context(|| format!("kernel release {release:?}"))?;
    let mut excused = Vec::new();
    for family in &families {
        for need in family["needs"].as_array().context("a family without needs")? {
            let need = need.as_str().context("a need that is no text")?;
            if let Some(reason) = unmet(need, &controllers, release)? {
                excused.push((name_of(family)?, reason));
                break;
            }
        }
    }
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
    fn a_family_is_excused_by_what_it_needs() {
        let unmet = |need, release| unmet(need, &["cpu".to_owned()], release).unwrap();
        assert_eq!(unmet("controller=cpu", (6, 1)), None);
        assert!(unmet("controller=memory", (6, 1)).unwrap().contains("memory"));
        assert_eq!(unmet("linux=5.19", (5, 19)), None);
        assert!(unmet("linux=5.19", (5, 18)).unwrap().contains("5.19"));
        assert!(unmet("pods", (6, 1)).is_some());
        assert!(super::unmet("luck", &[], (6, 1)).is_err());
    }

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
