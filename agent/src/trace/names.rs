//! Names of spans, events and attributes, with what each means: docs/TRACES.md is written from these.
//!
//! Attributes are those of OpenTelemetry's conventions where they have one
//! (`opentelemetry-semantic-conventions`); what they have none for begins with `podvitals.`.

use opentelemetry_semantic_conventions::attribute as semconv;

use super::model::Kind;

/// A name with its meaning.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// The name.
    pub name: &'static str,
    /// Meaning, for the documentation.
    pub meaning: &'static str,
}

const fn name(name: &'static str, meaning: &'static str) -> Name {
    Name { name, meaning }
}

/// Root span of a startup.
pub const POD_STARTUP: Name = name(
    Kind::Startup.name(),
    "From the scheduler's decision (±1 s) until every container was ready for the first time.",
);
/// Root span of a restart.
pub const CONTAINER_RESTART: Name = name(
    Kind::Restart.name(),
    "From what ended a container (the failed probes for which the kubelet stopped it, its decision, an OOM kill, its own exit) until its next instance was ready.",
);
/// Root span of a shutdown.
pub const POD_SHUTDOWN: Name = name(
    Kind::Shutdown.name(),
    "From the request to delete the Pod (±1 s), or the first termination that no restart followed if that was earlier, to the last container's end, or to when the agent learned of the deletion if that was later.",
);
/// Span of a sandbox.
pub const SANDBOX_CREATION: Name =
    name("sandbox creation", "From the scheduler's decision (±1 s) to the sandbox's cgroup.");
/// Span of an init container.
pub const INIT_CONTAINER: Name =
    name("init container", "A run of an init container, from its cgroup to its end.");
/// Span of a container's start.
pub const CONTAINER_STARTUP: Name = name(
    "container startup",
    "From the sandbox's cgroup, or the end of the last init container, until the container was ready.",
);
/// Span of pull and creation.
pub const PULL_AND_CREATE: Name = name(
    "pull and create",
    "Until the container's cgroup: network, image, volumes, containers before it. The API does not tell them apart.",
);
/// Span of the runtime's start.
pub const RUNTIME_START: Name =
    name("runtime start", "From the container's cgroup to the exec of its own program.");
/// Span of the startup probe.
pub const STARTUP_PROBE: Name =
    name("startup probe", "From the exec of the program to the success of its startup probe.");
/// Span until ready.
pub const READINESS: Name =
    name("readiness", "From the exec, or the success of the startup probe, until ready.");
/// Span of a container's end.
pub const TERMINATION: Name = name(
    "container termination",
    "From what ended the container to the kernel's record of its end: the kubelet's decision to stop it, the stop signal, SIGKILL, an OOM kill, or its own exit.",
);
/// Span of a preStop hook.
pub const PRE_STOP: Name = name("preStop hook", "A run of the container's preStop hook.");
/// Span of the shutdown proper.
pub const GRACE_PERIOD: Name =
    name("grace period", "From the stop signal to the end: what the program took of its grace.");
/// Span of the back-off.
pub const BACK_OFF: Name =
    name("back-off", "From the end to the cgroup of the next instance: the kubelet waits.");

/// Span of an attempt of a probe.
pub const PROBE_ATTEMPT: Name = name(
    "probe attempt",
    "An attempt of a probe that failed, or used three quarters of its timeout: in a startup or after a restart until the container was ready, and the failures for which the kubelet stopped a container. The last 16 of an instance.",
);

/// All names of spans.
pub const SPANS: [Name; 15] = [
    POD_STARTUP,
    SANDBOX_CREATION,
    INIT_CONTAINER,
    CONTAINER_STARTUP,
    PULL_AND_CREATE,
    RUNTIME_START,
    STARTUP_PROBE,
    READINESS,
    PROBE_ATTEMPT,
    CONTAINER_RESTART,
    TERMINATION,
    PRE_STOP,
    GRACE_PERIOD,
    BACK_OFF,
    POD_SHUTDOWN,
];

/// Event of a request to delete the Pod.
pub const DELETION_SEEN: Name =
    name("deletion seen", "The agent learned that the Pod is being deleted.");
/// Event of a stop signal.
pub const STOP_SIGNAL: Name = name("stop signal", "The first stop signal to init.");
/// Event of a SIGKILL.
pub const SIGKILL: Name = name("SIGKILL", "SIGKILL after a stop signal that did not suffice.");
/// Event of an OOM.
pub const OOM_KILL: Name = name("OOM kill", "An OOM with victims in the container.");
/// Event of an end.
pub const END: Name = name("end", "The end of init, as the kernel recorded it.");
/// Event of a failed start.
pub const START_FAILED: Name =
    name("start failed", "An attempt to start the container failed: its program never ran.");

