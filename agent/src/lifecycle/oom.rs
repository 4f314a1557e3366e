//! OOMs: which records belong to one OOM, whose limit it was about, and who died of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::fact::{OomFact, OomScope, OomTrigger, OomVictim};
use super::settle::SETTLE_NS;
use crate::cgroup::CgroupId;
use crate::event::{Charged, Comm, Oom, OomLevel, Resident, TaskKey};

/// Limit of cgroups whose counters are kept; those of further cgroups are assumed to have been 0.
const COUNTERS_MAX: usize = 65_536;
/// Limit of a container's OOMs that wait to be settled; further ones are counted with the last.
const OPEN_MAX: usize = 16;
/// Limit of an OOM's victims that are kept one by one; further ones are only counted.
const VICTIMS_MAX: usize = 256;

/// Highest values seen of each cgroup's own OOM counters.
///
/// A new cgroup's counters start at 0, and an unknown cgroup's are assumed to: an earlier rise that
/// was not seen is less likely than a rise in the present OOM.
#[derive(Debug, Default)]
pub(super) struct Counters {
    counts: HashMap<CgroupId, Count>,
    dropped: u64,
    last: Option<Last>,
}

/// The most recent OOM. Its further victims may be in another container, and do not see the Pod's
/// counter rise again.
#[derive(Debug)]
struct Last {
    current: (TaskKey, u32),
    time_boot_ns: u64,
    risen: Vec<CgroupId>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    oom: u64,
    kill: u64,
}

impl Counters {
    /// Takes in a cgroup's counters and returns the values known before.
    fn raise(&mut self, level: OomLevel) -> Count {
        if self.counts.len() >= COUNTERS_MAX && !self.counts.contains_key(&level.cgroup) {
            self.dropped = self.dropped.saturating_add(1);
            return Count::default();
        }
        let known = self.counts.entry(level.cgroup).or_default();
        let before = *known;
        known.oom = before.oom.max(level.oom);
        known.kill = before.kill.max(level.oom_kill);
        before
    }

    pub(super) fn seed(&mut self, levels: &[OomLevel]) {
        for level in levels {
            self.raise(*level);
        }
    }

    /// Total of counters that were not kept for want of room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn forget(&mut self, cgroup: CgroupId) {
        self.counts.remove(&cgroup);
    }

    /// Records which levels rose in a record, and returns them with those that rose before in the
    /// same OOM.
    fn risen(
        &mut self,
        time_boot_ns: u64,
        current: (TaskKey, u32),
        mut risen: Vec<CgroupId>,
    ) -> Vec<CgroupId> {
        if let Some(last) = self.last.take()
            && last.current == current
            && last.time_boot_ns.abs_diff(time_boot_ns) <= SETTLE_NS
        {
            risen.extend(last.risen);
            risen.sort_unstable();
            risen.dedup();
        }
        self.last = Some(Last { current, time_boot_ns, risen: risen.clone() });
        risen
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }
}

/// A victim, as the container knows it at its death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Victim {
    pub(super) key: TaskKey,
    /// Whether it is known already to belong to an exec session.
    pub(super) exec: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    time_boot_ns: u64,
    victim: Victim,
    comm: Comm,
    resident: Option<Resident>,
    /// The memory cgroup that counts the kill, with its count; `None` where it is not readable.
    kills: Option<(CgroupId, u64)>,
}

/// A level whose own limit led to an OOM.
#[derive(Clone, Copy, Debug)]
struct Hit {
    scope: OomScope,
    charged: Option<Charged>,
}

/// Records of one OOM, as far as they are about one container.
#[derive(Debug)]
struct Open {
    current: (TaskKey, u32),
    last_boot_ns: u64,
    /// The allocation that led to it, by its first record.
    triggered_by: (u64, OomTrigger),
    /// The closest level whose own limit led to it.
    hit: Option<Hit>,
    /// Whether the counters of some record were read.
    counted: bool,
    /// Kills that each cgroup had counted before.
    before: BTreeMap<CgroupId, u64>,
    marks: Vec<Mark>,
    more: u32,
}

/// A settled OOM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// Time of the first kill.
    pub(super) time_boot_ns: u64,
    pub(super) fact: OomFact,
}

/// OOMs of one container that wait for further records.
#[derive(Debug, Default)]
pub(super) struct Ooms(VecDeque<Open>);

