//! Panels: places, and what a reader needs.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::read::{boards, list, name, panels, text};

/// The sides of a panel on the grid: left, top, right, bottom.
fn sides(panel: &Value) -> [u64; 4] {
    let side = |name| panel.pointer(&format!("/gridPos/{name}")).and_then(Value::as_u64).unwrap();
    let [x, y, w, h] = ["x", "y", "w", "h"].map(side);
    assert!(w > 0 && h > 0, "{panel}");
    [x, y, x + w, y + h]
}

#[test]
fn no_two_panels_share_an_id_or_a_place() {
    for board in boards() {
        let all = list(&board, "/panels");
        let ids: BTreeSet<u64> = all.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
        assert_eq!(ids.len(), all.len(), "{}", text(&board, "/uid"));
        for (index, one) in all.iter().enumerate() {
            let [left, top, right, bottom] = sides(one);
            assert!(right <= 24, "{}", name(&board, one));
            for other in &all[index + 1..] {
                let [x, y, to_x, to_y] = sides(other);
                let apart = right <= x || to_x <= left || bottom <= y || to_y <= top;
                assert!(apart, "{} and {}", name(&board, one), name(&board, other));
            }
        }
    }
}

#[test]
fn no_line_of_panels_has_a_hole() {
    for board in boards() {
        let all = list(&board, "/panels");
        let end = all.iter().map(|panel| sides(panel)[3]).max().unwrap();
        for line in 0..end {
            let there =
                all.iter().map(sides).filter(|[_, top, _, bottom]| (*top..*bottom).contains(&line));
            let width: u64 = there.map(|[left, _, right, _]| right - left).sum();
            assert_eq!(width, 24, "{}: line {line}", text(&board, "/uid"));
        }
    }
}

#[test]
fn titles_are_there_once() {
    for board in boards() {
        let mut titles = BTreeSet::new();
        for panel in panels(&board) {
            let title = text(panel, "/title");
            assert!(!title.is_empty() && titles.insert(title), "{}", name(&board, panel));
        }
        assert!(text(&board, "/description").ends_with('.'));
    }
}

#[test]
fn each_panel_says_how_to_read_it() {
    for board in boards() {
        for panel in panels(&board) {
            let description = text(panel, "/description");
            let name = name(&board, panel);
            assert!(description.len() > 40 && description.ends_with('.'), "{name}: {description}");
            assert!(!description.contains("  "), "{name}");
        }
    }
}

#[test]
fn each_value_has_a_unit_and_each_color_a_reason() {
    for board in boards() {
        for panel in panels(&board) {
            let name = name(&board, panel);
            let defaults = &panel["fieldConfig"]["defaults"];
            let overrides = list(panel, "/fieldConfig/overrides");
            let sets = |id: &str| {
                let mut properties = overrides.iter().flat_map(|it| list(it, "/properties"));
                properties.any(|property| text(property, "/id") == id)
            };
            let values = crate::read::columns(panel);
            let shows_values = text(panel, "/type") != "table"
                || values.iter().any(|(column, _)| column.starts_with("Value"));
            let unit = defaults.get("unit").is_some() || sets("unit");
            let unit = unit || panel.pointer("/options/yAxis/unit").is_some();
            assert!(unit || !shows_values, "{name} has no unit");
            let steps = list(defaults, "/thresholds/steps");
            assert!(!steps.is_empty() && steps[0]["value"].is_null(), "{name}");
            let values: Vec<f64> = steps.iter().filter_map(|step| step["value"].as_f64()).collect();
            assert!(values.is_sorted(), "{name}");
            if text(panel, "/type") == "stat" {
                let plain = text(&steps[0], "/color") == "text";
                assert!(steps.len() > 1 || plain, "{name} does not say what is bad");
            }
        }
    }
}

/// Each histogram is somewhere with its exemplars. Grafana asks for them over time only.
#[test]
fn what_reads_buckets_over_time_asks_for_exemplars() {
    let mut histograms = BTreeSet::new();
    for board in boards() {
        for panel in panels(&board) {
            for target in list(panel, "/targets") {
                let bucket = text(target, "/expr").split_once("_bucket{").map(|(before, _)| before);
                let over_time = target["range"] == true && bucket.is_some();
                let asks = target.get("exemplar") == Some(&true.into());
                assert_eq!(asks, over_time, "{}", name(&board, panel));
                let shows = ["heatmap", "timeseries"].contains(&text(panel, "/type"));
                assert!(!asks || shows, "{}", name(&board, panel));
                if asks && let Some(before) = bucket {
                    histograms.insert(before.rsplit_once("podvitals_").unwrap().1.to_owned());
                }
            }
        }
    }
    let expected = [
        "prestop_duration_seconds",
        // Traces tell of no attempt of a probe by itself: these two have none.
        "probe_duration_seconds",
        "probe_timeout_used_ratio",
        "restart_downtime_seconds",
        "shutdown_duration_seconds",
        "shutdown_grace_used_ratio",
        "startup_duration_seconds",
    ];
    assert_eq!(histograms.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn only_kinds_that_are_known_to_work_are_used() {
    for board in boards() {
        for panel in panels(&board) {
            let kinds = ["stat", "timeseries", "bargauge", "table", "heatmap"];
            assert!(kinds.contains(&text(panel, "/type")), "{}", name(&board, panel));
        }
    }
}

#[test]
fn a_row_at_the_top_tells_whether_anything_is_wrong() {
    for board in boards() {
        let top: Vec<&Value> =
            list(&board, "/panels").iter().filter(|panel| sides(panel)[1] == 0).collect();
        assert!(top.len() >= 4, "{}", text(&board, "/uid"));
        assert!(top.iter().all(|panel| text(panel, "/type") == "stat"), "{}", text(&board, "/uid"));
    }
}
