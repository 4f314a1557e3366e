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
        ("podvitals-node", "podvitals-pod"),
        ("podvitals-self", "podvitals-node"),
    ] {
        assert!(followed.contains(&(from, to)), "no link from {from} to {to}");
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
