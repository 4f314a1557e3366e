//! Log lines, as an operator or a log pipeline receives them.

use super::*;
use crate::cgroup::CgroupId;
use crate::cgroup::path::Origin;
use crate::event::{Comm, Resident};
use crate::kube::pod::Handler;
use crate::lifecycle::fact::{
    Cause, EndSource, ExecRun, FatalSignal, OomScope, OomTrigger, OomVictim, Outcome, ProbeKind,
    ProbeResult, Sender, Termination,
};
use crate::lifecycle::subject::Birth;
use crate::lifecycle::trigger::{Source, Trigger};

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
        FactKind::Oom(OomFact::plain(Some(OomScope::Container), OomVictim::Child, 2)),
        FactKind::Explained(death),
    ]
}

/// Lines that the log has of what is reported in it.
fn log_of(format: Format, tell: impl FnOnce()) -> Vec<String> {
    let queue = Arc::new(Queue::default());
    let limited = Limited::new(filter("info").unwrap());
    tracing::subscriber::with_default(subscriber(&queue, format, limited), tell);
    let lines = queue.lines();
    let one_line = |line: String| {
        let line = line.strip_suffix('\n').unwrap().to_owned();
        assert!(!line.contains(crate::escape::is_hostile), "{line:?}");
        line
    };
    lines.into_iter().map(one_line).collect()
}

