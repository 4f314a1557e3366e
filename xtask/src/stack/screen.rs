//! The screen that the stack shows when all runs.

use std::{
    env, fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use testbed::http;

/// How long a server may take to give a page.
const GET: Duration = Duration::from_secs(5);
/// Time between two scrapes and between two evaluations of the rules: a demo is short.
pub(super) const INTERVAL_S: u64 = 5;
/// Where a Prometheus may have its page of alerts. Debian's builds have the page of Prometheus 2, or
/// none at all.
const ALERTS: [&str; 2] = ["/alerts", "/classic/alerts"];

/// Where the servers are, and what helps to ask them.
pub(super) struct Screen {
    pub(super) agent: SocketAddr,
    pub(super) prometheus: SocketAddr,
    pub(super) alertmanager: SocketAddr,
    pub(super) promtool: PathBuf,
    pub(super) amtool: PathBuf,
    /// Folder with the logs of all three.
    pub(super) logs: PathBuf,
    pub(super) pages: Pages,
    pub(super) is_demo: bool,
}

/// Which of the servers have pages for people.
pub(super) struct Pages {
    prometheus: Option<&'static str>,
    alertmanager: bool,
}

impl Pages {
    /// Asks the servers: builds differ.
    pub(super) fn look(prometheus: SocketAddr, alertmanager: SocketAddr) -> Self {
        let has =
            |server, path: &str| http::get_text(server, path, GET).is_ok_and(|text| is_page(&text));
        Self {
            prometheus: ALERTS.into_iter().find(|path| has(prometheus, path)),
            alertmanager: has(alertmanager, "/"),
        }
    }
}

/// Whether an answer is a page, and not an excuse for one.
fn is_page(text: &str) -> bool {
    text.to_ascii_lowercase().contains("<script")
}

impl fmt::Display for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, prometheus, alertmanager, promtool, amtool, logs, pages, is_demo } = self;
        let mut server = |name: &str, address: String, what: &str| {
            writeln!(f, "  {name:<13} {address:<38} {what}")
        };
        server("agent", format!("http://{agent}/"), "what it watches, and how it is")?;
        match pages.prometheus {
            Some(path) => server(
                "Prometheus",
                format!("http://{prometheus}{path}"),
                "our rules and alerts; Graph is for queries",
            )?,
            None => server(
                "Prometheus",
                format!("http://{prometheus}/"),
                "its API alone: this build has no page",
            )?,
        }
        let what = if pages.alertmanager {
            "what is sent, grouped and inhibited"
        } else {
            "its API alone: this build has no page"
        };
        server("Alertmanager", format!("http://{alertmanager}/"), what)?;
        writeln!(f, "  {:<13} {}", "logs", typed(logs))?;
        writeln!(
            f,
            "\nTo try, in another terminal:\n\n  \
             curl -s http://{agent}/metrics | grep '^podvitals_container_last_termination_info'\n  \
             {} query instant http://{prometheus} \\\n      \
             'sum by (namespace, workload, cause) (podvitals_terminations_total) > 0'\n  \
             {} alert \\\n      --alertmanager.url=http://{alertmanager}\n",
            typed(promtool),
            typed(amtool)
        )?;
        writeln!(
            f,
            "A dashboard as a picture, when there is something to see (it fetches Grafana's panels and\n\
             Chromium first, and prints where the picture is):\n\n  \
             cargo xtask draw --prometheus http://{prometheus} --scrape-interval {INTERVAL_S} \\\n      \
             --dashboard podvitals-why --from -15m --allow-empty\n"
        )?;
        let first = if *is_demo { " The demo's first fires within two minutes." } else { "" };
        writeln!(f, "Alerts, as they come.{first} Ctrl-C ends all.")
    }
}

/// A path as one would type it here.
fn typed(path: &Path) -> String {
    let here = env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excuse_is_no_page() {
        assert!(is_page("<!doctype html><SCRIPT defer src=x></SCRIPT>"));
        assert!(!is_page("Error opening React index.html: file does not exist"));
    }

    #[test]
    fn a_server_without_a_page_is_said_to_have_none() {
        let screen = |pages| {
            Screen {
                agent: "127.0.0.1:1".parse().unwrap(),
                prometheus: "127.0.0.1:2".parse().unwrap(),
                alertmanager: "127.0.0.1:3".parse().unwrap(),
                promtool: env::current_dir().unwrap().join("a/promtool"),
                amtool: "/b/amtool".into(),
                logs: "/c".into(),
                pages,
                is_demo: true,
            }
            .to_string()
        };
        let with = screen(Pages { prometheus: Some("/alerts"), alertmanager: true });
        assert!(with.contains("http://127.0.0.1:2/alerts ") && !with.contains("no page"), "{with}");
        assert!(with.contains("\n  a/promtool query"), "{with}");
        let without = screen(Pages { prometheus: None, alertmanager: false });
        assert_eq!(without.matches("no page").count(), 2, "{without}");
        assert!(without.ends_with("Ctrl-C ends all.\n"), "{without}");
    }
}
