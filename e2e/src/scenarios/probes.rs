//! Probes: the results of each handler, beside the servers' own logs and the kubelet's counts.

mod judge;
mod servers;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::json;

use self::judge::{ATTEMPTS, Probed, counts, exec, http, https, judge, kubelet};
use super::{
    context::{Context, and, container, with},
    figure::Figure,
    scenario::{Scenario, When},
};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario::together("probe-results", results),
    Scenario::together("probe-of-each-handler", each_handler),
    Scenario::together("probe-of-each-kind", each_kind),
    Scenario::together("probe-on-the-hosts-network", servers::on_the_hosts_network),
    Scenario {
        when: When::WithoutNetAdmin,
        ..Scenario::together("probe-by-tracepoint", by_tracepoint)
    },
    Scenario::together("probe-paths", servers::paths),
    Scenario::together("probe-after-a-servers-restart", servers::after_a_servers_restart),
    Scenario::alone("probe-after-a-kubelets-restart", servers::after_a_kubelets_restart),
];

/// A command that starts two children, and ends before them.
const LEAVES: [&str; 3] = ["/workload", "--fork=2", "--exit-after=0.1"];
/// Number of these.
const LEFT: f64 = 2.0;

/// Each kind of result, by handlers that anybody can read.
fn results(context: &Context<'_>) -> Result<Vec<Figure>> {
    let of = Probed::new;
    let probed = [
        of(
            "late",
            &["--serve-http=8001", "--delay=0.2"][..],
            http(8001, "/"),
            "http",
            "success",
            Some((0.2, 1.0)),
        ),
        of(
            "bad",
            &["--serve-http=8002", "--fail-after=0"],
            http(8002, "/"),
            "http",
            "failure",
            Some((0.0, 1.0)),
        ),
        of(
            "hangs",
            &["--serve-http=8003", "--delay=5"],
            http(8003, "/"),
            "http",
            "timeout",
            Some((1.9, 3.0)),
        ),
        of("refuses", &[], http(8004, "/"), "http", "refused", None),
        of("closes", &["--serve-tcp=8005"], http(8005, "/"), "http", "failure", Some((0.0, 1.0))),
        of(
            "moved",
            &["--serve-http=8006"],
            http(8006, "/to/here"),
            "http",
            "success",
            Some((0.0, 1.0)),
        ),
        of(
            "opens",
            &["--serve-tcp=8007"],
            json!({ "tcpSocket": { "port": 8007 } }),
            "tcp",
            "success",
            Some((0.0, 1.0)),
        ),
        of("shut", &[], json!({ "tcpSocket": { "port": 8008 } }), "tcp", "refused", None),
        of(
            "runs",
            &["--health-file=/healthy"],
            exec(&["/workload", "check", "/healthy", "--delay", "0.1"]),
            "exec",
            "success",
            Some((0.1, 5.0)),
        ),
        // Its queue is full, so that the kernel drops each SYN.
        of(
            "full",
            &["--serve-full=8009"],
            json!({ "tcpSocket": { "port": 8009 } }),
            "tcp",
            "timeout",
            Some((1.9, 3.0)),
        ),
        // The kubelet's client goes on to connect when the time is over.
        of(
            "full-http",
            &["--serve-full=8010"],
            http(8010, "/"),
            "http",
            "timeout",
            Some((1.9, 3.0)),
        ),
        of("leaves", &[], exec(&LEAVES), "exec", "success", Some((0.0, 5.0))),
        // The runtime ends it when the time is over.
        of(
            "takes-long",
            &[],
            exec(&["/workload", "sleep", "60"]),
            "exec",
            "timeout",
            Some((1.9, 5.0)),
        ),
        of(
            "fails",
            &[],
            exec(&["/workload", "check", "/nothing"]),
            "exec",
            "failure",
            Some((0.0, 5.0)),
        ),
    ];
    let (mut figures, scrape) = judge(context, &probed)?;
    let of_leaves = and(
        &[("namespace", "default"), ("workload", context.name), ("container", "leaves")],
        &[("probe", "readiness")],
    );
    let all: f64 = counts(&scrape, context.name, "leaves").values().sum();
    let left = scrape.value("probe_exec_leaked_processes_total", &of_leaves)?;
    figures.push(Figure::same("left behind", left, all * LEFT)?);
    Ok(figures)
}

