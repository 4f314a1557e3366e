//! Rates: a token bucket for each key.

use std::collections::HashMap;
use std::hash::Hash;

/// A rate: this many at once, and then one each so often.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Number at once.
    pub burst: u32,
    /// Time after which there is one more.
    pub every_ns: u64,
}

/// Buckets by key. Only those that are not full are worth their memory.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    /// The moment from which a bucket is full again.
    full_ns: HashMap<K, u64>,
}

/// Buckets that are kept before the full ones are looked for.
const KEPT: usize = 1024;

impl<K: Eq + Hash> Buckets<K> {
    /// Full buckets of that rate.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_ns: HashMap::new() }
    }

    /// Whether another of this key is within the rate.
    pub fn take(&mut self, key: K, now_ns: u64) -> bool {
        let Rate { burst, every_ns } = self.rate;
        if self.full_ns.len() >= KEPT {
            self.full_ns.retain(|_, full_ns| *full_ns > now_ns);
            if self.full_ns.len() >= KEPT && !self.full_ns.contains_key(&key) {
                return false;
            }
        }
        let full_ns = self.full_ns.entry(key).or_default();
        let next = (*full_ns).max(now_ns).saturating_add(every_ns);
        if next.saturating_sub(now_ns) > every_ns.saturating_mul(burst.into()) {
            return false;
        }
        *full_ns = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every_ns: 10 };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut buckets = Buckets::new(RATE);
        let passed = |buckets: &mut Buckets<u8>, now_ns| {
            (0..100).filter(|_| buckets.take(1, now_ns)).count()
        };
        assert_eq!(passed(&mut buckets, 1000), 3);
        assert_eq!(passed(&mut buckets, 1009), 0);
        assert_eq!(passed(&mut buckets, 1010), 1);
        assert_eq!(passed(&mut buckets, 2000), 3, "no more than a burst is saved");
        assert_eq!(passed(&mut buckets, 1500), 0, "a time that is earlier gives nothing");
        assert!(buckets.take(2, 1500), "another key has a bucket of its own");
    }

    #[test]
    fn memory_is_bounded() {
        let mut buckets = Buckets::new(RATE);
        let passed = (0..100 * KEPT).filter(|key| buckets.take(*key, 0)).count();
        assert_eq!((passed, buckets.full_ns.len()), (KEPT, KEPT));
        assert!(buckets.take(usize::MAX, 10), "full buckets make room");
        assert_eq!(buckets.full_ns.len(), 1);
    }
}
