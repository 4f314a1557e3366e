//! Traces: whether they are on, and whether their receiver takes a request.

use super::finding::{Finding, Verdict};
use crate::trace::otlp;
use crate::trace::settings::TraceArgs;

const TRACES: &str = "traces";

/// Examines the settings of traces. The receiver is sent a request without a span.
pub(super) fn check(args: &TraceArgs) -> Finding {
    let settings = match args.settings() {
        Ok(Some(settings)) => settings,
        Ok(None) => return Finding::ok(TRACES, "off: no receiver is named (--trace.endpoint)"),
        Err(error) => {
            return Finding::bad(TRACES, Verdict::Fatal, format!("{error:#}"), "all");
        }
    };
    let receiver = settings.describe();
    match otlp::probe(settings) {
        Ok(()) => Finding::ok(TRACES, format!("{receiver}: it takes requests")),
        Err(why) => {
            let lost = "traces, for as long as that is so";
            Finding::bad(TRACES, Verdict::Degraded, format!("{receiver}: {why}"), lost)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn found(flags: &[&str]) -> (Verdict, String) {
        let cli = Cli::try_parse_from(["podvitals", "check"].iter().chain(flags)).unwrap();
        let Some(Command::Check(args)) = cli.command else { panic!("{cli:?}") };
        let finding = check(&args.trace);
        (finding.verdict, finding.found)
    }

    #[test]
    fn the_receiver_is_tried() {
        let (verdict, words) = found(&[]);
        assert_eq!(verdict, Verdict::Ok, "{words}");
        let (verdict, words) = found(&["--trace.endpoint=collector"]);
        assert!(verdict == Verdict::Fatal && words.contains("--trace.endpoint"), "{words}");
        // A port on which nobody listens any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let (verdict, words) = found(&["--trace.endpoint", &url, "--trace.timeout=2000"]);
        assert_eq!(verdict, Verdict::Degraded);
        assert!(words.contains(&url) && words.contains("Connection refused"), "{words}");
    }
}
