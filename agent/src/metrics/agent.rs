//! The agent about itself: programs, events, sources, cgroups and series. Always on.

use super::expose::{Exposition, NONE, StateFamily, Value};
use super::family::{Family, Need, Scope};
use super::probe::source::ProbeStats;
use super::process::ProcessStats;
use crate::cgroup::reader::ReaderStats;
use crate::clock::WallOffset;
use crate::event::EventKind;
use crate::trace::otlp::TraceStats;

/// State of the owner at a scrape. Counters are totals since the agent's start. Lists name all that
/// can be counted from the start on, with 0, so that the first event is seen.
#[derive(Clone, Debug, Default)]
pub struct AgentStats {
    /// Version of the agent.
    pub version: &'static str,
    /// Programs, and whether each is attached.
    pub programs: Vec<(&'static str, bool)>,
    /// Events by [`EventKind::index`].
    pub events_received: [u64; EventKind::NAMES.len()],
    /// Events lost between the kernel and the agent, by reason.
    pub events_lost: Vec<(&'static str, u64)>,
    /// Records that could not be decoded, by reason.
    pub events_rejected: Vec<(&'static str, u64)>,
    /// Events and facts that were received and dropped, by reason.
    pub events_dropped: Vec<(&'static str, u64)>,
    /// Evidence that was forgotten early, by kind.
    pub evidence_dropped: Vec<(&'static str, u64)>,
    /// Events that happened while the agent was away, by kind.
    pub events_unseen: Vec<(&'static str, u64)>,
    /// Last run of each collector.
    pub collectors: Vec<CollectorStats>,
    /// Cgroups in the agent's tree.
    pub cgroups_tracked: u64,
    /// Containers that wait for their name or are shown without one.
    pub cgroups_unresolved: u64,
    /// Reader of cgroup files.
    pub cgroup_reader: ReaderStats,
    /// Time since the last contact with the Pod source; `None` without one, or before the first.
    pub pod_metadata_age_ns: Option<u64>,
    /// Offset to Unix time under which times are shown.
    pub wall: WallOffset,
    /// Pods that found no room, or were forgotten early.
    pub pods_dropped: u64,
    /// Items of the Pod source that were not taken in, by reason.
    pub pod_items_dropped: Vec<(&'static str, u64)>,
    /// Lines of the log that were dropped, by reason.
    pub log_lines_dropped: Vec<(&'static str, u64)>,
    /// Connections that the server closed or refused, by reason.
    pub http_closed: Vec<(&'static str, u64)>,
    /// Scrapes that were answered 503.
    pub http_scrapes_refused: u64,
    /// Probes; `None` if the collector `probes` is off, or without a Pod source.
    pub probes: Option<ProbeStats>,
    /// Traces; `None` if none are exported.
    pub traces: Option<TraceStats>,
    /// The agent's own process.
    pub process: ProcessStats,
}

/// Last run of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectorStats {
    /// Name.
    pub name: &'static str,
    /// Duration; `None` if it never ran.
    pub duration_ns: Option<u64>,
    /// Whether it could do its work. "There is nothing here" is a success.
    pub success: bool,
}

/// State of the agent's families: what the owner and the store tell of themselves.
#[derive(Debug, Default)]
pub struct Agent {
    /// The owner's state at this scrape.
    pub stats: AgentStats,
    /// Series that found no room.
    pub series_dropped: u64,
    /// Facts about containers that are no longer exported.
    pub facts_forgotten: u64,
    /// Facts about containers that are hidden.
    pub facts_hidden: u64,
    /// Containers that are not shown because there is no room for their series.
    pub containers_hidden: u64,
    /// Entities that were dropped before the end of their retention.
    pub retention_evictions: u64,
    /// Label sets that found no room in their family.
    pub label_sets_folded: u64,
    /// Scrapers that found no place among those that are known, or lost it.
    pub scrapers_forgotten: u64,
}

pub(super) fn count(count: u64, to: &mut Exposition) {
    to.sample(b"", &NONE, Value::Count(count));
}

pub(super) fn counts(name: &str, counts: &[(&'static str, u64)], to: &mut Exposition) {
    for (value, count) in counts {
        to.sample(b"", &[(name, *value)].as_slice(), Value::Count(*count));
    }
}

/// Version.
pub static BUILD_INFO: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "build_info",
        Scope::Node,
        "Information about the agent's build; always 1.",
    )
    .labels(&["version"], 1),
    write: |_, agent, to| {
        let labels = [("version", agent.stats.version)];
        to.sample(b"", &labels.as_slice(), Value::Count(1));
    },
};

/// Programs.
pub static PROGRAM_ATTACHED: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "program_attached",
        Scope::Node,
        "Whether the BPF program is attached (1) or not (0): refused by this kernel, switched off, \
         in the way of another program, or for want of capabilities. Those on the kubelet's \
         connections are absent while the kubelet's cgroup is not found.",
    )
    .labels(&["program"], 16),
    write: |_, agent, to| {
        for (program, attached) in &agent.stats.programs {
            let labels = [("program", *program)];
            to.sample(b"", &labels.as_slice(), Value::Count((*attached).into()));
        }
    },
};

/// Received events.
pub static EVENTS_RECEIVED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "events_received_total",
        Scope::Node,
        "Events received from the kernel.",
    )
    .labels(&["kind"], EventKind::NAMES.len()),
    write: |_, agent, to| {
        for (kind, count) in EventKind::NAMES.iter().zip(agent.stats.events_received) {
            to.sample(b"", &[("kind", *kind)].as_slice(), Value::Count(count));
        }
    },
};

/// Lost events.
pub static EVENTS_LOST: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "events_lost_total",
        Scope::Node,
        "Events lost between the kernel and the agent. ring_full, probe_ring_full: read too late; \
         tracked_full: cgroups without a place; probe_sockets_full: connections of the kubelet without \
         one.",
    )
    .labels(&["reason"], 4),
    write: |_, agent, to| counts("reason", &agent.stats.events_lost, to),
};

/// Rejected records.
pub static EVENTS_REJECTED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "events_rejected_total",
        Scope::Node,
        "Event records that could not be decoded.",
    )
    .labels(&["reason"], 5),
    write: |_, agent, to| counts("reason", &agent.stats.events_rejected, to),
};

