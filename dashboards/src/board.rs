//! A board: a Grafana dashboard with its variables, annotations and rows of panels.

use crate::panel::Panel;
use crate::variable::Variable;

/// Version of the classic schema that Grafana 12 and 13 write.
pub const SCHEMA_VERSION: u32 = 42;

/// The tag of all boards, by which they list each other.
pub const TAG: &str = "podvitals";

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Board {
    /// Identifier in Grafana, the same for ever: links and alerts name it.
    pub uid: &'static str,
    /// Title.
    pub title: &'static str,
    /// The question that the board answers.
    pub description: &'static str,
    /// How far back it looks at first, such as `3h`.
    pub range: &'static str,
    /// Variables, each of which may use those before it.
    pub variables: Vec<Variable>,
    /// Events that are marked in every time series of the board.
    pub annotations: Vec<Annotation>,
    /// Rows from the top down.
    pub rows: Vec<Row>,
}

/// A row of panels.
#[derive(Clone, Debug)]
pub struct Row {
    /// Title, if it begins something new.
    pub title: Option<&'static str>,
    /// Panels, from left to right; they wrap like words.
    pub panels: Vec<Panel>,
}

impl Row {
    /// The row at the top, which tells at a glance whether anything is wrong.
    #[must_use]
    pub const fn top(panels: Vec<Panel>) -> Self {
        Self { title: None, panels }
    }

    /// A row that goes on with what is above it.
    #[must_use]
    pub const fn untitled(panels: Vec<Panel>) -> Self {
        Self { title: None, panels }
    }

    /// A row with a title.
    #[must_use]
    pub const fn new(title: &'static str, panels: Vec<Panel>) -> Self {
        Self { title: Some(title), panels }
    }
}

/// Events from a query, marked in time series.
#[derive(Clone, Debug)]
pub struct Annotation {
    /// Name of the switch at the top of the board.
    pub name: &'static str,
    /// Color of the marks.
    pub color: &'static str,
    /// Query. With `time_is_value` its values are the events' times, in milliseconds since unix
    /// epoch; else there is an event wherever it is above 0.
    pub expr: String,
    /// Whether the values are times.
    pub time_is_value: bool,
    /// What the mark says, with labels as `{{label}}`.
    pub text: &'static str,
}
