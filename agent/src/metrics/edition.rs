//! For whom an exposition is, in which format, and at which look at the node.

use std::num::NonZeroU64;

/// Who reads an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A scraper, which compares samples over time: what is new is at 0 once, so that it sees the
    /// first event rise.
    Scraper,
    /// A person, who looks at this one: the values are as they are, and count as unseen.
    Person,
}

/// How an exposition is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0 as text.
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// One edition of the exposition. Those of one look at the node tell the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edition {
    /// For whom.
    pub reader: Reader,
    /// In which format.
    pub format: Format,
}

/// One look at the node, of which any number of editions is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round(NonZeroU64);

impl Round {
    /// The first of all.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// The round in which something was shown to a scraper for the first time: in all of that round's
/// editions it is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstShown(Option<Round>);

impl FirstShown {
    /// Whether a scraper has seen it.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it is new to this reader, who sees it now.
    pub fn is_new(&mut self, reader: Reader, round: Round) -> bool {
        match reader {
            Reader::Person => false,
            Reader::Scraper => *self.0.get_or_insert(round) == round,
        }
    }
}
