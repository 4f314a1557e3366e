use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use testbed::promql::{Labels, Vocabulary};

use super::*;

mod cost;

/// Where the runbooks are read.
const RUNBOOK_URL: &str = "https://github.com/podvitals/podvitals/blob/main/";
const RUNBOOKS: &str = "docs/runbooks";
/// Parts of each runbook, in this order.
const SECTIONS: [&str; 7] = [
    "## What it means",
    "## Impact",
    "## Can it be a false alarm?",
    "## What to look at",
    "## What to do now",
    "## How to prevent it",
    "## When to silence it",
];
/// Metrics of other exporters, with what we use of their labels.
const OTHERS: [(&str, &[&str]); 14] = [
    ("kube_node_info", &["node", "exported_node", "os_image", "kubelet_version"]),
    ("kube_node_status_condition", &["node", "exported_node", "condition", "status"]),
    (
        "kube_deployment_status_condition",
        &["namespace", "exported_namespace", "deployment", "condition", "status"],
    ),
    ("kube_statefulset_replicas", &["namespace", "exported_namespace", "statefulset"]),
    (
        "kube_statefulset_status_replicas_updated",
        &["namespace", "exported_namespace", "statefulset"],
    ),
    (
        "kube_statefulset_status_current_revision",
        &["namespace", "exported_namespace", "statefulset", "revision"],
    ),
    (
        "kube_statefulset_status_update_revision",
        &["namespace", "exported_namespace", "statefulset", "revision"],
    ),
    (
        "kube_daemonset_status_updated_number_scheduled",
        &["namespace", "exported_namespace", "daemonset"],
    ),
    (
        "kube_daemonset_status_desired_number_scheduled",
        &["namespace", "exported_namespace", "daemonset"],
    ),
    ("kube_pod_container_resource_limits", &["namespace", "pod", "container", "resource"]),
    ("kube_pod_status_phase", &["namespace", "pod", "phase"]),
    ("node_uname_info", &["nodename"]),
    ("node_filesystem_avail_bytes", &["mountpoint", "fstype", "device"]),
    ("node_filesystem_size_bytes", &["mountpoint", "fstype", "device"]),
];

fn yaml(path: impl AsRef<Path>) -> Value {
    let text = text(&path).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{:?}: {error}", path.as_ref()))
}

/// The rules that have this key, by its value.
fn rules(key: &str) -> BTreeMap<String, Value> {
    let groups = yaml(RULES)["groups"].as_array().unwrap().clone();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone());
    let named = rules.filter_map(|rule| Some((rule.get(key)?.as_str()?.to_owned(), rule)));
    let list: Vec<_> = named.collect();
    let rules: BTreeMap<_, _> = list.iter().cloned().collect();
    assert_eq!(rules.len(), list.len(), "one rule of each name");
    rules
}

fn expression(rule: &Value) -> &str {
    rule["expr"].as_str().unwrap()
}

/// What expressions can name: what is exported, and what the recording rules make of it.
fn vocabulary() -> Vocabulary {
    let mut vocabulary = Vocabulary::of_reference(&text("docs/METRICS.md").unwrap()).unwrap();
    for (name, labels) in OTHERS {
        vocabulary = vocabulary.with(name, labels);
    }
    let mut left: Vec<_> = rules("record").into_iter().collect();
    // A rule may read what another one records.
    while !left.is_empty() {
        let before = left.len();
        left.retain(|(name, rule)| {
            let Ok(labels) = vocabulary.labels_of(expression(rule)) else { return true };
            vocabulary.record(name, labels).unwrap();
            false
        });
        if let Some((_, rule)) = left.first()
            && left.len() == before
        {
            vocabulary.labels_of(expression(rule)).unwrap();
        }
    }
    vocabulary
}

#[test]
fn the_resource_of_the_operator_is_up_to_date() {
    let written = text(PROMETHEUS_RULE).unwrap();
    let expected = prometheus_rule(&text(RULES).unwrap()).unwrap();
    assert!(written == expected, "{PROMETHEUS_RULE} is stale: cargo xtask alerts writes it");
    assert_eq!(yaml(PROMETHEUS_RULE)["spec"]["groups"], yaml(RULES)["groups"]);
}

