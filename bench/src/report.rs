//! The result, as a table for the terminal and as Markdown.

use std::fmt::Write as _;

/// How a figure stands to its goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// There is no goal.
    Told,
    Met,
    /// A time, and so no failure.
    Missed,
    /// A count is wrong: the bench fails.
    Failed,
    /// Not measured.
    Skipped,
}

impl Verdict {
    /// For what is measured.
    pub(crate) const fn goal(met: bool) -> Self {
        if met { Self::Met } else { Self::Missed }
    }

    /// For what is counted.
    pub(crate) const fn count(right: bool) -> Self {
        if right { Self::Met } else { Self::Failed }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::Told => "",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    what: String,
    ours: String,
    peer: String,
    ratio: String,
    goal: String,
    verdict: Verdict,
    why: String,
}

impl Line {
    /// A figure of ours.
    pub(crate) fn new(what: impl Into<String>, ours: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ours: ours.into(),
            peer: String::new(),
            ratio: String::new(),
            goal: String::new(),
            verdict: Verdict::Told,
            why: String::new(),
        }
    }

    /// Something that could not be measured, and why.
    pub(crate) fn skipped(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, why: why.into(), ..Self::new(what, "–") }
    }

    /// What the peer has.
    pub(crate) fn peer(mut self, peer: impl Into<String>) -> Self {
        self.peer = peer.into();
        self
    }

    /// Ours as a share of the peer's.
    pub(crate) fn ratio(mut self, ratio: f64) -> Self {
        self.ratio = crate::stats::three(ratio);
        self
    }

    /// What was wanted, and whether it is so.
    pub(crate) fn goal(mut self, goal: impl Into<String>, verdict: Verdict) -> Self {
        self.goal = goal.into();
        self.verdict = verdict;
        self
    }

    /// Why it may miss its goal; told only if it does.
    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = why.into();
        self
    }

    /// A count that is wrong.
    pub(crate) fn failed(&self) -> bool {
        self.verdict == Verdict::Failed
    }

    fn cells(&self) -> [&str; 6] {
        [&self.what, &self.ours, &self.peer, &self.ratio, &self.goal, self.verdict.word()]
    }
}

const HEAD: [&str; 6] = ["what", "Podvitals", "peer", "ratio", "goal", "result"];

/// The lines of a row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    /// How it was measured, in a sentence or two.
    pub(crate) how: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// All of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Kernel, CPU, date.
    pub(crate) machine: String,
    pub(crate) rows: Vec<Row>,
}

impl Report {
    /// Whether no count is wrong.
    pub(crate) fn good(&self) -> bool {
        !self.rows.iter().flat_map(|row| &row.lines).any(Line::failed)
    }

    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut widths = HEAD.map(|head| head.chars().count());
        for line in self.rows.iter().flat_map(|row| &row.lines) {
            for (width, cell) in widths.iter_mut().zip(line.cells()) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = format!("{}\n", self.machine);
        let mut put = |cells: [&str; 6]| {
            let padded: Vec<String> =
                cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(padded.join("  ").trim_end());
            text.push('\n');
        };
        put(HEAD);
        for row in &self.rows {
            put([&row.name, "", "", "", "", ""]);
            for line in &row.lines {
                put(line.cells());
            }
        }
        for (what, word, why) in self.misses() {
            let _ = writeln!(text, "{word}: {what}: {why}");
        }
        text
    }

    /// For docs/.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Benchmarks\n\n<!-- Written by `cargo xtask bench`; a change by hand is lost. -->\n\n\
             {}\n\n\
             What is compared ran in turn in one run, so look at the ratios: ours divided by the \
             peer's, from the medians. Two figures are the least and the median. Times are \
             reported; only counts can fail the bench.\n\n",
            self.machine
        );
        let _ = writeln!(text, "| {} |\n|---|---|---|---|---|---|", HEAD.join(" | "));
        for row in &self.rows {
            let _ = writeln!(text, "| **{}** | | | | | |", row.name);
            for line in &row.lines {
                let _ = writeln!(text, "| {} |", line.cells().join(" | "));
            }
        }
        text.push_str("\n## What misses its goal, and what was not measured\n\n");
        let misses = self.misses();
        if misses.is_empty() {
            text.push_str("Nothing.\n");
        }
        for (what, word, why) in misses {
            let _ = writeln!(text, "- {what} ({}): {why}", word.to_lowercase());
        }
        text.push_str("\n## How\n\n");
        for row in &self.rows {
            let _ = writeln!(text, "- **{}**: {}", row.name, row.how);
        }
        text
    }

    fn misses(&self) -> Vec<(String, &'static str, &str)> {
        let mut misses = Vec::new();
        for row in &self.rows {
            for line in &row.lines {
                if matches!(line.verdict, Verdict::Missed | Verdict::Failed | Verdict::Skipped) {
                    let why =
                        if line.why.is_empty() { "the reason is not known" } else { &line.why };
                    misses.push((format!("{}, {}", row.name, line.what), line.verdict.word(), why));
                }
            }
        }
        misses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_is_said_with_its_reason_and_does_not_fail() {
        let lines = vec![
            Line::new("a", "1 ms").peer("2 ms").ratio(0.5).goal("≤ 1", Verdict::goal(true)),
            Line::new("b", "9 ms").goal("≤ 1 ms", Verdict::goal(false)).because("it is slow"),
        ];
        let row = Row { name: "x".into(), how: "So.", lines };
        let mut report = Report { machine: "a machine".into(), rows: vec![row] };
        assert!(report.good());
        for text in [report.text(), report.markdown()] {
            assert!(text.contains("it is slow") && text.contains("0.500"), "{text}");
        }
        assert!(report.text().contains("b     9 ms"), "{}", report.text());
        let wrong = Line::new("c", "3").goal("2", Verdict::count(false));
        report.rows.first_mut().unwrap().lines.push(wrong);
        assert!(!report.good());
    }
}
