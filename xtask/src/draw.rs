//! `cargo xtask draw`: the boards of `dashboards/`, drawn with Grafana's own panel library in a
//! headless Chromium from a real Prometheus, and judged: a panel without data, with an error, or with
//! texts that overlap or are cut off is a fault. `draw/` has the page and its driver.

mod check;
pub mod driver;
pub mod judge;
pub mod pictures;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};

pub(crate) use self::check::check;
use self::{
    driver::{Board, Order, boards, draw},
    judge::Exceptions,
};
use crate::paths;

/// Arguments of `cargo xtask draw`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The address of the Prometheus to draw from.
    #[arg(long, value_name = "URL", required_unless_present = "check")]
    prometheus: Option<String>,
    /// Draw the boards of draw/fixtures instead, and see that each fault of them is found.
    #[arg(long)]
    check: bool,
    /// Only this board, as `podvitals-why`; may be given several times. All without it.
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
    /// Grafana's theme: `dark` or `light`.
    #[arg(long, default_value = "dark", value_parser = ["dark", "light"])]
    theme: String,
    /// The folder for the pictures [default: target/xtask/draw].
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
