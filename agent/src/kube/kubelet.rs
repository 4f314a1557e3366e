//! The Pods of this node as its kubelet knows them: `GET /pods`, again and again.
//!
//! For clusters in which agents must not endpoint the API server, or for a node whose names should
//! survive the API server. The kubelet asks the API server whether our token may get `nodes/pods`
//! (before Kubernetes 1.33, with its feature gate off: `nodes/proxy`). What it answers is its own
//! knowledge of static Pods, and of others the API's last word that it has
//! (`pkg/kubelet/kubelet_getters.go`, `GetPods`, Kubernetes 1.37).

use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;

use super::event::{PodEvent, PodEventKind};
use super::watch::chain;
use super::{convert, wire};

/// How often the kubelet is asked.
const PERIOD: Duration = Duration::from_secs(3);
/// How often while it does not answer.
const PERIOD_FAILING: Duration = Duration::from_secs(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Tells the owner of the node's Pods until nobody listens.
pub async fn run(client: Client, news: mpsc::Sender<PodEvent>) {
    loop {
        let (kind, rest) = match list(&client).await {
            Ok(pods) => (PodEventKind::Listed(pods.iter().map(convert::pod).collect()), PERIOD),
            Err(why) => (PodEventKind::Failed(why), PERIOD_FAILING),
        };
        if news.send(PodEvent::now(kind)).await.is_err() {
            return;
        }
        tokio::time::sleep(rest).await;
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

/// Names the remedy where there is one.
fn explain(error: &str) -> String {
    let remedy = if error.contains("certificate") {
        "; a kubelet signs its own certificate unless serverTLSBootstrap is set: give its \
         authority with --kubelet.ca-file, or do without with --kubelet.insecure-skip-verify"
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
    fn the_remedy_is_named() {
        assert!(explain("invalid peer certificate: UnknownIssuer").contains("--kubelet.ca-file"));
        assert!(explain("ApiError: Forbidden (403)").contains("nodes/pods"));
        assert_eq!(explain("connection refused"), "kubelet: connection refused");
    }
}
