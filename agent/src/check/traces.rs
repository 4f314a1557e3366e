//! Traces: whether they are on, and whether their receiver takes a request.

use super::finding::{Finding, Verdict};
use crate::trace::otlp;
use crate::trace::settings::TraceArgs;

const TRACES: &str = "traces";

/// Examines the settings of traces. The receiver is sent a request without a span.
pub(super) fn check(args: &TraceArgs) -> Finding {
    let settings = match args.settings() {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let off = "off: no receiver is named (--trace.endpoint), or OTEL_TRACES_EXPORTER or \
                       OTEL_SDK_DISABLED says so";
            return Finding::ok(TRACES, off);
        }
        Err(error) => return fatal(&error),
    };
    let receiver = settings.describe();
    if let Err(error) = otlp::examine(&settings) {
        return fatal(&error);
    }
    match otlp::probe(settings) {
        Ok(()) => Finding::ok(TRACES, format!("{receiver}: it takes requests")),
        Err(why) => {
            let lost = "traces, for as long as that is so";
            Finding::bad(TRACES, Verdict::Degraded, format!("{receiver}: {why}"), lost)
        }
    }
}

/// What the agent does not start with.
fn fatal(error: &anyhow::Error) -> Finding {
    Finding::bad(TRACES, Verdict::Fatal, format!("{error:#}"), "all")
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
        let flags = ["--trace.endpoint=https://127.0.0.1:9", "--trace.ca-file=/no/ca.pem"];
        let (verdict, words) = found(&flags);
        assert_eq!(verdict, Verdict::Fatal, "the agent does not start: {words}");
        assert!(words.contains("/no/ca.pem (--trace.ca-file)"), "{words}");
        // A port on which nobody listens any more.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let (verdict, words) = found(&["--trace.endpoint", &url, "--trace.timeout=2000"]);
        assert_eq!(verdict, Verdict::Degraded);
        assert!(words.contains(&url) && words.contains("Connection refused"), "{words}");
    }
}
