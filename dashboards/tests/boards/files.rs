//! The files.

use std::collections::BTreeSet;
use std::fs;

use crate::read::{boards, folder, text};

#[test]
fn the_json_is_up_to_date() {
    for (name, text) in dashboards::files() {
        let is = fs::read_to_string(folder().join(&name)).unwrap_or_default();
        assert!(is == text, "dashboards/{name} is out of date: cargo xtask dashboards rewrites it");
    }
}

#[test]
fn no_board_is_left_over_and_each_is_shipped() {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = entries.map(|name| name.into_string().unwrap());
    let here: BTreeSet<String> = names.filter(|name| name.ends_with(".json")).collect();
    let known: BTreeSet<String> = dashboards::files().into_iter().map(|(name, _)| name).collect();
    assert_eq!(here, known);
    let component = fs::read_to_string(folder().join("kustomization.yaml")).unwrap();
    for name in &known {
        assert!(component.contains(&format!("files: [{name}]")), "kustomization.yaml: {name}");
    }
    assert_eq!(component.matches("files:").count(), known.len());
}

#[test]
fn a_config_map_can_hold_each() {
    // kubectl apply keeps a copy in an annotation, of which the API server takes 256 KiB.
    for (name, text) in dashboards::files() {
        assert!(text.len() < 200 * 1024, "{name} is {} bytes", text.len());
    }
}

#[test]
fn uids_are_stable() {
    let boards = boards();
    let uids: Vec<&str> = boards.iter().map(|board| text(board, "/uid")).collect();
    let stable = [
        "podvitals-why",
        "podvitals-shutdowns",
        "podvitals-probes",
        "podvitals-pod",
        "podvitals-node",
        "podvitals-self",
    ];
    assert_eq!(uids, stable);
}