/// Handlers whose answers are encrypted, or framed.
fn each_handler(context: &Context<'_>) -> Result<Vec<Figure>> {
    let of = |name, args, probe, handler, result| {
        Probed::new(name, args, probe, handler, result, Some((0.0, 5.0)))
    };
    let probed = [
        // What is said in it is encrypted.
        of("secret", &["--serve-https=8001"][..], https(8001), "https", "unknown"),
        // It waits for the end of a request in clear text.
        of("hangs", &["--serve-http=8005"], https(8005), "https", "timeout"),
        of("closes", &["--serve-tcp=8006"], https(8006), "https", "failure"),
        // It is tried again until the time is up.
        Probed::new(
            "closes-grpc",
            &["--serve-tcp=8007"],
            json!({ "grpc": { "port": 8007 } }),
            "grpc",
            "failure",
            Some((9.9, 11.0)),
        ),
        of(
            "serving",
            &["--serve-grpc=8002"],
            json!({ "grpc": { "port": 8002 } }),
            "grpc",
            "success",
        ),
        of(
            "not-serving",
            &["--serve-grpc=8003", "--fail-after=0"],
            json!({ "grpc": { "port": 8003 } }),
            "grpc",
            "failure",
        ),
        of("plain", &["--serve-http=8004"], http(8004, "/"), "http", "success"),
    ];
    judge(context, &probed).map(|(figures, _)| figures)
}

/// What is left without CAP_NET_ADMIN: that a connection came about or not, and commands.
fn by_tracepoint(context: &Context<'_>) -> Result<Vec<Figure>> {
    let of = Probed::new;
    let tcp = |port: u16| json!({ "tcpSocket": { "port": port } });
    let soon = Some((0.0, 5.0));
    let probed = [
        // What is answered is not seen.
        of("plain", &["--serve-http=8001"][..], http(8001, "/"), "http", "unknown", soon),
        of("refuses", &[], http(8002, "/"), "http", "refused", None),
        of("opens", &["--serve-tcp=8003"], tcp(8003), "tcp", "success", soon),
        of("shut", &[], tcp(8004), "tcp", "refused", None),
        of("runs", &[], exec(&["/workload", "sleep", "0.1"]), "exec", "success", soon),
    ];
    let (mut figures, scrape) = judge(context, &probed)?;
    for (program, is_attached) in [("inet_sock_set_state", 1), ("kubelet_sock_ops", 0)] {
        let told = scrape.sum("program_attached", &[("program", program)]).unwrap_or_default();
        figures.push(Figure::same(&format!("{program}, attached"), told, is_attached)?);
    }
    Ok(figures)
}

/// Startup and liveness probes of each handler. They are alike, and only the startup probe runs until
/// it has succeeded, and never again.
fn each_kind(context: &Context<'_>) -> Result<Vec<Figure>> {
    let probed = [
        ("http", &["--serve-http=8001"][..], http(8001, "/"), "success"),
        ("tcp", &["--serve-tcp=8002"], json!({ "tcpSocket": { "port": 8002 } }), "success"),
        ("grpc", &["--serve-grpc=8003"], json!({ "grpc": { "port": 8003 } }), "success"),
        ("https", &["--serve-https=8004"], https(8004), "unknown"),
        ("exec", &[], exec(&["/workload", "sleep", "0.1"]), "success"),
    ];
    let containers: Vec<_> = probed
        .iter()
        .map(|(name, args, probe, _)| {
            let args = [&["--on-signal", "TERM=exit:0"], *args].concat();
            let times =
                json!({ "periodSeconds": 4, "timeoutSeconds": 10, "initialDelaySeconds": 5 });
            let probe = with(probe.clone(), &times);
            let startup = with(probe.clone(), &json!({ "failureThreshold": 30 }));
            let probes = json!({ "startupProbe": startup, "livenessProbe": probe });
            with(container(name, &args), &probes)
        })
        .collect();
    context.run_pod(&json!({ "containers": containers }))?;
    context.eventually(|scrape| {
        probed.iter().try_for_each(|(name, ..)| {
            let counts = counts(scrape, context.name, name);
            let all: f64 = counts.values().sum();
            ensure!(all > ATTEMPTS, "{name}: {counts:?}");
            Ok(())
        })
    })?;
    let before = kubelet(context, "Liveness")?;
    let scrape = context.scrape()?;
    let after = kubelet(context, "Liveness")?;
    let startups = kubelet(context, "Startup")?;
    context.delete(&[])?;
    let mut figures = Vec::new();
    for (name, _, _, result) in probed {
        let found = counts(&scrape, context.name, name);
        let all: f64 = found.values().sum();
        let wanted = BTreeMap::from([
            (format!("startup/{name}/{result}"), 1.0),
            (format!("liveness/{name}/{result}"), all - 1.0),
        ]);
        figures.push(Figure::same(name, format!("{found:?}"), format!("{wanted:?}"))?);
        let started = startups.get(name).copied().unwrap_or_default();
        figures.push(Figure::same(&format!("{name}, started by the kubelet"), 1.0, started)?);
        let of = |counts: &BTreeMap<_, f64>| counts.get(name).copied().unwrap_or_default();
        let (from, to) = (of(&before) - 1.0, of(&after) + 1.0);
        figures.push(Figure::between(&format!("{name}, by the kubelet"), all - 1.0, from, to)?);
    }
    Ok(figures)
}
