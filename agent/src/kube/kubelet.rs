//! Pods of this node from its kubelet: `GET /pods`, polled.
//!
//! For clusters where agents must not reach the API server, and for nodes whose names should
//! survive an outage of it. The kubelet asks the API server whether the agent's token may get
//! `nodes/pods` (before Kubernetes 1.33, with its feature gate off: `nodes/proxy`). It answers with
//! its own static Pods, and with the others as it last received them from the API server
//! (`pkg/kubelet/kubelet_getters.go`, `GetPods`, Kubernetes 1.37).

use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;

use super::event::{PodEvent, PodEventKind};
use super::watch::chain;
use super::{convert, wire};

/// Interval between requests to the kubelet.
const PERIOD: Duration = Duration::from_secs(3);
/// Interval while the kubelet does not answer.
const PERIOD_FAILING: Duration = Duration::from_secs(10);
/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Polls the kubelet and sends watch events to the owner until the receiver is closed.
pub async fn run(client: Client, events: mpsc::Sender<PodEvent>) {
    loop {
        let (kind, wait) = match list(&client).await {
            Ok(pods) => (PodEventKind::Listed(pods.iter().map(convert::pod).collect()), PERIOD),
            Err(why) => (PodEventKind::Failed(why), PERIOD_FAILING),
        };
        if events.send(PodEvent::now(kind)).await.is_err() {
            return;
        }
        tokio::time::sleep(wait).await;
    }
}

async fn list(client: &Client) -> Result<Vec<wire::Pod>, String> {
    let request = http::Request::get("/pods").body(Vec::new()).map_err(|error| chain(&error))?;
    let answer = client.request::<wire::PodList>(request);
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    match answer {
        Ok(Ok(list)) => Ok(list.items),
        Ok(Err(error)) => Err(explain(&chain(&error))),
        Err(_) => Err("the kubelet does not answer (--kubelet.address)".to_owned()),
    }
}

/// The error with its remedy, where there is one.
fn explain(error: &str) -> String {
    let remedy = if error.contains("certificate") {
        "; a kubelet signs its own certificate unless serverTLSBootstrap is set: give its \
         authority with --kubelet.ca-file, or skip the check with --kubelet.insecure-skip-verify"
    } else if error.contains("Forbidden") || error.contains("403") {
        "; the service account needs the verb get on nodes/pods (before Kubernetes 1.33: \
         nodes/proxy)"
    } else {
        ""
    };
    format!("kubelet: {error}{remedy}")
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn errors_name_their_remedy() {
        assert!(explain("invalid peer certificate: UnknownIssuer").contains("--kubelet.ca-file"));
        assert!(explain("ApiError: Forbidden (403)").contains("nodes/pods"));
        assert_eq!(explain("connection refused"), "kubelet: connection refused");
    }
}
