//! Holds docs/METRICS.md against the catalogue; `UPDATE_GOLDEN=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use agent::bpf::subjects::SUBJECTS;
use agent::cgroup::CgroupId;
use agent::cgroup::path::Origin;
use agent::event::EventKind;
use agent::kube::identity::Identity;
use agent::kube::pod::Handler;
use agent::lifecycle::fact::{Cause, OomScope, OomVictim, ProbeKind, ProbeResult, Sender};
use agent::lifecycle::phase::Phase;
use agent::lifecycle::subject::{Birth, Who};
use agent::lifecycle::trigger::Trigger;
use agent::metrics::agent::AgentStats;
use agent::metrics::catalog::{cost, families, series_max};
use agent::metrics::collector::{Collector, Collectors};
use agent::metrics::family::{Family, Need, Scope, Unit};
use agent::metrics::store::{Store, StoreOptions};
use agent::metrics::variant::{Format, Seen};
use agent::probe::Outcome;
use agent::reader::Reader as _;

const GOLDEN: &str = include_str!("../src/metrics/testdata/exposition.prom");

/// What the catalogue does not say.
const HEAD: &str = include_str!("metrics_doc/head.txt");

/// What probes cost is said apart, by probe.
const WITHOUT_PROBES: Collectors =
    Collectors::ALL.without(Collector::Probes).without(Collector::ProbePhases);

/// Samples of a workload to which nothing has happened.
fn samples_at_first() -> Vec<String> {
    let mut store = Store::new(StoreOptions::default());
    let identity = Identity {
        namespace: "shop".into(),
        pod: "web-1".into(),
        container: "web".into(),
        pod_uid: String::new(),
        container_id: String::new(),
        image: String::new(),
        role: "app",
        qos: "burstable",
        runtime: "containerd",
        workload_kind: "Deployment".into(),
        workload: "web".into(),
    };
    store.shown(&Arc::new(Who {
        cgroup: CgroupId(1),
        pod_cgroup: None,
        origin: Origin::Unit(String::new(), String::new()),
        identity,
        birth: Birth::Seen { boot_ns: 1 },
    }));
    let generation = store.next_generation(1);
    let text = store.encode(generation, &AgentStats::default(), Format::Text);
    let text = String::from_utf8(text.for_reader(Seen::ALL, |chunk| chunk).concat()).unwrap();
    let is_of_workload = |line: &&str| line.contains("{namespace=\"shop\",workload_kind=");
    text.lines().filter(is_of_workload).map(str::to_owned).collect()
}

