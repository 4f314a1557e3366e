//! Links: each leads to a board of ours and passes variables that it has.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::queries::{labels, vocabulary};
use crate::read::{between, boards, columns, list, name, panels, text, variables};

/// All links of a panel's values.
fn links(panel: &Value) -> Vec<&str> {
    let defaults = list(panel, "/fieldConfig/defaults/links");
    let overrides = list(panel, "/fieldConfig/overrides")
        .iter()
        .flat_map(|it| list(it, "/properties"))
        .filter(|property| text(property, "/id") == "links")
        .flat_map(|property| list(property, "/value"));
    defaults.iter().chain(overrides).map(|link| text(link, "/url")).collect()
}

#[test]
fn links_lead_to_boards_and_pass_variables_that_these_have() {
    let boards = boards();
    let vocabulary = vocabulary();
    let mut followed = BTreeSet::new();
    for board in &boards {
        for panel in panels(board) {
            let name = name(board, panel);
            let titles: Vec<&str> = columns(panel).into_iter().map(|(_, title)| title).collect();
            for url in links(panel) {
                if url.starts_with("/explore?") {
                    continue;
                }
                let (uid, query) = url.strip_prefix("/d/").unwrap().split_once('?').unwrap();
                let to = boards.iter().find(|it| text(it, "/uid") == uid);
                let to = to.unwrap_or_else(|| panic!("{name}: no board {uid}"));
                followed.insert((text(board, "/uid"), uid));
                assert!(query.ends_with("&${__url_time_range}"), "{name}: {url}");
                for part in query.split('&').filter(|part| *part != "${__url_time_range}") {
                    let passed = if let Some(same) = part.strip_suffix(":queryparam}") {
                        let same = same.strip_prefix("${").unwrap();
                        assert!(variables(board).contains(&same), "{name}: {part}");
                        same
                    } else {
                        let (variable, value) =
                            part.strip_prefix("var-").unwrap().split_once('=').unwrap();
                        // Names may have what separates in an address.
                        assert!(value.ends_with(":percentencode}"), "{name}: {part}");
                        variable
                    };
                    assert!(variables(to).contains(&passed), "{name}: {uid} has no {passed}");
                }
                for title in between(url, "__data.fields[\"", "\"]") {
                    assert!(titles.contains(&title), "{name}: no column {title}");
                }
                for label in between(url, "__field.labels.", ":") {
                    for target in list(panel, "/targets") {
                        let labels = labels(&vocabulary, board, target);
                        assert!(labels.contains(label), "{name}: no label {label}");
                    }
                }
            }
        }
    }
    for (from, to) in [
        ("podvitals-why", "podvitals-pod"),
        ("podvitals-why", "podvitals-shutdowns"),
        ("podvitals-why", "podvitals-node"),
        ("podvitals-shutdowns", "podvitals-pod"),
        ("podvitals-shutdowns", "podvitals-why"),
        ("podvitals-probes", "podvitals-pod"),
        ("podvitals-probes", "podvitals-why"),
        ("podvitals-node", "podvitals-pod"),
        ("podvitals-self", "podvitals-node"),
    ] {
        assert!(followed.contains(&(from, to)), "no link from {from} to {to}");
    }
}

/// An address with values in the place of what Grafana fills in, decoded.
fn opened(url: &str, values: &[(&str, &str)]) -> String {
    let filled = values
        .iter()
        .fold(url.to_owned(), |url, (name, value)| url.replace(&format!("${{{name}}}"), value));
    assert!(!filled.contains('$'), "{filled}");
    let mut bytes = Vec::new();
    let mut rest = filled.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [a, b, after @ ..]) => {
                let hex = str::from_utf8(&[*a, *b]).unwrap().to_owned();
                (u8::from_str_radix(&hex, 16).unwrap(), after)
            }
            _ => (*first, after),
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn links_to_traces_open_what_explore_takes() {
    let mut followed = BTreeSet::new();
    for board in boards() {
        for panel in panels(&board) {
            let name = name(&board, panel);
            let titles: Vec<&str> = columns(panel).into_iter().map(|(_, title)| title).collect();
            for url in links(panel).into_iter().filter(|url| url.starts_with("/explore?")) {
                let raw = url.strip_prefix("/explore?schemaVersion=1&panes=").unwrap();
                assert!(!raw.contains('&'), "{name}: {url}");
                for title in between(url, "__data.fields[\"", "\"]") {
                    assert!(titles.contains(&title), "{name}: no column {title}");
                }
                let store = if url.contains("${tempo}") { "tempo" } else { "jaeger" };
                assert!(variables(&board).contains(&store), "{name}: no variable {store}");
                let values = [
                    (store, "uid-1"),
                    ("__from", "1700000000000"),
                    ("__to", "1700000360000"),
                    ("__data.fields[\"Namespace\"]:percentencode", "shop"),
                    ("__data.fields[\"Pod\"]:percentencode", "web-7d4b9c6f5-abcde"),
                    ("namespace:percentencode", "shop"),
                    ("pod:percentencode", "web-7d4b9c6f5-abcde"),
                ];
                let panes: Value = serde_json::from_str(&opened(raw, &values)).unwrap();
                let pane = &panes["pod"];
                assert_eq!(pane["datasource"], "uid-1");
                let range = serde_json::json!({ "from": "1700000000000", "to": "1700000360000" });
                assert_eq!(pane["range"], range);
                let [query] = list(pane, "/queries") else { panic!("{name}: {pane}") };
                assert_eq!(text(query, "/datasource/type"), store);
                assert_eq!(text(query, "/datasource/uid"), "uid-1");
                let (key, asked) = if store == "tempo" {
                    (
                        "query",
                        "{resource.k8s.namespace.name=\"shop\" && \
                         resource.k8s.pod.name=\"web-7d4b9c6f5-abcde\"}",
                    )
                } else {
                    ("tags", "k8s.namespace.name=shop k8s.pod.name=web-7d4b9c6f5-abcde")
                };
                assert_eq!(query[key], asked, "{name}");
                followed.insert((text(&board, "/uid").to_owned(), store));
            }
        }
    }
    let boards = ["why", "shutdowns", "probes", "pod", "node"];
    let all = boards
        .iter()
        .flat_map(|board| ["tempo", "jaeger"].map(|store| (format!("podvitals-{board}"), store)));
    assert_eq!(followed, all.collect());
}

/// A board works without a store of traces: nothing but links knows of one.
#[test]
fn stores_of_traces_are_for_links_alone() {
    for board in boards() {
        let stores = ["tempo", "jaeger"];
        for variable in list(&board, "/templating/list") {
            let is_store = stores.contains(&text(variable, "/name"));
            assert_eq!(variable["hide"], if is_store { 2 } else { 0 }, "{variable}");
            assert!(!is_store || text(variable, "/query") == text(variable, "/name"));
        }
        for target in panels(&board).flat_map(|panel| list(panel, "/targets")) {
            let asked = target.to_string();
            assert!(stores.iter().all(|store| !asked.contains(store)), "{asked}");
        }
    }
}

#[test]
fn boards_list_each_other_with_variables_and_time() {
    for board in boards() {
        let [link] = list(&board, "/links") else { panic!("{}", text(&board, "/uid")) };
        assert_eq!(text(link, "/type"), "dashboards");
        assert_eq!(link["tags"], board["tags"]);
        assert_eq!((&link["includeVars"], &link["keepTime"]), (&true.into(), &true.into()));
    }
}
