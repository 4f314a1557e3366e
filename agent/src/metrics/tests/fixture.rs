//! Facts and samples as data, and an exposition made of them.

use std::time::Duration;

use bytes::Bytes;
use testbed::exposition::{self, Exposition, Family};

use crate::cgroup::CgroupId;
use crate::cgroup::sample::{Cpu, Memory, MemoryEvents, Pressure, Sample};
use crate::clock::WallOffset;
use crate::event::{ExitStatus, TaskKey};
use crate::kube::identity::Identity;
use crate::lifecycle::fact::{Cause, EndSource, Fact, FactKind, Sender, Started, Termination};
use crate::metrics::edition::{Edition, Format, Reader};
use crate::metrics::node::{CollectorStats, NodeStats};
use crate::metrics::process::ProcessStats;
use crate::metrics::store::{Store, StoreOptions};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const WALL: WallOffset = WallOffset { unix_less_boot_ns: 1_700_000_000_000_000_000 };

pub(super) fn store() -> Store {
    Store::new(StoreOptions { linger: Duration::from_secs(300), ..StoreOptions::default() })
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
    let pressure = |us: u64| Pressure { some_us: Some(us), full_us: Some(us / 2) };
    Sample {
        cpu: Cpu {
            usage_us: Some(12_345_678),
            periods: Some(100),
            throttled_periods: Some(7),
            throttled_us: Some(1500),
            quota_us: Some(50_000),
            period_us: Some(100_000),
        },
        memory: Memory {
            usage_bytes: Some(100 << 20),
            working_set_bytes: Some(90 << 20),
            inactive_file_bytes: Some(10 << 20),
            anon_bytes: Some(50 << 20),
            file_bytes: Some(40 << 20),
            shmem_bytes: Some(1 << 20),
            kernel_bytes: Some(2 << 20),
            swap_bytes: Some(0),
            peak_bytes: Some(110 << 20),
            limit_bytes: Some(128 << 20),
            swap_limit_bytes: Some(0),
            minor_faults: Some(5000),
            major_faults: Some(3),
            events: Some(MemoryEvents {
                high: Some(0),
                max: Some(9),
                oom: Some(1),
                oom_kill: Some(2),
            }),
        },
        cpu_pressure: Pressure { some_us: Some(250_000), full_us: None },
        memory_pressure: pressure(30),
        io_pressure: pressure(1_000_000),
        tasks: Some(12),
        tasks_limit: Some(4096),
    }
}

/// A sample of a kernel that says nearly nothing.
pub(super) fn poor_sample(usage_us: u64) -> Sample {
    Sample { cpu: Cpu { usage_us: Some(usage_us), ..Cpu::default() }, ..Sample::default() }
}

pub(super) fn fact(container: u64, time_boot_ns: u64, kind: FactKind) -> Fact {
    Fact { container: CgroupId(container), time_boot_ns, kind }
}

pub(super) fn started() -> FactKind {
    let init = TaskKey { tgid: 1, start_boot_ns: 1 };
    FactKind::Started(Started { init, existing: false, is_pause: false })
}

pub(super) fn exited(code: u8) -> Termination {
    Termination {
        cause: if code == 0 { Cause::Completed } else { Cause::Error },
        status: Some(ExitStatus::Code(code)),
        shutdown_ns: None,
        killed: false,
        fatal: None,
        end_source: EndSource::ParentTold,
        init_cpu_ns: None,
    }
}

pub(super) fn killed_after(shutdown_ns: u64) -> Termination {
    Termination {
        cause: Cause::KilledAfterGrace,
        status: Some(ExitStatus::Signal { signal: 9, core: false }),
        shutdown_ns: Some(shutdown_ns),
        killed: true,
        fatal: Some((9, Sender::Runtime)),
        ..exited(0)
    }
}

pub(super) fn node_stats() -> NodeStats {
    NodeStats {
        version: "0.1.0",
        programs: vec![("signal_generate", true), ("mark_victim", false)],
        events_received: [10, 2, 3, 2, 1, 4, 2, 0],
        events_lost: vec![("ring_full", 0), ("tracked_full", 0)],
        events_rejected: vec![("short", 0), ("unknown_kind", 0)],
        events_unseen: vec![("oom", 0), ("restart", 1)],
        collectors: vec![
            CollectorStats { name: "cgroup", duration_ns: Some(1_234_000), success: true },
            CollectorStats { name: "programs", duration_ns: None, success: false },
        ],
        cgroups_tracked: Some(42),
        cgroups_unresolved: 0,
        cgroup_files_read: 17,
        pod_metadata_age_ns: Some(1_500_000_000),
        pods_dropped: 0,
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

pub(super) fn text(pieces: &[Bytes]) -> String {
    String::from_utf8(pieces.concat()).unwrap()
}

/// The next look of a scraper, in several formats.
pub(super) fn encode_as<const N: usize>(store: &mut Store, formats: [Format; N]) -> [String; N] {
    let round = store.next_round();
    let edition = |format| Edition { reader: Reader::Scraper, format };
    formats.map(|format| text(&store.encode(round, &node_stats(), edition(format))))
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

impl Shown {
    /// The values of all series of that name that have these labels.
    pub(super) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let name = format!("podvitals_{name}");
        let samples = self.0.iter().flat_map(|family| &family.samples);
        let found = samples.filter(|sample| sample.name == name && sample.has(labels));
        found.map(|sample| sample.value).collect()
    }
}
