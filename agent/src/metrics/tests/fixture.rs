//! Facts and samples as data, and an exposition made of them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use testbed::exposition::{self, Exposition, Family};

use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
use crate::cgroup::reader::{ReadErrors, ReaderStats};
use crate::cgroup::sample::{Cpu, Sample};
use crate::cgroup::{self, CgroupId};
use crate::clock::WallOffset;
use crate::event::{ExitStatus, TaskKey};
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{
    Cause, Death, EndSource, Fact, FactKind, FatalSignal, Outcome, Sender, Started, Termination,
};
use crate::lifecycle::subject::{Birth, PodWho, Subject, Who};
use crate::metrics::agent::{AgentStats, CollectorStats};
use crate::metrics::probe::source::ProbeStats;
use crate::metrics::process::ProcessStats;
use crate::metrics::scrapers::Connection;
use crate::metrics::store::{Store, StoreOptions};
use crate::metrics::text::Text;
use crate::metrics::variant::{Format, Seen};
use crate::reader::{Reader as _, Reading};
use crate::trace::otlp::TraceStats;

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const WALL: WallOffset = WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 };

pub(super) fn store() -> Store {
    Store::new(StoreOptions { retention: Duration::from_secs(300), ..StoreOptions::default() })
}

pub(super) fn identity(pod: &str, container: &str) -> Identity {
    Identity {
        namespace: "shop".into(),
        pod: pod.into(),
        container: container.into(),
        pod_uid: "11111111-2222-3333-4444-555555555555".into(),
        container_id: format!("{pod}-id"),
        image: "registry.example/web:1".into(),
        role: "app",
        qos: "burstable",
        runtime: "containerd",
        workload_kind: "Deployment".into(),
        workload: "web".into(),
    }
}

/// A sample with all there is.
pub(super) fn full_sample() -> Sample {
    cgroup::fixture::sample()
}

/// A sample of a kernel that provides nearly nothing.
pub(super) fn poor_sample(usage_us: u64) -> Sample {
    Sample { cpu: Cpu { usage_us: Some(usage_us), ..Cpu::default() }, ..Sample::default() }
}

pub(super) fn started() -> FactKind {
    let init = TaskKey { tgid: 1, start_boot_ns: 1 };
    FactKind::Started(Started { init, before_agent: false, is_pause: false })
}

pub(super) fn exited(end_boot_ns: u64, code: u8) -> Termination {
    Termination {
        cause: if code == 0 { Cause::Completed } else { Cause::Error },
        status: Some(ExitStatus::Code(code)),
        stop_boot_ns: None,
        end_boot_ns,
        outcome: Outcome::Exited,
        fatal: None,
        end_source: EndSource::ParentNotified,
        init_cpu_ns: None,
    }
}

pub(super) fn killed_after(end_boot_ns: u64, shutdown_ns: u64) -> Termination {
    Termination {
        cause: Cause::KilledAfterGrace,
        status: Some(ExitStatus::Signal { signal: 9, core: false }),
        stop_boot_ns: Some(end_boot_ns - shutdown_ns),
        outcome: Outcome::Killed,
        fatal: Some(FatalSignal { signal: 9, sender: Sender::Runtime }),
        ..exited(end_boot_ns, 0)
    }
}

/// The owner's calls of the store, in the words of a test.
pub(super) trait Tell {
    fn appear(&mut self, cgroup: CgroupId, identity: &Identity, since_boot_ns: u64);
    fn tell(&mut self, cgroup: CgroupId, time_boot_ns: u64, kind: FactKind);
    fn read(&mut self, cgroup: CgroupId, sample: &Sample);
    fn read_last(&mut self, cgroup: CgroupId, sample: &Sample);
    fn read_pod(&mut self, cgroup: CgroupId, namespace: &str, pod: &str, sample: &Sample);
    fn remove(&mut self, cgroup: CgroupId, now_boot_ns: u64);
    fn remove_pod(&mut self, cgroup: CgroupId, now_boot_ns: u64);

