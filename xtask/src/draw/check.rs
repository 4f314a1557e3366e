//! The drawing itself, held against two boards of which it is known what is wrong with them.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use testbed::http;

use super::{
    driver::{Board, Order, draw, type_check},
    judge::{Drawn, Kind},
};
use crate::{
    child::Child,
    parts::{self, Release},
    paths, stop,
};

/// How often Prometheus scrapes itself.
const SCRAPE: Duration = Duration::from_secs(1);
/// How long it does, before the boards are drawn: a rate needs a few samples.
const HISTORY: Duration = Duration::from_secs(10);
/// How long it may take to start.
const START: Duration = Duration::from_secs(30);
/// How long a GET may take.
const GET: Duration = Duration::from_secs(5);

/// The panels of `faults.json` with all that is wrong with each.
const FAULTS: [(&str, Kind); 18] = [
    ("No such metric", Kind::Empty),
    ("One query of two is empty", Kind::Empty),
    ("A text for no value hides nothing", Kind::Empty),
    ("Wrong query", Kind::Error),
    ("Wrong transformation", Kind::Error),
    ("Transformations leave nothing", Kind::Empty),
    ("Wrong field option", Kind::Error),
    ("Wrong variable", Kind::Empty),
    // The variable is the board's business.
    ("A fault in every panel", Kind::Error),
    ("A heatmap without data", Kind::Empty),
    ("Overlap", Kind::Overlap),
    ("A title that is far too long for the width of its panel", Kind::Cut),
    ("A cut header", Kind::Cut),
    ("A cut cell", Kind::Cut),
    ("Wider than its panel", Kind::Cut),
    ("Too small", Kind::Small),
    ("Bars too thin for their values", Kind::Cut),
    ("A kind that there is not", Kind::Error),
];

/// Draws both from a Prometheus that scrapes itself: every fault is found in the one, none in the
/// other.
pub(crate) fn check() -> Result<()> {
    type_check()?;
    let work = paths::work("draw-check")?;
    let address = http::free_address()?;
    let mut server = prometheus(&work, address)?;
    thread::sleep(HISTORY);
    let fixtures = paths::root().join("draw/fixtures");
    let drawn = draw(&Order {
        prometheus: format!("http://{address}"),
        boards: ["good.json", "faults.json"].map(|name| Board::new(fixtures.join(name))).into(),
        from: "now-5m".to_owned(),
        to: "now".to_owned(),
        scrape: SCRAPE,
        theme: "dark".to_owned(),
        out: work,
    })?;
    server.stop()?;
    let [good, faults] = drawn.as_slice() else { bail!("{} boards were drawn", drawn.len()) };
    compare(good, &[])?;
    compare(faults, &FAULTS)?;
    println!("the boards of draw/fixtures: no fault in one, each of {} in the other", FAULTS.len());
    Ok(())
}

fn compare(board: &Drawn, expected: &[(&str, Kind)]) -> Result<()> {
    let expected: BTreeSet<(&str, Kind)> = expected.iter().copied().collect();
    let found: BTreeSet<(&str, Kind)> =
        board.complaints.iter().map(|it| (it.panel.as_str(), it.kind)).collect();
    let missed: Vec<_> = expected.difference(&found).collect();
    let wrong: Vec<String> = board
        .complaints
        .iter()
        .filter(|it| !expected.contains(&(it.panel.as_str(), it.kind)))
        .map(ToString::to_string)
        .collect();
    if !missed.is_empty() || !wrong.is_empty() {
        let picture = board.picture.display();
        bail!("{}: not found: {missed:?}; found and not there: {wrong:#?} ({picture})", board.uid);
    }
    Ok(())
}

/// A Prometheus that scrapes itself.
fn prometheus(work: &Path, address: SocketAddr) -> Result<Child> {
    let part = parts::prometheus(Release::Newest)?;
    let data = work.join("data");
    let _ = fs::remove_dir_all(&data);
    let config = work.join("prometheus.yml");
    let interval = SCRAPE.as_secs();
    let text = format!(
        "global: {{scrape_interval: {interval}s}}\n\
         scrape_configs:\n\
         - job_name: prometheus\n\
         \x20 static_configs: [{{targets: ['{address}']}}]\n"
    );
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let log = fs::File::create(work.join("prometheus.log")).context("create prometheus.log")?;
    let mut command = Command::new(&part.prometheus);
    command
        .current_dir(work)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", data.display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share prometheus.log")?)
        .stderr(log);
    let server = Child::spawn("prometheus", &mut command)?;
    let deadline = Instant::now() + START;
    while http::get_text(address, "/-/ready", GET).is_err() {
        stop::check()?;
        if Instant::now() >= deadline {
            bail!("Prometheus is not ready after {START:?}");
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(server)
}
