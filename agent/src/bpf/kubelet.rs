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

use super::plain::Plain;
use super::ring_memory::RingMemory;
use crate::cgroup::CgroupId;

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

    /// Attaches the programs of these names, and detaches those that were attached before.
    ///
    /// # Errors
    /// If the kernel refuses; then none is attached.
    pub(super) fn attach(&mut self, names: Names, whose: &Whose<'_>) -> anyhow::Result<()> {
        self.detach();
        let attached = self.attach_all(names, whose);
        if attached.is_err() {
            self.detach();
        }
        attached
    }

    fn attach_all(&mut self, names: Names, whose: &Whose<'_>) -> anyhow::Result<()> {
        let kubelet = Kubelet { cgroup_id: whose.cgroup.0, comm: whose.comm };
        self.kubelet
            .set(0, Plain(kubelet), 0)
            .context("telling the programs whose cgroup it is")?;
        match names {
            Names::Tracepoint(name) => {
                let program: &mut BtfTracePoint = self.program(name)?.try_into()?;
                self.links.tracepoint = Some((name, program.attach()?));
            }
            Names::OnCgroup { sock_ops, ingress, egress } => {
                let directory =
                    File::open(whose.directory).context("opening the kubelet's cgroup")?;
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
            }
        }
        Ok(())
    }

    fn program(&mut self, name: &'static str) -> anyhow::Result<&mut aya::programs::Program> {
        self.ebpf.program_mut(name).with_context(|| format!("the object has no program {name}"))
    }

    /// Detaches what is attached. A cgroup that is removed has lost its programs already.
    pub(super) fn detach(&mut self) {
        let Links { packets, sock_ops, tracepoint } = std::mem::take(&mut self.links);
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

/// Names of the programs to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Programs on a cgroup.
    OnCgroup {
        /// Program of its sockets.
        sock_ops: &'static str,
        /// Program of what they receive.
        ingress: &'static str,
        /// Program of what they send.
        egress: &'static str,
    },
    /// Program of the tracepoint.
    Tracepoint(&'static str),
}

impl Names {
    /// The way in which these programs observe.
    pub(super) const fn by(self) -> By {
        match self {
            Self::OnCgroup { .. } => By::SockOps,
            Self::Tracepoint(_) => By::Tracepoint,
        }
    }
}