impl Ooms {
    /// Takes in one record. `triggered_by` is its allocation, and `scope_of` gives the scope of a
    /// level.
    pub(super) fn take(
        &mut self,
        time_boot_ns: u64,
        oom: &Oom,
        (victim, triggered_by): (Victim, OomTrigger),
        counters: &mut Counters,
        scope_of: impl Fn(CgroupId) -> OomScope,
    ) {
        let current = (oom.current.key, oom.current.tid);
        let mut risen = Vec::new();
        let mut before = Vec::with_capacity(oom.levels.len());
        for level in &oom.levels {
            let known = counters.raise(*level);
            before.push((level.cgroup, known.kill));
            if level.oom > known.oom {
                risen.push(level.cgroup);
            }
        }
        let rises = !risen.is_empty();
        let risen = counters.risen(time_boot_ns, current, risen);
        let hits = oom
            .levels
            .iter()
            .filter(|level| risen.contains(&level.cgroup))
            .map(|level| Hit { scope: scope_of(level.cgroup), charged: level.charged });
        // Of several with one scope the first, which is the closest.
        let hit = hits.min_by_key(|hit| hit.scope);
        let full = self.0.len() >= OPEN_MAX;
        let same = self.0.iter().rposition(|open| open.is_same(time_boot_ns, current, rises));
        let at = same.or_else(|| full.then(|| self.0.len().saturating_sub(1)));
        let open = match at.and_then(|at| self.0.get_mut(at)) {
            Some(open) => open,
            None => {
                self.0.push_back(Open {
                    current,
                    last_boot_ns: time_boot_ns,
                    triggered_by: (time_boot_ns, triggered_by.clone()),
                    hit: None,
                    counted: false,
                    before: BTreeMap::new(),
                    marks: Vec::new(),
                    more: 0,
                });
                let Some(open) = self.0.back_mut() else { return };
                open
            }
        };
        open.last_boot_ns = open.last_boot_ns.max(time_boot_ns);
        if time_boot_ns < open.triggered_by.0 {
            open.triggered_by = (time_boot_ns, triggered_by);
        }
        open.counted |= !oom.levels.is_empty();
        open.hit = open.hit.into_iter().chain(hit).min_by_key(|hit| hit.scope);
        for (cgroup, kills) in before {
            open.before.entry(cgroup).or_insert(kills);
        }
        if open.marks.len() < VICTIMS_MAX {
            let kills = oom.levels.first().map(|level| (level.cgroup, level.oom_kill));
            let (comm, resident) = (oom.victim.comm, oom.resident);
            open.marks.push(Mark { time_boot_ns, victim, comm, resident, kills });
        } else {
            open.more = open.more.saturating_add(1);
        }
    }

    /// Deadline at which the first of them settles.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.0.iter().map(Open::deadline).min()
    }

    /// Removes and returns what is settled at `now_boot_ns`, or with `None` everything, in the
    /// order of its begin. `role` gives the role of a victim.
    pub(super) fn settle(
        &mut self,
        now_boot_ns: Option<u64>,
        role: impl Fn(Victim) -> OomVictim,
    ) -> Vec<Settled> {
        let mut settled = Vec::new();
        self.0.retain(|open| {
            let due = now_boot_ns.is_none_or(|now| open.deadline() <= now);
            if due {
                settled.extend(open.conclude(&role));
            }
            !due
        });
        settled.sort_by_key(|settled| settled.time_boot_ns);
        settled
    }
}

impl Open {
    fn deadline(&self) -> u64 {
        self.last_boot_ns.saturating_add(SETTLE_NS)
    }

    /// Whether a record belongs to this OOM.
    ///
    /// One thread works off an OOM in one go (`oom_kill_process()` and the loop over the group,
    /// `oom_kill_memcg_member()`), while other threads of the dying processes may reach the same
    /// limit and raise its counter.
    fn is_same(&self, time_boot_ns: u64, current: (TaskKey, u32), rises: bool) -> bool {
        let close = self.last_boot_ns.abs_diff(time_boot_ns) <= SETTLE_NS;
        (self.current == current && close) || (self.hit.is_some() && !rises)
    }

    /// The fact; `None` if no process was killed: processes that are dying are marked too, so that
    /// they may use the reserves.
    fn conclude(&self, role: impl Fn(Victim) -> OomVictim) -> Option<Settled> {
        let kills = self.kills();
        let first = kills.iter().map(|mark| mark.time_boot_ns).min()?;
        // Each role is asked for: who asks remembers that init was among them.
        let roles = kills.iter().map(|mark| (role(mark.victim), mark));
        let (victim, mark) = roles.min_by_key(|(role, mark)| (*role, mark.time_boot_ns))?;
        let charged = self.hit.and_then(|hit| hit.charged);
        let limit_bytes = charged.and_then(|charged| charged.limit_bytes);
        let fact = OomFact {
            scope: self.counted.then(|| self.hit.map_or(OomScope::Node, |hit| hit.scope)),
            limit_bytes,
            usage_bytes: charged.filter(|_| limit_bytes.is_some()).map(|it| it.usage_bytes),
            victim,
            comm: mark.comm,
            resident: mark.resident,
            killed: u32::try_from(kills.len()).unwrap_or(u32::MAX).saturating_add(self.more),
            triggered_by: self.triggered_by.1.clone(),
        };
        Some(Settled { time_boot_ns: first, fact })
    }

    /// Records of kills: those that raised their cgroup's count.
    ///
    /// The count is raised before the mark (`__oom_kill_process()`), so in the order of the count
    /// each kill's is higher than the one before. If the whole rise is as large as the number of
    /// victims, all of them are kills, whatever the order.
    fn kills(&self) -> Vec<Mark> {
        let mut kills = Vec::new();
        let mut counted: BTreeMap<CgroupId, Vec<(u64, Mark)>> = BTreeMap::new();
        let mut uncounted = BTreeSet::new();
        for mark in &self.marks {
            match mark.kills {
                Some((cgroup, count)) => counted.entry(cgroup).or_default().push((count, *mark)),
                None if uncounted.insert(mark.victim.key) => kills.push(*mark),
                None => {}
            }
        }
        for (cgroup, mut marks) in counted {
            marks.sort_by_key(|(count, mark)| (*count, mark.time_boot_ns, mark.victim.key));
            let mut highest = self.before.get(&cgroup).copied().unwrap_or(0);
            let rise = marks.last().map_or(0, |(count, _)| count.saturating_sub(highest));
            let victims: BTreeSet<TaskKey> = marks.iter().map(|(_, m)| m.victim.key).collect();
            let all = usize::try_from(rise).is_ok_and(|rise| rise >= victims.len());
            let mut seen = BTreeSet::new();
            for (count, mark) in marks {
                let first = seen.insert(mark.victim.key);
                if (all && first) || (!all && count > highest) {
                    kills.push(mark);
                }
                highest = highest.max(count);
            }
        }
        kills
    }
}
