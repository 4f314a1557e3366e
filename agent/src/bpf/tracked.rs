//! Map `TRACKED` of the kernel side: the cgroups whose events are reported, and what the kernel side
//! knows of each.

use agent_common::map::{
    self, PLACE_CONTAINER, PLACE_HOLDER, PLACE_NESTED, PLACE_UNIT, PLACE_UNKNOWN, Tracked,
};
use anyhow::Context as _;
use aya::maps::{HashMap, MapData};

use super::plain::Plain;
use crate::cgroup::CgroupId;
use crate::kernel::capabilities::raised;

/// Flag: insert only if the key is new (include/uapi/linux/bpf.h).
const BPF_NOEXIST: u64 = 1;
/// Flag: update only if the key exists; a removed cgroup must not come back.
const BPF_EXIST: u64 = 2;

/// Limit of the tracked cgroups nested in one container.
pub const NESTED_MAX: usize = map::NESTED_MAX as usize;

/// Place of a tracked cgroup: whose its tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// One that belongs to no container, or whose place is not known. Its tasks are watched.
    Unknown,
    /// A holder of other cgroups. Its own tasks belong to no container.
    Holder,
    /// A container's own cgroup.
    Container,
    /// The cgroup of a service of the host, which may be the container runtime.
    Unit,
    /// Nested in the cgroup of this container or service.
    Nested(CgroupId),
}

impl Place {
    const fn code(self) -> u32 {
        match self {
            Self::Unknown => PLACE_UNKNOWN,
            Self::Holder => PLACE_HOLDER,
            Self::Container => PLACE_CONTAINER,
            Self::Unit => PLACE_UNIT,
            Self::Nested(_) => PLACE_NESTED,
        }
    }

    const fn container_id(self) -> u64 {
        match self {
            Self::Nested(container) => container.0,
            Self::Unknown | Self::Holder | Self::Container | Self::Unit => 0,
        }
    }
}

/// The map, as the agent changes it. The kernel side changes it too: it adds what is made below a
/// tracked cgroup, and counts in the values.
pub struct TrackedMap(HashMap<MapData, u64, Plain<Tracked>>);

impl TrackedMap {
    pub(super) const fn new(map: HashMap<MapData, u64, Plain<Tracked>>) -> Self {
        Self(map)
    }

    /// Tracks many cgroups in their places, parents before what is nested in them. What is known of
    /// one that is tracked already stays. Stops at the first error.
    ///
    /// # Errors
    /// If the map is full.
    pub fn track_all(
        &mut self,
        cgroups: impl Iterator<Item = (CgroupId, Place)>,
    ) -> anyhow::Result<()> {
        raised(|| {
            for (cgroup, place) in cgroups {
                self.insert(cgroup, place)?;
            }
            Ok(())
        })
    }

    /// Tracks a cgroup, as [`Self::track_all`].
    ///
    /// # Errors
    /// If the map is full.
    pub fn track(&mut self, cgroup: CgroupId, place: Place) -> anyhow::Result<()> {
        raised(|| self.insert(cgroup, place))
    }

    fn insert(&mut self, cgroup: CgroupId, place: Place) -> anyhow::Result<()> {
        let (code, container_id) = (place.code(), place.container_id());
        let new = Tracked { place: code, container_id, ..Tracked::default() };
        match self.0.insert(cgroup.0, Plain(new), BPF_NOEXIST) {
            Ok(()) => {
                self.count_nested(place, 1);
                Ok(())
            }
            Err(error) => match self.0.get(&cgroup.0, 0) {
                Ok(_) => {
                    self.set_place(cgroup, place);
                    Ok(())
                }
                Err(_) => Err(error).context("the kernel refused to track a cgroup"),
            },
        }
    }

    /// Sets the place of a cgroup that is tracked; one that is not stays so.
    pub fn place(&mut self, cgroup: CgroupId, place: Place) {
        raised(|| self.set_place(cgroup, place));
    }

    fn set_place(&mut self, cgroup: CgroupId, place: Place) {
        let (code, container_id) = (place.code(), place.container_id());
        let mut before = Tracked::default();
        let changed = self.change(cgroup, |tracked| {
            before = *tracked;
            tracked.place = code;
            tracked.container_id = container_id;
        });
        if changed && (before.place, before.container_id) != (code, container_id) {
            if before.place == PLACE_NESTED {
                self.count_nested(Place::Nested(CgroupId(before.container_id)), -1);
            }
            self.count_nested(place, 1);
        }
    }

    /// Counts a cgroup to the container that it is nested in.
    fn count_nested(&mut self, place: Place, more: i32) {
        if let Place::Nested(container) = place {
            self.change(container, |tracked| {
                tracked.nested = tracked.nested.saturating_add_signed(more);
            });
        }
    }

    /// Sets the process of a container's init.
    ///
    /// # Errors
    /// If the cgroup is no longer tracked.
    pub fn set_init(&mut self, container: CgroupId, tgid: u32) -> anyhow::Result<()> {
        let changed = raised(|| self.change(container, |tracked| tracked.init_tgid = tgid));
        anyhow::ensure!(changed, "the cgroup is no longer tracked");
        Ok(())
    }

    /// Changes the value of a tracked cgroup, if that is still there and differs. What the kernel side
    /// counts in that very moment may be lost.
    fn change(&mut self, cgroup: CgroupId, change: impl FnOnce(&mut Tracked)) -> bool {
        let Ok(Plain(before)) = self.0.get(&cgroup.0, 0) else { return false };
        let mut value = before;
        change(&mut value);
        value == before || self.0.insert(cgroup.0, Plain(value), BPF_EXIST).is_ok()
    }

    /// Untracks a removed cgroup.
    pub fn untrack(&mut self, cgroup: CgroupId) {
        // It may be gone already.
        let _ = raised(|| self.0.remove(&cgroup.0));
    }

    /// The tracked cgroups.
    #[must_use]
    pub fn ids(&self) -> Vec<CgroupId> {
        raised(|| self.0.keys().map_while(Result::ok).map(CgroupId).collect())
    }

    /// Untracks the cgroups that are not there, and counts again what is nested in each container.
    /// `before` is what was tracked before a walk, which found those that are `there`.
    pub fn reconcile(&mut self, before: &[CgroupId], there: impl Fn(CgroupId) -> bool) {
        raised(|| {
            for ghost in before.iter().filter(|id| !there(**id)) {
                let _ = self.0.remove(&ghost.0);
            }
            let mut nested = std::collections::HashMap::<u64, u32>::new();
            let mut containers = Vec::new();
            for (id, Plain(tracked)) in self.0.iter().map_while(Result::ok) {
                match tracked.place {
                    PLACE_NESTED => *nested.entry(tracked.container_id).or_default() += 1,
                    PLACE_CONTAINER | PLACE_UNIT => containers.push(id),
                    _ => {}
                }
            }
            for id in containers {
                let count = nested.get(&id).copied().unwrap_or(0);
                self.change(CgroupId(id), |tracked| tracked.nested = count);
            }
        });
    }
}