    /// A death that the kernel alone reports.
    fn die(&mut self, cgroup: CgroupId, end: Termination) {
        self.tell(cgroup, end.end_boot_ns, FactKind::Explained(Death::kernel_only(end)));
    }
}

pub(super) fn who(cgroup: CgroupId, identity: Identity, since_boot_ns: u64) -> Arc<Who> {
    let birth = Birth::Seen { boot_ns: since_boot_ns };
    let pod = PodName { uid: identity.pod_uid.clone(), qos: Qos::Burstable };
    let id = identity.container_id.clone();
    let origin = Origin::Pod(pod, ContainerName { id, runtime: Runtime::Containerd });
    Arc::new(Who { cgroup, pod_cgroup: None, origin, identity, birth })
}

/// The store goes by the cgroup, once a container is shown.
fn subject(cgroup: CgroupId) -> Subject {
    Subject::Container(who(cgroup, identity("", ""), 0))
}

pub(super) fn pod_subject(cgroup: CgroupId, namespace: &str, pod: &str) -> Subject {
    let (namespace, pod) = (namespace.into(), pod.into());
    let [uid, cgroup_uid] = ["uid", "uid"].map(Into::into);
    Subject::Pod(Arc::new(PodWho { cgroup, namespace, pod, uid, cgroup_uid }))
}

impl Tell for Store {
    fn appear(&mut self, cgroup: CgroupId, identity: &Identity, since_boot_ns: u64) {
        self.shown(&who(cgroup, identity.clone(), since_boot_ns));
    }

    fn tell(&mut self, cgroup: CgroupId, time_boot_ns: u64, kind: FactKind) {
        self.fact(&subject(cgroup), &Fact { time_boot_ns, kind });
    }

    fn read(&mut self, cgroup: CgroupId, sample: &Sample) {
        self.sample(&subject(cgroup), sample, Reading::Current);
    }

    fn read_last(&mut self, cgroup: CgroupId, sample: &Sample) {
        self.sample(&subject(cgroup), sample, Reading::Last);
    }

    fn read_pod(&mut self, cgroup: CgroupId, namespace: &str, pod: &str, sample: &Sample) {
        self.sample(&pod_subject(cgroup, namespace, pod), sample, Reading::Current);
    }

    fn remove(&mut self, cgroup: CgroupId, now_boot_ns: u64) {
        self.gone(&subject(cgroup), now_boot_ns);
    }

    fn remove_pod(&mut self, cgroup: CgroupId, now_boot_ns: u64) {
        self.gone(&pod_subject(cgroup, "", ""), now_boot_ns);
    }
}

fn trace_stats() -> TraceStats {
    let mut stats = TraceStats {
        spans_exported: 1234,
        queue_bytes: 5678,
        queue_limit_bytes: 4 << 20,
        last_export_unix_ns: Some(1_700_000_123_456_000_000),
        links_rejected: 2,
        ..TraceStats::default()
    };
    stats.spans_dropped[0].1 = 3;
    stats.export_failures[0].1 = 4;
    stats
}

