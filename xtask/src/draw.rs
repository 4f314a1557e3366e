//! `cargo xtask draw`: the boards of `dashboards/`, drawn with Grafana's own panel library in a
//! headless Chromium from a real Prometheus, and judged: a panel without data, with an error, or with
//! texts that overlap or are cut off is a fault. `draw/` has the page and its driver.

mod check;
pub mod judge;
pub mod pictures;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

pub(crate) use self::check::check;
use self::judge::{Drawn, Exceptions};
use crate::{apt, npm, paths, shell};

/// Width of a picture in pixels.
const WIDTH: u32 = 1600;
/// Where the boards are.
const BOARDS: &str = "dashboards";

/// Arguments of `cargo xtask draw`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The address of the Prometheus to draw from.
    #[arg(long, value_name = "URL", required_unless_present = "check")]
    prometheus: Option<String>,
    /// Draw the boards of draw/fixtures instead, and see that each fault of them is found.
    #[arg(long)]
    check: bool,
    /// Only these boards; all without it.
    #[arg(long, value_name = "UID")]
    dashboard: Vec<String>,
    /// A variable's value; several with commas between.
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    var: Vec<(String, String)>,
    /// Where the time range begins: `-30m`, or as Grafana writes it.
    #[arg(long, value_name = "TIME", default_value = "-30m", allow_hyphen_values = true)]
    from: String,
    /// Where it ends.
    #[arg(long, value_name = "TIME", default_value = "now", allow_hyphen_values = true)]
    to: String,
    /// How often that Prometheus scrapes, in seconds: what Grafana's data source is told.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    scrape_interval: u32,
    /// `dark` or `light`.
    #[arg(long, default_value = "dark", value_parser = ["dark", "light"])]
    theme: String,
    /// The folder for the pictures.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Panels may be empty: for a Prometheus that has seen little.
    #[arg(long)]
    allow_empty: bool,
    /// Make docs/pictures of what is drawn.
    #[arg(long)]
    update: bool,
}

