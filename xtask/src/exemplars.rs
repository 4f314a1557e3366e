//! Exemplars as real Prometheuses store them: the exposition with traces that our encoder's tests keep as
//! a file is served to the newest and to the oldest, and what they answer is held against the file: the
//! whole of it, and what the dashboards' own queries find, as Grafana asks for exemplars with these.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use testbed::{
    exposition::{Exposition, Format},
    http,
};

use crate::{
    child::Child,
    monitoring::{
        Labels,
        prometheus::{Api, Config, Exemplar},
        until,
    },
    parts::{self, Release},
    paths,
};

/// What our encoder writes of a node with traces.
const FILE: &str = "agent/src/metrics/testdata/exposition-traced.openmetrics";
/// The format's name.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// All times of the file lie within, in seconds of Unix time.
const TIMES: [u64; 2] = [1_699_999_000, 1_700_001_000];
/// Scrapes that Prometheus is given: what it has stored must not depend on how many there are.
const SCRAPES: f64 = 3.0;
/// How long Prometheus may take to start, and to scrape.
const START: Duration = Duration::from_secs(30);
/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The most bytes of a request.
const REQUEST_BYTES: u64 = 64 << 10;

/// Exemplars by the labels of their series.
type Stored = BTreeMap<Labels, Exemplar>;

/// Runs the check with each release.
pub(crate) fn check() -> Result<()> {
    let path = paths::root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let target = serve(text.clone())?;
    let expected = of_file(&text, target)?;
    ensure!(!expected.is_empty(), "{FILE} has no exemplars");
    for release in Release::ALL {
        let tools = parts::prometheus(release)?;
        let work = paths::work("exemplars")?;
        let api = Api(http::free_address()?);
        let config = Config::of_one_agent(api.0, target);
        let mut child = Child::spawn("prometheus", &mut config.command(tools.command(), &work)?)?;
        until("Prometheus answers", START, || api.ready().map(|()| true))?;
        let scrapes = format!("count_over_time(up{{instance=\"{target}\"}}[5m])");
        until("Prometheus has scraped", START, || {
            Ok(api.value(&scrapes)?.is_some_and(|scrapes| scrapes >= SCRAPES))
        })?;
        let stored = stored(api)?;
        ensure!(
            stored == expected,
            "Prometheus {} stored {stored:#?}, but {FILE} has {expected:#?}",
            tools.version
        );
        let own = http::get_text(api.0, "/metrics", LIMIT)?;
        let appended = count(&own, "prometheus_tsdb_exemplar_exemplars_appended_total")?;
        let refused = count(&own, "prometheus_target_scrapes_exemplar_out_of_order_total")?;
        ensure!(
            appended == expected.len() as f64 && refused == 0.0,
            "Prometheus {} appended {appended} exemplars and refused {refused}",
            tools.version
        );
        let asked = of_dashboards(api, &expected)?;
        child.stop()?;
        println!(
            "Prometheus {} has the {appended} exemplars, each with its trace, value and time, and \
             once after {SCRAPES} scrapes; {asked} queries of the dashboards find them",
            tools.version
        );
    }
    Ok(())
}

/// What Prometheus should have of a text that it scrapes from `target`.
fn of_file(text: &str, target: SocketAddr) -> Result<Stored> {
    let exposition = Exposition::parse(text, Format::OpenMetrics).context(FILE)?;
    let traced =
        exposition.samples().filter_map(|sample| Some((sample, sample.exemplar.as_ref()?)));
    Ok(traced
        .map(|(sample, exemplar)| {
            let mut series = sample.labels.clone();
            let own = [("__name__", &sample.name), ("instance", &target.to_string())];
            series.extend(own.map(|(name, value)| (name.to_owned(), value.clone())));
            series.insert("job".to_owned(), "podvitals".to_owned());
            let stored = Exemplar {
                labels: exemplar.labels.clone(),
                value: exemplar.value.to_string(),
                timestamp: (exemplar.unix_s * 1e3).floor() / 1e3,
            };
            (series, stored)
        })
        .collect())
}

