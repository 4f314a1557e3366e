//! Text of a manifest, opened in places for what a chart's values say.
//!
//! The text is edited, not the object: so comments and the order of keys stay, and a template can be
//! read beside what it was made from. Each edit names a whole line; a line that is not there is an
//! error, so a manifest that changes takes its edits along.

use anyhow::{Result, bail, ensure};

/// One change of a text.
pub(super) struct Edit {
    /// The line that is named, without its indentation.
    at: &'static str,
    place: Place,
    /// What is put; it is indented as the line is. In it `nindent +2` is two more than that.
    put: String,
}

/// Where an edit puts something.
#[derive(PartialEq, Eq)]
enum Place {
    /// Instead of each such line.
    Lines,
    /// Instead of the line, what is deeper below it, and the comment above it.
    Block,
    Before,
    /// Behind what is deeper below the line.
    After,
}

impl Edit {
    /// Each such line becomes `put`.
    pub(super) fn lines(at: &'static str, put: impl Into<String>) -> Self {
        Self { at, place: Place::Lines, put: put.into() }
    }

    /// The line, with what is below it and the comment above it, becomes `put`.
    pub(super) fn block(at: &'static str, put: impl Into<String>) -> Self {
        Self { at, place: Place::Block, put: put.into() }
    }

    /// A key's block becomes the value of this path, and goes where that is empty.
    pub(super) fn value(at: &'static str, path: &str) -> Self {
        let key = at.split_once(':').map_or(at, |(key, _)| key);
        Self::block(at, with(path, key))
    }

    /// `put` comes before the line.
    pub(super) fn before(at: &'static str, put: impl Into<String>) -> Self {
        Self { at, place: Place::Before, put: put.into() }
    }

    /// `put` comes after the line and what is below it.
    pub(super) fn after(at: &'static str, put: impl Into<String>) -> Self {
        Self { at, place: Place::After, put: put.into() }
    }

    /// `text` with the change made.
    pub(super) fn apply(&self, text: &str) -> Result<String> {
        let lines: Vec<&str> = text.lines().collect();
        let mut made: Vec<String> = Vec::new();
        let mut found = 0;
        let mut rest = lines.as_slice();
        while let Some((line, after)) = rest.split_first() {
            rest = after;
            if line.trim_start() != self.at {
                made.push((*line).to_owned());
                continue;
            }
            found += 1;
            let (below, further) = rest.split_at(below(rest, depth(line)));
            let put = self.put.lines().map(|put| indented(put, depth(line)));
            let own = [line].into_iter().chain(below).map(|line| (*line).to_owned());
            match self.place {
                Place::Lines => {
                    made.extend(put);
                    continue;
                }
                Place::Block => {
                    while made.last().is_some_and(|line| line.trim_start().starts_with('#')) {
                        made.pop();
                    }
                    made.extend(put);
                }
                Place::Before => made.extend(put.chain(own)),
                Place::After => made.extend(own.chain(put)),
            }
            rest = further;
        }
        ensure!(found > 0, "no line {:?}", self.at);
        ensure!(found == 1 || self.place == Place::Lines, "{found} lines {:?}", self.at);
        Ok(made.join("\n") + "\n")
    }
}

/// A key with the value of this path, left out where that is empty.
pub(super) fn with(path: &str, key: &str) -> String {
    let value = more(path);
    let mut lines: Vec<&str> = value.lines().collect();
    let key = format!("{key}:");
    lines.insert(1, &key);
    lines.join("\n").replace("\n{{- toYaml", "\n  {{- toYaml")
}

/// Entries of a map or list, two deeper than a line.
pub(super) fn more(path: &str) -> String {
    format!("{{{{- with .Values.{path} }}}}\n{{{{- toYaml . | nindent +2 }}}}\n{{{{- end }}}}")
}

/// What is below the first such line, without its indentation.
pub(super) fn block(text: &str, at: &str) -> Result<String> {
    let mut lines = text.lines().skip_while(|line| line.trim_start() != at);
    let Some(line) = lines.next() else { bail!("no line {at:?}") };
    let rest: Vec<&str> = lines.collect();
    let inside = rest.get(..below(&rest, depth(line))).unwrap_or_default();
    ensure!(!inside.is_empty(), "nothing below {at:?}");
    let least = inside.iter().map(|line| depth(line)).min().unwrap_or_default();
    let inside: Vec<&str> = inside.iter().filter_map(|line| line.get(least..)).collect();
    Ok(inside.join("\n"))
}

/// How many of the first lines are deeper than `indent`.
fn below(lines: &[&str], indent: usize) -> usize {
    lines.iter().take_while(|line| depth(line) > indent).count()
}

/// How far a line is indented.
fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn indented(line: &str, indent: usize) -> String {
    let line = [0, 2].into_iter().fold(line.to_owned(), |line, more| {
        line.replace(&format!("nindent +{more}"), &format!("nindent {}", indent + more))
    });
    format!("{:indent$}{line}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a:\n  # why\n  b:\n    - 1\n    - 2\n  c: 3\nd: 4\n";

    #[test]
    fn each_edit_keeps_the_depth() {
        let edited = |edit: Edit| edit.apply(TEXT).unwrap();
        assert_eq!(
            edited(Edit::value("b:", "x.y")),
            "a:\n  {{- with .Values.x.y }}\n  b:\n    {{- toYaml . | nindent 4 }}\n  {{- end }}\n  \
             c: 3\nd: 4\n"
        );
        assert_eq!(
            edited(Edit::lines("c: 3", "c: 5\ne: 6")),
            TEXT.replace("  c: 3\n", "  c: 5\n  e: 6\n")
        );
        let c = "  c: 3\n";
        assert_eq!(edited(Edit::after("b:", "e: 6")), TEXT.replace(c, "  e: 6\n  c: 3\n"));
        let b = "  b:\n";
        assert_eq!(edited(Edit::before("b:", "e: 6")), TEXT.replace(b, "  e: 6\n  b:\n"));
    }

    #[test]
    fn a_line_that_is_not_there_once_is_an_error() {
        Edit::lines("z: 1", "").apply(TEXT).unwrap_err();
        let twice = format!("{TEXT}{TEXT}");
        Edit::after("b:", "").apply(&twice).unwrap_err();
        Edit::lines("d: 4", "d: 5").apply(&twice).unwrap();
    }

    #[test]
    fn a_block_is_what_is_deeper() {
        assert_eq!(block(TEXT, "b:").unwrap(), "- 1\n- 2");
        assert_eq!(block(TEXT, "a:").unwrap(), "# why\nb:\n  - 1\n  - 2\nc: 3");
        block(TEXT, "d: 4").unwrap_err();
        block(TEXT, "e:").unwrap_err();
    }
}
