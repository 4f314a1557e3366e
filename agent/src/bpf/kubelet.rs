//! Programs of the kubelet's connections: attached to its cgroup while that is known, and to another
//! when the kubelet is restarted.

use std::fs::File;
use std::path::Path;

use agent_common::event::COMM_BYTES;
use agent_common::probes::{
    self as raw, Kubelet, PROBES_LOST_RING_FULL, PROBES_LOST_SOCKETS_FULL, PROBES_SUBMITTED,
};
use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{Array, MapData, PerCpuArray},
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, ProgramError, SockOps,
        cgroup_skb::CgroupSkbLinkId, sock_ops::SockOpsLinkId, tp_btf::BtfTracePointLinkId,
    },
};

use super::beside;
use super::plain::Plain;
use super::ring_memory::RingMemory;
use crate::cgroup::CgroupId;

/// Reason: the kernel refuses the programs.
pub(super) const REFUSED: &str = "refused_by_kernel";
/// Reason: ours cannot run beside a program of another.
pub(super) const EXCLUSIVE: &str = "exclusive_program";

/// The way in which the kubelet's connections are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Programs on the kubelet's cgroup, with the first bytes of each direction.
    SockOps,
    /// The tracepoint of all sockets: times alone.
    Tracepoint,
}

impl By {
    /// Value of the label `source`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SockOps => "sock_ops",
            Self::Tracepoint => "tracepoint",
        }
    }
}

/// Counts of connections on the kernel side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectionCounts {
    /// Connections that were submitted to the ring buffer.
    pub submitted: u64,
    /// Connections for which the ring buffer had no room.
    pub ring_full: u64,
    /// Connections that were not followed, for want of room for their state.
    pub sockets_full: u64,
}

/// Whose connections are observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whose<'a> {
    /// The cgroup's directory.
    pub directory: &'a Path,
    /// Id of the cgroup.
    pub cgroup: CgroupId,
    /// Short name of the process, where others share its cgroup; zeros for all.
    pub comm: [u8; COMM_BYTES],
}

/// What comes of the wish to observe them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watching {
    /// The way.
    pub by: By,
    /// Why not by the kubelet's cgroup, in one word; empty if it is.
    pub reason: &'static str,
    /// The reason in words; empty where the start of the agent has told it.
    pub why: String,
}

/// Refusal of all ways to observe them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, in words.
    pub why: String,
}

