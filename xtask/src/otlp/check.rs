//! `cargo xtask otlp`: the receivers of OTLP against each other, against what `deploy/` has for them,
//! and against expositions of the agent.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{
    http,
    otlp::{self, Span},
};

use super::{
    collector, example, export, jaeger,
    listen::Listen,
    metrics::{self, Message},
    rotel,
    scrape::Recorded,
    work::{LIMIT, folder, now_unix_ns},
};
use crate::{
    child::Child,
    demo::{self, Demo},
    monitoring::until,
    paths,
};

/// An exposition that the agent's own tests hold against its encoder.
const GOLDEN: &str = "agent/src/metrics/testdata/exposition.openmetrics";
/// What an agent or a Prometheus says that it sends.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// By this header the agent knows a scraper.
const SCRAPER: &str = "x-prometheus-scrape-timeout-seconds:";
/// The file to which a Collector writes the metrics that it scrapes.
const METRICS: &str = "metrics.json";
const JSON: &str = "application/json";

/// Arguments of `cargo xtask otlp`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Let the Collector scrape this binary too, and take its traces, on a demo.
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
    /// Ask a Jaeger too, which takes 5 minutes of CPU time to build.
    #[arg(long)]
    jaeger: bool,
}

/// `cargo xtask otlp`
pub(crate) fn command(args: &Args) -> Result<()> {
    let agent = args.agent.as_deref().map(paths::absolute).transpose()?;
    check(agent.as_deref(), args.jaeger)
}

/// All checks; those of the agent's own scrape if there is a binary.
pub(crate) fn check(agent: Option<&Path>, with_jaeger: bool) -> Result<()> {
    let work = paths::work("otlp")?;
    let collector = collector::program()?;
    println!("OpenTelemetry Collector {}", collector.version);
    collector.validate(&work, &example::as_built()?).context(example::FILE)?;
    println!("    ok      {} is valid, {} aside", example::FILE, example::NOT_BUILT);
    spans(&collector, &work)?;
    if with_jaeger {
        spans_in_jaeger(&work)?;
    }
    let golden = paths::root().join(GOLDEN);
    let golden = fs::read_to_string(&golden).with_context(|| format!("read {GOLDEN}"))?;
    recorded(&collector, &work, "the golden exposition", &golden)?;
    start_times(&collector, &work)?;
    if let Some(agent) = agent {
        live(&collector, &work, agent)?;
        export::check(&collector, &work, agent, with_jaeger)?;
    }
    Ok(())
}

/// A trace of two spans as a message of OTLP in JSON, with all that a span can have.
fn message(now_unix_ns: u64) -> String {
    let span = |id: &str, parent: &str, name: &str, from: u64, to: u64| {
        json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": id, "parentSpanId": parent,
            "name": name, "kind": 1,
            "startTimeUnixNano": (now_unix_ns + from).to_string(),
            "endTimeUnixNano": (now_unix_ns + to).to_string(),
            "attributes": [
                { "key": "podvitals.trace", "value": { "stringValue": "pod \"shutdown\"\n<&>" } },
                { "key": "large", "value": { "intValue": "-9007199254740993" } },
                { "key": "ratio", "value": { "doubleValue": 0.25 } },
                { "key": "yes", "value": { "boolValue": true } },
                { "key": "list", "value": { "arrayValue": {
                    "values": [{ "stringValue": "a" }, { "stringValue": "b" }],
                } } },
            ],
            "events": [{
                "timeUnixNano": (now_unix_ns + from + 1).to_string(), "name": "signal",
                "attributes": [{ "key": "signal", "value": { "stringValue": "SIGTERM" } }],
            }],
            "links": [{
                "traceId": "1af7651916cd43dd8448eb211c80319c", "spanId": "c7ad6b7169203331",
                "attributes": [{ "key": "why", "value": { "stringValue": "before" } }],
            }],
            "status": { "code": 2, "message": "killed" },
        })
    };
    let resource = json!({ "attributes": [
        { "key": "service.name", "value": { "stringValue": "podvitals" } },
        { "key": "k8s.pod.uid", "value": { "stringValue": "b15d8c96-12da-479d-8b9f-b569fbda4d2d" } },
    ] });
    let spans = [
        span("b7ad6b7169203331", "", "pod shutdown", 0, 2_000_000_001),
        span("00f067aa0ba902b7", "b7ad6b7169203331", "container stop", 3, 1_000_000_000),
    ];
    let scope = json!({ "name": "podvitals", "version": "0.1.0" });
    json!({ "resourceSpans": [{
        "resource": resource, "scopeSpans": [{ "scope": scope, "spans": spans }],
    }] })
    .to_string()
}