#[test]
fn the_component_ships_the_resource() {
    let component = yaml("deploy/components/alerts/kustomization.yaml");
    assert_eq!(component["kind"], "Component");
    assert_eq!(component["resources"], serde_json::json!(["../../alerts"]));
    let base = yaml("deploy/alerts/kustomization.yaml");
    assert_eq!(base["resources"], serde_json::json!(["prometheusrule.yaml"]));
    let namespace = &yaml("deploy/base/namespace.yaml")["metadata"]["name"];
    assert_eq!(&yaml(PROMETHEUS_RULE)["metadata"]["namespace"], namespace);
}

#[test]
fn expressions_name_what_is_exported() {
    let vocabulary = vocabulary();
    let alerts = rules("alert");
    for (name, rule) in &alerts {
        vocabulary.labels_of(expression(rule)).unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }
    for (name, rule) in rules("record") {
        let [level, metric, _operation] = name.split(':').collect::<Vec<_>>()[..] else {
            panic!("{name} is not level:metric:operation");
        };
        let metric = metric.split("_per_").next().unwrap();
        let is_about = |known: &str| known.starts_with(metric) && !known.contains(':');
        // The age is computed.
        assert!(
            vocabulary.metrics().any(is_about) || metric.ends_with("_agent_age_seconds"),
            "{name}"
        );
        let labels = vocabulary.labels_of(expression(&rule)).unwrap();
        for label in level.split('_') {
            assert!(labels.contains(label), "{name} has no label {label}");
        }
        assert!(labels.contains("cluster"), "{name} mixes clusters");
        for label in ["job", "replica", "prometheus_replica"] {
            assert!(!labels.contains(label), "{name} tells replicas apart by {label}");
        }
    }
    for (name, rule) in &alerts {
        let labels = vocabulary.labels_of(expression(rule)).unwrap();
        for label in ["replica", "prometheus_replica"] {
            assert!(!labels.contains(label), "{name} fires once for each {label}");
        }
    }
}

/// Property: containers of two nodes are kept apart. Many machines have units of the same names, and a
/// Pod that moved is known on two nodes for a while.
#[test]
fn containers_of_two_nodes_are_kept_apart() {
    let mut lists = 0;
    for (name, rule) in rules("alert").into_iter().chain(rules("record")) {
        let expression = expression(&rule);
        for begin in ["by (", "on ("] {
            for list in expression.split(begin).skip(1) {
                let list: Vec<&str> = list.split(')').next().unwrap().split(", ").collect();
                if list.contains(&"pod") {
                    assert!(list.contains(&"node"), "{name}: {list:?}");
                    lists += 1;
                }
            }
        }
    }
    assert!(lists > 10, "{lists}");
}

/// Property: nothing trusts the increase of a series that may begin with its first event, unless what
/// it misses is added.
#[test]
fn first_events_are_counted() {
    let reference = text("docs/METRICS.md").unwrap();
    let begun = reference.split("\n\n").find(|it| it.starts_with("Begun by the first")).unwrap();
    let begun: Vec<&str> = begun.split('`').filter(|it| it.starts_with("podvitals_")).collect();
    assert!(begun.len() > 4, "{begun:?}");
    let mut counted = 0;
    for (name, rule) in rules("alert").into_iter().chain(rules("record")) {
        let expression = expression(&rule);
        for function in ["increase(", "rate(", "delta("] {
            for used in expression.split(function).skip(1) {
                if begun.iter().any(|family| used.starts_with(family)) {
                    let whole = used.split('[').next().unwrap();
                    let ways = [format!("({whole} offset "), format!("({whole})")];
                    assert!(ways.iter().all(|way| expression.contains(way)), "{name}: {whole}");
                    counted += 1;
                }
            }
        }
    }
    assert!(counted > 1, "{counted}");
}

