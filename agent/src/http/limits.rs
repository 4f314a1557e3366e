//! Limits of what clients can take.

use std::time::Duration;

/// Limits of what clients can take, each and together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit of connections. A further one takes the place of one that has no request.
    pub connections: usize,
    /// Limit of connections of one peer.
    pub connections_per_peer: usize,
    /// Limit of expositions on their way. As many further scrapes wait for a place.
    pub scrapes: usize,
    /// Limit of expositions on their way to one peer.
    pub scrapes_per_peer: usize,
    /// Timeout for the head of a request.
    pub head: Duration,
    /// Timeout for the next request on a connection that has had an answer: longer than scrape
    /// intervals are.
    pub idle: Duration,
    /// Timeout for a client to take the next bytes of its answer.
    pub stall: Duration,
    /// Timeout for a client to take its whole answer.
    pub answer: Duration,
    /// Time without progress after which an answer may be cut, if its room is needed.
    pub patience: Duration,
    /// Time in which a good client has its whole answer. Later it may be cut, if its room is needed.
    pub fair: Duration,
    /// Timeout for the owner's answer, and for a place among the expositions.
    pub owner: Duration,
    /// Time to finish answers at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 96,
            connections_per_peer: 32,
            scrapes: 24,
            scrapes_per_peer: 12,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(30),
            answer: Duration::from_secs(60),
            patience: Duration::from_secs(1),
            fair: Duration::from_secs(5),
            owner: Duration::from_secs(5),
            drain: Duration::from_secs(4),
        }
    }
}