/// The spans as they were sent.
fn sent(message: &str) -> Result<Vec<Span>> {
    otlp::from_lines(&format!("{message}\n"))
}

/// The example takes spans over HTTP and sends them over gRPC to a Collector, which writes what was
/// sent; rotel, to which the same is sent, prints the same.
fn spans(program: &collector::Collector, work: &Path) -> Result<()> {
    let [example_dir, store_dir, rotel_dir] =
        ["example", "store", "rotel"].map(|name| folder(work, name));
    let (example_dir, store_dir, rotel_dir) = (example_dir?, store_dir?, rotel_dir?);
    let (listen, store, rotel_at) = (Listen::free()?, Listen::free()?, Listen::free()?);
    let rotel = rotel::program()?;
    let _rotel = Child::spawn("rotel", &mut rotel.command(&rotel_dir, rotel_at)?)?;
    let config = collector::to_file(store, &store_dir);
    let _store = Child::spawn("collector", &mut program.command(&store_dir, &config)?)?;
    // Nothing is at the address that it scrapes: this is about spans.
    let config = example::on_loopback(listen, http::free_address()?, store)?;
    let _example = Child::spawn("collector", &mut program.command(&example_dir, &config)?)?;
    let message = message(now_unix_ns()?);
    let sent = sent(&message)?;
    for (to, address) in [("the example", listen.http), ("rotel", rotel_at.http)] {
        post(to, address, &message)?;
    }
    until("the Collector has written all spans", LIMIT, || {
        Ok(collector::spans(&store_dir)?.len() >= sent.len())
    })?;
    let received = collector::spans(&store_dir)?;
    ensure!(received == sent, "the Collector has {received:#?}, not {sent:#?}");
    let tree = otlp::trees(&received)?;
    ensure!(tree.len() == 1, "{} traces", tree.len());
    println!("    ok      spans, HTTP to the example, gRPC to a Collector's file: {}", sent.len());
    let log = rotel::log(&rotel_dir);
    let printed = || -> Result<Vec<rotel::Printed>> {
        rotel::spans(&fs::read_to_string(&log).with_context(|| log.display().to_string())?)
    };
    until("rotel has printed all spans", LIMIT, || Ok(printed()?.len() >= sent.len()))?;
    let printed = printed()?;
    let wanted: Vec<_> = sent.iter().map(rotel::Printed::of).collect();
    ensure!(printed == wanted, "rotel has {printed:#?}, not {wanted:#?}");
    println!("    ok      spans, HTTP to {}: {}", rotel.version, printed.len());
    Ok(())
}

/// Sends a message once something listens.
fn post(to: &str, address: SocketAddr, message: &str) -> Result<()> {
    until(&format!("{to} takes spans"), LIMIT, || {
        let answer = http::post(address, "/v1/traces", JSON, message.as_bytes(), LIMIT)?;
        let said = answer.clone().text()?;
        ensure!(!said.contains("errorMessage"), "{said}");
        Ok(true)
    })
}

