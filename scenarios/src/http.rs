//! A tiny HTTP/1.1 client: one GET, one answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The status code.
    pub(crate) status: u16,
    /// The body, without its transfer coding.
    pub(crate) body: Vec<u8>,
}

/// Asks for a path.
pub(crate) fn get(address: SocketAddr, path: &str, timeout: Duration) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)
        .with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(timeout)).context("setting a timeout")?;
    stream.set_write_timeout(Some(timeout)).context("setting a timeout")?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .with_context(|| format!("asking {address}{path}"))?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).with_context(|| format!("reading {address}{path}"))?;
    answer(&bytes).with_context(|| format!("answer to {address}{path}"))
}

fn answer(bytes: &[u8]) -> Result<Answer> {
    let (head, body) = split_once(bytes, b"\r\n\r\n").context("no end of the head")?;
    let head = std::str::from_utf8(head).context("the head is not UTF-8")?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .context("no status")?;
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

    #[test]
    fn reads_both_kinds_of_body() {
        let plain = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer(plain).unwrap(), Answer { status: 200, body: b"abc".to_vec() });
        let chunked =
            b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;x\r\n0123456789\r\n0\r\n\r\n";
        let got = answer(chunked).unwrap();
        assert_eq!(got, Answer { status: 503, body: b"abc0123456789".to_vec() });
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
}
