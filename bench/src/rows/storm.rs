//! A storm of forks in a container, with and without the agent.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::cgroups::Node;
use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::server::Server;
use crate::stats::{Series, three};

pub(super) const HOW: &str = "A process in a container forks, executes /bin/true and reaps it as \
    often as it can, in short rounds, five without the agent and five with it in turn. The ratio is \
    that of the best rounds, which other work on the machine disturbed least.";

/// Between a change and its measurement.
const SETTLE: Duration = Duration::from_millis(200);
/// A round.
const MILLIS: u32 = 200;
/// Rounds in a row.
const ROUNDS: usize = 5;

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let mut node = Node::make(&args.cgroup_root)?;
    let mut container = node.container(0, "app")?;
    let own = std::env::current_exe().context("where is this program")?;
    container.start(Command::new(own).arg("work").stdin(Stdio::piped()).stdout(Stdio::piped()))?;
    let init = container.init.as_mut().context("no init")?;
    let mut ask = init.stdin.take().context("no pipe")?;
    let mut answers = BufReader::new(init.stdout.take().context("no pipe")?).lines();
    node.containers.push(container);

    let mut forks = || -> Result<Round> {
        writeln!(ask, "{MILLIS}").context("ask for forks")?;
        let answer = answers.next().context("the load has ended")?.context("read the forks")?;
        let (count, cpu_us) = answer.split_once(' ').context("forks and CPU time")?;
        let (count, cpu_us): (f64, f64) = (count.parse()?, cpu_us.parse()?);
        Ok(Round { per_second: count * 1e3 / f64::from(MILLIS), cpu_us: cpu_us / count })
    };
    let mut rounds = |side: &mut Side| -> Result<()> {
        // Programs are attached and detached in the kernel's own time.
        std::thread::sleep(SETTLE);
        for _ in 0..ROUNDS {
            let round = forks()?;
            side.per_second.push(round.per_second);
            side.cpu_us.push(round.cpu_us);
        }
        Ok(())
    };
    // What comes first is slower.
    rounds(&mut Side::default())?;
    let [mut with, mut without] = [Side::default(), Side::default()];
    for _ in 0..args.pick(15, 2) {
        rounds(&mut without)?;
        let server = Server::agent(args, &node, &[])?;
        rounds(&mut with)?;
        server.stop()?;
    }
    let rate = |it: &Series| format!("{} / {} per s", three(it.max()), three(it.median()));
    let cpu = |it: &Series| format!("{} / {} µs", three(it.min()), three(it.median()));
    let ratio = with.per_second.max() / without.per_second.max();
    Ok(vec![
        Line::new("forks of a watched load, best / median", rate(&with.per_second))
            .peer(format!("{} (no agent)", rate(&without.per_second)))
            .ratio(ratio)
            .goal("best ≥ 0.98", Verdict::goal(ratio >= 0.98))
            .because(format!(
                "without the agent rounds differ from {} to {}, which is more than the goal allows",
                three(without.per_second.min()),
                three(without.per_second.max())
            )),
        Line::new("CPU of a fork, exec and exit", cpu(&with.cpu_us))
            .peer(format!("{} (no agent)", cpu(&without.cpu_us)))
            .ratio(with.cpu_us.min() / without.cpu_us.min()),
    ])
}

/// What a round gave.
struct Round {
    per_second: f64,
    /// Of one fork.
    cpu_us: f64,
}

#[derive(Default)]
struct Side {
    per_second: Series,
    cpu_us: Series,
}
