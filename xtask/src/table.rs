//! The table of docs/KERNELS.md: what the scenarios found on each kernel.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::paths;

const BEGIN: &str = "<!-- table: begin, written by cargo xtask vm --kernel all --write-table -->\n";
const END: &str = "<!-- table: end -->\n";
/// Rows that differ from run to run and are not compared.
const PACKAGE: &str = "Debian's package";
const SCENARIOS: &str = "scenarios";

/// What one kernel has to say.
#[derive(Debug, Default)]
pub(crate) struct Column {
    /// "6.1".
    pub(crate) kernel: String,
    /// Debian's package.
    pub(crate) package: String,
    /// The scenarios' counts.
    pub(crate) counts: String,
    /// Rows and cells, in the scenarios' order.
    pub(crate) cells: Vec<(String, String)>,
}

/// `TABLE <row> | <cell>`, a line of the scenarios.
pub(crate) fn cell(line: &str) -> Option<(String, String)> {
    let (row, cell) = line.strip_prefix("TABLE ")?.rsplit_once(" | ")?;
    Some((row.trim().to_owned(), cell.trim().to_owned()))
}

/// Holds the table against the one that is written, or writes it.
pub(crate) fn check(columns: &[Column], write: bool) -> Result<()> {
    let path = paths::root().join("docs/KERNELS.md");
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (before, rest) = text.split_once(BEGIN).context("docs/KERNELS.md: no table begins")?;
    let (old, after) = rest.split_once(END).context("docs/KERNELS.md: the table does not end")?;
    let new = render(columns);
    if write {
        let text = format!("{before}{BEGIN}{new}{END}{after}");
        return fs::write(&path, text).with_context(|| format!("write {}", path.display()));
    }
    if lasting(old) != lasting(&new) {
        bail!(
            "docs/KERNELS.md says something else than these kernels: run cargo xtask vm --kernel \
             all --write-table, and see whether that is what you want. Found:\n{new}"
        );
    }
    Ok(())
}

/// What must not change unseen: which program does the work may, with a kernel's next update.
fn lasting(table: &str) -> Vec<String> {
    let varies =
        |line: &str| [PACKAGE, SCENARIOS].iter().any(|row| line.starts_with(&format!("| {row} |")));
    let lines = table.lines().filter(|line| !line.is_empty() && !varies(line));
    let program = |line: &str| {
        let cells =
            line.split(" | ").enumerate().map(|(n, cell)| match cell.trim_end_matches(" |") {
                "no" => "no",
                _ if n > 0 => "yes",
                name => name,
            });
        cells.collect::<Vec<_>>().join(" | ")
    };
    let lasting = |line: &str| {
        if line.starts_with("| program ") { program(line) } else { line.to_owned() }
    };
    lines.map(lasting).collect()
}

fn render(columns: &[Column]) -> String {
    let mut rows: Vec<&str> = Vec::new();
    for (row, _) in columns.iter().flat_map(|column| &column.cells) {
        if !rows.contains(&row.as_str()) {
            rows.push(row);
        }
    }
    let line = |name: &str, cell: &dyn Fn(&Column) -> String| {
        let cells: Vec<_> = columns.iter().map(cell).collect();
        format!("| {name} | {} |\n", cells.join(" | "))
    };
    let mut text = String::from("\n");
    text += &line("", &|column| column.kernel.clone());
    text += &line("---", &|_| "---".to_owned());
    text += &line(PACKAGE, &|column| format!("`{}`", column.package));
    text += &line(SCENARIOS, &|column| column.counts.clone());
    for row in rows {
        text += &line(row, &|column| {
            let found = column.cells.iter().rfind(|(name, _)| name == row);
            found.map_or("not looked at", |(_, cell)| cell).to_owned()
        });
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kernel: &str, package: &str, cell: &str) -> Column {
        let row = |name: &str, cell: &str| (name.to_owned(), cell.to_owned());
        Column {
            kernel: kernel.to_owned(),
            package: package.to_owned(),
            counts: "2 passed".to_owned(),
            cells: vec![row("program `a`", "yes"), row("program `b`", cell)],
        }
    }

    #[test]
    fn a_line_is_a_row_and_its_cell() {
        let row = |row: &str, cell: &str| Some((row.to_owned(), cell.to_owned()));
        assert_eq!(cell("TABLE program `a` | yes"), row("program `a`", "yes"));
        assert_eq!(cell("ok program | yes"), None);
    }

    #[test]
    fn packages_may_change_and_cells_may_not() {
        let table = render(&[column("5.10", "one", "no"), column("6.1", "two", "yes")]);
        assert!(table.contains("| program `b` | no | yes |"), "{table}");
        let newer = render(&[column("5.10", "three", "no"), column("6.1", "two", "yes")]);
        assert_eq!(lasting(&table), lasting(&newer));
        let sibling = render(&[column("5.10", "one", "no"), column("6.1", "two", "b_untyped")]);
        assert_eq!(lasting(&table), lasting(&sibling));
        let last = render(&[column("5.10", "one", "no"), column("6.1", "two", "no")]);
        assert_ne!(lasting(&table), lasting(&last));
        let other = render(&[column("5.10", "one", "yes"), column("6.1", "two", "yes")]);
        assert_ne!(lasting(&table), lasting(&other));
    }
}