/// Links of the programs that are attached now.
#[derive(Default)]
struct Links {
    packets: Vec<(&'static str, CgroupSkbLinkId)>,
    sock_ops: Option<(&'static str, SockOpsLinkId)>,
    tracepoint: Option<(&'static str, BtfTracePointLinkId)>,
}

/// Loaded object `probes`, with the maps that the agent uses.
pub(super) struct Probes {
    pub(super) ebpf: Ebpf,
    kubelet: Array<MapData, Plain<Kubelet>>,
    counters: PerCpuArray<MapData, u64>,
    links: Links,
}

impl Probes {
    /// Takes over the loaded object, and returns its ring buffer.
    ///
    /// # Errors
    /// If a map is missing or of another type.
    pub(super) fn new(mut ebpf: Ebpf) -> anyhow::Result<(Self, RingMemory)> {
        let mut take =
            |name| ebpf.take_map(name).with_context(|| format!("the object has no map {name}"));
        let ring = RingMemory::of(take(raw::CONNECTIONS)?)?;
        let kubelet = Array::try_from(take(raw::KUBELET)?)?;
        let counters = PerCpuArray::try_from(take(raw::PROBES_COUNTERS)?)?;
        Ok((Self { ebpf, kubelet, counters, links: Links::default() }, ring))
    }

    /// Counts since the start, summed over all CPUs.
    pub(super) fn counts(&self) -> ConnectionCounts {
        let sum =
            |index| self.counters.get(&index, 0).map_or(0, |values| values.iter().copied().sum());
        ConnectionCounts {
            submitted: sum(PROBES_SUBMITTED),
            ring_full: sum(PROBES_LOST_RING_FULL),
            sockets_full: sum(PROBES_LOST_SOCKETS_FULL),
        }
    }

    /// Whether a program is attached now.
    pub(super) fn is_attached(&self, program: &str) -> bool {
        let Links { packets, sock_ops, tracepoint } = &self.links;
        packets.iter().any(|(name, _)| *name == program)
            || sock_ops.as_ref().is_some_and(|(name, _)| *name == program)
            || tracepoint.as_ref().is_some_and(|(name, _)| *name == program)
    }

    /// Observes the connections of the kubelet in this cgroup, by the better way that it allows. `now`:
    /// how those of this cgroup are observed already.
    ///
    /// # Errors
    /// If none does; then no program is attached.
    pub(super) fn watch(
        &mut self,
        ways: Ways,
        whose: &Whose<'_>,
        now: Option<&Watching>,
    ) -> Result<Watching, Refusal> {
        let now = now.map(|now| now.by);
        let tried = match ways.on_cgroup {
            Ok(names) => self.watch_on_cgroup(names, whose, now),
            Err(reason) => Err(Refusal { reason, why: String::new() }),
        };
        let Err(Refusal { reason, why }) = tried else {
            return Ok(Watching { by: By::SockOps, reason: "", why: String::new() });
        };
        if now == Some(By::Tracepoint) {
            return Ok(Watching { by: By::Tracepoint, reason, why });
        }
        // First: not every kernel lets a program be on a tracepoint twice.
        self.detach();
        match ways.tracepoint.and_then(|name| {
            self.attach_to_tracepoint(name, whose).map_err(|error| format!("{error:#}"))
        }) {
            Ok(()) => Ok(Watching { by: By::Tracepoint, reason, why }),
            Err(not) => {
                self.detach();
                Err(Refusal { reason, why: format!("{why}; and by the tracepoint: {not}") })
            }
        }
    }

    /// Attaches the programs on a cgroup, if those of others allow it, and then detaches what was
    /// attached before; if they are attached, they stay as long as that is so.
    ///
    /// # Errors
    /// Why not; then what was attached before still is.
    fn watch_on_cgroup(
        &mut self,
        names: OnCgroup,
        whose: &Whose<'_>,
        now: Option<By>,
    ) -> Result<(), Refusal> {
        let refused = |error: anyhow::Error| Refusal { reason: REFUSED, why: format!("{error:#}") };
        if let Some(why) = beside::exclusive(whose.directory).map_err(refused)? {
            return Err(Refusal { reason: EXCLUSIVE, why });
        }
        if now == Some(By::SockOps) {
            return Ok(());
        }
        let before = std::mem::take(&mut self.links);
        match self.tell(whose).and_then(|()| self.attach_to_cgroup(names, whose)) {
            Ok(()) => {
                self.release_all(before);
                Ok(())
            }
            Err(error) => {
                self.detach();
                self.links = before;
                Err(refused(error))
            }
        }
    }

    fn attach_to_tracepoint(
        &mut self,
        name: &'static str,
        whose: &Whose<'_>,
    ) -> anyhow::Result<()> {
        self.tell(whose)?;
        let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
        self.links.tracepoint = Some((name, program.attach()?));
        Ok(())
    }

    /// Tells the programs whose connections are observed.
    fn tell(&mut self, whose: &Whose<'_>) -> anyhow::Result<()> {
        let kubelet = Kubelet { cgroup_id: whose.cgroup.0, comm: whose.comm };
        self.kubelet.set(0, Plain(kubelet), 0).context("telling the programs whose cgroup it is")
    }

    fn attach_to_cgroup(&mut self, names: OnCgroup, whose: &Whose<'_>) -> anyhow::Result<()> {
        let OnCgroup { sock_ops, ingress, egress } = names;
        let directory = File::open(whose.directory).context("opening the kubelet's cgroup")?;
        // Before the other: a socket is observed as a whole, or not at all.
        for (name, direction) in
            [(ingress, CgroupSkbAttachType::Ingress), (egress, CgroupSkbAttachType::Egress)]
        {
            let program: &mut CgroupSkb = self.program(name)?.try_into()?;
            let link = program.attach(&directory, direction, CgroupAttachMode::Single)?;
            self.links.packets.push((name, link));
        }
        let program: &mut SockOps = self.program(sock_ops)?.try_into()?;
        let link = program.attach(&directory, CgroupAttachMode::Single)?;
        self.links.sock_ops = Some((sock_ops, link));
        Ok(())
    }

    fn program(&mut self, name: &'static str) -> anyhow::Result<&mut aya::programs::Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
    }

    /// Detaches what is attached. A cgroup that is removed has lost its programs already.
    pub(super) fn detach(&mut self) {
        let links = std::mem::take(&mut self.links);
        self.release_all(links);
    }

    fn release_all(&mut self, links: Links) {
        let Links { packets, sock_ops, tracepoint } = links;
        if let Some((name, link)) = sock_ops {
            self.release(name, |program: &mut SockOps| program.detach(link));
        }
        for (name, link) in packets {
            self.release(name, |program: &mut CgroupSkb| program.detach(link));
        }
        if let Some((name, link)) = tracepoint {
            self.release(name, |program: &mut BtfTracePoint| program.detach(link));
        }
    }

    fn release<'a, P: 'a>(
        &'a mut self,
        name: &'static str,
        detach: impl FnOnce(&'a mut P) -> Result<(), ProgramError>,
    ) where
        &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name).map(TryInto::try_into);
        if let Some(Ok(program)) = program
            && let Err(error) = detach(program)
        {
            tracing::debug!(program = name, %error, "cannot detach a program");
        }
    }
}

/// Programs of both ways, as far as they are loaded.
pub(super) struct Ways {
    /// Programs on a cgroup; or why they are not loaded, in one word.
    pub(super) on_cgroup: Result<OnCgroup, &'static str>,
    /// Program of the tracepoint; or why it is not loaded, in words.
    pub(super) tracepoint: Result<&'static str, String>,
}

/// Names of the programs on a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OnCgroup {
    /// Program of its sockets.
    pub(super) sock_ops: &'static str,
    /// Program of what they receive.
    pub(super) ingress: &'static str,
    /// Program of what they send.
    pub(super) egress: &'static str,
}