/// Property: whoever gets an alert knows what was seen where, what it means, and where to look.
#[test]
fn each_alert_is_whole() {
    let vocabulary = vocabulary();
    for (name, rule) in rules("alert") {
        assert!(name.starts_with("Podvitals"), "{name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}");
        let annotations = rule["annotations"].as_object().unwrap();
        let mut names: Vec<_> = annotations.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["dashboard", "description", "runbook_url", "summary"], "{name}");
        let annotation = |key: &str| annotations[key].as_str().unwrap();

        let runbook = format!("{RUNBOOKS}/{name}.md");
        assert_eq!(annotation("runbook_url"), format!("{RUNBOOK_URL}{runbook}"));
        let labels = vocabulary.labels_of(expression(&rule)).unwrap();
        let description = annotation("description");
        let summary = annotation("summary");
        assert!(summary.ends_with('.'), "{name}: {summary}");
        for text in [summary, description, annotation("dashboard")] {
            for used in text.split("$labels.").skip(1) {
                let label = used.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next();
                let label = label.unwrap();
                assert!(labels.contains(label), "{name} has no label {label}");
            }
        }
        // Who it is about, by the finest name that it has.
        let about = ["workload", "node"].into_iter().find(|label| labels.contains(*label));
        match about {
            // The summary may be all that a pager shows.
            Some(label) => assert!(
                [summary, description].iter().all(|it| it.contains(&format!("$labels.{label} "))),
                "{name}"
            ),
            None => assert_eq!(name, "PodvitalsAbsent"),
        }
        link(&name, annotation("dashboard"), &labels);
    }
}

/// The link leads to a dashboard of ours, and takes along what the alert is about.
fn link(name: &str, link: &str, labels: &Labels) {
    // A relative path: where Grafana is, is for its users to know.
    let path = link.strip_prefix("/d/").unwrap_or_else(|| panic!("{name}: {link}"));
    let (uid, variables) = path.split_once('?').unwrap_or((path, ""));
    for value in variables.split("}}").filter(|it| it.contains('.')) {
        // A name may have what separates in an address; `with` only tests.
        let is_test = value.contains("{{ with ");
        assert!(is_test || value.ends_with(" | urlquery "), "{name}: {value} in {link}");
    }
    let known = yaml(format!("dashboards/{uid}.json"))["templating"]["list"].clone();
    let known: Vec<&str> =
        known.as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    let set: Vec<&str> =
        variables.split("var-").skip(1).map(|it| it.split('=').next().unwrap()).collect();
    assert!(set.iter().all(|variable| known.contains(variable)), "{name}: {set:?} of {uid}");
    for label in ["cluster", "namespace", "workload"] {
        // A board of one Pod needs no workload.
        let given = set.contains(&label) || (label == "workload" && set.contains(&"pod"));
        assert_eq!(given, labels.contains(label), "{name}: {label} in {link}");
    }
}

/// Property: what all agents may have at once is one message of the example, and not one for each node.
#[test]
fn agents_do_not_storm() {
    let route = yaml("deploy/alerts/alertmanager.yaml")["route"]["routes"][0].clone();
    assert_eq!(route["group_by"], serde_json::json!(["cluster", "alertname"]));
    let matcher = route["matchers"][0].as_str().unwrap();
    let names = matcher.strip_prefix("alertname=~\"Podvitals(").unwrap();
    let names: Vec<&str> = names.strip_suffix(")\"").unwrap().split('|').collect();
    let groups = yaml(RULES)["groups"].as_array().unwrap().clone();
    let agents = groups.iter().find(|group| group["name"] == "podvitals-agent").unwrap();
    for rule in agents["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap().strip_prefix("Podvitals").unwrap();
        let grouped = names.iter().any(|it| match it.strip_suffix(".+") {
            Some(begin) => name.starts_with(begin),
            None => *it == name,
        });
        // One for all, and a page.
        assert_eq!(grouped, name != "Absent", "{name}");
    }
}

#[test]
fn each_runbook_belongs_to_an_alert() {
    let alerts: BTreeSet<String> = rules("alert").into_keys().collect();
    let index = text(format!("{RUNBOOKS}/README.md")).unwrap();
    let mut runbooks = BTreeSet::new();
    for file in fs::read_dir(paths::root().join(RUNBOOKS)).unwrap().flatten() {
        let name = file.file_name().into_string().unwrap();
        let name = name.strip_suffix(".md").unwrap();
        if name != "README" {
            runbooks.insert(name.to_owned());
        }
    }
    assert_eq!(runbooks, alerts);
    let vocabulary = vocabulary();
    for (name, rule) in rules("alert") {
        let severity = rule["labels"]["severity"].as_str().unwrap();
        let row = index.lines().find(|line| line.starts_with(&format!("| [{name}]({name}.md) |")));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the index"));
        assert!(row.contains(&format!("| {severity} |")), "{row}");
        let runbook = text(format!("{RUNBOOKS}/{name}.md")).unwrap();
        assert!(runbook.starts_with(&format!("# {name}\n")), "{name}");
        let headings: Vec<&str> = runbook.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, SECTIONS, "{name}");
        let dashboard = rule["annotations"]["dashboard"].as_str().unwrap();
        let uid = dashboard.trim_start_matches("/d/").split('?').next().unwrap();
        panels(&name, uid, &runbook);
        let mut queries = 0;
        for block in runbook.split("```promql\n").skip(1) {
            for query in block.split("```").next().unwrap().split("\n\n") {
                vocabulary.labels_of(query).unwrap_or_else(|error| panic!("{name}: {error:#}"));
                queries += 1;
            }
        }
        assert!(queries > 0, "{name} has no query");
    }
}

