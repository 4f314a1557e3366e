//! Starts and shutdowns as the node's kernel has traced them: a witness that a busy node does not
//! delay.
//!
//! What a workload logs comes later than its signal and earlier than its end, and the runtime says
//! that a container has started when it comes round to it: by as long as the node lets them wait.
//! The kernel's own tracing (`events/sched`, `events/signal`, Linux 6.12) has the moments themselves:
//! the exec of the workload, the stop signal to it, and the SIGCHLD to the shim when it has ended.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, ensure};

use super::figure::Figure;
use crate::cluster::Cluster;

/// Where the kernel keeps this trace, beside those of others.
const TRACE: &str = "/sys/kernel/tracing/instances/scenarios";
/// What is traced: signals to workloads, and the ends of the shims' children.
const FILTER: &str =
    r#"(comm == "workload" && sig != 17) || (comm == "containerd-shim" && sig == 17)"#;
/// What is traced of the programs that are executed.
const EXECS: &str = r#"filename ~ "*/workload""#;
/// Signals that stop a container in these scenarios: SIGTERM and SIGQUIT.
const STOPS: [&str; 2] = ["sig=15", "sig=3"];
/// SIGCHLD.
const END: &str = "sig=17";
/// How far two clocks that tell the same end may be apart: the wall clock is told to the trace by
/// programs, which start late on a busy node.
const SAME_END_S: f64 = 0.05;
/// How far the agent may be from the trace: both look at the same moments.
const ALLOWED_S: f64 = 0.01;

/// A shutdown in the trace.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shutdown {
    /// When it ended, in seconds of Unix time.
    end_unix_s: f64,
    /// Seconds from the first stop signal to the end.
    length_s: f64,
}

impl fmt::Display for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} until {:.4}", self.length_s, self.end_unix_s)
    }
}

/// Starts the trace.
pub(super) fn start(cluster: &Cluster) -> Result<()> {
    let command = format!(
        "mountpoint -q /sys/kernel/tracing || mount -t tracefs none /sys/kernel/tracing\n\
         mkdir -p {TRACE} && cd {TRACE} && echo boot >trace_clock && echo 1 >options/record-tgid &&\n\
         echo '{FILTER}' >events/signal/signal_generate/filter &&\n\
         echo 1 >events/signal/signal_generate/enable &&\n\
         echo '{EXECS}' >events/sched/sched_process_exec/filter &&\n\
         echo 1 >events/sched/sched_process_exec/enable"
    );
    let done = cluster.node_exec(&command)?;
    ensure!(done.status == 0, "tracing on the node: {}", done.text);
    Ok(())
}

/// The agent's shutdown that ended at `end_unix_s` and took `told_s`, beside the kernel's; it took
/// `at_least_s`, by what the workload did meanwhile.
pub(super) fn shutdown(
    cluster: &Cluster,
    end_unix_s: f64,
    told_s: f64,
    at_least_s: f64,
) -> Result<Figure> {
    let all = Trace::parse(&read(cluster)?)?.shutdowns;
    let kernel = nearest(&all, end_unix_s, told_s).with_context(|| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        format!("none ended at {end_unix_s:.4} in the kernel's trace, only {}", all.join("; "))
    })?;
    ensure!(kernel.length_s >= at_least_s, "the trace has {kernel}, the workload {at_least_s}");
    Figure::within("shutdown, s", told_s, kernel.length_s, ALLOWED_S)
}

/// When the workload was executed, in seconds of Unix time.
pub(crate) fn execs(cluster: &Cluster) -> Result<Vec<f64>> {
    Ok(Trace::parse(&read(cluster)?)?.execs_unix_s)
}

fn read(cluster: &Cluster) -> Result<String> {
    // Whatever the writer waits after it has read the clock makes the trace later, so the earliest is
    // the best.
    let command = format!(
        "cd {TRACE} && for i in 1 2 3 4 5; do date +'wall %s.%N' >trace_marker; done && cat trace"
    );
    let trace = cluster.node_exec(&command)?;
    ensure!(trace.status == 0, "the node's trace: {}", trace.text);
    Ok(trace.text)
}

/// Of those that ended then, the one that is most like it: others may have ended in the same moment.
fn nearest(all: &[Shutdown], end_unix_s: f64, length_s: f64) -> Option<Shutdown> {
    let far = |it: &Shutdown| (it.length_s - length_s).abs();
    all.iter()
        .filter(|it| (it.end_unix_s - end_unix_s).abs() <= SAME_END_S)
        .min_by(|a, b| far(a).total_cmp(&far(b)))
        .copied()
}

/// What a trace tells.
struct Trace {
    execs_unix_s: Vec<f64>,
    shutdowns: Vec<Shutdown>,
}

