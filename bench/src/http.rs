//! One plain GET, on loopback, as Prometheus makes it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// The body of `path`, if the answer is 200. HTTP/1.0, so that it comes in one piece.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<String> {
    let what = || format!("GET http://{server}{path}");
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).with_context(what)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(what)?;
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAccept: text/plain;version=0.0.4\r\n\
         X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).with_context(what)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(what)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(what)?;
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{}: {status}: {}", what(), body.trim());
    }
    Ok(body.to_owned())
}
