//! The table of values, from the comments in `values.yaml`.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A value that is described: its path, default and comment.
pub(super) struct Row {
    pub(super) path: String,
    pub(super) default: Value,
    pub(super) what: String,
}

/// The rows, in the order of the file. A key with a comment directly above it is a row; one without
/// is a map, all of whose keys have one.
pub(super) fn rows(text: &str) -> Result<Vec<Row>> {
    let values: Value = serde_saphyr::from_str(text).context("values.yaml")?;
    let mut rows: Vec<Row> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    // The keys above a line, with their indentation.
    let mut above: Vec<(usize, &str)> = Vec::new();
    // What is below a row is its default.
    let mut inside = None;
    for line in text.lines() {
        let content = line.trim_start();
        let depth = line.len() - content.len();
        if content.is_empty() {
            comment.clear();
            continue;
        }
        if inside.is_some_and(|row| depth > row) {
            continue;
        }
        inside = None;
        if let Some(said) = content.strip_prefix('#') {
            comment.push(said.trim());
            continue;
        }
        let (key, rest) = content.split_once(':').with_context(|| format!("no key: {line:?}"))?;
        above.retain(|(indent, _)| *indent < depth);
        above.push((depth, key));
        let keys: Vec<&str> = above.iter().map(|(_, key)| *key).collect();
        let path = keys.join(".");
        let default = keys.iter().try_fold(&values, |value, key| value.get(key));
        let default = default.with_context(|| format!("{path} is no value"))?.clone();
        if comment.is_empty() {
            ensure!(rest.is_empty() && default.is_object(), "{path} has no comment");
            continue;
        }
        inside = Some(depth);
        rows.push(Row { path, default, what: comment.join(" ") });
        comment.clear();
    }
    let known: Vec<&str> = rows.iter().filter_map(|row| row.path.split('.').next()).collect();
    if let Some(map) = values.as_object()
        && let Some(key) = map.keys().find(|key| !known.contains(&key.as_str()))
    {
        bail!("{key} has no comment");
    }
    Ok(rows)
}

/// The rows as Markdown.
pub(super) fn markdown(rows: &[Row]) -> String {
    let mut table = "| value | default | what |\n|---|---|---|\n".to_owned();
    for Row { path, default, what } in rows {
        let default = match default {
            Value::String(text) if text.is_empty() => String::new(),
            Value::String(text) => format!("`{text}`"),
            other => format!("`{other}`"),
        };
        table.push_str(&format!("| `{path}` | {default} | {} |\n", what.replace('|', "\\|")));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: &str = "\
# Of the file.

a:
  # One,
  # in two lines.
  b: x
  # A list.
  c:
    - d: 1
e:
  f:
    # Deep.
    g: {}
# Off | on.
h: \"\"
";

    #[test]
    fn a_commented_key_is_a_row() {
        let table = markdown(&rows(VALUES).unwrap());
        let expected = "\
| `a.b` | `x` | One, in two lines. |
| `a.c` | `[{\"d\":1}]` | A list. |
| `e.f.g` | `{}` | Deep. |
| `h` |  | Off \\| on. |
";
        assert_eq!(table.split_once("|---|---|---|\n").unwrap().1, expected);
    }

    #[test]
    fn a_value_without_a_comment_is_an_error() {
        for text in ["a: 1\n", "# Said of nothing.\n\na: 1\n", "a:\n  b: 1\n", "a: {}\n"] {
            assert!(rows(text).is_err(), "{text:?}");
        }
    }
}