fn variable(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("it has no =")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A board's file, and values of its variables.
#[derive(Clone, Debug, Serialize)]
pub struct Board {
    /// The file.
    pub file: PathBuf,
    /// By name; others are as the board has them, or All, or the first.
    pub variables: BTreeMap<String, String>,
}

impl Board {
    /// With variables as the board has them.
    pub fn new(file: PathBuf) -> Self {
        Self { file, variables: BTreeMap::new() }
    }

    /// The board's, which is the file's name.
    pub fn uid(&self) -> String {
        self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// What is to be drawn, and from where.
pub struct Order {
    /// The Prometheus' address, as `http://127.0.0.1:9090`.
    pub prometheus: String,
    /// The boards.
    pub boards: Vec<Board>,
    /// Begin of the time range, as Grafana writes it (`now-30m`).
    pub from: String,
    /// Its end.
    pub to: String,
    /// How often the Prometheus scrapes.
    pub scrape: Duration,
    /// `dark` or `light`.
    pub theme: String,
    /// The folder for pictures.
    pub out: PathBuf,
}

impl Order {
    /// All boards over the last `range`, dark, into a folder of the build's.
    pub fn all(prometheus: String, range: Duration, scrape: Duration) -> Result<Self> {
        Ok(Self {
            prometheus,
            boards: boards()?,
            from: format!("now-{}s", range.as_secs()),
            to: "now".to_owned(),
            scrape,
            theme: "dark".to_owned(),
            out: paths::work("draw")?,
        })
    }
}

/// All boards.
pub fn boards() -> Result<Vec<Board>> {
    let dir = paths::root().join(BOARDS);
    let files = fs::read_dir(&dir)
        .with_context(|| format!("list {}", dir.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut boards: Vec<Board> = files.map(Board::new).collect();
    boards.sort_by_key(Board::uid);
    if boards.is_empty() {
        bail!("no board in {}", dir.display());
    }
    Ok(boards)
}

/// `cargo xtask draw`
pub(crate) fn command(args: &Args) -> Result<()> {
    let Some(prometheus) = args.prometheus.as_ref().filter(|_| !args.check) else {
        return check();
    };
    let mut boards = boards()?;
    if !args.dashboard.is_empty() {
        let known: Vec<String> = boards.iter().map(Board::uid).collect();
        if let Some(uid) = args.dashboard.iter().find(|uid| !known.contains(uid)) {
            bail!("no board is called {uid}; there are {}", known.join(", "));
        }
        boards.retain(|board| args.dashboard.contains(&board.uid()));
    }
    for board in &mut boards {
        board.variables = args.var.iter().cloned().collect();
    }
    let relative = |time: &str| {
        if time.starts_with('-') { format!("now{time}") } else { time.to_owned() }
    };
    let drawn = draw(&Order {
        prometheus: prometheus.trim_end_matches('/').to_owned(),
        boards,
        from: relative(&args.from),
        to: relative(&args.to),
        scrape: Duration::from_secs(args.scrape_interval.into()),
        theme: args.theme.clone(),
        out: match &args.out {
            Some(out) => paths::absolute(out)?,
            None => paths::work("draw")?,
        },
    })?;
    if args.update {
        pictures::update(&drawn)?;
    }
    judge::report(&drawn, &Exceptions::read()?, args.allow_empty)
}

/// Draws them; what is wrong with a board is in what is returned.
pub fn draw(order: &Order) -> Result<Vec<Drawn>> {
    #[derive(Serialize)]
    struct Driver<'a> {
        prometheus: &'a str,
        chromium: &'a Path,
        boards: &'a [Board],
        out: &'a Path,
        from: &'a str,
        to: &'a str,
        width: u32,
        theme: &'a str,
        scrape: u128,
    }
    let packages = npm::install("draw")?;
    let chromium = apt::program("chromium", "chromium")?;
    let start = Instant::now();
    bundle(&packages)?;
    fs::create_dir_all(&order.out).with_context(|| format!("make {}", order.out.display()))?;
    let told = serde_json::to_string(&Driver {
        prometheus: &order.prometheus,
        chromium: &chromium,
        boards: &order.boards,
        out: &order.out,
        from: &order.from,
        to: &order.to,
        width: WIDTH,
        theme: &order.theme,
        scrape: order.scrape.as_millis(),
    })?;
    let file = order.out.join("order.json");
    fs::write(&file, told).with_context(|| format!("write {}", file.display()))?;
    let report = order.out.join("report.json");
    let _ = fs::remove_file(&report);
    shell::run(packages.node().arg(packages.dir().join("dist/driver.mjs")).arg(&file))?;
    let text = fs::read_to_string(&report).with_context(|| format!("read {}", report.display()))?;
    let drawn: Vec<Drawn> = serde_json::from_str(&text).context("the driver's report")?;
    println!("drew {} boards in {:.1} s", drawn.len(), start.elapsed().as_secs_f64());
    Ok(drawn)
}

/// Makes one file of the page and one of its driver.
fn bundle(packages: &npm::Packages) -> Result<()> {
    let mut page = packages.program("esbuild");
    page.args(["src/page.tsx", "--bundle", "--outdir=dist", "--format=esm", "--log-level=warning"]);
    page.args([
        "--minify",
        "--loader:.woff2=dataurl",
        "--loader:.woff=empty",
        "--loader:.ttf=empty",
    ]);
    page.arg("--define:process.env.NODE_ENV=\"production\"");
    shell::run(&mut page)?;
    let mut driver = packages.program("esbuild");
    driver.args(["src/driver.ts", "--bundle", "--outfile=dist/driver.mjs", "--platform=node"]);
    driver.args(["--format=esm", "--external:playwright-core", "--log-level=warning"]);
    shell::run(&mut driver)
}

/// The compiler's word on the page and its driver.
pub(crate) fn type_check() -> Result<()> {
    shell::run(npm::install("draw")?.program("tsc").args(["--project", "tsconfig.json"]))
}