/// Property: which families of a workload begin with their first event is said, and of no other.
#[test]
fn families_that_begin_with_an_event_are_named() {
    let samples = samples_at_first();
    let at_first = |name: &str| samples.iter().any(|sample| sample.contains(name));
    let begun = HEAD.split("\n\n").find(|text| text.starts_with("Begun by")).unwrap();
    for family in families().filter(|family| family.scope == Scope::Workload) {
        let name = format!("`podvitals_{}`", family.name);
        assert_eq!(begun.contains(&name), !at_first(family.name), "{name}");
    }
    let ignored: Vec<_> = samples.iter().filter(|it| it.contains("stop_signal_ignored")).collect();
    assert_eq!(ignored.len(), 1);
    assert!(ignored[0].contains(r#"signal="SIGTERM",sender="runtime""#), "{ignored:?}");
    assert!(!samples.iter().any(|sample| sample.contains(r#"scope="unknown""#)));
}

fn section(scope: Scope) -> (&'static str, String) {
    match scope {
        Scope::Container => (
            "Per container",
            "Keyed by the container's name: a restart goes on counting. Gauges go with the cgroup; \
             counters, `_last_*` and `container_info` stay 10 minutes (`--metrics.retention`), and \
             as long as the API knows the container as waiting to run again."
                .into(),
        ),
        Scope::Pod => ("Per Pod", "From the Pod's own cgroup.".into()),
        Scope::Workload => (
            "Per workload on this node",
            format!(
                "Without a Pod source the workload is the Pod. Kept an hour after the last \
                 container, and as long as one waits to run again. A workload container has {} \
                 series from the start on, and {} at most; the others are made by their first event. \
                 Those of probes come on top.",
                samples_at_first().len(),
                series_max(Scope::Workload, WITHOUT_PROBES)
            ),
        ),
        Scope::Node => ("Per node, and the agent about itself", String::new()),
        Scope::Process => {
            ("The agent's process", "Under the names that all clients use.".into())
        }
    }
}

fn row(family: &Family) -> String {
    let unit = match family.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::Cores => "cores",
    };
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let needs: Vec<_> = family.needs.iter().map(Need::to_string).collect();
    format!(
        "| `{}{}` | {} | {unit} | {} | {} | {} | {} | {} |",
        family.prefix(),
        family.name,
        family.kind.name(),
        labels.join(", "),
        family.series_max,
        family.collector.map_or("", Collector::name),
        needs.join(", "),
        family.help
    )
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "\n## Collectors\n\nAll are on but `probe_phases`. `--no-collector.<name>` or \
         `PODVITALS_COLLECTOR_<NAME>=false` switches one off: it then\nhas no state, no series, and \
         reads no files. `--collector.probe_phases` switches that one on. What probes cost is \
         9 series\na probe of a container and 24 a probe of a workload container at most; the table \
         has what all\nprobes of one can have while a rollout changes their handlers.\n\n",
    );
    out.push_str("| collector | what it exports | series at most |\n|---|---|---|\n");
    for collector in Collector::ALL {
        let name = collector.name();
        let _ = writeln!(out, "| `{name}` | {} | {} |", collector.help(), cost(collector));
    }
    for scope in Scope::ALL {
        let (title, words) = section(scope);
        let labels: Vec<_> = scope.labels().iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(out, "\n## {title}\n");
        if !words.is_empty() {
            let _ = writeln!(out, "{words}");
        }
        if !labels.is_empty() {
            let _ = writeln!(out, "Labels of each series: {}.", labels.join(", "));
        }
        if !words.is_empty() || !labels.is_empty() {
            out.push('\n');
        }
        out.push_str("| family | type | unit | labels | series | collector | needs | help |\n");
        out.push_str("|---|---|---|---|---|---|---|---|\n");
        for family in families().filter(|family| family.scope == scope) {
            let _ = writeln!(out, "{}", row(family));
        }
    }
    out
}

/// Property: the queries name families and labels that there are, with values that there are.
#[test]
fn the_queries_are_about_what_is_exported() {
    let (_, queries) = HEAD.split_once("## Questions").unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut count = 0;
    for row in queries.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let query = row.split('`').nth(1).unwrap();
        let mut labels = vec!["node", "le"];
        for name in query.split(|c| !is_name(c)).filter(|word| word.starts_with("podvitals_")) {
            let named = |family: &&Family| {
                let rest =
                    name.strip_prefix(family.prefix()).and_then(|it| it.strip_prefix(family.name));
                matches!((rest, family.kind.name()), (Some(""), _) | (Some("_bucket"), "histogram"))
            };
            let family = families().find(named).unwrap_or_else(|| panic!("{name}"));
            labels.extend(family.scope.labels().iter().chain(family.labels));
            count += 1;
        }
        let by = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        let matchers = query.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        let matched = matchers
            .flat_map(|text| text.split(','))
            .map(|it| it.split(['=', '!']).next().unwrap());
        for label in by.flat_map(|text| text.split(',')).chain(matched).map(str::trim) {
            assert!(labels.contains(&label), "{label} in {query}");
        }
    }
    assert!(count > 10, "{count}");
}

/// Property: what the code can say of an end, a signal, an OOM or a start is explained.
#[test]
fn each_value_of_a_label_is_explained() {
    let rows = |label: &str| HEAD.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
    // Of what is about containers: the golden file makes up some values of the agent's own families.
    let samples = || GOLDEN.lines().filter(|line| line.contains("namespace="));
    let shown = |label: &str| -> Vec<&str> {
        let values = samples().flat_map(|line| line.split(',').skip(1));
        let values = values.filter_map(|it| it.strip_prefix(label)?.strip_prefix("=\""));
        values.filter_map(|it| it.split('"').next()).collect()
    };
    let handlers = [Handler::Http, Handler::Https, Handler::Tcp, Handler::Exec, Handler::Grpc];
    let handlers = handlers.map(Handler::label).to_vec();
    let kinds = [EventKind::NAMES.to_vec(), shown("kind")].concat();
    let all: [(&str, Vec<&str>); 15] = [
        ("cause", Cause::ALL.map(Cause::label).to_vec()),
        ("trigger", Trigger::ALL.map(Trigger::label).to_vec()),
        ("sender", Sender::ALL.map(Sender::label).to_vec()),
        ("scope", OomScope::ALL.map(OomScope::label).to_vec()),
        ("victim", OomVictim::ALL.map(OomVictim::label).to_vec()),
        ("phase", [Phase::ALL.map(Phase::label).to_vec(), shown("phase")].concat()),
        ("handler", [shown("handler"), handlers].concat()),
        ("probe", ProbeKind::ALL.map(ProbeKind::label).to_vec()),
        ("result", ProbeResult::ALL.map(ProbeResult::label).to_vec()),
        ("outcome", [shown("outcome"), Outcome::ALL.map(Outcome::label).to_vec()].concat()),
        ("killed", shown("killed")),
        ("resource", shown("resource")),
        ("event", shown("event")),
        ("program", SUBJECTS.iter().map(|subject| subject.id.name()).collect()),
        ("kind", kinds),
    ];
    for (label, values) in all {
        let row = rows(label).unwrap();
        assert!(!values.is_empty(), "{label}");
        for value in values {
            assert!(row.contains(&format!("`{value}`")), "{label}={value}");
        }
    }
    for cause in Cause::ALL.map(Cause::label) {
        let causes = HEAD.split("\n\n").find(|text| text.starts_with("Causes")).unwrap();
        assert!(causes.contains(&format!("`{cause}`:")), "{cause}");
    }
    for trigger in Trigger::ALL.map(Trigger::label) {
        let triggers = HEAD.split("\n\n").find(|text| text.starts_with("Triggers")).unwrap();
        assert!(triggers.contains(&format!("`{trigger}`")), "{trigger}");
    }
}

#[test]
fn the_reference_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let expected = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/METRICS.md is stale: UPDATE_GOLDEN=1 cargo test rewrites it");
}
