//! Expositions on their way: written once and compressed once, whoever takes them, and their bytes
//! counted until the last of them is freed.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use tokio::sync::Semaphore;

/// Limit of bytes of all expositions together, in all their variants, where there is more than one.
/// Beside it the memory limit of `deploy/daemonset.yaml` has room for the agent itself, for the
/// kernel's buffers of slow clients, and for the exposition that is being written.
const BYTES_MAX: usize = 32 << 20;

/// Size of a compressed chunk.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes of expositions in memory.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// Bytes that are in memory now.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether another exposition of about so many bytes has room. One always has, if it is alone.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let live = self.bytes();
        live == 0 || live.saturating_add(bytes) <= BYTES_MAX
    }

    /// The same bytes, counted until the last who has them is done.
    #[must_use]
    pub fn count(&self, bytes: Bytes) -> Bytes {
        self.0.fetch_add(bytes.len(), Ordering::Relaxed);
        Bytes::from_owner(Counted { bytes, meter: self.clone() })
    }
}

/// Bytes that are counted as long as somebody has them.
struct Counted {
    bytes: Bytes,
    meter: Meter,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.meter.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// An exposition that any number of clients take.
#[derive(Debug)]
pub struct Exposition {
    plain: Vec<Bytes>,
    gzip: OnceLock<Option<Vec<Bytes>>>,
    meter: Meter,
}

impl Exposition {
    /// An exposition of these chunks.
    #[must_use]
    pub fn new(chunks: Vec<Bytes>, meter: &Meter) -> Self {
        Self::of_counted(chunks.into_iter().map(|chunk| meter.count(chunk)).collect(), meter)
    }

    /// An exposition of chunks that are counted already, since others may have them too.
    #[must_use]
    pub fn of_counted(plain: Vec<Bytes>, meter: &Meter) -> Self {
        Self { plain, gzip: OnceLock::new(), meter: meter.clone() }
    }

    /// The chunks.
    #[must_use]
    pub fn plain(&self) -> Vec<Bytes> {
        self.plain.clone()
    }

    /// Length of the body in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.plain.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chunks of the compressed exposition. The first who asks has them made, on another thread
    /// than the owner's, in its turn; all who ask meanwhile wait for the same.
    pub(super) async fn gzip(self: Arc<Self>, turns: &Arc<Semaphore>) -> Option<Vec<Bytes>> {
        if let Some(done) = self.gzip.get() {
            return done.clone();
        }
        let turn = Arc::clone(turns).acquire_owned().await.ok()?;
        let compressed = tokio::task::spawn_blocking(move || {
            // Who asked may have gone; the next one finds it begun, or done.
            let _turn = turn;
            let compressed = || compress(&self.plain, &self.meter).ok();
            self.gzip.get_or_init(compressed).clone()
        });
        compressed.await.ok().flatten()
    }
}

/// Level 1, because most of the text repeats: higher levels take several times as long for little.
fn compress(plain: &[Bytes], meter: &Meter) -> io::Result<Vec<Bytes>> {
    let mut chunks = Vec::new();
    let mut encoder = GzEncoder::new(Vec::with_capacity(CHUNK_BYTES), Compression::fast());
    for chunk in plain {
        encoder.write_all(chunk)?;
        if encoder.get_ref().len() >= CHUNK_BYTES / 2 {
            let full = std::mem::replace(encoder.get_mut(), Vec::with_capacity(CHUNK_BYTES));
            chunks.push(meter.count(full.into()));
        }
    }
    chunks.push(meter.count(encoder.finish()?.into()));
    Ok(chunks)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn chunks(count: usize) -> Vec<Bytes> {
        (0..count).map(|at| Bytes::from(format!("a{{b=\"{at}\"}} 1\n").repeat(4000))).collect()
    }

    #[test]
    fn bytes_are_counted_until_the_last_of_them_is_freed() {
        let meter = Meter::default();
        let chunks = chunks(3);
        let len: usize = chunks.iter().map(Bytes::len).sum();
        let exposition = Exposition::new(chunks, &meter);
        assert_eq!((meter.bytes(), exposition.len()), (len, len));
        let [mut one, other] = [exposition.plain(), exposition.plain()];
        drop(exposition);
        assert_eq!(meter.bytes(), len, "clients share the bytes");
        drop(other);
        let first = one.remove(0);
        drop(one);
        assert_eq!(meter.bytes(), first.len());
        drop(first);
        assert_eq!(meter.bytes(), 0);
    }

    #[test]
    fn one_exposition_always_has_room_and_more_have_a_limit() {
        let meter = Meter::default();
        assert!(meter.has_room(usize::MAX));
        let some = meter.count(Bytes::from(vec![0; 1 << 20]));
        assert!(meter.has_room(BYTES_MAX - (1 << 20)));
        assert!(!meter.has_room(BYTES_MAX - (1 << 20) + 1));
        drop(some);
        assert!(meter.has_room(usize::MAX));
    }

    #[tokio::test]
    async fn it_is_compressed_once_for_all() {
        let meter = Meter::default();
        let exposition = Arc::new(Exposition::new(chunks(20), &meter));
        let turns = Arc::new(Semaphore::new(1));
        // One who goes away at once does no harm.
        let impatient = Arc::clone(&exposition).gzip(&turns);
        let _gone = tokio::time::timeout(std::time::Duration::ZERO, impatient).await;
        let asked = (0..16).map(|_| {
            let (exposition, turns) = (Arc::clone(&exposition), Arc::clone(&turns));
            tokio::spawn(async move { exposition.gzip(&turns).await.unwrap() })
        });
        let mut all = Vec::new();
        for compressed in asked.collect::<Vec<_>>() {
            all.push(compressed.await.unwrap());
        }
        assert!(all.iter().all(|one| one[0].as_ptr() == all[0][0].as_ptr()), "the same bytes");
        let compressed = all[0].concat();
        assert_eq!(meter.bytes(), exposition.len() + compressed.len());
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*compressed).read_to_end(&mut plain).unwrap();
        assert!(plain == exposition.plain().concat());
    }
}
