//! Hostile receivers of traces: what they do costs traces, which are counted, and nothing else: no
//! time of the owner's thread, no memory, no socket.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agent::trace::endpoint::Protocol;
use agent::trace::otlp::{self, Encoded, Handle, TraceStats};
use agent::trace::settings::Settings;
use nix::libc;
use procfs::process::Process;
use socket2::SockRef;

/// What a receiver does to one connection. An error is its end.
type Deed = fn(&mut TcpStream, &AtomicBool) -> std::io::Result<()>;

/// A receiver in threads of its own, one for each connection.
struct Hostile {
    url: String,
    connections: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Hostile {
    fn start(deed: Deed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let (connections, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, stopped) = (Arc::clone(&connections), Arc::clone(&stop));
        let run = move || {
            let mut threads = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(2));
                    continue;
                };
                count.fetch_add(1, Ordering::Relaxed);
                stream.set_nonblocking(false).unwrap();
                let timeout = Some(Duration::from_millis(100));
                stream.set_read_timeout(timeout).unwrap();
                stream.set_write_timeout(timeout).unwrap();
                let stopped = Arc::clone(&stopped);
                threads.push(std::thread::spawn(move || drop(deed(&mut stream, &stopped))));
            }
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        };
        Self { url, connections, stop, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads until nothing has come for a moment.
fn read_some(stream: &mut TcpStream) {
    let mut bytes = [0; 64 << 10];
    while matches!(stream.read(&mut bytes), Ok(read) if read > 0) {}
}

/// Writes the same again and again, until the connection ends.
fn endlessly(stream: &mut TcpStream, bytes: &[u8], stop: &AtomicBool) -> std::io::Result<()> {
    let many = bytes.repeat(1 + (16 << 10) / bytes.len());
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&many) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// Keeps the connection open until the other side ends it.
fn stay(stream: &mut TcpStream, stop: &AtomicBool) -> std::io::Result<()> {
    let mut byte = [0];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut byte) {
            Ok(0) => break,
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    Ok(())
}

fn frame(kind: u8, flags: u8, stream_id: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream_id.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Begin of an answer on HTTP/2: settings, their acknowledgement, and `:status: 200` by its index.
fn http2_head() -> Vec<u8> {
    let mut bytes = frame(4, 0, 0, &[]);
    bytes.extend(frame(4, 1, 0, &[]));
    bytes.extend(frame(1, 4, 1, &[0x88]));
    bytes
}

const CLOSES: Deed = |_, _| Ok(());
const RESETS: Deed = |stream, _| {
    read_some(stream);
    SockRef::from(&*stream).set_linger(Some(Duration::ZERO))
};
const GARBAGE: Deed = |stream, stop| endlessly(stream, b"\0\xff\x17garbage\r\n", stop);
const SILENT: Deed = |stream, stop| {
    // Half-open: what is sent is never read either.
    while !stop.load(Ordering::Relaxed) && SockRef::from(&*stream).take_error()?.is_none() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
};
const READS_ONLY: Deed = stay;
const INTERIM: Deed = |stream, stop| endlessly(stream, b"HTTP/1.1 103 Early Hints\r\n\r\n", stop);
const LONG_HEAD: Deed = |stream, stop| {
    stream.write_all(b"HTTP/1.1 200 OK\r\nx: ")?;
    endlessly(stream, b"a", stop)
};
const ENDLESS: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    endlessly(stream, b"10\r\n0123456789abcdef\r\n", stop)
};
const ENDLESS_REFUSAL: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(b"HTTP/1.1 503 No\r\n\r\n")?;
    endlessly(stream, b"no ", stop)
};
const REFUSES_AND_WAITS: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(b"HTTP/1.1 400 No\r\ncontent-length: 100\r\n\r\nno")?;
    stay(stream, stop)
};
const DRIPS: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"1\r\na\r\n")?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
};
const BREAKS: Deed = |stream, _| {
    read_some(stream);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
};
const HTTP2_ENDLESS: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(&http2_head())?;
    // Whole messages of one byte each: the first is taken for the answer.
    endlessly(stream, &frame(0, 0, 1, &[0, 0, 0, 0, 0].repeat(1000)), stop)
};
const HTTP2_LONG_MESSAGE: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(&http2_head())?;
    stream.write_all(&frame(0, 0, 1, &[0, 0xff, 0xff, 0xff, 0xff]))?;
    endlessly(stream, &frame(0, 0, 1, &[0; 16_000]), stop)
};
const HTTP2_CONTINUATION: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(&frame(4, 0, 0, &[]))?;
    // A head that does not end: each header is `x: aaa…`, literal and never indexed.
    stream.write_all(&frame(1, 0, 1, &[0x88]))?;
    let mut header = vec![0x10, 1, b'x', 0x7d];
    header.extend([b'a'; 125]);
    endlessly(stream, &frame(9, 0, 1, &header.repeat(100)), stop)
};
const HTTP2_PINGS: Deed = |stream, stop| {
    stream.write_all(&frame(4, 0, 0, &[]))?;
    endlessly(stream, &frame(6, 0, 0, &[7; 8]), stop)
};
const HTTP2_SETTINGS: Deed = |stream, stop| endlessly(stream, &frame(4, 0, 0, &[]), stop);
const HTTP2_NO_WINDOW: Deed = |stream, stop| {
    // SETTINGS_INITIAL_WINDOW_SIZE 0: nothing of a request's body may be sent.
    stream.write_all(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]))?;
    stay(stream, stop)
};
const HTTP2_GO_AWAY: Deed = |stream, stop| {
    stream.write_all(&frame(4, 0, 0, &[]))?;
    stream.write_all(&frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]))?;
    stay(stream, stop)
};
const HTTP2_RESETS: Deed = |stream, stop| {
    read_some(stream);
    stream.write_all(&frame(4, 0, 0, &[]))?;
    stream.write_all(&frame(3, 0, 1, &[0, 0, 0, 7]))?;
    stay(stream, stop)
};

