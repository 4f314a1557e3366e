//! The dashboards, held against the schema that Grafana publishes: a key or a value that Grafana does
//! not know is an error.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{npm, paths, shell};

/// The folder with the types of what is checked.
const FOLDER: &str = "dashboards/schema";

/// What is wrong with a faulty board.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// A key is misspelt.
    Key,
    /// A value is misspelt.
    Value,
}

/// Faults, each of which must be found: the kind of the one panel that the board is left with, where
/// the fault is, and what it is.
const FAULTS: &[(&str, &str, Fault)] = &[
    ("stat", "/schemaVersion", Fault::Key),
    ("stat", "/links/0/keepTime", Fault::Key),
    ("stat", "/templating/list/1/includeAll", Fault::Key),
    ("stat", "/annotations/list/0/iconColor", Fault::Key),
    ("stat", "/annotations/list/0/useValueForTime", Fault::Key),
    ("stat", "/panels/0/description", Fault::Key),
    ("stat", "/panels/0/type", Fault::Value),
    ("stat", "/panels/0/gridPos/w", Fault::Key),
    ("stat", "/panels/0/options/colorMode", Fault::Key),
    ("stat", "/panels/0/options/colorMode", Fault::Value),
    ("stat", "/panels/0/fieldConfig/defaults/unit", Fault::Key),
    ("stat", "/panels/0/fieldConfig/defaults/thresholds/steps/0/color", Fault::Key),
    ("stat", "/panels/0/targets/0/legendFormat", Fault::Key),
    ("stat", "/panels/0/targets/0/format", Fault::Value),
    ("bargauge", "/panels/0/options/displayMode", Fault::Key),
    ("bargauge", "/panels/0/options/reduceOptions/calcs", Fault::Key),
    ("timeseries", "/panels/0/options/legend/placement", Fault::Value),
    ("timeseries", "/panels/0/fieldConfig/defaults/custom/drawStyle", Fault::Key),
    ("timeseries", "/panels/0/fieldConfig/defaults/custom/stacking/mode", Fault::Value),
    ("table", "/panels/0/options/showHeader", Fault::Key),
    ("table", "/panels/0/fieldConfig/overrides/0/properties/0/id", Fault::Value),
    ("table", "/panels/0/fieldConfig/overrides/0/matcher/options", Fault::Key),
    ("table", "/panels/0/transformations/0/id", Fault::Value),
    ("heatmap", "/panels/0/options/yAxis/unit", Fault::Key),
    ("heatmap", "/panels/0/options/color/mode", Fault::Value),
];

/// Checks all boards, and that each of [`FAULTS`] is found: tsc takes a line that is expected to be
/// wrong and is not for an error.
pub(crate) fn check() -> Result<()> {
    let packages = npm::install(FOLDER)?;
    let boards = boards()?;
    let dir = packages.dir().join("dist");
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let file = dir.join("boards.ts");
    fs::write(&file, source(&boards)?).with_context(|| format!("write {}", file.display()))?;
    shell::run(packages.program("tsc").args(["--project", "."]))?;
    println!("{} boards fit Grafana's schema; {} faults were found", boards.len(), FAULTS.len());
    Ok(())
}

/// The boards as their files have them.
fn boards() -> Result<Vec<(String, Value)>> {
    let read = |(name, _): (String, String)| {
        let file = paths::root().join("dashboards").join(&name);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok((name, serde_json::from_str(&text).with_context(|| file.display().to_string())?))
    };
    dashboards::files().into_iter().map(read).collect()
}

/// The boards, and the faulty ones, as TypeScript.
fn source(boards: &[(String, Value)]) -> Result<String> {
    let mut source = "import type { Board } from '../src/board.js';\n\n".to_owned();
    for (name, board) in boards {
        writeln!(source, "// {name}\nexport const _{} = {board:#} satisfies Board;", source.len())?;
    }
    for (kind, pointer, fault) in FAULTS {
        let board = faulty(boards, kind, pointer, *fault)?;
        // In one line, which is the one that is expected to be wrong.
        writeln!(
            source,
            "// {kind}: {fault:?} {pointer}\n// @ts-expect-error\nexport const _{} = {board} satisfies Board;",
            source.len()
        )?;
    }
    Ok(source)
}

/// A board with one panel of this kind and one fault. The board has annotations.
fn faulty(boards: &[(String, Value)], kind: &str, pointer: &str, fault: Fault) -> Result<Value> {
    let all = boards.iter().map(|(_, board)| board);
    let mut board = all
        .clone()
        .find(|board| board.pointer("/annotations/list/0").is_some())
        .context("no board has annotations")?
        .clone();
    let panel = all
        .filter_map(|board| board.get("panels")?.as_array())
        .flatten()
        .find(|panel| {
            let overrides = panel.pointer("/fieldConfig/overrides/0").is_some();
            panel.get("type").is_some_and(|it| it == kind) && (overrides || kind != "table")
        })
        .with_context(|| format!("no board has a panel of kind {kind}"))?;
    let panels = board.get_mut("panels").context("a board without panels")?;
    *panels = Value::Array(vec![panel.clone()]);
    let (parent, key) = pointer.rsplit_once('/').context("a pointer without a key")?;
    let parent = board.pointer_mut(parent).and_then(Value::as_object_mut);
    let parent = parent.with_context(|| format!("{kind} has no {pointer}"))?;
    let value = parent.get(key).with_context(|| format!("{kind} has no {pointer}"))?.clone();
    match (fault, &value) {
        (Fault::Key, _) => {
            parent.remove(key);
            parent.insert(format!("{key}x"), value);
        }
        (Fault::Value, Value::String(text)) => {
            parent.insert(key.to_owned(), format!("{text}x").into());
        }
        (Fault::Value, _) => bail!("{pointer} is no text"),
    }
    Ok(board)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_can_be_made() {
        let boards = boards().unwrap();
        for (kind, pointer, fault) in FAULTS {
            let board = faulty(&boards, kind, pointer, *fault).unwrap();
            assert!(boards.iter().all(|(_, good)| *good != board), "{pointer}");
        }
        assert!(faulty(&boards, "stat", "/panels/0/nothing", Fault::Key).is_err());
    }
}
