//! Many clients, and bad ones: whoever has a request is answered meanwhile.

use super::*;

fn closed(running: &Running, why: &str) -> u64 {
    let counts = running.counters.connections_closed();
    counts.into_iter().find(|(name, _)| *name == why).unwrap().1
}

/// Connections that say nothing.
async fn silent(address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        streams.push(TcpStream::connect(address).await.unwrap());
    }
    streams
}

/// An owner whose expositions are as large as this, each a new one.
fn own_large(mut requests: mpsc::Receiver<Request>, bytes: usize, meter: Meter) {
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            match request {
                Request::Scrape(_, to) if !meter.has_room(bytes) => {
                    drop(to.send(Err(Later::Room)));
                }
                Request::Scrape(_, to) => {
                    let chunks = vec![Bytes::from(vec![b'x'; 64 << 10]); bytes >> 16];
                    drop(to.send(Ok(Arc::new(Exposition::new(chunks, &meter)))));
                }
                Request::Ready(to) => drop(to.send(Ok(()))),
                Request::Status(to) => drop(to),
            }
        }
    });
}

/// A client that asks for an exposition and reads nothing.
async fn slow(address: SocketAddr, headers: &str) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn silent_connections_shut_nobody_out() {
    let running = good().await;
    let mut all = Vec::new();
    for count in [64, 500] {
        all.extend(silent(running.address, count).await);
        let start = Instant::now();
        assert_eq!(status(&ask(running.address, "GET", "/livez").await), "200");
        assert_eq!(status(&ask(running.address, "GET", "/readyz").await), "503", "its own word");
        assert!(ask(running.address, "GET", "/metrics").await.ends_with(EXPOSITION));
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
    assert!(closed(&running, "crowded") >= 500 - 32);
    assert_eq!(closed(&running, "refused"), 0);
}

#[tokio::test]
async fn a_scraper_that_stays_connected_outlives_a_crowd_of_others() {
    let running = good().await;
    let mut scraper = TcpStream::connect(running.address).await.unwrap();
    let mut scrape = async || {
        scraper.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(EXPOSITION.as_bytes()) {
            assert!(scraper.read_buf(&mut answer).await.unwrap() > 0);
        }
    };
    scrape().await;
    // From another address, as Pods are.
    let mut crowd = Vec::new();
    for at in 0..300 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let from = format!("127.0.1.{}:0", 1 + at % 5);
        socket.bind(from.parse().unwrap()).unwrap();
        crowd.push(socket.connect(running.address).await.unwrap());
    }
    scrape().await;
}

#[tokio::test]
async fn a_head_has_a_short_time_and_an_idle_connection_a_long_one() {
    let head = Duration::from_millis(300);
    let (running, requests) = start(Limits { head, ..Limits::default() }).await;
    own(requests, Duration::ZERO);
    let begin = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    };
    let answered = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut idle = begin(answered).await;
    // Silent, in the middle of a head, and in the middle of a second one.
    for bytes in [&b""[..], b"GET /met", b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /met"] {
        let mut stream = begin(bytes).await;
        if bytes.starts_with(answered) {
            sleep(Duration::from_millis(50)).await;
            stream.write_all(b"rics").await.unwrap();
        }
        let mut rest = Vec::new();
        let end = timeout(Duration::from_secs(2), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "{:?} is still open", String::from_utf8_lossy(bytes));
    }
    assert_eq!(closed(&running, "head_timeout"), 3);
    idle.write_all(answered).await.unwrap();
    let mut answers = Vec::new();
    while answers.windows(4).filter(|bytes| bytes == b"\nok\n").count() < 2 {
        assert!(idle.read_buf(&mut answers).await.unwrap() > 0, "it is still open");
    }
}

#[tokio::test]
async fn a_slow_loris_is_disconnected() {
    let limits = Limits { head: Duration::from_millis(200), ..Limits::default() };
    let (running, requests) = start(limits).await;
    own(requests, Duration::ZERO);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        let _ = writer.write_all(b"GET /metrics HTTP/1.1\r\n").await;
        for _ in 0..100 {
            sleep(Duration::from_millis(20)).await;
            if writer.write_all(b"X: y\r\n").await.is_err() {
                break;
            }
        }
    };
    let start = Instant::now();
    let mut rest = Vec::new();
    tokio::select! {
        _ = reader.read_to_end(&mut rest) => {}
        () = drip => {}
    }
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn an_idle_connection_ends_after_its_time() {
    let limits = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let (running, requests) = start(limits).await;
    own(requests, Duration::ZERO);
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let end = timeout(Duration::from_secs(2), stream.read_to_end(&mut all)).await;
    assert!(end.is_ok() && all.ends_with(b"ok\n"));
    assert_eq!(closed(&running, "idle_timeout"), 1);
}