const BOTH: &[Protocol] = &[Protocol::Grpc, Protocol::HttpProtobuf];
const GRPC: &[Protocol] = &[Protocol::Grpc];
const HTTP: &[Protocol] = &[Protocol::HttpProtobuf];

const DEEDS: [(&str, &[Protocol], Deed); 19] = [
    ("closes each connection", BOTH, CLOSES),
    ("resets each connection", BOTH, RESETS),
    ("sends garbage", BOTH, GARBAGE),
    ("neither reads nor answers", BOTH, SILENT),
    ("reads, and never answers", BOTH, READS_ONLY),
    ("sends interim answers without end", BOTH, INTERIM),
    ("sends a head without end", HTTP, LONG_HEAD),
    ("sends a body without end", HTTP, ENDLESS),
    ("refuses at any length", HTTP, ENDLESS_REFUSAL),
    ("sends a byte now and then", HTTP, DRIPS),
    ("breaks its answer off", HTTP, BREAKS),
    ("sends messages without end", GRPC, HTTP2_ENDLESS),
    ("announces a message of 4 GiB", GRPC, HTTP2_LONG_MESSAGE),
    ("sends a head without end", GRPC, HTTP2_CONTINUATION),
    ("pings without end", GRPC, HTTP2_PINGS),
    ("sends settings without end", GRPC, HTTP2_SETTINGS),
    ("lets nothing be sent", GRPC, HTTP2_NO_WINDOW),
    ("tells everybody to go away", GRPC, HTTP2_GO_AWAY),
    ("resets each request", GRPC, HTTP2_RESETS),
];

/// Bytes of the queue, at most.
const QUEUE: u64 = 256 << 10;
/// Time that each receiver has.
const TIME: Duration = Duration::from_millis(1200);

fn settings(url: &str, protocol: Protocol) -> Settings {
    let path = if protocol == Protocol::Grpc { "/" } else { "/v1/traces" };
    Settings {
        url: format!("{url}{path}").parse().unwrap(),
        protocol,
        headers: http::HeaderMap::new(),
        gzip: false,
        timeout: Duration::from_millis(300),
        ca: None,
        client: None,
        schedule_delay: Duration::from_millis(1),
        batch_max_spans: 64,
        queue_max_spans: 10_000,
        queue_max_bytes: QUEUE,
        resource: Vec::new(),
    }
}

/// CPU time of all threads of that name, of this process.
fn cpu_ticks(thread: &str) -> u64 {
    let tasks = Process::myself().unwrap().tasks().unwrap();
    let stats = tasks.filter_map(|task| task.ok()?.stat().ok());
    stats.filter(|stat| stat.comm == thread).map(|stat| stat.utime + stat.stime).sum()
}

fn resident_kib() -> u64 {
    // What the allocator keeps for itself is no growth.
    #[cfg(target_env = "gnu")]
    // SAFETY: the call has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
    Process::myself().unwrap().stat().unwrap().rss * procfs::page_size() / 1024
}

