//! A single request to a Pod source, which tells whether it answers.

use std::time::Duration;

use tokio::time::timeout;

use super::client::{Client, Endpoint};
use super::event::LastContact;
use super::source::Chosen;
use super::{kubelet, watch};

/// Time limit of the request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Asks the source for Pods, once, and says what came of it: whether it can be reached, is trusted, and
/// lets this agent read them. Without a source there is nobody to ask.
///
/// # Errors
/// The reason for which it does not, in one line.
pub fn ask(chosen: &Chosen, endpoint: &Endpoint) -> Result<(), String> {
    let line = |error: anyhow::Error| format!("{error:#}");
    let mut client = Client::new(endpoint, &LastContact::default()).map_err(line)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let ask = async {
        match chosen {
            Chosen::Api { node, .. } => watch::ask(&mut client, node).await,
            Chosen::Kubelet => kubelet::ask(&mut client).await,
            Chosen::None(_) => Ok(()),
        }
    };
    let asked = runtime.block_on(async { timeout(TIMEOUT, ask).await });
    // A look-up of a name may hang.
    runtime.shutdown_background();
    asked.unwrap_or_else(|_| Err(format!("no answer in {} s", TIMEOUT.as_secs())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::test_server::{Reply, Server};

    async fn asked(chosen: Chosen, answer: Reply) -> (Result<(), String>, Vec<String>) {
        let server = Server::start(vec![answer]).await;
        let endpoint = server.endpoint.clone();
        let result = tokio::task::spawn_blocking(move || ask(&chosen, &endpoint)).await.unwrap();
        (result, server.requests())
    }

    #[tokio::test]
    async fn each_source_is_asked_what_the_agent_will_ask() {
        let api =
            || Chosen::Api { url: "http://127.0.0.1".parse().unwrap(), node: "n 1".to_owned() };
        let good = || Reply::List(7, Vec::new());
        let (result, requests) = asked(api(), good()).await;
        assert_eq!(result, Ok(()));
        let wanted = "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn%201&limit=1 HTTP/1.1";
        assert_eq!(requests, [wanted]);
        let (result, requests) = asked(Chosen::Kubelet, good()).await;
        assert_eq!((result, requests), (Ok(()), vec!["GET /pods HTTP/1.1".to_owned()]));
        let (result, _) = asked(api(), Reply::Status(403)).await;
        assert!(result.is_err_and(|why| why.contains("403")));
        let (result, _) = asked(Chosen::Kubelet, Reply::Status(403)).await;
        assert!(result.is_err_and(|why| why.contains("403") && why.contains("nodes/pods")));
    }
}
