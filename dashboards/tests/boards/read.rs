//! Boards read back from their JSON.

use std::path::PathBuf;

use serde_json::Value;

/// The folder of the JSON files.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The JSON of all boards.
pub(crate) fn boards() -> Vec<Value> {
    dashboards::files().iter().map(|(_, text)| serde_json::from_str(text).unwrap()).collect()
}

/// Elements of a list at `pointer`.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at `pointer`.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// All panels of a board but the titles of rows.
pub(crate) fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "/panels").iter().filter(|panel| text(panel, "/type") != "row")
}

/// Name of a panel in what a test says.
pub(crate) fn name(board: &Value, panel: &Value) -> String {
    format!("{}: {:?}", text(board, "/uid"), text(panel, "/title"))
}

/// Names of a board's variables.
pub(crate) fn variables(board: &Value) -> Vec<&str> {
    list(board, "/templating/list").iter().map(|variable| text(variable, "/name")).collect()
}

/// Titles of a table's columns by the query's names.
pub(crate) fn columns(panel: &Value) -> Vec<(&str, &str)> {
    let organize = list(panel, "/transformations").iter().find(|it| text(it, "/id") == "organize");
    let renamed = organize.and_then(|it| it.pointer("/options/renameByName")?.as_object());
    renamed
        .into_iter()
        .flatten()
        .map(|(name, title)| (name.as_str(), title.as_str().unwrap()))
        .collect()
}

/// What stands between `open` and `close` in a text.
pub(crate) fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| Some(rest.split_once(close)?.0)).collect()
}
