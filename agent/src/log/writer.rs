//! Writer of the log: lines go into a bounded queue, and a thread of its own writes them.
//!
//! Nobody else ever waits for the reader of stderr, or notices that there is none. Lines that find
//! no room, and those that cannot be written, are counted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::kernel::capabilities;

/// Name of the writer's thread, which opens no file.
pub(super) const THREAD: &str = "log";
/// Bytes of lines that wait to be written.
const QUEUE_BYTES: usize = 512 << 10;
/// Pause before another attempt, where stderr is a pipe that does not block its writers.
const RETRY: Duration = Duration::from_millis(20);

/// Lines that were dropped, by reason.
#[derive(Debug, Default)]
pub(super) struct Dropped {
    pub(super) queue_full: AtomicU64,
    pub(super) write_error: AtomicU64,
    pub(super) rate: AtomicU64,
}

impl Dropped {
    pub(super) fn read(&self) -> [(&'static str, u64); 3] {
        [("queue_full", &self.queue_full), ("write_error", &self.write_error), ("rate", &self.rate)]
            .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
    }
}

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    pub(super) dropped: Dropped,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether a line has been taken and is not written yet.
    writing: bool,
}

impl Queue {
    /// The process's own queue. Its thread starts with the first use.
    pub(super) fn of_stderr() -> &'static Arc<Self> {
        static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();
        QUEUE.get_or_init(|| {
            let queue = Arc::new(Self::default());
            // A descriptor of its own: the lock of `std::io::stderr` would be held while it blocks.
            let own = io::stderr().as_fd().try_clone_to_owned().map(File::from);
            // Without a descriptor or a thread the queue fills, and drops are counted.
            if let Ok(to) = own {
                let _cannot_start = queue.write_to(to);
            }
            queue
        })
    }

    /// Starts the thread that writes what comes.
    pub(super) fn write_to(
        self: &Arc<Self>,
        mut to: impl Write + Send + 'static,
    ) -> io::Result<()> {
        let queue = Arc::clone(self);
        let write = move || {
            // As a user other than root there may be none; a refusal has nowhere to be told.
            let _ = capabilities::drop_all();
            loop {
                let line = queue.next();
                if write_line(&mut to, &line).is_err() {
                    queue.dropped.write_error.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::Builder::new().name(THREAD.into()).spawn(write).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line, if there is room.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.state();
        if state.bytes + line.len() > QUEUE_BYTES {
            drop(state);
            self.dropped.queue_full.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.changed.notify_all();
    }

    /// The next line. The one before is written.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        state.writing = false;
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                state.writing = true;
                return line;
            }
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until all lines are written, but not longer than `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.state();
        while state.writing || !state.lines.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Lines that wait.
    #[cfg(test)]
    pub(super) fn lines(&self) -> Vec<String> {
        let state = self.state();
        state.lines.iter().map(|line| String::from_utf8(line.clone()).unwrap()).collect()
    }
}

/// Writes all of a line, if it takes an hour.
fn write_line(to: &mut impl Write, mut line: &[u8]) -> io::Result<()> {
    while !line.is_empty() {
        match to.write(line) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => line = line.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(RETRY),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Output of the log's formatter: each line is made harmless on its way into the queue.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) queue: Arc<Queue>,
    /// Function that makes a line harmless.
    pub(super) harmless: fn(&str) -> Vec<u8>,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

impl Write for &Output {
    /// Takes one whole line, as the formatter gives it.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.push((self.harmless)(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that takes a line when it is told to, or fails.
    struct Reader(mpsc::Receiver<io::Result<()>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap()?;
            // Not all at once, as pipes do.
            let part = bytes.len().div_ceil(2);
            self.1.lock().unwrap().extend_from_slice(&bytes[..part]);
            Ok(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn dropped(queue: &Queue) -> [u64; 2] {
        let [(_, full), (_, error), _] = queue.dropped.read();
        [full, error]
    }

    #[test]
    fn nobody_waits_for_a_reader_that_does_not_read() {
        let queue = Arc::new(Queue::default());
        let (go, told) = mpsc::channel();
        queue.write_to(Reader(told, Arc::default())).unwrap();
        let start = Instant::now();
        for _ in 0..100_000 {
            queue.push(vec![b'x'; 100]);
        }
        queue.flush(Duration::from_millis(50));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        let [full, error] = dropped(&queue);
        // One line more may have been taken out.
        let room = (QUEUE_BYTES / 100) as u64;
        assert!((100_000 - room - 1..=100_000 - room).contains(&full), "{full}");
        assert_eq!(error, 0);
        assert!(queue.state().bytes <= QUEUE_BYTES);
        drop(go);
    }

    #[test]
    fn lines_are_written_whole_and_in_order() {
        let queue = Arc::new(Queue::default());
        let (go, told) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        queue.write_to(Reader(told, Arc::clone(&written))).unwrap();
        for line in ["one\n", "two\n"] {
            queue.push(line.into());
        }
        for kind in [ErrorKind::Interrupted, ErrorKind::WouldBlock] {
            go.send(Err(kind.into())).unwrap();
        }
        for _ in 0..64 {
            go.send(Ok(())).unwrap();
        }
        queue.flush(Duration::from_secs(10));
        assert_eq!(*written.lock().unwrap(), b"one\ntwo\n");
        assert_eq!(dropped(&queue), [0, 0]);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted_and_the_next_one_is_tried() {
        let queue = Arc::new(Queue::default());
        let (go, told) = mpsc::channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        queue.write_to(Reader(told, Arc::clone(&written))).unwrap();
        for kind in [ErrorKind::BrokenPipe, ErrorKind::StorageFull] {
            queue.push(b"lost\n".into());
            go.send(Err(kind.into())).unwrap();
        }
        queue.push(b"kept\n".into());
        for _ in 0..64 {
            go.send(Ok(())).unwrap();
        }
        queue.flush(Duration::from_secs(10));
        assert_eq!(dropped(&queue), [0, 2]);
        assert_eq!(*written.lock().unwrap(), b"kept\n");
    }
}
