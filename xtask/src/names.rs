//! Whether every family of the catalogue is really exported by the demo's scrape.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Result, bail};
use testbed::{cgroup, scrape::Scrape};

use crate::shell;

/// Families that need a controller of the cgroup v2 hierarchy. Where it is not offered they cannot
/// be shown; where it is, they have to be.
const BY_CONTROLLER: [(&str, &[&str]); 3] = [
    (
        "cpu",
        &[
            "podvitals_container_cpu_throttled_seconds_total",
            "podvitals_container_cpu_periods_total",
            "podvitals_container_cpu_throttled_periods_total",
            "podvitals_container_cpu_limit_cores",
            "podvitals_pod_cpu_limit_cores",
        ],
    ),
    (
        "memory",
        &[
            "podvitals_container_memory_usage_bytes",
            "podvitals_container_memory_working_set_bytes",
            "podvitals_container_memory_anon_bytes",
            "podvitals_container_memory_file_bytes",
            "podvitals_container_memory_shmem_bytes",
            "podvitals_container_memory_kernel_bytes",
            "podvitals_container_memory_swap_bytes",
            "podvitals_container_memory_peak_bytes",
            "podvitals_container_memory_limit_bytes",
            "podvitals_container_memory_swap_limit_bytes",
            "podvitals_container_memory_page_faults_total",
            "podvitals_container_memory_events_total",
            "podvitals_pod_memory_limit_bytes",
            "podvitals_pod_memory_working_set_bytes",
            "podvitals_pod_memory_events_total",
        ],
    ),
    ("pids", &["podvitals_container_tasks", "podvitals_container_tasks_limit"]),
];

/// The families that cannot be shown here, each with the reason.
fn excused<'a>(offered: &[String]) -> Vec<(&'a str, String)> {
    BY_CONTROLLER
        .iter()
        .filter(|(controller, _)| !offered.iter().any(|offered| offered == controller))
        .flat_map(|(controller, families)| {
            let reason = format!("this cgroup v2 hierarchy has no {controller} controller");
            families.iter().map(move |family| (*family, reason.clone()))
        })
        .collect()
}

/// Holds the scrape of the demo against the catalogue.
pub(crate) fn check(agent: &Path, scrape: &Scrape) -> Result<()> {
    // One family a line, its name first.
    let catalogue = shell::output(Command::new(agent).arg("catalogue"))?;
    let words = |line| str::split_whitespace(line).collect::<Vec<_>>();
    let lines: Vec<Vec<&str>> = catalogue.lines().map(words).collect();
    let listed: BTreeSet<&str> = lines.iter().filter_map(|words| words.first()).copied().collect();
    let mut excused = excused(&cgroup::controllers(&cgroup::mount()?)?);
    for words in &lines {
        if let [family, _, "pods"] = words[..] {
            excused.push((family, "the demo has no source of Pods".to_owned()));
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