/// All names of events.
pub const EVENTS: [Name; 6] = [DELETION_SEEN, STOP_SIGNAL, SIGKILL, OOM_KILL, END, START_FAILED];

/// Attribute of a service's name.
pub const SERVICE_NAME: Name =
    name(semconv::SERVICE_NAME, "`podvitals`, unless OTEL_SERVICE_NAME says otherwise.");
/// Attribute of a node's name.
pub const NODE: Name = name(semconv::K8S_NODE_NAME, "Node (`--node.name`).");
/// Attribute of a namespace.
pub const NAMESPACE: Name = name(semconv::K8S_NAMESPACE_NAME, "Namespace of the Pod.");
/// Attribute of a Pod's name.
pub const POD: Name = name(semconv::K8S_POD_NAME, "Name of the Pod.");
/// Attribute of a Pod's UID.
pub const POD_UID: Name = name(semconv::K8S_POD_UID, "UID of the Pod; also on each span.");
/// Attribute of a workload's kind.
pub const WORKLOAD_KIND: Name =
    name("podvitals.workload.kind", "Kind of the workload, as in the metrics.");
/// Attribute of a workload's name.
pub const WORKLOAD: Name = name(
    "podvitals.workload.name",
    "Name of the workload, as in the metrics. Where the conventions have a name for the kind, it is there as well (`k8s.deployment.name`, …).",
);

/// All attributes of resources.
pub const RESOURCE: [Name; 7] =
    [SERVICE_NAME, NODE, NAMESPACE, POD, POD_UID, WORKLOAD_KIND, WORKLOAD];

/// Attribute of a trace's kind.
pub const TRACE: Name = name(
    "podvitals.trace",
    "Kind of the trace: `pod startup`, `container restart`, `pod shutdown`.",
);
/// Attribute of an unfinished trace.
pub const INCOMPLETE: Name = name(
    "podvitals.incomplete",
    "true: the trace was sent before it was complete, since the agent stopped or nothing more came.",
);
/// Attribute of a container's name.
pub const CONTAINER: Name = name(semconv::K8S_CONTAINER_NAME, "Name of the container.");
/// Attribute of a container's id.
pub const CONTAINER_ID: Name = name(semconv::CONTAINER_ID, "Id of the container instance.");
/// Attribute of an image's name.
pub const IMAGE: Name = name(semconv::CONTAINER_IMAGE_NAME, "Image, as in the Pod's spec.");
/// Attribute of a container's role.
pub const ROLE: Name =
    name("podvitals.container.role", "Role: `app`, `init`, `sidecar`, `ephemeral`.");
/// Attribute of an exit code.
pub const EXIT_CODE: Name =
    name(semconv::PROCESS_EXIT_CODE, "Exit code of init, or of a probe's command.");
/// Attribute of a cause.
pub const CAUSE: Name = name("podvitals.cause", "Cause of the end, as in the metrics.");
/// Attribute of a trigger.
pub const TRIGGER: Name = name("podvitals.trigger", "Trigger of the end, as in the metrics.");
/// Attribute of a trigger's source.
pub const TRIGGER_SOURCE: Name = name(
    "podvitals.trigger.source",
    "How the trigger is known: `kernel`, `api`, `probe`, `inferred`, `none`.",
);
/// Attribute of a signal.
pub const SIGNAL: Name = name("podvitals.signal", "Name of the signal.");
/// Attribute of a signal's sender.
pub const SENDER: Name = name("podvitals.sender", "Sender of the signal, as in the metrics.");
/// Attribute of an ignored signal.
pub const IGNORED: Name = name("podvitals.ignored", "true: init ignores the signal.");
/// Attribute of a grace period.
pub const GRACE: Name = name("podvitals.grace.period_s", "Grace period that applied, in seconds.");
/// Attribute of a used grace period.
pub const GRACE_USED: Name = name(
    "podvitals.grace.used_ratio",
    "Time from the stop signal to the end, divided by what was left of the grace period at that signal.",
);
/// Attribute of a hook's handler.
pub const HANDLER: Name = name("podvitals.pre_stop.handler", "`exec`, `http` or `sleep`.");
/// Attribute of a probe.
pub const PROBE: Name = name(
    "podvitals.probe",
    "The probe, as in the metrics: `startup`, `liveness`, `readiness`, `liveness_or_readiness`.",
);
/// Attribute of a probe's handler.
pub const PROBE_HANDLER: Name =
    name("podvitals.probe.handler", "`http`, `https`, `tcp`, `exec` or `grpc`.");
