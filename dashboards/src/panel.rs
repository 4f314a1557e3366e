//! Panels: one question each, with its queries and how the answer looks.

use crate::link::Link;
use crate::target::Target;
use crate::unit::{Mapping, Thresholds, Unit};

/// The release of Grafana whose options the panels have. Newer ones migrate from there.
pub const PLUGIN_VERSION: &str = "10.0.0";

/// Panel of a board: its queries, and how they look.
#[derive(Clone, Debug)]
pub struct Panel {
    /// Title: what is shown.
    pub title: &'static str,
    /// How to read it, and what is bad.
    pub description: &'static str,
    /// Width, of 24.
    pub width: u32,
    /// Height, in units of 30 pixels.
    pub height: u32,
    /// Kind and its own settings.
    pub kind: Kind,
    /// Queries.
    pub targets: Vec<Target>,
    /// How values look.
    pub field: Field,
    /// Fields that look otherwise, each chosen by its title.
    pub overrides: Vec<(Match, Field)>,
    /// Shortest step of the queries over time, for what needs some samples a step.
    pub min_step: Option<&'static str>,
}

/// Kinds of panels.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Stat: one large number for each series.
    Stat {
        /// Whether the series' name is what is to be read, rather than its value.
        names: bool,
    },
    /// Bars side by side, the longest first.
    BarGauge {
        /// Whether names stand above the bars, where long ones have room, and not beside them.
        names_above: bool,
    },
    /// Time series: values over time.
    TimeSeries(Style, Legend),
    /// Table: a row for each series.
    Table {
        /// Columns from left to right: the query's name of each, and its title. Others are hidden.
        columns: Vec<(&'static str, &'static str)>,
        /// Title of the column by which it is sorted, descending.
        sort: &'static str,
    },
    /// A histogram over time.
    Heatmap,
}

/// Styles of a time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Lines.
    Lines,
    /// Areas on top of each other.
    Stacked,
    /// Bars on top of each other: counts in each step.
    Bars,
    /// Points joined by lines, for what has a value now and then.
    Points,
}

/// Legends of a time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legend {
    /// Names in a line below.
    Names,
    /// A table of names and greatest values at the right, the greatest first: for many series.
    Ranking,
}

/// How values look. What is `None` is as the panel has it.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// The name that is shown, in place of the series' own.
    pub name: Option<&'static str>,
    /// Unit.
    pub unit: Option<Unit>,
    /// Digits after the point.
    pub decimals: Option<u32>,
    /// Least value of the scale.
    pub min: Option<f64>,
    /// Greatest value of the scale.
    pub max: Option<f64>,
    /// What is bad.
    pub thresholds: Option<Thresholds>,
    /// Values as people read them.
    pub mappings: Option<&'static [Mapping]>,
    /// What is shown where there is no value.
    pub no_value: Option<&'static str>,
    /// One color for all values.
    pub color: Option<&'static str>,
    /// Dashed and without an area: a limit, not a measurement.
    pub dashed: bool,
    /// Links to other boards.
    pub links: Vec<Link>,
    /// Width of a column, in pixels.
    pub width: Option<u32>,
    /// A table cell in the color of its value.
    pub cell: Option<Cell>,
}

/// Table cells that show the color of their value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// The background.
    Background,
    /// The text.
    Text,
    /// A bar as long as the value.
    Gauge,
}

/// Which fields an override is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    /// The field with this title.
    Title(&'static str),
    /// Fields whose title has this in it, as a regular expression.
    Like(&'static str),
}

/// Stat panel: one large number for each series.
#[must_use]
pub fn stat(title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::Stat { names: false }, title, description).size(4, 4).decimals(0)
}

/// Big words: the names of series.
#[must_use]
pub fn words(title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::Stat { names: true }, title, description).size(4, 4)
}

/// Bars with short names beside them.
#[must_use]
pub fn bar_gauge(title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::BarGauge { names_above: false }, title, description).min(0.0)
}

/// Bars with long names above them.
#[must_use]
pub fn ranking(title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::BarGauge { names_above: true }, title, description).min(0.0)
}

/// Time series panel, with names below.
#[must_use]
pub fn time_series(style: Style, title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::TimeSeries(style, Legend::Names), title, description).min(0.0)
}

/// Many series over time, the greatest first in the legend.
#[must_use]
pub fn ranked_time_series(style: Style, title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::TimeSeries(style, Legend::Ranking), title, description).min(0.0)
}

/// Counts in each step of two minutes at least: at four scrapes or more a step, an event is in one bar.
#[must_use]
pub fn counts(title: &'static str, description: &'static str) -> Panel {
    time_series(Style::Bars, title, description).unit(Unit::Count).decimals(0).min_step("2m")
}

/// Table panel with these columns, sorted by one of them.
#[must_use]
pub fn table(
    title: &'static str,
    description: &'static str,
    columns: &[(&'static str, &'static str)],
    sort: &'static str,
) -> Panel {
    Panel::new(Kind::Table { columns: columns.to_vec(), sort }, title, description)
}

