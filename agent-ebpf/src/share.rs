//! Shares: how much one container may make the programs report and track, so that it cannot blind
//! the agent for the others.

use agent_common::map::{
    PLACE_CONTAINER, PLACE_NESTED, PLACE_UNIT, SHARE_REFILL_NS, SHARE_RESERVE, SHARE_TOKENS,
    Tracked,
};
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;

use crate::maps::TRACKED;

/// Importance of a record that is charged to a container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Importance {
    /// A record that takes from what is above the reserve.
    Ordinary,
    /// A record that takes from the reserve as well.
    High,
}

/// Id of the container that a tracked cgroup is, or is nested in. The cgroup's own id where its
/// place is not known.
///
/// # Safety
/// `tracked` is the state of the cgroup `id`, from the map.
#[inline(always)]
pub(crate) unsafe fn container_of(tracked: *const Tracked, id: u64) -> u64 {
    // SAFETY: the caller's word.
    unsafe { if (*tracked).place == PLACE_NESTED { (*tracked).container_id } else { id } }
}

/// Whether another cgroup is in the same container as a tracked one.
///
/// # Safety
/// `tracked` is the state of the cgroup `id`, from the map.
#[inline(always)]
pub(crate) unsafe fn is_inside(tracked: *const Tracked, id: u64, other_id: u64) -> bool {
    if other_id == id {
        return true;
    }
    let Some(other) = TRACKED.get_ptr(other_id) else { return false };
    // SAFETY: the caller's word, and the map gave the pointer.
    unsafe { container_of(other, other_id) == container_of(tracked, id) }
}

/// State of the container that a cgroup is nested in, or is; `None` where there is no share: its
/// place is not known, or it belongs to no container.
///
/// # Safety
/// `tracked` is from the map.
#[inline(always)]
pub(crate) unsafe fn owner(tracked: *mut Tracked) -> Option<*mut Tracked> {
    // SAFETY: the caller's word.
    unsafe {
        match (*tracked).place {
            PLACE_CONTAINER | PLACE_UNIT => Some(tracked),
            PLACE_NESTED => TRACKED.get_ptr_mut((*tracked).container_id),
            _ => None,
        }
    }
}

/// Process id of the init of the container that a cgroup is, or is nested in; 0 while it is not
/// known.
///
/// # Safety
/// `tracked` is from the map.
#[inline(always)]
pub(crate) unsafe fn init_tgid(tracked: *mut Tracked) -> u32 {
    // SAFETY: the caller's word, and the map gave the other pointer.
    unsafe { (*owner(tracked).unwrap_or(tracked)).init_tgid }
}

/// Takes a token from a container's share. Two CPUs may both take the last one.
///
/// # Safety
/// `container` is from the map.
#[inline(always)]
pub(crate) unsafe fn take(container: *mut Tracked, importance: Importance) -> bool {
    // SAFETY: the caller's word; the fields are integers, and a lost update costs a token.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        let since = now.wrapping_sub((*container).refilled_boot_ns);
        let mut tokens = (*container).tokens;
        if since >= SHARE_REFILL_NS {
            let gained = since / SHARE_REFILL_NS;
            let room = SHARE_TOKENS.wrapping_sub(tokens);
            if gained >= u64::from(room) {
                tokens = SHARE_TOKENS;
                (*container).refilled_boot_ns = now;
            } else {
                tokens = tokens.wrapping_add(gained as u32);
                (*container).refilled_boot_ns =
                    now.wrapping_sub(since.wrapping_sub(gained.wrapping_mul(SHARE_REFILL_NS)));
            }
        }
        let kept = if importance == Importance::High { 0 } else { SHARE_RESERVE };
        let has = tokens > kept;
        (*container).tokens = if has { tokens.wrapping_sub(1) } else { tokens };
        has
    }
}
