//! Stops that began before the agent came: what is not concluded from them. Pure.

use super::fact::{Cause, Termination};
use super::grace::OVERDUE_NS;
use super::subject::Birth;
use super::trigger::StopRequest;
use crate::clock::{SECOND_NS, WallOffset};
use crate::event::ExitStatus;
use crate::kube::known_pod::KnownPod;
use crate::kube::pod::Container;
use crate::signal::SIGKILL;

/// Longest stop where no source tells the grace period: systemd's default is 90 s, Docker's 10 s.
const LONGEST_STOP_NS: u64 = 300_000_000_000;
/// Exit code of a program that ends because of SIGTERM, and says so as a shell does.
const AFTER_SIGTERM: u8 = 128 + 15;

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
    if can_be_under_way(end, found_boot_ns, pod, wall) {
        Cause::Unknown
    } else {
        Cause::KilledWithoutStopSignal
    }
}

/// The stop request of a container of a Pod for which no stop signal was seen: one from before the
/// agent came can have led to its end. What is stopped exits with 0, or with the number of SIGTERM.
pub(super) fn stop_request(
    end: &Termination,
    birth: Birth,
    pod: Option<(&KnownPod, Option<&Container>)>,
    wall: WallOffset,
) -> StopRequest {
    let Birth::BeforeAgent { found_boot_ns } = birth else { return StopRequest::None };
    if end.cause == Cause::Oom || !can_be_under_way(end, found_boot_ns, pod, wall) {
        return StopRequest::None;
    }
    let likely = matches!(end.status, Some(ExitStatus::Code(0 | AFTER_SIGTERM)) | None);
    StopRequest::Unseen { likely }
}

/// Whether a stop from before the container was found can have lasted until its end.
fn can_be_under_way(
    end: &Termination,
    found_boot_ns: u64,
    pod: Option<(&KnownPod, Option<&Container>)>,
    wall: WallOffset,
) -> bool {
    let watched_ns = end.end_boot_ns.saturating_sub(found_boot_ns);
    let longest_ns = pod.map_or(Some(LONGEST_STOP_NS), |(known, container)| {
        longest_stop_ns(known, container, found_boot_ns, wall)
    });
    longest_ns.is_none_or(|longest_ns| watched_ns <= longest_ns)
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
