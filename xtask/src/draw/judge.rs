//! What is wrong with boards that were drawn.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{paths, terminal::plain};

/// The list of panels that may be empty.
const EXCEPTIONS: &str = "draw/may-be-empty.json";

/// A board as it was drawn.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drawn {
    /// The board's.
    pub uid: String,
    /// The picture's height in pixels.
    pub height: u32,
    /// `name=value`, as they were chosen.
    pub variables: Vec<String>,
    /// Those that ask queries.
    pub panels: Vec<Panel>,
    /// All faults, exceptions not regarded.
    pub complaints: Vec<Complaint>,
    /// How long it took.
    pub seconds: f64,
    /// The picture's file.
    pub picture: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// A panel of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    /// Its title, variables replaced.
    pub title: String,
    /// Its kind.
    pub r#type: String,
    /// Whether it was drawn; else only its queries were asked.
    pub is_drawn: bool,
    /// How many queries it has.
    pub queries: usize,
    /// How many samples they gave.
    pub samples: u64,
}

/// Kind of a fault in a drawn panel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A query, or a panel, has no data.
    Empty,
    /// A query, or the drawing, failed.
    Error,
    /// Two texts lie over one another.
    Overlap,
    /// A text is cut off.
    Cut,
    /// A text cannot be read.
    Small,
}

/// A fault of a board.
#[derive(Clone, Debug, Deserialize)]
pub struct Complaint {
    /// The panel's title, or `$variable`, or `annotation NAME`.
    pub panel: String,
    /// The query's letter, where it is about one.
    pub query: Option<String>,
    /// Kind of the fault.
    pub kind: Kind,
    /// Which texts, which query, what the error says.
    pub detail: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.kind {
            Kind::Empty => "no data",
            Kind::Error => "error",
            Kind::Overlap => "texts overlap",
            Kind::Cut => "text is cut off",
            Kind::Small => "text is too small",
        };
        write!(out, "{}: {word}: {}", self.place(), self.detail)
    }
}

impl Complaint {
    /// As the list of exceptions names it: `Title`, or `Title, B` for a query of several.
    fn place(&self) -> String {
        match &self.query {
            Some(query) => format!("{}, {query}", self.panel),
            None => self.panel.clone(),
        }
    }
}

/// What may be empty, and why: uid → panel, or panel and query → reason.
#[derive(Debug, Deserialize)]
pub struct Exceptions(BTreeMap<String, BTreeMap<String, String>>);

impl Exceptions {
    /// The list of this repository.
    pub fn read() -> Result<Self> {
        let file = paths::root().join(EXCEPTIONS);
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).context(EXCEPTIONS)
    }

    /// None.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Why the board's panel or query may have no data, if it may.
    fn reason(&self, uid: &str, complaint: &Complaint) -> Option<&str> {
        let list = self.0.get(uid).filter(|_| complaint.kind == Kind::Empty)?;
        let reason = list.get(&complaint.place()).or_else(|| list.get(&complaint.panel))?;
        Some(reason)
    }

    /// Exceptions for what the board does not have.
    fn stale(&self, board: &Drawn) -> Vec<String> {
        let complained: BTreeSet<String> = board.complaints.iter().map(Complaint::place).collect();
        let names: BTreeSet<&str> = board.panels.iter().map(|it| it.title.as_str()).collect();
        let known = |place: &str| {
            let panel = place.rsplit_once(", ").map_or(place, |(panel, _)| panel);
            let elsewhere = ["$", "annotation "].iter().any(|it| place.starts_with(it));
            elsewhere
                || names.contains(place)
                || names.contains(panel)
                || complained.contains(place)
        };
        let list = self.0.get(&board.uid).into_iter().flatten();
        list.filter(|(place, _)| !known(place))
            .map(|(place, _)| format!("{EXCEPTIONS} names {place:?}, which {} has not", board.uid))
            .collect()
    }
}

