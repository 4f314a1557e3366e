//! Requests that no good client sends, or not like this.

use super::*;

#[tokio::test]
async fn requests_in_a_row_are_all_answered() {
    let running = good().await;
    let request = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = talk(running.address, &(request.repeat(50) + last)).await;
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 51);
    assert!(answer.ends_with(EXPOSITION));
}

#[tokio::test]
async fn who_asks_and_says_that_it_is_all_has_its_answer() {
    let (running, requests) = start(Limits::default()).await;
    own(requests, Duration::from_millis(100));
    let mut stream = TcpStream::connect(running.address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with(EXPOSITION.as_bytes()));
}

#[tokio::test]
async fn what_is_no_request_is_refused_at_once() {
    let running = good().await;
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000));
    for (request, said) in [
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ["", "400", "505"]),
        ("\u{16}\u{3}\u{1}\r\n\r\n", ["", "400", "400"]),
        (&*long, ["431", "431", ""]),
        (&*many, ["431", "431", ""]),
    ] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let start = Instant::now();
        // Unread bytes reset the connection.
        let _ = timeout(Duration::from_secs(2), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(2));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = if answer.is_empty() { "" } else { status(&answer) };
        assert!(said.contains(&code), "{request:.20}: {answer}");
    }
    assert_eq!(status(&ask(running.address, "GET", "/livez").await), "200");
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let running = good().await;
    for how in ["Transfer-Encoding: chunked", "Content-Length: 1000000000"] {
        let head = format!("GET /livez HTTP/1.1\r\nHost: x\r\n{how}\r\n\r\n");
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        timeout(Duration::from_secs(2), stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, b"HTTP/1.1 200", "{how}");
    }
}

#[tokio::test]
async fn clients_that_reset_harm_nobody() {
    let running = good().await;
    for at in 0..300 {
        let stream = TcpStream::connect(running.address).await.unwrap();
        if at % 2 == 0 {
            let _ = stream.try_write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
        }
        socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
    }
    assert!(ask(running.address, "GET", "/metrics").await.ends_with(EXPOSITION));
}

#[tokio::test]
async fn who_wants_a_fresh_look_says_since_when() {
    let (running, mut requests) = start(Limits::default()).await;
    let address = running.address;
    for (header, fresh) in [
        ("", false),
        ("Cache-Control: max-age=0\r\n", false),
        ("Cache-Control: max-age=0, No-Cache\r\n", true),
    ] {
        let before = Instant::now();
        let asked = tokio::spawn(async move { scrape(address, header).await });
        let Some(Request::Scrape(scrape, to)) = requests.recv().await else { panic!("none") };
        assert_eq!(scrape.since.is_some_and(|since| since >= before), fresh, "{header}");
        if fresh {
            to.send(Err(Later::Look(Duration::from_millis(30)))).unwrap();
            let Some(Request::Scrape(again, to)) = requests.recv().await else { panic!("none") };
            assert_eq!((again.format, again.since), (scrape.format, scrape.since));
            to.send(Ok(exposition())).unwrap();
        } else {
            to.send(Ok(exposition())).unwrap();
        }
        assert_eq!(asked.await.unwrap().1, EXPOSITION.as_bytes());
    }
}
