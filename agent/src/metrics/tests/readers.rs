//! Readers: each scraper the 0 before the first event, a human the value.

use super::fixture::{
    Reader, SECOND, Tell as _, encode_for, exited, identity, killed_after, parse, scrape_as, store,
};
use crate::cgroup::CgroupId;
use crate::lifecycle::fact::{FactKind, FatalSignal, OomFact, OomVictim, Sender, Termination};
use crate::metrics::store::Store;
use crate::metrics::variant::{Format, NEWS_NS};

const A: Reader = Some(1);
const B: Reader = Some(2);
const HUMAN: Reader = None;
/// Later than everything that is news at the agent's start.
const LATER: u64 = 100 * NEWS_NS;

fn one() -> Store {
    let mut store = store();
    store.appear(CgroupId(1), &identity("web-1", "web"), SECOND);
    store
}

/// A crash by a signal that no one has seen before: its series is made now.
fn crash(store: &mut Store) {
    let fatal = Some(FatalSignal { signal: 11, sender: Sender::Kernel });
    store.die(CgroupId(1), Termination { fatal, ..exited(5 * SECOND, 1) });
}

fn crashes(store: &mut Store, reader: Reader, now: u64) -> Vec<f64> {
    scrape_as(store, reader, now).get("fatal_signals_total", &[("signal", "SIGSEGV")])
}

#[test]
fn each_of_two_scrapers_sees_the_zero_before_the_first_event() {
    let mut store = one();
    for (reader, second) in [(A, 0), (B, 15), (A, 30), (B, 45)] {
        assert!(crashes(&mut store, reader, LATER + second * SECOND).is_empty());
    }
    crash(&mut store);
    for (reader, second, expected) in [
        (A, 60, 0.0),
        (HUMAN, 61, 1.0),
        // Somebody else who says that he is a scraper, and comes again.
        (Some(9), 62, 0.0),
        (Some(9), 63, 1.0),
        (B, 75, 0.0),
        (HUMAN, 76, 1.0),
        (A, 90, 1.0),
        (B, 105, 1.0),
    ] {
        assert_eq!(crashes(&mut store, reader, LATER + second * SECOND), [expected], "{second} s");
    }
    crash(&mut store);
    for (reader, second) in [(A, 120), (B, 135)] {
        assert_eq!(crashes(&mut store, reader, LATER + second * SECOND), [2.0]);
    }
}

#[test]
fn all_who_wait_for_one_collection_are_shown_what_is_new_to_them() {
    let mut store = one();
    let formats = [Format::Text, Format::OpenMetrics];
    scrape_as(&mut store, A, LATER);
    crash(&mut store);
    scrape_as(&mut store, A, LATER + SECOND);
    let readers = [(A, formats[0]), (B, formats[0]), (B, formats[1]), (HUMAN, formats[0])];
    let texts = encode_for(&mut store, LATER + 2 * SECOND, readers);
    let crashes =
        readers.map(|(_, format)| format).into_iter().zip(&texts).map(|(format, text)| {
            let families = parse(text, format);
            let samples = families.iter().flat_map(|family| &family.samples);
            let of_name = samples.filter(|sample| sample.name == "podvitals_fatal_signals_total");
            of_name.map(|sample| sample.value).sum::<f64>()
        });
    assert_eq!(crashes.collect::<Vec<_>>(), [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_histogram_is_empty_in_all_its_lines_or_in_none() {
    let mut store = one();
    scrape_as(&mut store, A, LATER);
    let other = CgroupId(2);
    let mut identity = identity("db-1", "db");
    identity.workload = "db".into();
    store.appear(other, &identity, SECOND);
    store.die(other, killed_after(9 * SECOND, 2 * SECOND));
    let killed = [("workload", "db"), ("outcome", "killed")];
    for (second, count) in [(30, 0.0), (60, 1.0)] {
        let shown = scrape_as(&mut store, A, LATER + second * SECOND);
        let get = |name: &str| shown.get(&format!("shutdown_duration_seconds_{name}"), &killed);
        assert_eq!((get("count"), get("sum")), (vec![count], vec![2.0 * count]));
        let bucket = |le| [killed[0], killed[1], ("le", le)];
        let buckets = ["1.0", "3.0", "+Inf"]
            .map(|le| shown.get("shutdown_duration_seconds_bucket", &bucket(le)));
        assert_eq!(buckets, [vec![0.0], vec![count], vec![count]]);
    }
}

/// The past of a node is no increase to a Prometheus that is new.
#[test]
fn a_scraper_that_is_new_sees_only_news_at_zero() {
    let mut store = one();
    scrape_as(&mut store, A, LATER);
    crash(&mut store);
    scrape_as(&mut store, A, LATER + SECOND);
    assert_eq!(crashes(&mut store, B, LATER + NEWS_NS), [0.0]);
    assert_eq!(crashes(&mut store, B, LATER + NEWS_NS + 30 * SECOND), [1.0]);
    assert_eq!(crashes(&mut store, Some(3), LATER + NEWS_NS + 30 * SECOND), [1.0]);
}

#[test]
fn what_is_old_is_not_new_because_nobody_has_scraped() {
    let mut store = one();
    crash(&mut store);
    let oom = OomFact::plain(None, OomVictim::Init, 1);
    store.tell(CgroupId(1), 5 * SECOND, FactKind::Oom(oom));
    store.expire(LATER, |_, _| false);
    assert_eq!(crashes(&mut store, A, LATER + NEWS_NS + SECOND), [1.0]);
    store.expire(LATER + NEWS_NS + 5 * SECOND, |_, _| false);
    crash(&mut store);
    assert_eq!(crashes(&mut store, A, LATER + NEWS_NS + 30 * SECOND), [2.0]);
    // An agent that has just started is news as a whole.
    let mut store = one();
    store.expire(LATER, |_, _| false);
    crash(&mut store);
    assert_eq!(crashes(&mut store, A, LATER + 30 * SECOND), [0.0]);
    assert_eq!(crashes(&mut store, A, LATER + 60 * SECOND), [1.0]);
}
