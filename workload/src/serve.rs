//! Servers that the kubelet's probes connect to.

mod grpc;
mod health;
mod tls;

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustls::ServerConfig;
use serde_json::json;

use self::health::Health;
use crate::{cli::Serve, log::log};

/// Timeout for a client's request.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Begin of a path that is found elsewhere: `/to/x` is at `/x`.
const MOVED: &str = "/to/";
/// Limit of bytes that are read of a request.
const REQUEST_LIMIT: usize = 16 * 1024;
/// Interval at which a TCP server checks whether it is to close.
const POLL: Duration = Duration::from_millis(20);

/// Starts every requested server.
pub(crate) fn start(serve: &Serve, start: Instant, fails_at: Option<Instant>) -> Result<()> {
    let health = Health { fails_at, delay: serve.delay };
    let listen_at = start + serve.listen_after;
    if let Some(port) = serve.serve_http {
        when(listen_at, port, "http", move |listener| {
            each(&listener, move |stream| http(stream, health));
        })?;
    }
    if let Some(port) = serve.serve_https {
        let config = tls::config()?;
        when(listen_at, port, "https", move |listener| {
            each(&listener, move |stream| https(stream, config.clone(), health));
        })?;
    }
    if let Some(port) = serve.serve_grpc {
        when(listen_at, port, "grpc", move |listener| grpc::serve(listener, health))?;
    }
    if let Some(port) = serve.serve_tcp {
        when(listen_at, port, "tcp", move |listener| tcp(&listener, health))?;
    }
    if let Some(port) = serve.serve_full {
        when(listen_at, port, "full", |listener| full(&listener))?;
    }
    Ok(())
}

/// Holds the one place that the port's queue has, and accepts nobody.
fn full(listener: &TcpListener) {
    let guest = || -> Result<TcpStream> {
        let port = listener.local_addr().context("getsockname")?.port();
        // SAFETY: the descriptor is open; listening again changes the length of its queue, which then
        // has one place (net/ipv4/tcp_input.c, `tcp_conn_request`, `sk_acceptq_is_full`).
        let result = unsafe { nix::libc::listen(listener.as_raw_fd(), 0) };
        ensure!(result == 0, "listen(2): {}", std::io::Error::last_os_error());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context("take the only place")
    };
    match guest() {
        Ok(_guest) => loop {
            thread::park();
        },
        Err(error) => log("listen_failed", &json!({ "error": format!("{error:#}") })),
    }
}

/// Listens at once if the time has come, so that an error ends the program, else later.
fn when(
    at: Instant,
    port: u16,
    protocol: &'static str,
    serve: impl FnOnce(TcpListener) + Send + 'static,
) -> Result<()> {
    if at <= Instant::now() {
        let listener = listen(port, protocol)?;
        thread::spawn(move || serve(listener));
        return Ok(());
    }
    thread::spawn(move || {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        match listen(port, protocol) {
            Ok(listener) => serve(listener),
            Err(error) => log("listen_failed", &json!({ "error": format!("{error:#}") })),
        }
    });
    Ok(())
}

/// Listens on every address; without IPv6, on those of IPv4.
fn listen(port: u16, protocol: &str) -> Result<TcpListener> {
    let addresses: [SocketAddr; 2] =
        [(Ipv6Addr::UNSPECIFIED, port).into(), (Ipv4Addr::UNSPECIFIED, port).into()];
    let listener =
        TcpListener::bind(&addresses[..]).with_context(|| format!("listen on port {port}"))?;
    let port = listener.local_addr().context("getsockname")?.port();
    log("listen", &json!({ "protocol": protocol, "port": port }));
    Ok(listener)
}

/// Answers each connection in a thread of its own.
fn each(listener: &TcpListener, answer: impl Fn(TcpStream) + Clone + Send + 'static) {
    for stream in listener.incoming().flatten() {
        let answer = answer.clone();
        thread::spawn(move || answer(stream));
    }
}

fn http(stream: TcpStream, health: Health) {
    let client = stream.peer_addr().ok();
    let _ = stream.set_read_timeout(Some(READ_LIMIT));
    answer_http(stream, health, "http", client);
}

fn https(stream: TcpStream, config: Arc<ServerConfig>, health: Health) {
    let client = stream.peer_addr().ok();
    let _ = stream.set_read_timeout(Some(READ_LIMIT));
    match tls::accept(config, stream) {
        Ok(stream) => answer_http(stream, health, "https", client),
        Err(error) => log("no_request", &json!({ "error": format!("{error:#}") })),
    }
}

/// Reads a request and answers it, over any transport.
fn answer_http(
    mut stream: impl Read + Write,
    health: Health,
    protocol: &str,
    client: Option<SocketAddr>,
) {
    let Some(request) = head(&mut stream) else {
        log("no_request", &json!({ "protocol": protocol, "client": client }));
        return;
    };
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    log("request", &json!({ "protocol": protocol, "client": client, "path": path }));
    thread::sleep(health.delay);
    let moved = path.strip_prefix(MOVED);
    let (status, text) = match moved {
        _ if health.fails() => (503, "Service Unavailable"),
        Some(_) => (302, "Found"),
        None => (200, "OK"),
    };
    let location = moved.map(|to| format!("Location: /{to}\r\n")).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {status} {text}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         {location}Connection: close\r\n\r\n{text}\n",
        text.len() + 1
    );
    let sent = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_ok();
    log(
        "answer",
        &json!({ "protocol": protocol, "client": client, "status": status, "sent": sent }),
    );
}

/// Reads a request up to the empty line that ends its head.
fn head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).ok().filter(|&read| read > 0)?;
        head.extend_from_slice(buffer.get(..read)?);
        if head.len() > REQUEST_LIMIT {
            return None;
        }
    }
    String::from_utf8(head).ok()
}

/// Accepts and closes connections until the program is unhealthy: then the port is closed, and the
/// kernel refuses.
fn tcp(listener: &TcpListener, health: Health) {
    if health.fails_at.is_some() && listener.set_nonblocking(true).is_err() {
        return log("listen_failed", &json!({ "error": "the socket cannot be non-blocking" }));
    }
    while !health.fails() {
        match listener.accept() {
            Ok((_, client)) => log("accept", &json!({ "protocol": "tcp", "client": client })),
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(error) => log("accept_failed", &json!({ "error": error.to_string() })),
        }
    }
    log("unlisten", &json!({ "protocol": "tcp" }));
}