/// Holds each panel that a runbook names, as in `"Title" of uid`, against the dashboard; one at least
/// is of the dashboard that the alert links to.
fn panels(name: &str, linked: &str, runbook: &str) {
    let section = runbook.split("## What to look at\n").nth(1).unwrap();
    let words = section.split("```").next().unwrap().split_whitespace();
    let words = words.collect::<Vec<_>>().join(" ");
    let mut named = Vec::new();
    let mut rest = words.as_str();
    while let Some((before, after)) = rest.split_once(" of `podvitals-") {
        let (uid, after) = after.split_once('`').unwrap();
        let board = text(format!("dashboards/podvitals-{uid}.json")).unwrap();
        for title in before.split('"').skip(1).step_by(2) {
            assert!(
                board.contains(&format!("\"title\": \"{title}\"")),
                "{name}: no panel {title:?}"
            );
            named.push(format!("podvitals-{uid}"));
        }
        rest = after;
    }
    assert!(named.iter().any(|uid| uid == linked), "{name} names no panel of {linked}");
}

/// A case of a test of rules: an alert, whether it is to fire, and the metrics of the test.
struct Case {
    alert: String,
    fires: bool,
    metrics: BTreeSet<String>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for file in tests().unwrap() {
        for group in yaml(&file)["tests"].as_array().unwrap() {
            let series = group["input_series"].as_array().unwrap().iter();
            let metric = |it: &Value| {
                let series = it["series"].as_str().unwrap();
                series.split('{').next().unwrap().to_owned()
            };
            let metrics: BTreeSet<String> = series.map(metric).collect();
            for case in group["alert_rule_test"].as_array().into_iter().flatten() {
                let expected = case["exp_alerts"].as_array();
                let alert = case["alertname"].as_str().unwrap().to_owned();
                let fires = expected.is_some_and(|alerts| !alerts.is_empty());
                for alert in expected.into_iter().flatten() {
                    for key in ["summary", "description", "runbook_url", "dashboard"] {
                        assert!(alert["exp_annotations"][key].is_string(), "{file:?}: {key}");
                    }
                }
                cases.push(Case { alert, fires, metrics: metrics.clone() });
            }
        }
    }
    cases
}

/// The text of an alert's expression, and of those that it reads.
fn whole(expression: &str, records: &BTreeMap<String, Value>) -> String {
    let mut text = expression.to_owned();
    for (name, rule) in records {
        if expression.contains(name.as_str()) {
            text.push_str(&whole(self::expression(rule), records));
        }
    }
    text
}

/// Property: each alert is seen to fire, and not to, on series that it reads.
#[test]
fn each_alert_is_tested_both_ways() {
    let cases = cases();
    let records = rules("record");
    let alerts = rules("alert");
    for case in &cases {
        assert!(alerts.contains_key(&case.alert), "no alert {}", case.alert);
    }
    for (name, rule) in &alerts {
        let reads = whole(expression(rule), &records);
        for fires in [true, false] {
            let tested = cases.iter().any(|case| {
                case.alert == *name
                    && case.fires == fires
                    && case.metrics.iter().any(|metric| reads.contains(metric.as_str()))
            });
            assert!(
                tested,
                "{name}: no case in which it {}",
                if fires { "fires" } else { "does not" }
            );
        }
    }
}

#[test]
fn the_resource_is_the_rules_two_columns_to_the_right() {
    let rules = "# Words.\ngroups:\n  - name: a\n\n    rules: []\n";
    let expected = format!("{HEAD}  groups:\n    - name: a\n\n      rules: []\n");
    assert_eq!(prometheus_rule(rules).unwrap(), expected);
    prometheus_rule("# Words.\n").unwrap_err();
}
