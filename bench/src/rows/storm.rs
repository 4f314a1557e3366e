//! A storm of forks in a container, with and without the agent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::{Series, three};

pub(super) const HOW: &str = "A process in a container forks, executes /bin/true and reaps it as \
    often as it can, in short rounds: without the agent, with it, with it, without. Each pair gives \
    a ratio.";

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    let mut container = node.container(0, "app")?;
    let own = std::env::current_exe().context("where is this program")?;
    container.start(Command::new(own).arg("work").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let init = container.init.as_mut().context("no init")?;
    let mut ask = init.stdin.take().context("no pipe")?;
    let mut answers = BufReader::new(init.stdout.take().context("no pipe")?).lines();
    node.containers.push(container);

    let millis = args.pick(1000, 300);
    let mut forks = || -> Result<f64> {
        writeln!(ask, "{millis}").context("ask for forks")?;
        let count = answers.next().context("the load has ended")?.context("read the forks")?;
        Ok(count.parse::<f64>().context("a number of forks")? * 1e3 / f64::from(millis))
    };
    forks()?;
    let (mut with, mut without, mut ratios) =
        (Series::default(), Series::default(), Series::default());
    for _ in 0..args.pick(15, 2) {
        let before = forks()?;
        let server = Server::agent(args, &node, &[])?;
        let watched = [forks()?, forks()?];
        server.stop()?;
        let alone = [before, forks()?];
        ratios.push(watched.iter().sum::<f64>() / alone.iter().sum::<f64>());
        watched.into_iter().for_each(|it| with.push(it));
        alone.into_iter().for_each(|it| without.push(it));
    }
    let fewer = 1.0 - ratios.median();
    let rate = |it: &Series| format!("{} / {} forks/s", three(it.min()), three(it.median()));
    Ok(vec![
        Line::new("forks of a watched load", rate(&with))
            .peer(format!("{} (no agent)", rate(&without)))
            .ratio(ratios.median())
            .goal("≥ 0.98", Verdict::goal(fewer <= 0.02))
            .because(format!(
                "pairs differ from {} to {}, more than the goal itself",
                three(ratios.min()),
                three(ratios.max())
            )),
    ])
}
