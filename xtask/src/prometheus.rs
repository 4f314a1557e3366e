//! `cargo xtask metrics`: the demo's scrape, held against promtool and a real Prometheus; and what
//! Prometheuses store of exemplars.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use testbed::{exposition::count_samples, http, scrape::Scrape};

use crate::{
    build,
    child::Child,
    demo::{self, Demo},
    exemplars,
    monitoring::{
        prometheus::{Api, Config},
        until,
    },
    names,
    parts::{self, Prometheus, Release},
    paths, shell,
};

/// How long Prometheus may take to start and scrape once.
const START: Duration = Duration::from_secs(30);
/// How long a demo's crash loop may take to show in a counter.
const CRASH: Duration = Duration::from_secs(90);
/// How long until every family of the demo has been there at once.
const FAMILIES: Duration = Duration::from_secs(90);
/// How long a GET may take.
const GET: Duration = Duration::from_secs(10);

/// Queries that must give a value above 0.
const PRESENT: [&str; 3] = [
    r#"count(podvitals_container_info{namespace!="",pod!="",container!=""})"#,
    "count(podvitals_container_cpu_usage_seconds_total)",
    "sum(podvitals_build_info)",
];
/// Counters that the demo's crash loop must raise.
const RISING: [&str; 2] =
    ["sum(podvitals_terminations_total)", "sum(podvitals_container_restarts_total)"];
/// What a series that is born with its first event must have shown: 0 first, so that the event is
/// an increase. One of the demo's containers is killed every few seconds.
const FIRST_EVENT: [&str; 2] = [
    "1 - min(min_over_time(podvitals_fatal_signals_total[5m]))",
    "max(increase(podvitals_fatal_signals_total[5m]))",
];
/// Queries that must give nothing: with `honor_labels` no label of ours is renamed.
const ABSENT: [&str; 2] = [r#"count({exported_pod!=""})"#, r#"count({exported_namespace!=""})"#];

/// A family with a unit. Only OpenMetrics tells units, so a unit that Prometheus knows tells which
/// format it asked for, got and understood.
const WITH_UNIT: &str = "podvitals_container_start_time_seconds";

/// Arguments of `cargo xtask metrics`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Use this binary instead of building one.
    #[arg(long, value_name = "PATH")]
    agent: Option<PathBuf>,
}

/// `cargo xtask metrics`
pub(crate) fn command(args: &Args) -> Result<()> {
    let agent = match &args.agent {
        Some(agent) => paths::absolute(agent)?,
        None => build::dynamic_release()?.agent,
    };
    check(&agent)
}

/// Runs all checks on a demo of its own, with the oldest Prometheus that is to understand us: the
/// newest scrapes the agent of the Kubernetes node. Both are asked for exemplars.
pub(crate) fn check(agent: &Path) -> Result<()> {
    exemplars::check()?;
    let tools = parts::prometheus(Release::Oldest)?;
    let demo = Demo::start(agent)?;
    let address = http::free_address()?;
    let mut args = demo.agent_args();
    args.extend(["--web.listen-address".into(), address.to_string().into()]);
    let (mut child, _) = demo::start_agent(agent, address, &args, None)?;
    let work = paths::work("prometheus")?;
    let api = Api(http::free_address()?);
    let mut prometheus = start(&tools, &work, api, address)?;
    until("Prometheus answers", START, || api.ready().map(|()| true))?;
    until("Prometheus has scraped", START, || Ok(api.value("up == 1")? == Some(1.0)))?;
    println!("Prometheus {} scrapes the agent", tools.version);
    let path = format!("/api/v1/metadata?metric={WITH_UNIT}");
    until("Prometheus was given OpenMetrics", START, || {
        let answer = http::get_text(api.0, &path, GET)?;
        if !answer.contains(r#""unit":"seconds""#) {
            bail!("{WITH_UNIT} has no unit: {answer}");
        }
        Ok(true)
    })?;
    println!("it was given OpenMetrics: {WITH_UNIT} has its unit");
    // Names may come a moment after the first scrape.
    for expression in PRESENT {
        until(expression, START, || Ok(api.value(expression)?.is_some_and(|it| it > 0.0)))?;
        println!("there: {expression} = {}", api.value(expression)?.unwrap_or_default());
    }
    for expression in RISING {
        let first = api.value(expression)?.unwrap_or_default();
        until(expression, CRASH, || Ok(api.value(expression)?.is_some_and(|it| it > first)))?;
        println!("rises: {expression} from {first}");
    }
    for expression in FIRST_EVENT {
        until(expression, CRASH, || Ok(api.value(expression)?.is_some_and(|it| it > 0.0)))?;
        println!("seen from 0 on: {expression} = {}", api.value(expression)?.unwrap_or(0.0));
    }
    for expression in ABSENT {
        if let Some(count) = api.value(expression)? {
            bail!("{expression} = {count}: our labels are renamed");
        }
    }
    prometheus.stop()?;
    // Some families come with the first event of their kind, and one is there only while a
    // shutdown is open.
    let mut scrape = String::new();
    until("every family is there", FAMILIES, || {
        scrape = http::get_text(address, "/metrics", GET)?;
        names::check(agent, &Scrape::parse(&scrape)?).map(|()| true)
    })?;
    fs::write(work.join("scrape.txt"), &scrape).context("keep the scrape")?;
    lint(&tools, &scrape)?;
    println!("promtool has nothing to say about {} samples", count_samples(&scrape));
    let status = child.stop()?;
    if !status.success() {
        bail!("podvitals agent: {status}");
    }
    Ok(())
}

fn start(tools: &Prometheus, work: &Path, api: Api, target: SocketAddr) -> Result<Child> {
    let config = Config::of_one_agent(api.0, target);
    Child::spawn("prometheus", &mut config.command(Command::new(&tools.prometheus), work)?)
}

/// `promtool check metrics`
fn lint(tools: &Prometheus, scrape: &str) -> Result<()> {
    let mut promtool = Command::new(&tools.promtool);
    print!("{}", shell::output_with(promtool.args(["check", "metrics"]), scrape)?);
    Ok(())
}