/// Jaeger's query API has the trace that it was sent.
fn spans_in_jaeger(work: &Path) -> Result<()> {
    let dir = folder(work, "jaeger")?;
    let program = jaeger::program()?;
    let (listen, api) = (Listen::free()?, jaeger::Api(http::free_address()?));
    let mut jaeger = Child::spawn("jaeger", &mut program.command(&dir, listen, api.0)?)?;
    let message = message(now_unix_ns()?);
    let sent = sent(&message)?;
    post("Jaeger", listen.http, &message)?;
    let id = sent.first().map(|span| span.trace_id.clone()).context("no span")?;
    until("Jaeger has the trace", LIMIT, || Ok(api.trace(&id)?.len() >= sent.len()))?;
    let trees = [otlp::trees(&api.trace(&id)?)?, otlp::trees(&sent)?];
    let [has, wanted] = &trees;
    ensure!(has == wanted, "Jaeger has {has:#?}, not {wanted:#?}");
    ensure!(api.trace("ffffffffffffffffffffffffffffffff")?.is_empty(), "a trace of nobody's");
    let services = api.services()?;
    ensure!(services.contains(&"podvitals".to_owned()), "services {services:?}");
    // It takes long to end, and keeps nothing.
    jaeger.kill()?;
    println!(
        "    ok      spans, HTTP to Jaeger {}, from its query API: {}",
        program.version,
        sent.len()
    );
    Ok(())
}

/// A server of one text, which keeps the heads of the requests.
struct Exposition {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Exposition {
    fn serve(text: String) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let address = listener.local_addr().context("an address")?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&heads);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(head.join("\n"));
                let length = text.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {OPENMETRICS}\r\nContent-Length: {length}\r\n\
                     Connection: close\r\n\r\n{text}"
                );
                // Who goes away early gets nothing.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(Self { address, heads })
    }

    /// The first request's head.
    fn head(&self) -> Option<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).first().cloned()
    }
}

/// Lets a Collector scrape the agent at `address` by the example's own job, and gives what it wrote of a
/// scrape that succeeded.
fn scraped(program: &collector::Collector, dir: &Path, address: SocketAddr) -> Result<Scraped> {
    let on = http::free_address()?;
    let mut config = example::on_loopback(Listen::free()?, address, Listen::free()?)?;
    let file = dir.join(METRICS);
    let exporter = json!({ "path": file, "flush_interval": "100ms" });
    for (pointer, key, value) in [
        ("/exporters", "file", exporter),
        ("/exporters", "prometheus", json!({ "endpoint": on })),
        // A batch would put two scrapes into one message.
        ("/service/pipelines/metrics", "processors", json!(["memory_limiter"])),
        ("/service/pipelines/metrics", "exporters", json!(["file", "prometheus"])),
    ] {
        let map = config.pointer_mut(pointer).and_then(serde_json::Value::as_object_mut);
        map.with_context(|| format!("nothing at {pointer}"))?.insert(key.to_owned(), value);
    }
    let _collector = Child::spawn("collector", &mut program.command(dir, &config)?)?;
    let up = |message: &Message| {
        let up = message.metrics.iter().find(|metric| metric.name == "up");
        let value = up.and_then(|up| up.points.first()).map(|point| &point.value);
        value == Some(&metrics::PointValue::Number(1.0))
    };
    let read = || -> Result<Option<Message>> {
        let text = fs::read_to_string(&file).unwrap_or_default();
        Ok(metrics::messages(&text)?.into_iter().find(up))
    };
    until("the Collector has scraped", LIMIT, || Ok(read()?.is_some()))?;
    let message = read()?.context("the scrape is gone")?;
    let mut exposition = String::new();
    until("the Collector exports what it scraped", LIMIT, || {
        exposition = http::get_text(on, "/metrics", LIMIT)?;
        // Its own series come with the others.
        Ok(exposition.contains("\nup{"))
    })?;
    Ok(Scraped { message, exposition })
}

/// What a Collector made of a scrape.
struct Scraped {
    /// As OTLP.
    message: Message,
    /// As its exporter for Prometheus has it, in the text format.
    exposition: String,
}