/// What Prometheus has.
fn stored(api: Api) -> Result<Stored> {
    let mut stored = Stored::new();
    for series in api.exemplars(r#"{__name__=~"podvitals_.+"}"#, TIMES)? {
        let [exemplar] = &*series.exemplars else {
            bail!("{:?} has {} exemplars", series.series_labels, series.exemplars.len());
        };
        stored.insert(series.series_labels, exemplar.clone());
    }
    Ok(stored)
}

/// Asks what the dashboards ask for exemplars; together they must find all of them. Returns how many
/// queries found any.
fn of_dashboards(api: Api, expected: &Stored) -> Result<usize> {
    let (mut count, mut found) = (0, BTreeSet::new());
    for (file, text) in dashboards::files() {
        let board: Value = serde_json::from_str(&text).with_context(|| file.clone())?;
        let panels = board.get("panels").and_then(Value::as_array).into_iter().flatten();
        let targets = panels.filter_map(|panel| panel.get("targets")?.as_array()).flatten();
        for target in targets.filter(|target| target.get("exemplar") == Some(&Value::Bool(true))) {
            let asked =
                target.get("expr").and_then(Value::as_str).context("a target asks nothing")?;
            let expression = filled(asked)?;
            let answer = api.exemplars(&expression, TIMES).with_context(|| expression.clone())?;
            count += usize::from(!answer.is_empty());
            found.extend(answer.into_iter().map(|series| series.series_labels));
        }
    }
    let missed: Vec<_> = expected.keys().filter(|series| !found.contains(*series)).collect();
    ensure!(missed.is_empty(), "no dashboard asks for the exemplars of {missed:?}");
    Ok(count)
}

/// A query with values in the place of Grafana's variables.
fn filled(query: &str) -> Result<String> {
    let times = [("$__rate_interval", "1m"), ("$__interval_ms", "15000")];
    let any = ["$cluster", "$node", "$namespace", "$workload"].map(|variable| (variable, ".*"));
    let all = times.into_iter().chain(any);
    let filled = all.fold(query.to_owned(), |query, (name, value)| query.replace(name, value));
    ensure!(!filled.contains('$'), "an unknown variable in {filled}");
    Ok(filled)
}

/// The value of a counter without labels.
fn count(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.with_context(|| format!("no {name}"))?;
    value.parse().with_context(|| format!("{name} is {value}"))
}

/// Serves a text to whoever asks, on a thread that ends with this tool.
fn serve(text: String) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    let address = listener.local_addr().context("the server's address")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A scrape that fails shows as one that is missing.
            let _ = answer(&stream, &text);
        }
    });
    Ok(address)
}

fn answer(mut stream: &TcpStream, text: &str) -> Result<()> {
    stream.set_read_timeout(Some(LIMIT)).context("set a time limit")?;
    stream.set_write_timeout(Some(LIMIT)).context("set a time limit")?;
    let mut head = BufReader::new(stream.take(REQUEST_BYTES)).lines();
    while !head.next().context("the head has no end")?.context("read the head")?.is_empty() {}
    let length = text.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {OPEN_METRICS}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).context("answer")?;
    stream.write_all(text.as_bytes()).context("answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_what_prometheus_should_have() {
        let text = fs::read_to_string(paths::root().join(FILE)).unwrap();
        let target = serve(text.clone()).unwrap();
        assert_eq!(http::get_text(target, "/metrics", LIMIT).unwrap(), text);
        let expected = of_file(&text, target).unwrap();
        let families: Vec<_> = expected.keys().map(|series| &*series["__name__"]).collect();
        assert_eq!(families.len(), 5, "{families:?}");
        let within =
            |exemplar: &Exemplar| (TIMES[0] as f64..TIMES[1] as f64).contains(&exemplar.timestamp);
        assert!(expected.values().all(within), "{expected:?}");
        assert!(expected.keys().all(|series| series["instance"] == target.to_string()));
    }

    #[test]
    fn a_counter_is_read_from_prometheus_own_metrics() {
        let text = "# HELP a_total x\na_total_more 1\na_total 3\n";
        assert_eq!(count(text, "a_total").unwrap(), 3.0);
        count(text, "b_total").unwrap_err();
    }
}
