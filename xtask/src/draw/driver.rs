//! Boards, drawn by the driver in `draw/`.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use super::judge::Drawn;
use crate::{apt, npm, paths, shell};

/// Width of a picture in pixels.
const WIDTH: u32 = 1600;
/// Where the boards are.
const BOARDS: &str = "dashboards";

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
    /// Grafana's theme: `dark` or `light`.
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

/// What draws.
pub(crate) struct Tools {
    packages: npm::Packages,
    chromium: PathBuf,
}

impl Tools {
    /// All of it, installed where it is missing.
    pub(crate) fn fetch() -> Result<Self> {
        let packages = npm::install("draw")?;
        Ok(Self { packages, chromium: apt::program("chromium", "chromium")? })
    }

    /// The browser.
    pub(crate) fn chromium(&self) -> &Path {
        &self.chromium
    }
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
    let Tools { packages, chromium } = Tools::fetch()?;
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
