//! `podvitals catalogue`: every metric family, for people and for programs.

use serde_json::{Value, json};

use crate::metrics::catalog::families;
use crate::metrics::family::{Family, Need};

/// The catalogue: a table, or an array of objects as JSON.
#[must_use]
pub fn text(as_json: bool) -> String {
    if as_json { format!("{:#}\n", families().map(object).collect::<Value>()) } else { table() }
}

/// The family's collector, or `agent` for what is always on.
fn collector(family: &Family) -> &'static str {
    family.collector.map_or("agent", |collector| collector.name())
}

fn needs(family: &Family) -> impl Iterator<Item = String> {
    family.needs.iter().map(Need::to_string)
}

fn labels(family: &Family) -> Vec<&'static str> {
    [family.scope.labels(), family.labels].concat()
}

/// A line for each family: name, type, scope, collector, series, labels, needs; `-` for none.
fn table() -> String {
    let head = ["name", "type", "scope", "collector", "series", "labels", "needs"];
    let list = |words: &[String]| {
        if words.is_empty() { "-".to_owned() } else { words.join(",") }
    };
    let row = |family: &Family| {
        let labels: Vec<String> = labels(family).into_iter().map(str::to_owned).collect();
        [
            format!("{}{}", family.prefix(), family.name),
            family.kind.name().to_owned(),
            family.scope.name().to_owned(),
            collector(family).to_owned(),
            family.series_max.to_string(),
            list(&labels),
            list(&needs(family).collect::<Vec<_>>()),
        ]
    };
    let rows: Vec<[String; 7]> =
        std::iter::once(head.map(str::to_owned)).chain(families().map(row)).collect();
    let width =
        |at: usize| rows.iter().filter_map(|row| row.get(at)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn object(family: &Family) -> Value {
    json!({
        "name": format!("{}{}", family.prefix(), family.name),
        "type": family.kind.name(),
        "unit": family.unit.name(),
        "scope": family.scope.name(),
        "labels": labels(family),
        "collector": collector(family),
        "needs": needs(family).collect::<Vec<_>>(),
        "series_max": family.series_max,
        "help": family.help,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_a_line_and_an_object() {
        let table = text(false);
        let rows: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let objects: Value = serde_json::from_str(&text(true)).unwrap();
        let objects = objects.as_array().unwrap();
        assert_eq!(rows.len(), objects.len() + 1);
        for (row, object) in rows.iter().skip(1).zip(objects) {
            assert_eq!(row.len(), 7, "{row:?}");
            assert_eq!(row[0], object["name"]);
            assert_eq!(row[4], object["series_max"].to_string());
        }
        let peak = objects.iter().find(|o| o["name"] == "podvitals_container_memory_peak_bytes");
        assert_eq!(peak.unwrap()["needs"], json!(["controller=memory", "linux=5.19"]));
    }
}
