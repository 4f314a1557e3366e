//! A receiver of Alertmanager's webhook that keeps what it gets.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::Labels;
use crate::terminal::{note, plain};

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes that a head, and that a body, may have.
const MAX_BYTES: u64 = 4 << 20;
/// How much of a body that is no notification is shown.
const SHOWN: usize = 200;

/// A notification: a group of alerts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// The receiver that the route chose.
    pub receiver: String,
    /// The labels that the group's alerts have in common by configuration.
    pub group_labels: Labels,
    /// Its alerts.
    pub alerts: Vec<Alert>,
}

/// An alert of a notification.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// `firing` or `resolved`.
    pub status: String,
    /// Labels, `alertname` among them.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Labels,
}

/// A receiver, which serves as long as this program runs.
pub struct Webhook {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Notification>>>,
}

impl Webhook {
    /// Serves on any port of the loopback.
    ///
    /// # Errors
    /// If there is none.
    pub fn on_loopback() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        Self::serve(listener)
    }

    /// Serves on `listener`.
    ///
    /// # Errors
    /// A listener without an address.
    pub fn serve(listener: TcpListener) -> Result<Self> {
        let address = listener.local_addr().context("the webhook's address")?;
        let received = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&received);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // One after the other: Alertmanager sends little, and tries again.
                match take(&stream) {
                    Ok(notification) => lock(&keep).push(notification),
                    Err(error) => note(format_args!("webhook: {}", plain(&format!("{error:#}")))),
                }
            }
        });
        Ok(Self { address, received })
    }

    /// Address where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All notifications so far, from the `from`th on.
    pub fn received(&self, from: usize) -> Vec<Notification> {
        lock(&self.received).get(from..).unwrap_or_default().to_vec()
    }
}

fn lock(received: &Mutex<Vec<Notification>>) -> MutexGuard<'_, Vec<Notification>> {
    received.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a request, and answers it: 200 if it is a notification.
fn take(mut stream: &TcpStream) -> Result<Notification> {
    stream.set_read_timeout(Some(LIMIT)).context("set a time limit")?;
    stream.set_write_timeout(Some(LIMIT)).context("set a time limit")?;
    let notification = read(stream);
    let status = if notification.is_ok() { "200 OK" } else { "400 Bad Request" };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).context("answer")?;
    notification
}

fn read(stream: impl io::Read) -> Result<Notification> {
    let mut reader = BufReader::new(stream.take(MAX_BYTES));
    let mut length: u64 = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).context("read the head")?;
        ensure!(line.ends_with('\n'), "the head has no end");
        if line.trim_end().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().with_context(|| format!("length {value:?}"))?;
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body).context("read the body")?;
    let text = String::from_utf8_lossy(&body);
    serde_json::from_str(&text).with_context(|| {
        let begin: String = text.chars().take(SHOWN).collect();
        format!("no notification: {begin}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_kept_and_what_is_none_is_refused() {
        let webhook = Webhook::on_loopback().unwrap();
        let post = |body: &str| {
            let mut stream = TcpStream::connect(webhook.address()).unwrap();
            let length = body.len();
            write!(stream, "POST /x HTTP/1.1\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let notification = r#"{"version":"4","receiver":"team","status":"firing",
            "groupLabels":{"alertname":"A"},"alerts":[{"status":"firing",
            "labels":{"alertname":"A"},"annotations":{"summary":"s"}}]}"#;
        assert!(post(notification).starts_with("HTTP/1.1 200 "));
        assert!(post("{}").starts_with("HTTP/1.1 400 "));
        assert!(post("").starts_with("HTTP/1.1 400 "));
        assert!(post(notification).starts_with("HTTP/1.1 200 "));
        let received = webhook.received(0);
        assert_eq!(received.len(), 2);
        assert_eq!(received[0].alerts[0].annotations["summary"], "s");
        assert_eq!((webhook.received(1).len(), webhook.received(3).len()), (1, 0));
    }
}
