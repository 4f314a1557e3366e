//! Looks at the node for scrapes: one a second at most, and whoever scrapes meanwhile gets the same.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Collection, Node};
use crate::clock::Now;
use crate::http::{Counters, Exposition, Inbox, Later, Meter, Scrape};
use crate::metrics::text::Text;
use crate::metrics::variant::{Format, Seen};

/// Time for which a look serves all who scrape: however many there are, the node is looked at once a
/// second.
const SHARED: Duration = Duration::from_secs(1);

/// The last look, as long as it is shared, and what is known for the next one.
#[derive(Debug)]
pub(super) struct Looks {
    last: Option<Look>,
    /// Bytes of the last exposition that was written: the next one has about as many.
    bytes: usize,
    meter: Meter,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Look {
    taken: Instant,
    collection: Collection,
    /// Texts of the look. Each format is written once.
    written: HashMap<Format, Text>,
    /// Expositions of a format to readers to whom so many of its values are news.
    shown: HashMap<(Format, usize), Arc<Exposition>>,
}

/// Expositions of a look that are made whether there is room for what they have of their own or not:
/// it is little.
const SHOWN_ANYWAY: usize = 4;

impl Looks {
    pub(super) fn new(inbox: &Inbox) -> Self {
        let (meter, counters) = (inbox.meter.clone(), Arc::clone(&inbox.counters));
        Self { last: None, bytes: 0, meter, counters }
    }

    /// Time for which the last look is shared still.
    pub(super) fn rest(&self, now: Instant) -> Duration {
        self.last.as_ref().map_or(Duration::MAX, |look| rest_of(look, now))
    }

    /// Gives up a look that is no longer shared. Whether there was one.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        self.last.take_if(|look| rest_of(look, now).is_zero()).is_some()
    }

    /// Gives up the last look: something has happened that everyone is to see.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The exposition that a scrape gets.
    pub(super) fn scrape(
        &mut self,
        node: &mut Node,
        scrape: &Scrape,
        now: Instant,
    ) -> Result<Arc<Exposition>, Later> {
        self.expire(now);
        if let Some(look) = &self.last
            && scrape.since.is_some_and(|since| look.taken < since)
        {
            return Err(Later::Look(rest_of(look, now)));
        }
        let known =
            self.last.as_ref().is_some_and(|look| look.written.contains_key(&scrape.format));
        let many = self.last.as_ref().is_some_and(|look| look.shown.len() >= SHOWN_ANYWAY);
        // Before anything counts as seen.
        if (!known || (many && scrape.scraper.is_some())) && !self.meter.has_room(self.bytes) {
            return Err(Later::Room);
        }
        let meter = &self.meter;
        let look = self.last.get_or_insert_with(|| {
            let mut collection = node.collect(Now::read());
            collection.stats.http_closed = self.counters.connections_closed();
            collection.stats.http_scrapes_refused = self.counters.scrapes_refused();
            Look { taken: now, collection, written: HashMap::new(), shown: HashMap::new() }
        });
        let text = look.written.entry(scrape.format).or_insert_with(|| {
            node.expose(&look.collection, scrape.format).map(|chunk| meter.count(chunk))
        });
        self.bytes = text.len();
        let seen = scrape.scraper.as_ref();
        let seen = seen.map_or(Seen::ALL, |from| node.seen(&look.collection, from));
        let exposition = look.shown.entry((scrape.format, text.news(seen))).or_insert_with(|| {
            let chunks = text.for_reader(seen, |chunk| meter.count(chunk));
            Arc::new(Exposition::of_counted(chunks, meter))
        });
        Ok(Arc::clone(exposition))
    }
}

