//! Log lines, as an operator or a log pipeline receives them.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::cgroup::CgroupId;
use crate::cgroup::path::Origin;
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{
    Cause, EndSource, FatalSignal, OomScope, OomVictim, Outcome, Sender, Termination,
};
use crate::lifecycle::subject::Birth;
use crate::lifecycle::trigger::{Source, Trigger};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn subject(pod: &str) -> Subject {
    let identity = Identity {
        namespace: "shop".into(),
        pod: pod.into(),
        container: "web".into(),
        ..Identity::host_unit("x.service", "x.service")
    };
    let origin = Origin::Unit("x.service".into(), "x.service".into());
    let birth = Birth::Seen { boot_ns: 1 };
    Subject::Container(Arc::new(Who {
        cgroup: CgroupId(1),
        pod_cgroup: None,
        origin,
        identity,
        birth,
    }))
}

fn facts() -> [FactKind; 3] {
    let end = Termination {
        cause: Cause::KilledAfterGrace,
        status: Some(ExitStatus::Signal { signal: 9, core: false }),
        stop_boot_ns: Some(1_000_000_000),
        end_boot_ns: 31_250_000_000,
        outcome: Outcome::Killed,
        fatal: Some(FatalSignal { signal: 9, sender: Sender::Runtime }),
        end_source: EndSource::ParentNotified,
        init_cpu_ns: None,
    };
    let death = Death {
        trigger: Trigger::PodDeletion,
        source: Source::Api,
        grace_s: Some(30),
        ..Death::kernel_only(end)
    };
    [
        FactKind::StopSignal(StopSignal { signal: 15, sender: Sender::Runtime, ignored: true }),
        FactKind::Oom(OomFact {
            scope: Some(OomScope::Container),
            victim: OomVictim::Child,
            killed: 2,
        }),
        FactKind::Explained(death),
    ]
}

/// Lines that the log has of the facts, without the times.
fn logged(format: Format, subject: &Subject, kinds: &[FactKind]) -> Vec<String> {
    let sink = Sink::default();
    let lines = fmt::layer().with_writer(sink.clone()).with_ansi(false).without_time();
    let filter = filter("info").unwrap();
    let lines = match format {
        Format::Text => lines.with_filter(filter).boxed(),
        Format::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        for kind in kinds {
            let fact = Fact { time_boot_ns: 2, kind: kind.clone() };
            Lines.fact(subject, &fact);
        }
    });
    let bytes = sink.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn text_lines_name_the_container_and_the_reason() {
    let lines = logged(Format::Text, &subject("web-0"), &facts());
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for part in ["container ignores its stop signal", "signal=\"SIGTERM\"", "sender=\"runtime\""] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    for part in ["OOM kill", "scope=\"container\"", "victim=\"child\"", "killed=2"] {
        assert!(lines[1].contains(part), "{part}: {}", lines[1]);
    }
    for part in [
        "container ended",
        "namespace=\"shop\" pod=\"web-0\" container=\"web\"",
        "cause=\"killed_after_grace\"",
        "trigger=\"pod_deletion\"",
        "signal=\"SIGKILL\"",
        "shutdown_ms=30250",
        "grace_s=30",
    ] {
        assert!(lines[2].contains(part), "{part}: {}", lines[2]);
    }
    assert!(!lines[2].contains("exit_code"), "an absent field is left out: {}", lines[2]);
}

#[test]
fn json_lines_are_objects() {
    let lines = logged(Format::Json, &subject("web-0"), &facts());
    assert_eq!(lines.len(), 3);
    let objects: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[2]["message"], "container ended");
    assert_eq!(objects[2]["pod"], "web-0");
    assert_eq!(objects[2]["shutdown_ms"], 30_250);
    assert_eq!(objects[2]["level"], "INFO");
    assert_eq!(objects[1]["killed"], 2);
}

#[test]
fn hostile_names_stay_in_their_line() {
    let hostile = subject("a\n\u{1b}[31m\"} INFO forged\r");
    for format in [Format::Text, Format::Json] {
        let lines = logged(format, &hostile, &facts());
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(!lines.concat().contains(['\u{1b}', '\r']), "{lines:#?}");
    }
}

#[test]
fn other_facts_are_logged_at_debug_level_only() {
    let kinds = [FactKind::StartFailed, FactKind::KilledAfterStopSignal];
    assert_eq!(logged(Format::Text, &subject("web-0"), &kinds), [""; 0]);
}

#[test]
fn filter_is_a_level_or_a_list() {
    assert!(filter("warn").is_ok());
    let some = filter("info,agent::kube=debug").unwrap();
    assert!(some.would_enable("agent::kube::watch", &tracing::Level::DEBUG));
    assert!(!some.would_enable("agent::node", &tracing::Level::DEBUG));
    let quiet = filter("debug").unwrap();
    assert!(!quiet.would_enable("kube_client::client", &tracing::Level::ERROR));
    let wrong = format!("{:#}", filter("loud").unwrap_err());
    assert!(wrong.contains("--log.level \"loud\": expected error, warn"), "{wrong}");
}
