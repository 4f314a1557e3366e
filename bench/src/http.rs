//! Plain GETs, on loopback, as Prometheus makes them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers<'a> {
    /// The format.
    pub(crate) accept: &'a str,
    /// The coding.
    pub(crate) gzip: bool,
}

impl Headers<'_> {
    /// Plain text.
    pub(crate) const TEXT: Self = Headers { accept: "text/plain;version=0.0.4", gzip: false };
}

/// The body of `path`, if the answer is 200.
pub(crate) fn get(server: SocketAddr, path: &str) -> Result<String> {
    let mut answer = Vec::new();
    get_into(server, path, &Headers::TEXT, &mut answer)?;
    let answer = String::from_utf8(answer).context("the answer is not UTF-8")?;
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(body.to_owned())
}

/// Fills `answer` with all of an answer whose status is 200. HTTP/1.0, so that the body comes in
/// one piece.
pub(crate) fn get_into(
    server: SocketAddr,
    path: &str,
    headers: &Headers<'_>,
    answer: &mut Vec<u8>,
) -> Result<()> {
    let what = || format!("GET http://{server}{path}");
    let mut stream = TcpStream::connect_timeout(&server, TIMEOUT).with_context(what)?;
    stream.set_read_timeout(Some(TIMEOUT)).with_context(what)?;
    let Headers { accept, gzip } = headers;
    let coding = if *gzip { "Accept-Encoding: gzip\r\n" } else { "" };
    let request = format!(
        "GET {path} HTTP/1.0\r\nHost: {server}\r\nAccept: {accept}\r\n{coding}\
         X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).with_context(what)?;
    answer.clear();
    stream.read_to_end(answer).with_context(what)?;
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    if status.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        bail!("{}: {}", what(), String::from_utf8_lossy(status));
    }
    Ok(())
}