fn rest_of(look: &Look, now: Instant) -> Duration {
    SHARED.saturating_sub(now.saturating_duration_since(look.taken))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::*;
    use crate::cgroup::tree;
    use crate::http;
    use crate::metrics::scrapers::Connection;
    use crate::metrics::store::StoreOptions;
    use crate::node::Options;

    struct World {
        node: Node,
        inbox: Inbox,
        looks: Looks,
        start: Instant,
        _dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let options = Options {
                mode: tree::Mode::Host,
                cgroup_root: dir.path().to_owned(),
                log_dir: dir.path().to_owned(),
                pods: None,
                store: StoreOptions::default(),
                traces: None,
                probes: false,
                kubelet_cgroup: None,
                max_fds: 10,
            };
            let (_, inbox) = http::channel();
            let looks = Looks::new(&inbox);
            let node = Node::new(options, None);
            Self { node, inbox, looks, start: Instant::now(), _dir: dir }
        }

        fn ms(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn ask(&mut self, wanted: Wanted, ms: u64) -> Vec<Bytes> {
            self.try_ask(wanted, None, ms).unwrap().plain()
        }

        fn try_ask(
            &mut self,
            (scraper, format): Wanted,
            since: Option<u64>,
            ms: u64,
        ) -> Result<Arc<Exposition>, Later> {
            let since = since.map(|ms| self.ms(ms));
            let from = |host| Connection::new(Ipv4Addr::new(127, 0, 0, host).into());
            let scrape = Scrape { format, scraper: scraper.map(from), since };
            let now = self.ms(ms);
            self.looks.scrape(&mut self.node, &scrape, now)
        }
    }

    /// A scraper by its address, or a human, and a format.
    type Wanted = (Option<u8>, Format);
    const SCRAPER: Wanted = (Some(1), Format::Text);
    const HUMAN: Wanted = (None, Format::Text);
    const OPEN_METRICS: Wanted = (Some(1), Format::OpenMetrics);

    #[test]
    fn one_look_a_second_serves_all_who_scrape() {
        let mut world = World::new();
        let text = world.ask(SCRAPER, 0);
        let open_metrics = world.ask(OPEN_METRICS, 400);
        let human = world.ask(HUMAN, 900);
        let again = world.ask(SCRAPER, 999);
        let samples = |chunks: &[Bytes]| {
            let text = String::from_utf8(chunks.concat()).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        // What a look costs is in it: there was one.
        assert_eq!(samples(&text), samples(&open_metrics));
        assert_eq!(samples(&text), samples(&human));
        assert!(samples(&text).iter().any(|line| line.contains("collector_duration_seconds")));
        assert_eq!(text[0].as_ptr(), again[0].as_ptr(), "the same format is written once");
        assert!(open_metrics.concat().ends_with(b"# EOF\n"));
        let next = world.ask(SCRAPER, 1000);
        assert_ne!(samples(&text), samples(&next), "there was another look");
    }

    #[test]
    fn who_wants_a_fresh_look_waits_for_it() {
        let mut world = World::new();
        world.ask(SCRAPER, 0);
        let later = world.try_ask(SCRAPER, Some(300), 300).unwrap_err();
        assert_eq!(later, Later::Look(Duration::from_millis(700)));
        let fresh = world.try_ask(SCRAPER, Some(300), 1000).unwrap();
        let shared = world.try_ask(SCRAPER, Some(500), 1001).unwrap();
        assert!(Arc::ptr_eq(&fresh, &shared), "two who wait share it");
        let stale = world.ask(SCRAPER, 1500);
        assert_eq!(stale[0].as_ptr(), fresh.plain()[0].as_ptr());
        world.looks.forget();
        let fresh = world.ask(SCRAPER, 1501);
        assert_ne!(stale[0].as_ptr(), fresh[0].as_ptr(), "the agent stops: all is told");
    }

    #[test]
    fn a_look_is_freed_when_it_is_no_longer_shared() {
        let mut world = World::new();
        let taken = world.ask(SCRAPER, 0);
        assert_eq!(world.looks.rest(world.ms(250)), Duration::from_millis(750));
        assert!(!world.looks.expire(world.ms(999)));
        drop(taken);
        assert!(world.inbox.meter.bytes() > 0);
        assert!(world.looks.expire(world.ms(1000)));
        assert_eq!(world.inbox.meter.bytes(), 0);
        assert_eq!(world.looks.rest(world.ms(1000)), Duration::MAX);
    }

    #[test]
    fn there_is_no_look_without_room_for_it() {
        let mut world = World::new();
        let taken = world.ask(SCRAPER, 0);
        let much = Exposition::new(vec![Bytes::from(vec![b'x'; 32 << 20])], &world.inbox.meter);
        assert_eq!(world.try_ask(OPEN_METRICS, None, 10).unwrap_err(), Later::Room);
        assert!(world.try_ask(HUMAN, None, 10).is_ok(), "what is written already needs none");
        assert_eq!(world.try_ask(SCRAPER, None, 1010).unwrap_err(), Later::Room);
        drop(much);
        assert!(world.try_ask(SCRAPER, None, 1020).is_ok());
        drop(taken);
    }

    #[test]
    fn readers_to_whom_the_same_is_new_share_an_exposition() {
        let mut world = World::new();
        let others: Vec<_> = (2..9).map(|host| world.ask((Some(host), Format::Text), 0)).collect();
        let human = world.ask(HUMAN, 0);
        // Nothing has happened, so nothing is new to anybody.
        assert!(others.iter().all(|one| one[0].as_ptr() == human[0].as_ptr()));
        let look = world.looks.last.as_ref().unwrap();
        assert_eq!((look.written.len(), look.shown.len()), (1, 1));
        assert_eq!(world.inbox.meter.bytes(), human.concat().len(), "counted once");
    }
}