pub(super) fn agent_stats() -> AgentStats {
    AgentStats {
        version: "0.1.0",
        wall: WALL,
        programs: vec![("signal_generate", true), ("mark_victim", false)],
        events_received: [10, 2, 3, 2, 1, 4, 2, 0],
        events_lost: vec![("ring_full", 0), ("tracked_full", 0)],
        events_rejected: vec![("short", 0), ("unknown_kind", 0)],
        events_dropped: vec![("unmatched", 5), ("waiting_full", 0)],
        evidence_dropped: vec![("restart", 0)],
        events_unseen: vec![("oom", 0), ("restart", 1)],
        collectors: vec![
            CollectorStats { name: "cgroup", duration_ns: Some(1_234_000), success: true },
            CollectorStats { name: "programs", duration_ns: None, success: false },
        ],
        cgroups_tracked: 42,
        cgroups_unresolved: 0,
        cgroup_reader: ReaderStats {
            open_fds: 3,
            reads: 17,
            read_errors: ReadErrors { vanished: 2, malformed: 1, ..ReadErrors::default() },
            evictions: 4,
        },
        pod_metadata_age_ns: Some(1_500_000_000),
        pods_dropped: 0,
        pod_items_dropped: vec![("malformed", 0), ("other_node", 6)],
        log_lines_dropped: vec![("queue_full", 0), ("rate", 4)],
        http_closed: vec![("crowded", 1), ("slow_reader", 2)],
        http_scrapes_refused: 0,
        probes: Some(ProbeStats {
            source: "tracepoint",
            reason: "no_cap_net_admin",
            connections: vec![("probe", 30), ("hook", 1), ("not_a_probe", 0)],
            exec_sessions: vec![("probe", 7), ("not_a_probe", 2)],
        }),
        traces: Some(trace_stats()),
        process: ProcessStats {
            cpu_ns: Some(1_230_000_000),
            resident_bytes: Some(8 << 20),
            open_fds: Some(33),
            max_fds: Some(1024),
            start_unix_ns: Some(1_700_000_000_000_000_000),
            threads: Some(1),
        },
    }
}

pub(super) fn text(chunks: &[Bytes]) -> String {
    String::from_utf8(chunks.concat()).unwrap()
}

/// A scraper by the last part of its address, or a human.
pub(super) type Reader = Option<u8>;

/// The next collection, as each of the readers sees it, in a format.
pub(super) fn encode_for<const N: usize>(
    store: &mut Store,
    now_boot_ns: u64,
    readers: [(Reader, Format); N],
) -> [String; N] {
    let generation = store.next_generation(now_boot_ns);
    let formats = [Format::Text, Format::OpenMetrics];
    let texts: [Text; 2] = formats.map(|format| store.encode(generation, &agent_stats(), format));
    readers.map(|(reader, format)| {
        let from = reader.map(|host| Connection::new(Ipv4Addr::new(127, 0, 0, host).into()));
        let seen = from.map_or(Seen::ALL, |from| store.seen(generation, &from));
        let at = formats.iter().position(|known| *known == format).unwrap();
        text(&texts[at].for_reader(seen, |chunk| chunk))
    })
}

/// The next collection for a scraper, in several formats.
pub(super) fn encode_as<const N: usize>(store: &mut Store, formats: [Format; N]) -> [String; N] {
    encode_for(store, 0, formats.map(|format| (Some(1), format)))
}

pub(super) fn encode(store: &mut Store) -> String {
    let [text] = encode_as(store, [Format::Text]);
    text
}

/// Reads an exposition back; one that is not well-formed fails the test.
pub(super) fn parse(text: &str, format: Format) -> Vec<Family> {
    let format = match format {
        Format::Text => exposition::Format::Text,
        Format::OpenMetrics => exposition::Format::OpenMetrics,
    };
    Exposition::parse(text, format).unwrap().families
}

/// A parsed exposition that can be asked.
pub(super) struct Shown(pub(super) Vec<Family>);

pub(super) fn scrape(store: &mut Store) -> Shown {
    Shown(parse(&encode(store), Format::Text))
}

/// Exposition that one reader is shown at a time.
pub(super) fn scrape_as(store: &mut Store, reader: Reader, now_boot_ns: u64) -> Shown {
    let [text] = encode_for(store, now_boot_ns, [(reader, Format::Text)]);
    Shown(parse(&text, Format::Text))
}

impl Shown {
    /// The values of all series of that name that have these labels.
    pub(super) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let name = format!("podvitals_{name}");
        let samples = self.0.iter().flat_map(|family| &family.samples);
        let found = samples.filter(|sample| sample.name == name && sample.has(labels));
        found.map(|sample| sample.value).collect()
    }
}
