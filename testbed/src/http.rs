//! One HTTP GET or POST with a time limit, to a server on this machine.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// The answer to a GET.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Body, without its transfer coding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of an answer whose status is 200.
    ///
    /// # Errors
    /// Another status, or a body that is not UTF-8.
    pub fn text(self) -> Result<String> {
        let Self { status, body } = self;
        ensure!(status == 200, "status {status}: {}", String::from_utf8_lossy(&body).trim());
        String::from_utf8(body).context("the body is not UTF-8")
    }
}

/// Asks for a path; any status is an answer.
///
/// # Errors
/// No connection, no whole answer within `limit`.
pub fn get(server: SocketAddr, path: &str, limit: Duration) -> Result<Answer> {
    let what = || format!("GET http://{server}{path}");
    let mut stream = Limited::connect(server, limit).with_context(what)?;
    exchange(&mut stream, server, path).with_context(what)
}

/// Asks for a path that answers 200 with text.
///
/// # Errors
/// As [`get`] and [`Answer::text`].
pub fn get_text(server: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let answer = get(server, path, limit)?;
    answer.text().with_context(|| format!("GET http://{server}{path}"))
}

/// Sends a body; any status is an answer.
///
/// # Errors
/// As [`get`].
pub fn post(
    server: SocketAddr,
    path: &str,
    content_type: &str,
    body: &[u8],
    limit: Duration,
) -> Result<Answer> {
    let what = || format!("POST http://{server}{path}");
    let mut stream = Limited::connect(server, limit).with_context(what)?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut exchange = || {
        stream.write_all(head.as_bytes()).context("send the request")?;
        stream.write_all(body).context("send the body")?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).context("read the answer")?;
        answer(&bytes)
    };
    exchange().with_context(what)
}

/// Asks for a path over a connection that is open, and that the server closes after the answer.
///
/// # Errors
/// No whole answer.
pub fn exchange(
    stream: &mut (impl Read + Write),
    server: SocketAddr,
    path: &str,
) -> Result<Answer> {
    // The agent is to look now: what has just happened is in the answer.
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nCache-Control: no-cache\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).context("send the request")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).context("read the answer")?;
    answer(&bytes)
}

/// Fills `answer` with all of an answer, head included, whose status is 200: for measurements.
/// HTTP/1.0, so that the body comes in one piece.
///
/// # Errors
/// As [`get`], and any other status.
pub fn get_into(
    server: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    limit: Duration,
    answer: &mut Vec<u8>,
) -> Result<()> {
    let what = || format!("GET http://{server}{path}");
    let mut stream = Limited::connect(server, limit).with_context(what)?;
    let mut request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).with_context(what)?;
    answer.clear();
    stream.read_to_end(answer).with_context(what)?;
    let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if line.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        bail!("{}: {}", what(), String::from_utf8_lossy(line));
    }
    Ok(())
}

/// A loopback address that is free now. Another process may take it before it is used.
///
/// # Errors
/// If no port can be had.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    listener.local_addr().context("find a free port")
}

/// A text as part of a query string.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// A connection of which everything together must be done by a deadline.
struct Limited {
    stream: TcpStream,
    deadline: Instant,
}

impl Limited {
    fn connect(server: SocketAddr, limit: Duration) -> Result<Self> {
        let deadline = Instant::now() + limit;
        let stream = TcpStream::connect_timeout(&server, limit).context("connect")?;
        Ok(Self { stream, deadline })
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(too_late()) } else { Ok(left) }
    }
}

/// The kernel says that it would block; the limit is why.
fn limited<T>(result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => too_late(),
        _ => error,
    })
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "not done within the time limit")
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        limited(self.stream.read(buffer))
    }
}

impl Write for Limited {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        limited(self.stream.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn answer(bytes: &[u8]) -> Result<Answer> {
    let (head, body) = split_once(bytes, b"\r\n\r\n").context("no end of the head")?;
    let head = std::str::from_utf8(head).context("the head is not UTF-8")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let status = status.context("no status")?;
    let header = |name: &str| {
        head.lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    };
    let body = if header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        unchunk(body)?
    } else {
        if let Some(length) = header("content-length") {
            let length: usize = length.parse().context("content-length")?;
            ensure!(body.len() == length, "{} bytes of {length}", body.len());
        }
        body.to_vec()
    };
    Ok(Answer { status, body })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let (size, after) = split_once(rest, b"\r\n").context("no end of a chunk's size")?;
        let size = std::str::from_utf8(size).context("a chunk's size")?;
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("size {size:?}"))?;
        if size == 0 {
            return Ok(body);
        }
        let (chunk, after) = after.split_at_checked(size).context("a chunk is cut short")?;
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n").context("no end of a chunk")?;
    }
}

fn split_once<'a>(bytes: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = bytes.windows(by.len()).position(|window| window == by)?;
    Some((bytes.get(..at)?, bytes.get(at + by.len()..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn both_kinds_of_body_are_read() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer(plain).unwrap(), Answer { status: 200, body: b"abc".to_vec() });
        let chunked =
            b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\n\r\n";
        let got = answer(chunked).unwrap();
        assert_eq!(got, Answer { status: 503, body: b"abc0123456789".to_vec() });
        let error = got.text().unwrap_err().to_string();
        assert_eq!(error, "status 503: abc0123456789");
    }

    #[test]
    fn a_cut_answer_is_an_error() {
        for cut in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert!(answer(cut).is_err());
        }
    }

    /// A server that sends these bytes to whoever asks first, and then does as told.
    fn server(bytes: &'static [u8], then: fn(TcpStream)) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let _ = stream.read(&mut request).unwrap();
            stream.write_all(bytes).unwrap();
            then(stream);
        });
        address
    }

    #[test]
    fn a_body_is_had_over_a_socket() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(get_text(server(whole, drop), "/x", LIMIT).unwrap(), "abc");
        let mut raw = b"left".to_vec();
        get_into(server(whole, drop), "/x", &[("Accept", "a")], LIMIT, &mut raw).unwrap();
        assert_eq!(raw, whole);
        let bad = b"HTTP/1.0 404 Not Found\r\n\r\n";
        let error = get_into(server(bad, drop), "/x", &[], LIMIT, &mut raw).unwrap_err();
        assert!(format!("{error:#}").contains("404"), "{error:#}");
    }

    #[test]
    fn a_body_is_sent_whole() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"abc") {
                let mut byte = [0];
                assert_eq!(stream.read(&mut byte).unwrap(), 1);
                request.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n").unwrap();
            String::from_utf8(request).unwrap()
        });
        let answer = post(address, "/p", "text/plain", b"abc", LIMIT).unwrap();
        assert_eq!(answer, Answer { status: 202, body: Vec::new() });
        let request = echo.join().unwrap();
        assert!(request.starts_with("POST /p HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nContent-Length: 3\r\n"), "{request}");
    }

    #[test]
    fn a_server_that_never_ends_its_answer_is_given_up() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let address = server(head, |mut stream| {
            // Each read is answered in time; the whole never is.
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        let error = get(address, "/slow", Duration::from_millis(200)).unwrap_err();
        assert!(start.elapsed() < LIMIT);
        let said = format!("{error:#}");
        assert!(said.contains("/slow") && said.contains("time limit"), "{said}");
    }

    #[test]
    fn escape_leaves_only_what_a_query_may_hold() {
        assert_eq!(escape(r#"up{job="x"} == 1"#), "up%7Bjob%3D%22x%22%7D%20%3D%3D%201");
    }
}