/// Attribute of a probe's result.
pub const PROBE_RESULT: Name = name(
    "podvitals.probe.result",
    "Result, as in the metrics: `success`, `failure`, `timeout`, `refused`, `unknown`.",
);
/// Attribute of a probe's timeout.
pub const PROBE_TIMEOUT: Name =
    name("podvitals.probe.timeout_s", "Timeout of the probe, in seconds.");
/// Attribute of the failures that are left.
pub const PROBE_LEFT: Name = name(
    "podvitals.probe.failures_left",
    "Failures in a row that were left until the probe's threshold, after this attempt.",
);
/// Attribute of an answer's status.
pub const HTTP_STATUS: Name =
    name(semconv::HTTP_RESPONSE_STATUS_CODE, "Status of the answer to a probe over HTTP.");
/// Attribute of an OOM's scope.
pub const OOM_SCOPE: Name =
    name("podvitals.oom.scope", "Level whose limit was hit: `container`, `pod`, `node`.");
/// Attribute of an OOM's victim.
pub const OOM_VICTIM: Name =
    name("podvitals.oom.victim", "Role of the victim: `init`, `child`, `exec`.");
/// Attribute of a number of processes.
pub const OOM_KILLED: Name = name("podvitals.oom.killed", "Number of processes that were killed.");
/// Attribute of a victim's name.
pub const OOM_COMM: Name = name("podvitals.oom.victim.comm", "Short name of the victim's program.");
/// Attribute of a limit.
pub const OOM_LIMIT: Name =
    name("podvitals.oom.limit_bytes", "Limit that was hit; absent where the node itself ran out.");
/// Attribute of a usage.
pub const OOM_USAGE: Name =
    name("podvitals.oom.usage_bytes", "Memory that was charged to the cgroup of that limit.");
/// Attribute of anonymous memory.
pub const OOM_ANON: Name =
    name("podvitals.oom.victim.anon_bytes", "Anonymous memory of the victim at the kill.");
/// Attribute of file memory.
pub const OOM_FILE: Name =
    name("podvitals.oom.victim.file_bytes", "File-backed memory of the victim at the kill.");
/// Attribute of shared memory.
pub const OOM_SHMEM: Name =
    name("podvitals.oom.victim.shmem_bytes", "Shared memory of the victim at the kill.");
/// Attribute of a trigger.
pub const OOM_TRIGGER: Name = name(
    "podvitals.oom.triggered_by",
    "Whose allocation led to it: `same_container`, `same_pod`, `other_container`, `host`.",
);
/// Attribute of a trigger's name.
pub const OOM_TRIGGER_COMM: Name =
    name("podvitals.oom.triggered_by.comm", "Short name of the program that allocated.");
/// Attribute of a trigger's container.
pub const OOM_TRIGGER_CONTAINER: Name = name(
    "podvitals.oom.triggered_by.container",
    "Its container, as `namespace/pod/container`, if it is known.",
);
/// Attribute of a requested deletion.
pub const DELETION_GRACE: Name =
    name("podvitals.deletion.grace_period_s", "Grace period of the deletion, in seconds.");
/// Attribute of a runtime's reason that differs.
pub const REPORTED: Name = name(
    "podvitals.reported_reason",
    "Reason of the end in the Pod's status, where it differs from the kernel's record.",
);

/// All attributes of spans and events.
pub const ATTRIBUTES: [Name; 36] = [
    TRACE,
    INCOMPLETE,
    CONTAINER,
    CONTAINER_ID,
    IMAGE,
    ROLE,
    CAUSE,
    TRIGGER,
    TRIGGER_SOURCE,
    EXIT_CODE,
    SIGNAL,
    SENDER,
    IGNORED,
    GRACE,
    GRACE_USED,
    HANDLER,
    REPORTED,
    DELETION_GRACE,
    PROBE,
    PROBE_HANDLER,
    PROBE_RESULT,
    PROBE_TIMEOUT,
    PROBE_LEFT,
    HTTP_STATUS,
    OOM_SCOPE,
    OOM_LIMIT,
    OOM_USAGE,
    OOM_VICTIM,
    OOM_COMM,
    OOM_ANON,
    OOM_FILE,
    OOM_SHMEM,
    OOM_KILLED,
    OOM_TRIGGER,
    OOM_TRIGGER_COMM,
    OOM_TRIGGER_CONTAINER,
];