/// A histogram over time.
#[must_use]
pub fn heatmap(title: &'static str, description: &'static str) -> Panel {
    Panel::new(Kind::Heatmap, title, description)
}

impl Panel {
    fn new(kind: Kind, title: &'static str, description: &'static str) -> Self {
        Self {
            title,
            description,
            width: 12,
            height: 8,
            kind,
            targets: Vec::new(),
            field: Field::default(),
            overrides: Vec::new(),
            min_step: None,
        }
    }

    /// Sets width and height.
    #[must_use]
    pub const fn size(mut self, width: u32, height: u32) -> Self {
        (self.width, self.height) = (width, height);
        self
    }

    /// Adds a query.
    #[must_use]
    pub fn ask(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    /// Sets the unit.
    #[must_use]
    pub const fn unit(mut self, unit: Unit) -> Self {
        self.field.unit = Some(unit);
        self
    }

    /// Sets the digits after the point.
    #[must_use]
    pub const fn decimals(mut self, decimals: u32) -> Self {
        self.field.decimals = Some(decimals);
        self
    }

    /// Sets the least value of the scale.
    #[must_use]
    pub const fn min(mut self, min: f64) -> Self {
        self.field.min = Some(min);
        self
    }

    /// Sets the greatest value of the scale.
    #[must_use]
    pub const fn max(mut self, max: f64) -> Self {
        self.field.max = Some(max);
        self
    }

    /// Sets what is bad.
    #[must_use]
    pub fn thresholds(mut self, thresholds: Thresholds) -> Self {
        self.field.thresholds = Some(thresholds);
        self
    }

    /// Sets the values as people read them.
    #[must_use]
    pub const fn mappings(mut self, mappings: &'static [Mapping]) -> Self {
        self.field.mappings = Some(mappings);
        self
    }

    /// Sets what is shown where there is no value.
    #[must_use]
    pub const fn no_value(mut self, text: &'static str) -> Self {
        self.field.no_value = Some(text);
        self
    }

    /// Adds a link to each value.
    #[must_use]
    pub fn link(mut self, link: Link) -> Self {
        self.field.links.push(link);
        self
    }

    /// Sets the shortest step of the queries.
    #[must_use]
    pub const fn min_step(mut self, step: &'static str) -> Self {
        self.min_step = Some(step);
        self
    }

    /// Says how the field with a title looks.
    #[must_use]
    pub fn field(mut self, title: &'static str, field: Field) -> Self {
        self.overrides.push((Match::Title(title), field));
        self
    }

    /// Says how the fields look whose title matches a regular expression.
    #[must_use]
    pub fn fields(mut self, like: &'static str, field: Field) -> Self {
        self.overrides.push((Match::Like(like), field));
        self
    }

    /// Gives each series that is called as a cause of death the cause's name and color.
    #[must_use]
    pub fn causes(self) -> Self {
        self.mapped(crate::unit::CAUSES)
    }

    /// Gives each series that is called as a value of a label the value's name and color.
    #[must_use]
    pub fn mapped(self, mappings: &[Mapping]) -> Self {
        mappings.iter().fold(self, |panel, (value, text, color)| {
            panel.field(value, Field { name: Some(text), ..Field::color(color) })
        })
    }

    /// Gives series that are called as values of a label the names that people read.
    #[must_use]
    pub fn names(self, mappings: &[Mapping]) -> Self {
        mappings.iter().fold(self, |panel, (value, text, _)| {
            panel.field(value, Field { name: Some(text), ..Field::default() })
        })
    }
}

impl Field {
    /// A field with a unit.
    #[must_use]
    pub fn unit(unit: Unit) -> Self {
        Self { unit: Some(unit), ..Self::default() }
    }

    /// A number of things.
    #[must_use]
    pub fn count() -> Self {
        Self { decimals: Some(0), ..Self::unit(Unit::Count) }
    }

    /// A field with a color.
    #[must_use]
    pub fn color(color: &'static str) -> Self {
        Self { color: Some(color), ..Self::default() }
    }

    /// A limit: dashed.
    #[must_use]
    pub fn limit(color: &'static str) -> Self {
        Self { dashed: true, ..Self::color(color) }
    }

    /// A field with a link.
    #[must_use]
    pub fn link(link: Link) -> Self {
        Self { links: vec![link], ..Self::default() }
    }

    /// A field with texts and colors for its values.
    #[must_use]
    pub fn mapped(mappings: &'static [Mapping], cell: Cell) -> Self {
        Self { mappings: Some(mappings), cell: Some(cell), ..Self::default() }
    }

    /// Sets what is bad, and shows it as the cell's color.
    #[must_use]
    pub fn cell(mut self, thresholds: Thresholds, cell: Cell) -> Self {
        (self.thresholds, self.cell) = (Some(thresholds), Some(cell));
        self
    }

    /// Sets the width of the column.
    #[must_use]
    pub const fn wide(mut self, width: u32) -> Self {
        self.width = Some(width);
        self
    }
}
