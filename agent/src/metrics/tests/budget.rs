//! The budget of series, and collectors that are off.

use std::collections::BTreeMap;

use testbed::exposition::Sample;

use super::fixture::{encode, parse};
use super::format::labels;
use super::golden::{node, node_with};
use crate::lifecycle::fact::ProbeKind;
use crate::metrics::catalog;
use crate::metrics::collector::{Collector, Collectors};
use crate::metrics::family::{Family, Scope};
use crate::metrics::variant::Format;

/// The series of a workload to which nothing happened, and of one that went through everything in
/// the usual ways; docs/METRICS.md has the same numbers.
const WORKLOAD_SERIES: [usize; 2] = [51, 79];

#[test]
fn series_are_within_the_budget() {
    let without = Collectors::ALL.without(Collector::Probes).without(Collector::ProbePhases);
    let is_of_probe = |family: &Family| !catalog::is_on(family, without);
    let series_max = |scope| catalog::series_max(scope, without);
    assert!(series_max(Scope::Container) <= 48, "{}", series_max(Scope::Container));
    assert!(WORKLOAD_SERIES[1] <= 80);
    // What the catalogue allows is reached by a container that has everything, and exceeded by none.
    let parsed = parse(&encode(&mut node()), Format::Text);
    let mut of_container = 0;
    for (family, parsed) in catalog::families().zip(&parsed) {
        let mut entities = BTreeMap::<_, u32>::new();
        for line in &parsed.samples {
            let own = |name: &String| family.scope.labels().contains(&name.as_str());
            let mut entity = line.labels.clone();
            entity.retain(|name, _| own(name));
            *entities.entry(entity).or_default() += 1;
        }
        for count in entities.values() {
            assert!(*count <= family.series_max, "{}: {count}", family.name);
        }
        if is_of_probe(family) {
            continue;
        }
        let web = [("namespace", "shop"), ("pod", "web-7d4b9c6f5-abcde"), ("container", "web")];
        of_container += entities.get(&labels(&web)).copied().unwrap_or(0);
    }
    let of_workload = |kind: &str, name: &str, container: &str| {
        let labels = [("workload_kind", kind), ("workload", name), ("container", container)];
        let is_its = |sample: &&Sample| sample.has(&labels);
        // Not `container_info`, which names the workload as well.
        let families = catalog::families().zip(&parsed).filter(|(it, _)| !is_of_probe(it));
        let of_scope = families.filter(|(family, _)| family.scope == Scope::Workload);
        of_scope.map(|(_, parsed)| parsed.samples.iter().filter(is_its).count()).sum::<usize>()
    };
    let shown = [of_workload("Pod", "a\\b", "c"), of_workload("Deployment", "web", "web")];
    assert_eq!(shown, WORKLOAD_SERIES);
    // All but the three of the last shutdown: the one that has everything else had none.
    assert_eq!(of_container, series_max(Scope::Container) - 3);
}

/// What each probe of a container, and of a workload's container, costs beside that.
#[test]
fn series_of_a_probe_are_within_the_budget() {
    let mut series = BTreeMap::<_, usize>::new();
    let parsed = parse(&encode(&mut node()), Format::Text);
    for (family, parsed) in catalog::families().zip(&parsed) {
        if family.collector != Some(Collector::Probes) {
            continue;
        }
        for sample in parsed.samples.iter().filter(|sample| sample.labels.contains_key("probe")) {
            let key = (family.scope.name(), sample.labels["probe"].clone());
            *series.entry(key).or_default() += 1;
        }
    }
    let (liveness, readiness) = ("liveness".to_owned(), "readiness".to_owned());
    let expected = [
        // The results (all five were seen, or the three that a command has), and four more.
        (("container", liveness.clone()), 9),
        (("container", readiness.clone()), 7),
        (("workload", liveness), 21),
        (("workload", readiness), 24),
    ];
    assert_eq!(series, expected.into());
    let most = |scope| catalog::series_max(scope, Collectors::NONE.with(Collector::Probes));
    assert!(most(Scope::Container) <= 10 * ProbeKind::ALL.len() as u32);
}

#[test]
fn the_number_of_series_is_exported() {
    let mut store = node();
    let parsed = parse(&encode(&mut store), Format::Text);
    let lines: usize = parsed.iter().map(|family| family.samples.len()).sum();
    assert_eq!(store.series(), lines as u64);
    assert_eq!(parsed.last().unwrap().samples[0].value, lines as f64);
}

/// Everything but the collector's families and the number of series is as it was.
#[test]
fn a_collector_that_is_off_takes_its_families_along() {
    let samples = |collectors| {
        let parsed = parse(&encode(&mut node_with(collectors)), Format::Text);
        let families = parsed.into_iter().filter(|family| family.name != "podvitals_series");
        families.map(|family| (family.name.clone(), family.samples)).collect::<BTreeMap<_, _>>()
    };
    let all = samples(Collectors::ALL);
    for collector in Collector::ALL {
        let mut rest = all.clone();
        for family in catalog::families().filter(|family| family.collector == Some(collector)) {
            let gone = rest.remove(&format!("{}{}", family.prefix(), family.name));
            assert!(gone.is_some(), "{}", family.name);
        }
        assert!(rest.len() < all.len(), "{collector:?} has families");
        assert_eq!(samples(Collectors::ALL.without(collector)), rest, "{collector:?}");
    }
    let of_agent = samples(Collectors::NONE);
    let mut always = catalog::families().filter(|family| family.collector.is_none());
    assert!(always.all(|family| matches!(family.scope, Scope::Node | Scope::Process)));
    assert!(of_agent.keys().all(|name| !name.starts_with("podvitals_container_")));
    let scopes = [Scope::Container, Scope::Workload, Scope::Pod];
    assert_eq!(scopes.map(|scope| catalog::series_max(scope, Collectors::NONE)), [0; 3]);
}
