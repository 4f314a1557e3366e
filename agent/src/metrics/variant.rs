//! Variants of an exposition: its audience, its format, and the collection that it is of.

use std::num::NonZeroU64;

/// Audience of an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Audience {
    /// A scraper, which compares samples over time: what is new is at 0 once, so that the scraper
    /// sees the first event as an increase.
    Scraper,
    /// A human, who looks once: the values are as they are, and count as not yet shown.
    Human,
}

/// Format of an exposition.
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

/// Variant of an exposition. All variants of one collection have the same samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The audience.
    pub audience: Audience,
    /// The format.
    pub format: Format,
}

/// Number of a collection, of which any number of variants is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(NonZeroU64);

impl Generation {
    /// The first generation.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Generation in which a series was shown to a scraper for the first time: it is 0 in all of that
/// generation's variants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstShown(Option<Generation>);

impl FirstShown {
    /// Whether a scraper has seen the series.
    #[must_use]
    pub const fn is_shown(&self) -> bool {
        self.0.is_some()
    }

    /// Whether the series is new to this audience, which sees it now.
    pub fn is_new(&mut self, audience: Audience, generation: Generation) -> bool {
        match audience {
            Audience::Human => false,
            Audience::Scraper => *self.0.get_or_insert(generation) == generation,
        }
    }
}