fn open_files() -> usize {
    Process::myself().unwrap().fd_count().unwrap()
}

/// Pushes as the owner does, as fast as a node that is drained, and returns the longest push.
fn push_for(handle: &Handle, time: Duration) -> (u64, Duration) {
    let (start, mut pushed, mut longest) = (Instant::now(), 0, Duration::ZERO);
    while start.elapsed() < time {
        let encoded = Encoded { bytes: vec![b'x'; 2_000], spans: 4 };
        let before = Instant::now();
        handle.queue.push(encoded);
        longest = longest.max(before.elapsed());
        pushed += 4;
        assert!(handle.stats.read().queue_bytes <= QUEUE);
        std::thread::sleep(Duration::from_millis(1));
    }
    (pushed, longest)
}

fn sum(counts: &[(&'static str, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}

fn failures(stats: &TraceStats) -> String {
    let some = stats.export_failures.iter().filter(|(_, count)| *count > 0);
    some.map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

/// The longest push while the receiver did its worst, and what memory it cost, in KiB.
fn endure(what: &str, protocol: Protocol, deed: Deed) -> (Duration, u64) {
    let before = (open_files(), resident_kib());
    let hostile = Hostile::start(deed);
    let handle = otlp::start(settings(&hostile.url, protocol)).unwrap();
    let (pushed, longest) = push_for(&handle, TIME);
    let cpu = cpu_ticks(otlp::THREAD);
    let more_kib = resident_kib().saturating_sub(before.1);
    let stats = Arc::clone(&handle.stats);
    let start = Instant::now();
    handle.shutdown(Duration::from_millis(500));
    let shutdown = start.elapsed();
    let connections = hostile.connections.load(Ordering::Relaxed);
    drop(hostile);
    let stats = stats.read();
    let line = format!(
        "{:13} {what:35} {connections:3} connections, {}; {more_kib} KiB more, {cpu} ticks, longest \
         push {longest:?}, end in {shutdown:?}",
        protocol.name(),
        failures(&stats),
    );
    println!("{line}");
    assert_eq!(stats.spans_exported, 0, "{line}");
    assert!(sum(&stats.export_failures) > 0, "{line}");
    assert_eq!(sum(&stats.spans_dropped), pushed, "{line}");
    assert_eq!(stats.queue_bytes, 0, "{line}");
    assert!(shutdown < Duration::from_millis(1500), "{line}");
    // All of the exporter's sockets are closed, and the test's own.
    let start = Instant::now();
    while open_files() > before.0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(open_files() <= before.0, "{line}");
    (longest, more_kib)
}

#[test]
fn a_refusal_is_one_before_its_text_has_come() {
    let hostile = Hostile::start(REFUSES_AND_WAITS);
    let handle = otlp::start(settings(&hostile.url, Protocol::HttpProtobuf)).unwrap();
    handle.queue.push(Encoded { bytes: vec![b'x'; 2_000], spans: 4 });
    let start = Instant::now();
    while sum(&handle.stats.read().spans_dropped) == 0 && start.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let stats = handle.stats.read();
    handle.shutdown(Duration::from_millis(500));
    let line = failures(&stats);
    assert_eq!((sum(&stats.spans_dropped), sum(&stats.export_failures)), (4, 1), "{line}");
    assert_eq!(hostile.connections.load(Ordering::Relaxed), 1, "it is not sent again: {line}");
}

#[test]
fn a_hostile_receiver_costs_traces_and_nothing_else() {
    // The first of each protocol brings its program into memory, and the first runtime of a process
    // opens a socket that stays.
    for protocol in BOTH {
        otlp::probe(settings("http://127.0.0.1:1", *protocol)).unwrap_err();
        endure("warms up", *protocol, CLOSES);
    }
    let mut pushes = Vec::new();
    for (what, protocols, deed) in DEEDS {
        for protocol in protocols {
            let (longest, more_kib) = endure(what, *protocol, deed);
            // The queue and a batch, and what both sides of the connections hold.
            assert!(more_kib < 3 << 10, "{what}: {more_kib} KiB");
            pushes.push(longest);
        }
    }
    pushes.sort();
    println!("longest pushes: {pushes:?}");
    // Of one push in a few thousand: a thread may lose its CPU at any moment.
    assert!(pushes[pushes.len() / 2] < Duration::from_millis(20), "{pushes:?}");
}