/// Dropped events.
pub static EVENTS_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "events_dropped_total",
        Scope::Node,
        "Events dropped on purpose. unmatched: of no known container; early_full: \
         of a container whose init is not known yet; waiting_full: of a \
         container that waits for its name and can keep no more; share_signal, share_cgroup: \
         signals sent and cgroups made in a container that causes more events than its share; \
         nested_full: cgroups made in a container that has 256; forgotten: of a container that is \
         no longer exported; hidden: of a container that is not exported for want of room.",
    )
    .labels(&["reason"], 8),
    write: |_, agent, to| {
        counts("reason", &agent.stats.events_dropped, to);
        let of_store = [("forgotten", agent.facts_forgotten), ("hidden", agent.facts_hidden)];
        counts("reason", &of_store, to);
    },
};

/// Dropped evidence.
pub static EVIDENCE_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "evidence_dropped_total",
        Scope::Node,
        "Evidence forgotten early for want of room. stop_signal: a container's that has not ended; \
         death: explained before the API could report why; report: a death that is not compared \
         with the runtime's report; restart: the end of a container that may run again; \
         start_failure: one that is counted again if the kubelet reports it; exec_session: one of \
         more than 256 at once in a container; oom_counter: of one of more than 65536 cgroups, whose \
         next OOM may get a wrong scope; probe_address, probe_container: addresses of Pods and \
         containers whose probes are not followed for want of room; probe_attempt: a redirect or a \
         try that is not followed further.",
    )
    .labels(&["kind"], 10),
    write: |_, agent, to| counts("kind", &agent.stats.evidence_dropped, to),
};

/// Unseen events.
pub static EVENTS_UNSEEN: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "events_unseen_total",
        Scope::Node,
        "Events that happened while the agent was not running.",
    )
    .labels(&["kind"], 4),
    write: |_, agent, to| counts("kind", &agent.stats.events_unseen, to),
};

/// Duration of collectors.
pub static COLLECTOR_DURATION: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "collector_duration_seconds",
        Scope::Node,
        "Duration of the collector's last run.",
    )
    .labels(&["collector"], 8),
    write: |_, agent, to| {
        for collector in &agent.stats.collectors {
            if let Some(duration_ns) = collector.duration_ns {
                let labels = [("collector", collector.name)];
                to.sample(b"", &labels.as_slice(), Value::Nanos(duration_ns));
            }
        }
    },
};

/// Success of collectors.
pub static COLLECTOR_SUCCESS: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "collector_success",
        Scope::Node,
        "Whether the collector's last run succeeded.",
    )
    .labels(&["collector"], 8),
    write: |_, agent, to| {
        for collector in &agent.stats.collectors {
            let labels = [("collector", collector.name)];
            to.sample(b"", &labels.as_slice(), Value::Count(collector.success.into()));
        }
    },
};

