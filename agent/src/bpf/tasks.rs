//! Task iterator runs: the processes that are in tracked cgroups already, or may be the kubelet.
//!
//! The kernel's list of processes is walked in stretches, since the length of a program's run is
//! limited. If the process at the end of a stretch has gone before the next stretch, the walk
//! starts again.

use std::io::Read as _;

use agent_common::event::TaskRecord;
use agent_common::map::{
    TaskWalk, WALK_DONE, WALK_LOST, WALK_MORE, WALK_NO_BEGIN, WALK_NONE, WALK_STRETCH,
};
use anyhow::{Context as _, bail};
use aya::maps::{Array, MapData};
use aya::programs::Iter;

use super::decode::{self, IteratedTask};
use super::plain::Plain;

/// Map in which the kernel side keeps the position of the walk.
pub(super) type State = Array<MapData, Plain<TaskWalk>>;

/// Limit of walks: one that lost its position is started again.
const ATTEMPTS: u32 = 8;
/// Limit of stretches, enough for all possible processes (`PID_MAX_LIMIT`,
/// include/linux/threads.h).
const STRETCHES_MAX: u32 = (4 << 20) / WALK_STRETCH;

/// The processes that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those in tracked cgroups whose parents are outside.
    Inits,
    /// Those that may be the kubelet.
    Kubelet,
}

fn begin(state: &mut State, wanted: Wanted) -> anyhow::Result<()> {
    let kubelet_wanted = u32::from(wanted == Wanted::Kubelet);
    let walk = TaskWalk { kubelet_wanted, ..TaskWalk::default() };
    state.set(0, Plain(walk), 0).context("starting the walk")
}

/// Runs `running_tasks` until it has seen all processes of the node.
///
/// # Errors
/// If the program is not loaded or cannot be read, or the list cannot be walked to its end.
pub(super) fn walk(
    program: &mut Iter,
    state: &mut State,
    wanted: Wanted,
) -> anyhow::Result<Vec<IteratedTask>> {
    stretches(|first| {
        if first {
            begin(state, wanted)?;
        }
        let tasks = run(program)?;
        Ok((state.get(&0, 0).context("reading the outcome of the walk")?.0.outcome, tasks))
    })
}

/// Runs `visible_tasks`, which sees the processes of this one's PID namespace.
///
/// # Errors
/// If the program is not loaded or cannot be read.
pub(super) fn visible(
    program: &mut Iter,
    state: &mut State,
    wanted: Wanted,
) -> anyhow::Result<Vec<IteratedTask>> {
    begin(state, wanted)?;
    run(program)
}

/// Runs an iterator's program once, and reads its records.
fn run(program: &mut Iter) -> anyhow::Result<Vec<IteratedTask>> {
    let link = program.attach().context("attaching the task iterator")?;
    let mut bytes = Vec::new();
    program.take_link(link)?.into_file()?.read_to_end(&mut bytes)?;
    let records = bytes.chunks_exact(size_of::<TaskRecord>());
    records.map(|record| decode::task(record).map_err(Into::into)).collect()
}

/// Processes of all stretches together. `stretch` is called with `true` for the first of a walk.
/// One process may be listed twice.
fn stretches<T>(
    mut stretch: impl FnMut(bool) -> anyhow::Result<(u32, Vec<T>)>,
) -> anyhow::Result<Vec<T>> {
    'attempts: for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        for number in 0..STRETCHES_MAX {
            let (outcome, tasks) = stretch(number == 0)?;
            found.extend(tasks);
            match outcome {
                WALK_DONE => return Ok(found),
                WALK_MORE => {}
                WALK_LOST => continue 'attempts,
                WALK_NONE => bail!("the task iterator did not come to this process"),
                WALK_NO_BEGIN => bail!("the kernel's list of processes was not found"),
                other => bail!("the task iterator reported an unknown outcome {other}"),
            }
        }
        bail!("the kernel's list of processes has no end");
    }
    bail!("processes come and go too fast: {ATTEMPTS} walks over them lost their position")
}

/// Self-check of the resolved offsets: compares the values read at them with those of the kernel's
/// helper functions and of `/proc`, for this process.
///
/// # Errors
/// If they differ: no value of the programs can be trusted then.
pub fn self_check(tasks: &[IteratedTask]) -> anyhow::Result<()> {
    let own = tasks
        .iter()
        .find(|task| task.is_reader)
        .context("self-check: the task iterator did not report this process")?;
    let task = own.running.task;
    if task.key.tgid != own.helper_tgid {
        bail!("self-check: tgid {} read, {} expected", task.key.tgid, own.helper_tgid);
    }
    if task.cgroup != own.helper_cgroup {
        bail!("self-check: cgroup {} read, {} expected", task.cgroup, own.helper_cgroup);
    }
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap_or_default();
    if !comm.is_empty() && task.comm.bytes() != comm.trim_end_matches('\n').as_bytes() {
        bail!("self-check: comm {:?} read, {:?} expected", task.comm, comm.trim_end());
    }
    // /proc has the start time in ticks of a hundredth of a second, rounded down.
    let stat = procfs::process::Process::myself()?.stat()?;
    let ticks = procfs::ticks_per_second();
    let read = task.key.start_boot_ns / (1_000_000_000 / ticks.max(1));
    if read.abs_diff(stat.starttime) > 1 {
        bail!("self-check: start {read} ticks read, {} expected", stat.starttime);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Walk of a fake kernel side that reports these outcomes one after the other, each with a
    /// process of that number.
    fn walked(outcomes: &[u32]) -> (anyhow::Result<Vec<usize>>, Vec<bool>) {
        let mut begun = Vec::new();
        let found = stretches(|first| {
            let number = begun.len();
            begun.push(first);
            Ok((outcomes.get(number).copied().unwrap_or(WALK_MORE), vec![number]))
        });
        (found, begun)
    }

    #[test]
    fn stretches_are_put_together() {
        let (found, begun) = walked(&[WALK_MORE, WALK_MORE, WALK_DONE]);
        assert_eq!(found.unwrap(), [0, 1, 2]);
        assert_eq!(begun, [true, false, false]);
        assert_eq!(walked(&[WALK_DONE]).0.unwrap(), [0]);
    }

    #[test]
    fn a_walk_that_lost_its_position_starts_again() {
        let (found, begun) = walked(&[WALK_MORE, WALK_LOST, WALK_MORE, WALK_DONE]);
        assert_eq!(found.unwrap(), [2, 3]);
        assert_eq!(begun, [true, false, true, false]);
        let (found, begun) = walked(&[WALK_LOST; 20]);
        assert!(found.unwrap_err().to_string().contains("too fast"));
        assert_eq!(begun, [true; ATTEMPTS as usize]);
    }

    #[test]
    fn failures_are_reported() {
        for (outcome, word) in [(WALK_NONE, "come"), (WALK_NO_BEGIN, "found"), (9, "unknown")] {
            let error = walked(&[outcome]).0.unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(walked(&[]).0.unwrap_err().to_string().contains("no end"));
    }
}
