//! Pods of this node from its kubelet: `GET /pods`, polled.
//!
//! For clusters where agents must not reach the API server, and for nodes whose names should
//! survive an outage of it. The kubelet asks the API server whether the agent's token may get
//! `nodes/pods` (before Kubernetes 1.33, with its feature gate off: `nodes/proxy`). It answers with
//! its own static Pods, and with the others as it last received them from the API server
//! (`pkg/kubelet/kubelet_getters.go`, `GetPods`, Kubernetes 1.37). All of them name their node, the
//! static ones too (`pkg/kubelet/config/common.go`, `applyDefaults`).

use std::time::Duration;

use tokio::sync::mpsc;

use super::client::{Client, Failure};
use super::event::{PodEvent, PodEventKind};
use super::list::List;
use super::pace::RETRY_AFTER_MAX;
use super::read::Wanted;

/// Interval between requests to the kubelet.
const PERIOD: Duration = Duration::from_secs(3);
/// Interval while the kubelet does not answer.
const PERIOD_FAILING: Duration = Duration::from_secs(10);
/// Time limit of a request with its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Polls the kubelet and sends watch events to the owner until the receiver is closed. `node` is
/// the node's name, if it is known.
pub async fn run(mut client: Client, wanted: Wanted<'_>, events: mpsc::Sender<PodEvent>) {
    loop {
        // It answers without pages.
        let list = List::get(&mut client, "/pods", |_| "/pods".to_owned(), wanted, TIMEOUT).await;
        let (kinds, wait) = match list {
            Ok(list) => (list.into_events(), PERIOD),
            Err(failure) => {
                let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
                let why = explain(&failure);
                (vec![PodEventKind::Failed(why)], PERIOD_FAILING.max(asked))
            }
        };
        for kind in kinds {
            if events.send(PodEvent::now(kind)).await.is_err() {
                return;
            }
        }
        tokio::time::sleep(wait).await;
    }
}

/// Asks for the Pods, and reads none.
pub(super) async fn ask(client: &mut Client) -> Result<(), String> {
    client.get("/pods").await.map(drop).map_err(|failure| explain(&failure))
}

/// The failure with its remedy, where there is one.
fn explain(failure: &Failure) -> String {
    let why = &failure.why;
    let remedy = if failure.status == Some(403) {
        "; the service account needs the verb get on nodes/pods (before Kubernetes 1.33: \
         nodes/proxy)"
    } else if why.contains("certificate") {
        "; a kubelet signs its own certificate unless serverTLSBootstrap is set: give its \
         authority with --kubelet.ca-file, or skip the check with --kubelet.insecure-skip-verify"
    } else if why.contains("(Connect)") || why.starts_with("no answer") {
        "; its address is that of --kubelet.address"
    } else {
        ""
    };
    format!("kubelet: {why}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_their_remedy() {
        let failure = |why: &str, status| explain(&Failure { status, ..Failure::new(why) });
        let certificate = failure("invalid peer certificate: UnknownIssuer", None);
        assert!(certificate.contains("--kubelet.ca-file"));
        assert!(failure("403 Forbidden", Some(403)).contains("nodes/pods"));
        for away in ["client error (Connect): Connection refused", "no answer in 30 s"] {
            assert!(failure(away, None).contains("--kubelet.address"));
        }
        let long = "a list of more than 1073741824 bytes";
        assert_eq!(failure(long, None), format!("kubelet: {long}"), "its address is right");
        assert_eq!(failure("500: oops", Some(500)), "kubelet: 500: oops");
    }
}