/// Lines that the log has of the facts.
fn logged(format: Format, subject: &Subject, kinds: &[FactKind]) -> Vec<String> {
    log_of(format, || {
        let mut lines = Lines::default();
        for kind in kinds {
            let fact = Fact { time_boot_ns: 2, kind: kind.clone() };
            lines.fact(subject, &fact);
        }
    })
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
fn an_oom_line_has_the_limit_the_memory_and_the_allocation() {
    let Subject::Container(other) = subject("side\n0") else { panic!() };
    let plain = OomFact::plain(Some(OomScope::Pod), OomVictim::Init, 1);
    let oom = OomFact {
        limit_bytes: Some(67_108_864),
        usage_bytes: Some(67_100_672),
        comm: Comm::from("a\u{1b}[0m\"\n"),
        resident: Some(Resident { anon_bytes: 5_000, file_bytes: 3_000, shmem_bytes: 0 }),
        triggered_by: OomTrigger {
            origin: OomOrigin::SamePod,
            comm: Comm::from("hog"),
            container: Some(CgroupId(2)),
            who: Some(other),
        },
        ..plain.clone()
    };
    let line = |oom: OomFact| {
        let lines = logged(Format::Json, &subject("web-0"), &[FactKind::Oom(oom)]);
        serde_json::from_str::<serde_json::Value>(&lines[0]).unwrap()
    };
    let told = line(oom.clone());
    assert_eq!((&told["scope"], &told["victim"]), (&"pod".into(), &"init".into()));
    assert_eq!(
        (&told["limit_bytes"], &told["usage_bytes"]),
        (&67_108_864.into(), &67_100_672.into())
    );
    assert_eq!((&told["anon_bytes"], &told["file_bytes"]), (&5_000.into(), &3_000.into()));
    assert_eq!(told["shmem_bytes"], 0);
    assert_eq!(told["comm"], "a\\x1b[0m\"\\x0a");
    assert_eq!(
        (&told["triggered_by"], &told["triggered_by_comm"]),
        (&"same_pod".into(), &"hog".into())
    );
    // As every line: what its names hold is harmless.
    assert!(told["triggered_by_container"].as_str().is_some_and(|by| by.starts_with("shop/side")));
    let absent = line(plain);
    for field in ["limit_bytes", "usage_bytes", "anon_bytes", "triggered_by_container"] {
        assert!(absent.get(field).is_none(), "{field} is not known");
    }
}

/// An attempt of a liveness probe by a command.
fn attempt(result: ProbeResult, exit_code: u8, failures_left: u64) -> FactKind {
    FactKind::Probed(ProbeAttempt {
        probe: ProbeKind::Liveness,
        handler: Handler::Exec,
        result,
        start_boot_ns: 1_000_000_000,
        end_boot_ns: 1_250_000_000,
        timeout_s: 2,
        failures_left: Some(failures_left),
        status: None,
        network: None,
        exec: Some(ExecRun { exit_code: Some(exit_code), ..ExecRun::default() }),
    })
}

#[test]
fn a_series_of_failed_probes_is_told_and_not_each_of_them() {
    let mut kinds = vec![attempt(ProbeResult::Success, 0, 3); 100];
    let lines = logged(Format::Json, &subject("web-0"), &kinds);
    assert!(lines.is_empty(), "{lines:#?}");
    kinds.extend((0..3).rev().map(|left| attempt(ProbeResult::Failure, 7, left)));
    kinds.extend([attempt(ProbeResult::Failure, 7, 0), attempt(ProbeResult::Success, 0, 3)]);
    let lines = logged(Format::Json, &subject("web-0"), &kinds);
    let told: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<_> = told.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(
        messages,
        ["probe failed", "probe reached its failure threshold", "probe recovered"]
    );
    let [first, reached, recovered] = &told[..] else { panic!("{told:?}") };
    assert_eq!((&first["probe"], &first["handler"]), (&"liveness".into(), &"exec".into()));
    assert_eq!((&first["exit_code"], &first["duration_ms"]), (&7.into(), &250.into()));
    assert_eq!((&first["failures_left"], &first["timeout_s"]), (&2.into(), &2.into()));
    assert!(first.get("status").is_none(), "an absent field is left out: {first}");
    assert_eq!((&reached["failures"], &reached["failures_left"]), (&3.into(), &0.into()));
    assert_eq!((&recovered["failures"], &recovered["failed_for_ms"]), (&4.into(), &250.into()));
}

#[test]
fn a_container_that_is_gone_is_forgotten_with_its_probes() {
    let subject = subject("web-0");
    let lines = log_of(Format::Text, || {
        let mut lines = Lines::default();
        for _ in 0..2 {
            let kind = attempt(ProbeResult::Timeout, 137, 1);
            lines.fact(&subject, &Fact { time_boot_ns: 2, kind });
            lines.gone(&subject, 3);
        }
    });
    assert_eq!(lines.len(), 2, "{lines:#?}");
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
fn hostile_text_stays_in_its_line() {
    const HOSTILE: &str = "a\n\u{1b}[31m\"} INFO forged\r\u{9b}31m\u{202e}\u{2028}\u{7f}";
    for format in [Format::Text, Format::Json] {
        let lines = logged(format, &subject(HOSTILE), &facts());
        assert_eq!(lines.len(), 3, "{lines:#?}");
        // What servers answer and paths are told as they are displayed.
        let lines = log_of(format, || {
            tracing::warn!(error = %HOSTILE, value = HOSTILE, debug = ?HOSTILE, "{HOSTILE}");
            tracing::warn!(error = %HOSTILE.repeat(5000), "long");
        });
        assert_eq!(lines.len(), 2, "{lines:#?}");
        assert!(lines[1].len() < 20_000 && lines[1].contains("(cut)"), "{}", lines[1].len());
    }
}

#[test]
fn one_container_does_not_flood_the_log() {
    let oom = || facts()[1].clone();
    let told = log_of(Format::Text, || {
        let mut lines = Lines::default();
        for _ in 0..10_000 {
            let fact = Fact { time_boot_ns: 1_000_000_000, kind: oom() };
            lines.fact(&subject("noisy"), &fact);
        }
        let fact = Fact { time_boot_ns: 1_000_000_000, kind: oom() };
        lines.fact(&subject("quiet"), &fact);
        let later = Fact { time_boot_ns: 7_000_000_000, kind: oom() };
        lines.fact(&subject("noisy"), &later);
    });
    let of = |pod: &str| told.iter().filter(|line| line.contains(pod)).count();
    assert_eq!((of("noisy"), of("quiet")), (21, 1));
}

#[test]
fn no_kind_of_message_floods_the_log() {
    let before = dropped()[2].1;
    let told = log_of(Format::Text, || {
        for _ in 0..10_000 {
            tracing::warn!("again");
        }
        tracing::warn!("another");
    });
    let of = |message: &str| told.iter().filter(|line| line.contains(message)).count();
    // A slow machine lets some through by time.
    assert!((1000..2000).contains(&of("again")), "{}", of("again"));
    assert_eq!(of("another"), 1);
    assert!(dropped()[2].1 - before >= 8000);
}

#[test]
fn other_facts_are_logged_at_debug_level_only() {
    let kinds = [FactKind::StartFailed, FactKind::KilledAfterStopSignal];
    assert!(logged(Format::Text, &subject("web-0"), &kinds).is_empty());
}

#[test]
fn filter_is_a_level_or_a_list() {
    assert!(filter("warn").is_ok() && filter("agent::kube=debug").is_ok());
    for nothing in ["", " ", ",", "info,", "=", "=info", "agent=", "agent=loud"] {
        assert!(filter(nothing).is_err(), "{nothing:?}");
    }
    let some = filter("info,agent::kube=debug").unwrap();
    assert!(some.would_enable("agent::kube::watch", &Level::DEBUG));
    assert!(!some.would_enable("agent::node", &Level::DEBUG));
    let wrong = format!("{:#}", filter("loud").unwrap_err());
    assert!(wrong.contains("--log.level \"loud\": expected error, warn"), "{wrong}");
}