impl Trace {
    fn parse(trace: &str) -> Result<Self> {
        let mut execs = Vec::new();
        let mut stops = BTreeMap::new();
        let mut ends = Vec::new();
        let mut walls = Vec::new();
        for line in trace.lines().filter(|line| !line.starts_with('#')) {
            let Some(event) = Event::parse(line) else { continue };
            if let Some(wall) = event.text.strip_prefix("tracing_mark_write: wall ") {
                let wall: f64 = wall.trim().parse().with_context(|| format!("time in {line:?}"))?;
                walls.push(wall - event.boot_s);
            } else if event.text.starts_with("sched_process_exec: ") {
                execs.push(event.boot_s);
            } else if event.has(END) {
                ends.push((event.process.to_owned(), event.boot_s));
            } else if STOPS.iter().any(|stop| event.has(stop))
                && let Some(target) = event.field("pid=")
            {
                stops.entry(target.to_owned()).or_insert(event.boot_s);
            }
        }
        let wall =
            walls.into_iter().max_by(f64::total_cmp).context("no wall clock in the trace")?;
        let shutdown = |(pid, end): (String, f64)| {
            let length_s = end - stops.get(&pid)?;
            Some(Shutdown { end_unix_s: wall + end, length_s })
        };
        let shutdowns = ends.into_iter().filter_map(shutdown).filter(|it| it.length_s >= 0.0);
        let shutdowns = shutdowns.collect();
        Ok(Self { execs_unix_s: execs.into_iter().map(|it| wall + it).collect(), shutdowns })
    }
}

/// A line of a trace: `runc-72 ( 71) [000] d..2. 12.345678: signal_generate: sig=15 … comm=workload
/// pid=70 …`.
struct Event<'a> {
    /// Process in whose context it happened, whichever of its threads that was: the last to go tells
    /// the parent.
    process: &'a str,
    boot_s: f64,
    text: &'a str,
}

impl<'a> Event<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // The name of a process may have any bytes.
        let (task, rest) = line.rsplit_once(") [")?;
        let process = task.rsplit('(').next()?.trim();
        let (head, text) = rest.split_once(": ")?;
        let boot_s = head.rsplit(' ').next()?.parse().ok()?;
        Some(Self { process, boot_s, text })
    }

    fn field(&self, name: &str) -> Option<&'a str> {
        self.text.split(' ').find_map(|field| field.strip_prefix(name))
    }

    fn has(&self, field: &str) -> bool {
        self.text.split(' ').any(|it| it == field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
#           TASK-PID       TGID   CPU#  |||||  TIMESTAMP  FUNCTION
        workload-70      (     70) [001] .....    90.500000: sched_process_exec: filename=/workload pid=70 old_pid=70
            runc-900     (    899) [000] d..2.   100.000000: signal_generate: sig=15 errno=0 code=0 comm=workload pid=70 grp=1 res=0
            runc-901     (    901) [001] d..2.   100.100000: signal_generate: sig=3 errno=0 code=0 comm=workload pid=71 grp=1 res=0
            runc-902     (    902) [001] d..2.   100.200000: signal_generate: sig=15 errno=0 code=0 comm=workload pid=70 grp=1 res=2
        workload-75      (     70) [000] d..2.   100.312500: signal_generate: sig=17 errno=0 code=1 comm=containerd-shim pid=60 grp=1 res=0
        workload-71      (     71) [000] d..2.   100.650000: signal_generate: sig=17 errno=0 code=1 comm=containerd-shim pid=61 grp=1 res=0
            runc-901     (-------) [000] d..2.   100.700000: signal_generate: sig=17 errno=0 code=1 comm=containerd-shim pid=61 grp=1 res=0
            date-950     (    950) [000] .....   200.070000: tracing_mark_write: wall 1000200.000000000
            date-951     (    951) [000] .....   200.130000: tracing_mark_write: wall 1000200.125000000
";

    #[test]
    fn a_start_is_an_exec_and_a_shutdown_is_from_the_first_stop_signal_to_the_shims_sigchld() {
        let Trace { execs_unix_s, shutdowns: all } = Trace::parse(TRACE).unwrap();
        assert!((execs_unix_s[0] - 1_000_090.495).abs() < 1e-4 && execs_unix_s.len() == 1);
        let ends: Vec<_> =
            all.iter().map(|it| (it.end_unix_s * 1e4).round() / 1e4 - 1_000_100.0).collect();
        let lengths: Vec<_> = all.iter().map(|it| (it.length_s * 1e4).round() / 1e4).collect();
        let wanted = [0.3075, 0.645];
        assert!(ends.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-4), "{ends:?}");
        assert_eq!(lengths, [0.3125, 0.55]);
        assert!(Trace::parse("").is_err(), "a trace without the wall clock says nothing");
    }

    #[test]
    fn the_end_decides_which_one_it_is() {
        let at = |end_unix_s, length_s| Shutdown { end_unix_s, length_s };
        let all = [at(10.0, 0.3), at(10.02, 0.9), at(11.0, 0.31)];
        assert_eq!(nearest(&all, 10.01, 0.8), Some(at(10.02, 0.9)));
        assert_eq!(nearest(&all, 10.97, 0.3), Some(at(11.0, 0.31)));
        assert_eq!(nearest(&all, 10.5, 0.3), None);
    }
}