#[tokio::test]
async fn who_does_not_read_is_cut_and_sees_it() {
    let limits = Limits { stall: Duration::from_millis(300), ..Limits::default() };
    let (running, requests) = start(limits).await;
    own_large(requests, 8 << 20, Meter::default());
    for headers in ["", "Accept-Encoding: identity\r\n"] {
        let mut lazy = slow(running.address, headers).await;
        sleep(Duration::from_secs(1)).await;
        let mut all = Vec::new();
        let end = timeout(Duration::from_secs(2), lazy.read_to_end(&mut all)).await;
        assert!(end.unwrap().is_err() || all.len() < 8 << 20, "the answer looks whole");
    }
    assert_eq!(closed(&running, "slow_reader"), 2);
}

#[tokio::test]
async fn who_takes_a_trickle_is_cut_as_well() {
    let limits = Limits { answer: Duration::from_millis(600), ..Limits::default() };
    let (running, requests) = start(limits).await;
    own_large(requests, 8 << 20, Meter::default());
    let mut trickle = slow(running.address, "").await;
    let start = Instant::now();
    while trickle.read_u8().await.is_ok() {
        sleep(Duration::from_millis(10)).await;
        assert!(start.elapsed() < Duration::from_secs(20), "it goes on");
        if closed(&running, "slow_reader") == 1 {
            return;
        }
    }
    assert_eq!(closed(&running, "slow_reader"), 1);
}

#[tokio::test]
async fn slow_readers_hold_a_bounded_number_of_bytes_and_a_good_one_is_served() {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let (running, requests) = start(limits).await;
    let meter = Meter::default();
    // Three of them have room.
    own_large(requests, 10 << 20, meter.clone());
    let mut readers = Vec::new();
    for _ in 0..12 {
        readers.push(slow(running.address, "").await);
        sleep(Duration::from_millis(20)).await;
        assert!(meter.bytes() <= 32 << 20, "{}", meter.bytes());
    }
    let start = Instant::now();
    let answer = ask(running.address, "GET", "/metrics").await;
    assert_eq!(status(&answer), "200");
    assert!(answer.len() > 10 << 20);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(closed(&running, "slow_reader") > 0);
    assert_eq!(status(&ask(running.address, "GET", "/livez").await), "200");
}

#[tokio::test]
async fn three_hundred_slow_clients_shut_nobody_out_for_long() {
    let limits = Limits { patience: Duration::from_millis(200), ..Limits::default() };
    let (running, requests) = start(limits).await;
    own_large(requests, 1 << 20, Meter::default());
    let mut readers = Vec::new();
    for _ in 0..300 {
        readers.push(slow(running.address, "").await);
    }
    for path in ["/livez", "/readyz"] {
        let start = Instant::now();
        assert_eq!(status(&ask(running.address, "GET", path).await), "200", "{path}");
        assert!(start.elapsed() < Duration::from_secs(1), "{path}: {:?}", start.elapsed());
    }
    let start = Instant::now();
    while status(&ask(running.address, "GET", "/metrics").await) != "200" {
        assert!(start.elapsed() < Duration::from_secs(10), "no place for a good scraper");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(running.counters.scrapes_refused() > 0);
}

#[tokio::test]
async fn hundreds_of_scrapes_at_once_do_no_harm() {
    let running = good().await;
    let all = (0..300).map(|_| tokio::spawn(ask(running.address, "GET", "/metrics")));
    for answer in all.collect::<Vec<_>>() {
        // Who is one of too many gets a 503, or is closed.
        let _ = answer.await;
    }
    assert_eq!(status(&ask(running.address, "GET", "/livez").await), "200");
    assert!(ask(running.address, "GET", "/metrics").await.ends_with(EXPOSITION));
}
