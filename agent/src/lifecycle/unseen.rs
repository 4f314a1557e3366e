//! Stops that began before the agent came: what is not concluded from them. Pure.

use super::fact::{Cause, Termination};
use super::grace::OVERDUE_NS;
use super::request::SIGKILL;
use super::subject::Birth;
use crate::clock::{SECOND_NS, WallOffset};
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::Container;

/// Longest stop where no source tells the grace period: systemd's default is 90 s, Docker's 10 s.
const LONGEST_STOP_NS: u64 = 300_000_000_000;

/// The cause of an end, in view of the container's Pod, if it is known.
///
/// The kernel half does not know whether a container that is older than the agent had its stop
/// signal before it was killed, and says [`Cause::Unknown`]. If it was watched for longer than any
/// stop takes, there was none; unless its Pod's deletion is older than the agent.
pub(super) fn cause(
    end: &Termination,
    birth: Birth,
    pod: Option<(&KnownPod, Option<&Container>)>,
    wall: WallOffset,
) -> Cause {
    let killed = end.fatal.is_some_and(|fatal| fatal.signal == SIGKILL);
    let Birth::BeforeAgent { found_boot_ns } = birth else { return end.cause };
    if end.cause != Cause::Unknown || !killed {
        return end.cause;
    }
    let watched_ns = end.end_boot_ns.saturating_sub(found_boot_ns);
    let longest_ns = pod.map_or(Some(LONGEST_STOP_NS), |(known, container)| {
        longest_stop_ns(known, container, found_boot_ns, wall)
    });
    match longest_ns {
        Some(longest_ns) if watched_ns > longest_ns => Cause::KilledWithoutStopSignal,
        _ => Cause::Unknown,
    }
}

/// The longest stop of a container that can have been under way when it was found; `None` if its Pod
/// was being deleted by then.
fn longest_stop_ns(
    known: &KnownPod,
    container: Option<&Container>,
    found_boot_ns: u64,
    wall: WallOffset,
) -> Option<u64> {
    let deletion = known.deletion.filter(|_| !known.pod.is_mirror());
    let older = deletion.is_some_and(|deletion| match deletion.requested_boot_ns(wall) {
        Some(requested) => requested <= found_boot_ns.saturating_add(SECOND_NS),
        // The clocks disagree: the first report has what is older than it.
        None => deletion.noticed.after_boot_ns.is_none(),
    });
    if older {
        return None;
    }
    Some(known.pod.longest_grace_s(container).map_or(LONGEST_STOP_NS, |longest_s| {
        longest_s.saturating_mul(SECOND_NS).saturating_add(OVERDUE_NS)
    }))
}