/// Serves an exposition with exemplars to the Collector, and compares each sample.
fn recorded(program: &collector::Collector, work: &Path, what: &str, text: &str) -> Result<()> {
    let recorded = Recorded::with_exemplars(text, now_unix_ns()? / 1_000_000_000)?;
    let server = Exposition::serve(recorded.text.clone())?;
    let scraped = scraped(program, &folder(work, "scrape")?, server.address)?;
    let head = server.head().context("nobody asked")?.to_lowercase();
    ensure!(head.contains("application/openmetrics-text;version=1.0.0"), "it asked for {head}");
    ensure!(head.contains(SCRAPER), "the agent would not know the scraper: {head}");
    // The shipped relabelling names the node.
    let labels = [("node", "node-1")];
    let mut differences = recorded.differences(&scraped.message.metrics, &labels);
    let again = recorded.differences_again(&scraped.exposition, &labels)?;
    differences.extend(again.into_iter().map(|it| format!("exported for Prometheus: {it}")));
    ensure!(
        differences.is_empty(),
        "{what}: the Collector changed {} things:\n{}",
        differences.len(),
        differences.join("\n")
    );
    println!("    ok      {what}, scraped by the Collector without loss: {}", recorded.summary());
    Ok(())
}

/// The receiver has start times where an exposition has them, which the agent's has not.
fn start_times(program: &collector::Collector, work: &Path) -> Result<()> {
    const TEXT: &str = "# TYPE a_bytes counter\n# UNIT a_bytes bytes\n# HELP a_bytes A.\n\
                        a_bytes_total 3\na_bytes_created 1700000000.5\n# EOF\n";
    let server = Exposition::serve(TEXT.to_owned())?;
    let Scraped { message, .. } = scraped(program, &folder(work, "start")?, server.address)?;
    let counter = message.metrics.iter().find(|metric| metric.name == "a_bytes_total");
    let starts = counter.map(|it| it.points.iter().map(|point| point.start_unix_ns).collect());
    let wanted: Option<Vec<_>> = Some(vec![Some(1_700_000_000_500_000_000)]);
    ensure!(starts == wanted, "start times {starts:?}, not {wanted:?}");
    println!("    ok      a line _created, scraped by the Collector: it is the start time");
    Ok(())
}

/// The same with what the agent itself serves at this moment, and with the agent itself.
fn live(program: &collector::Collector, work: &Path, agent: &Path) -> Result<()> {
    let demo = Demo::start(agent)?;
    let address = http::free_address()?;
    let mut args = demo.agent_args();
    args.extend(["--web.listen-address".into(), address.to_string().into()]);
    let (mut child, _) = demo::start_agent(agent, address, &args, None)?;
    let Scraped { message, .. } = scraped(program, &folder(work, "live")?, address)?;
    let resource = |key: &str| otlp::text(&message.resource, key).to_owned();
    let is = ["service.name", "service.instance.id", "k8s.node.name"].map(resource);
    let wanted = ["podvitals".to_owned(), address.to_string(), "node-1".to_owned()];
    ensure!(is == wanted, "the resource is {is:?}, not the agent: {wanted:?}");
    let text = openmetrics(address)?;
    let status = child.stop()?;
    ensure!(status.success(), "podvitals agent: {status}");
    let ours = message.metrics.iter().filter(|metric| !metric.is_about_the_scrape());
    let histograms = ours.clone().filter(|it| matches!(it.kind, metrics::Kind::Histogram { .. }));
    ensure!(histograms.count() > 0, "no histogram");
    println!("    ok      the agent, scraped by the Collector: {} families", ours.count());
    recorded(program, work, "the agent's own exposition", &text)
}

/// A scrape in OpenMetrics.
fn openmetrics(address: SocketAddr) -> Result<String> {
    let mut answer = Vec::new();
    http::get_into(address, "/metrics", &[("Accept", OPENMETRICS)], LIMIT, &mut answer)?;
    let text = String::from_utf8(answer).context("no text")?;
    let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
    ensure!(head.to_lowercase().contains("openmetrics"), "no OpenMetrics: {head}");
    Ok(body.to_owned())
}