/// A board's faults, and what is empty and may be.
#[derive(Debug, Default)]
pub struct Verdict {
    /// What has to be mended.
    pub faults: Vec<String>,
    /// What is empty, and why it may.
    pub excused: Vec<String>,
}

/// Holds a board against the exceptions.
pub fn judge(board: &Drawn, exceptions: &Exceptions, allow_empty: bool) -> Verdict {
    let mut verdict = Verdict { faults: exceptions.stale(board), excused: Vec::new() };
    for complaint in &board.complaints {
        if let Some(why) = exceptions.reason(&board.uid, complaint) {
            verdict.excused.push(format!("{}: {why}", complaint.place()));
        } else if allow_empty && complaint.kind == Kind::Empty {
            verdict.excused.push(format!("{}: allowed by --allow-empty", complaint.place()));
        } else {
            verdict.faults.push(complaint.to_string());
        }
    }
    verdict
}

/// Prints a table of the boards and all that is to be said of them; fails if one has a fault.
pub fn report(boards: &[Drawn], exceptions: &Exceptions, allow_empty: bool) -> Result<()> {
    let mut faulty = 0;
    println!("{:<20} {:>6} {:>7} {:>7} {:>5}", "board", "panels", "seconds", "height", "KiB");
    for board in boards {
        println!(
            "{:<20} {:>6} {:>7.1} {:>7} {:>5}",
            board.uid,
            board.panels.len(),
            board.seconds,
            board.height,
            board.bytes.div_ceil(1024)
        );
    }
    for board in boards {
        let Verdict { faults, excused } = judge(board, exceptions, allow_empty);
        println!("\n{} ({})", board.uid, plain(&board.variables.join(", ")));
        for panel in board.panels.iter().filter(|panel| !panel.is_drawn) {
            println!(
                "  not drawn: {} ({}): its queries give {} samples",
                plain(&panel.title),
                panel.r#type,
                panel.samples
            );
        }
        for line in excused {
            println!("  may be empty: {}", plain(&line));
        }
        for line in &faults {
            println!("  FAULT: {}", plain(line));
        }
        println!("  {}", board.picture.display());
        faulty += usize::from(!faults.is_empty());
    }
    if faulty > 0 {
        bail!("{faulty} of {} boards have faults", boards.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Drawn {
        serde_json::from_str(
            r#"{"uid": "one", "height": 10, "variables": [], "seconds": 1.0, "picture": "", "bytes": 1,
                "panels": [{"title": "A", "type": "stat", "isDrawn": true, "queries": 2, "samples": 0}],
                "complaints": [
                  {"panel": "A", "query": "B", "kind": "empty", "detail": "up"},
                  {"panel": "A", "kind": "cut", "detail": "\"x\""}]}"#,
        )
        .unwrap()
    }

    fn exceptions(text: &str) -> Exceptions {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_exception_is_for_what_is_empty_and_for_nothing_else() {
        let all = judge(&board(), &Exceptions::none(), false);
        assert_eq!(all.faults, ["A, B: no data: up", "A: text is cut off: \"x\""]);
        for place in ["A", "A, B"] {
            let list = exceptions(&format!(r#"{{"one": {{"{place}": "never here"}}}}"#));
            let verdict = judge(&board(), &list, false);
            assert_eq!(verdict.faults, ["A: text is cut off: \"x\""]);
            assert_eq!(verdict.excused, ["A, B: never here"]);
        }
        let elsewhere = exceptions(r#"{"two": {"A": "never here"}}"#);
        assert_eq!(judge(&board(), &elsewhere, false).faults.len(), 2);
        assert_eq!(judge(&board(), &Exceptions::none(), true).faults.len(), 1);
    }

    #[test]
    fn an_exception_for_a_panel_that_is_not_there_is_a_fault() {
        let list = exceptions(r#"{"one": {"Gone": "never here"}}"#);
        let faults = judge(&board(), &list, true).faults;
        assert!(faults.iter().any(|it| it.contains("\"Gone\"")), "{faults:?}");
    }

    #[test]
    fn the_list_can_be_read() {
        Exceptions::read().unwrap();
    }
}