/// Tracked cgroups.
pub static CGROUPS_TRACKED: StateFamily<Agent> = StateFamily {
    family: Family::gauge("cgroups_tracked", Scope::Node, "Cgroups in the agent's tree."),
    write: |_, agent, to| {
        count(agent.stats.cgroups_tracked, to);
    },
};

/// Containers without a name, and what may be some.
pub static CGROUPS_UNRESOLVED: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "cgroups_unresolved",
        Scope::Node,
        "Container cgroups without a known name, form or place.",
    ),
    write: |_, agent, to| count(agent.stats.cgroups_unresolved, to),
};

/// Reads of cgroup files.
pub static CGROUP_FILES_READ: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "cgroup_files_read_total",
        Scope::Node,
        "Reads of cgroup files, for values that the kernel's cgroup iterator does not \
         provide.",
    ),
    write: |_, agent, to| count(agent.stats.cgroup_reader.reads, to),
};

/// Failed reads of cgroup files.
pub static CGROUP_READ_ERRORS: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "cgroup_read_errors_total",
        Scope::Node,
        "Failed reads of cgroups and their files. vanished: the cgroup was removed \
         before it was read.",
    )
    .labels(&["reason"], 4),
    write: |_, agent, to| {
        let errors = agent.stats.cgroup_reader.read_errors;
        let by_reason = [
            ("vanished", errors.vanished),
            ("permission", errors.permission),
            ("malformed", errors.malformed),
            ("other", errors.other),
        ];
        counts("reason", &by_reason, to);
    },
};

/// Evictions of cgroup files.
pub static CGROUP_EVICTIONS: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "cgroup_file_evictions_total",
        Scope::Node,
        "Times that a cgroup was left without open files, for want of file descriptors: its files \
         are then opened at each read.",
    ),
    write: |_, agent, to| count(agent.stats.cgroup_reader.evictions, to),
};

/// Age of the Pod metadata.
pub static POD_METADATA_AGE: StateFamily<Agent> = StateFamily {
    family: Family::gauge(
        "pod_metadata_age_seconds",
        Scope::Node,
        "Time since the last contact with the Pod source: any answer of the API \
         server's watch (while healthy a bookmark a minute at least), or the kubelet's \
         list. Before the first, time since the agent's start.",
    )
    .needs(&[Need::Pods]),
    write: |_, agent, to| {
        if let Some(age_ns) = agent.stats.pod_metadata_age_ns {
            to.sample(b"", &NONE, Value::Nanos(age_ns));
        }
    },
};

/// Dropped Pods.
pub static PODS_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "pods_dropped_total",
        Scope::Node,
        "Pods dropped for want of room, or forgotten less than 10 minutes after they \
         were gone.",
    ),
    write: |_, agent, to| count(agent.stats.pods_dropped, to),
};

/// Dropped items of the Pod source.
pub static POD_ITEMS_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "pod_items_dropped_total",
        Scope::Node,
        "Items of the Pod source that were not taken in. malformed: no Pod, or a field of the wrong \
         type; too_large: over 4 MiB; no_uid: without a UID; other_node: of another node; \
         over_limit: the Pods of one list take over 12 MiB; truncated: taken in without the \
         containers over 64 KiB.",
    )
    .labels(&["reason"], 6),
    write: |_, agent, to| counts("reason", &agent.stats.pod_items_dropped, to),
};

/// Dropped lines of the log.
pub static LOG_LINES_DROPPED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "log_lines_dropped_total",
        Scope::Node,
        "Lines of the agent's log that were dropped. queue_full: stderr is not read fast enough; \
         write_error: stderr cannot be written; rate: too many of one kind, or about one \
         container.",
    )
    .labels(&["reason"], 3),
    write: |_, agent, to| counts("reason", &agent.stats.log_lines_dropped, to),
};

/// Closed connections.
pub static HTTP_CONNECTIONS_CLOSED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "http_connections_closed_total",
        Scope::Node,
        "Connections that the agent's server closed before their client did. crowded: without a \
         request, to make room for another; head_timeout: no whole request in time; idle_timeout: \
         no further request in time; slow_reader: the answer was not read in time, or its room was \
         needed; refused: no room.",
    )
    .labels(&["reason"], 5),
    write: |_, agent, to| counts("reason", &agent.stats.http_closed, to),
};

/// Refused scrapes.
pub static HTTP_SCRAPES_REFUSED: StateFamily<Agent> = StateFamily {
    family: Family::counter(
        "http_scrapes_refused_total",
        Scope::Node,
        "Scrapes that were answered 503: there was no room for the answer, or none in time.",
    ),
    write: |_, agent, to| count(agent.stats.http_scrapes_refused, to),
};
