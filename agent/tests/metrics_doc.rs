//! Holds docs/METRICS.md against the catalogue; `UPDATE_GOLDEN=1` rewrites it.

#![expect(clippy::unwrap_used, reason = "helpers of a test: what fails here fails it")]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use agent::bpf::subjects::SUBJECTS;
use agent::cgroup::CgroupId;
use agent::cgroup::path::Origin;
use agent::event::EventKind;
use agent::kube::identity::Identity;
use agent::kube::pod::Handler;
use agent::lifecycle::fact::{Cause, OomScope, OomVictim, ProbeKind, ProbeResult, Sender};
use agent::lifecycle::phase::Phase;
use agent::lifecycle::subject::{Birth, Who};
use agent::lifecycle::trigger::Trigger;
use agent::metrics::agent::AgentStats;
use agent::metrics::catalog::{cost, families, series_max};
use agent::metrics::collector::{Collector, Collectors};
use agent::metrics::family::{Family, Need, Scope, Unit};
use agent::metrics::store::{Store, StoreOptions};
use agent::metrics::variant::{Format, Seen};
use agent::probe::Outcome;
use agent::reader::Reader as _;

const GOLDEN: &str = include_str!("../src/metrics/testdata/exposition.prom");

const HEAD: &str = "\
# Metrics

Generated from the catalogue in the code (`podvitals catalogue`); a test keeps it up to date.

## Values and scrapers

A value that is not known makes no series. Counters of events are at 0 before their first event, also where
the program that sees these events is not attached: `podvitals_program_attached` tells. Where label
sets are few they are initialised with their container or workload; where they are many (signals by
sender) a series is made by its first event. Each scraper sees a series that is new to it at 0 once
before its value, so that `increase()` sees the first event, in both Prometheus of a pair; a human
with curl sees the value, and changes nothing. A scraper is who sends
`X-Prometheus-Scrape-Timeout-Seconds`. It is known by its address; several behind one address are
told apart by their connections, which works as long as they keep them between two scrapes or scrape
at one interval. To a scraper that comes for the first time, or after 5 minutes, what is new is what
appeared in the last 5 minutes. The agent knows 64 scrapers, 8 of one IPv6 /64; a newcomer takes no
place of one that scrapes at least every 5 minutes, and where it gets none it sees a new series at 0
for 5 minutes (`podvitals_scrapers_dropped_total`).

Begun by the first event of their kind: `podvitals_fatal_signals_total`,
`podvitals_termination_reason_mismatch_total`, `podvitals_shutdown_grace_used_ratio`,
`podvitals_startup_duration_seconds`, `podvitals_prestop_duration_seconds` (with the first Pod that has a
hook), `podvitals_probe_duration_seconds`, `podvitals_probe_timeout_used_ratio`,
`podvitals_probe_exec_cpu_seconds_total`, `podvitals_probe_exec_leaked_processes_total` and
`podvitals_probe_exec_overruns_total` (with the first Pod that has such a probe),
`podvitals_probe_phase_duration_seconds` (with the first attempt), and of other families the series with `scope=\"unknown\"` and those of stop signals that are
ignored and are not a SIGTERM from the runtime. All other counters of ends, signals, OOMs, stops and
starts are at 0 from the start of their container or node, or from the agent's, if that is later.
`podvitals_container_restarts_total` goes on from `restartCount`; what is read from a cgroup's files goes
on from what they say. The agent's counters about itself begin at 0 with its process, and a scraper sees
their value at once.

To count events right also where the scrape with the 0 failed, or Prometheus was away, take the value
less the value at the beginning of the time, and the whole value where the series was not there while its
agent was: [deploy/alerts/podvitals.rules.yaml](../deploy/alerts/podvitals.rules.yaml) does, and records
the results for the last hour.

## Limits

The exposition has `--metrics.max-series` series of containers, Pods and workloads at most. What is
gone is kept (see below) in a quarter of that, and gives way to what is there, the oldest first
(`podvitals_retention_evictions_total`). A container that finds no room is hidden
(`podvitals_containers_hidden`) and shown when there is some. Where containers that are shown grow
beyond the limit, whole families of some of them are left out. What was left out is counted in
`podvitals_series_dropped_total`.

## Reading the tables

In OpenMetrics the name of a counter's family is without `_total`; the series are the same in both
formats.

With traces (`--trace.endpoint`) buckets of the histograms, but for those of probes, have exemplars, in OpenMetrics alone: the
newest observation of the bucket that a trace tells of, with the trace's id, its value and its time.

```text
podvitals_shutdown_duration_seconds_bucket{…,outcome=\"killed\",le=\"31.0\"} 1 # {trace_id=\"a30000000000000000000000000000a3\"} 30.03 1700000050.03
```

Only traces that were queued for export are named. One that the queue had to drop later leads nowhere:
`podvitals_trace_spans_dropped_total` tells. Prometheus stores exemplars with
`--enable-feature=exemplar-storage`, and asks for OpenMetrics by itself;
[dashboards/README.md](../dashboards/README.md#traces) has how Grafana opens the trace. Exemplars are no
series, and `--metrics.max-series` does not count them.

Times are in seconds, amounts of memory in bytes. *Series* is the most series that a family can have
for one entity, buckets included. *Needs* are the conditions without which a family is not exported:
`controller=…` a cgroup v2 controller, `linux=…` a kernel release, `pods` a Pod source,
`traces` a receiver of traces.

Without a Pod source (`--pods.source`) there are no requests, grace periods and used fractions of
them, preStop hooks, startup phases that the API ends, probes, and mismatches: the kernel does not know of
them. `trigger` is then `none` without a stop signal, else `unknown`; `role` is `unknown` and `image`
empty.

## Meaning

Stop signals. SIGTERM and the stop signal that the Pod source reports count at once, from any sender
outside the container. Any other signal (an image's own stop signal, or a reload) counts from its own
time once something proves it: the Pod is being deleted, a SIGKILL by the same sender follows, or init
ends in a way that follows from it. A SIGTERM by hand, or by another container, that init ignored or has
outlived by more than its grace period (five minutes where nobody reports one) stopped nothing: the
runtime's own counts instead of it.

Ends. A container ends with its init: the process that was first in its cgroup, with or without an
exec. A unit of a plain machine ends when its cgroup is empty, with the status of its main process.

Causes, the first that holds. `oom`: the OOM killer killed init. `killed_after_grace`: SIGKILL after a
stop signal. `killed_without_stop_signal`: SIGKILL, and no stop signal was sent. `signal`: another fatal
signal, SIGTERM included. `error`: exit with a code other than 0. `completed`: exit with 0. `unknown`:
nobody saw the status of the end; or a SIGKILL of a container that is older than the agent, which may
have had its stop signal before.

Triggers. `none`: no stop was requested. `pod_deletion`, `api_eviction`, `preemption`, `taint`: the
Pod was deleted before the stop signal, and its condition `DisruptionTarget` reports by whom; or the
Pod is gone from the API, or its deletion came at a time that cannot be known (a report was held up, or
the API's clock is wrong), and nothing else explains the stop. What the Pod says after the stop signal
changes neither the trigger nor the grace period. `node_pressure`, `node_shutdown`, `deadline`
(`activeDeadlineSeconds`): the reason that the kubelet writes into the Pod's status once nothing of it
runs. `liveness`, `startup`, `restart_other`: the kubelet stopped the container and started it again.
The API does not report why. Where the attempts of its probes were seen, they decide: the last one before
the stop was the failure that reached the threshold, or it was not and no other was due. Else that a
probe was the cause is inferred from the Pod having one,
unless something else explains the stop: other containers were stopped too, the sandbox was gone, the
image or resources that restart it were changed in the spec, its postStart hook failed, or the probe
cannot have failed yet. `pod_completion`: a sidecar, or a container for debugging, whose Pod's app
containers were done, inferred likewise. A static Pod whose mirror is removed and does not come again
is deleted. `unknown`: nothing was reported within 30 seconds; or a container older than the agent
exited as what is stopped does, soon after the agent came, and may have had its stop signal before.

Restarts. A Pod that is re-created under its name, as a StatefulSet's, is no restart; its containers'
counters go on. A unit of the host (host mode) is restarted if it runs again within five minutes after
an end other than its own success: what a timer starts now and then is no restart. `restartCount` can
fall, when a status is rebuilt: the counter then goes on with each further restart.

The used fraction of the grace period is the time from the stop signal to the end, divided by the
time that was left at the signal. That is the grace period in effect (the deletion's, else the failed
probe's own, else the Pod's), less the whole seconds that a preStop hook and a sidecar's wait had
taken, and 2 s at least, as the kubelet does it. Evictions by node pressure and node shutdowns have
none: the API does not report their grace period.

## Probes

An attempt is what the kubelet asked once: a connection, with those of the redirects that it follows, or a
command in the container. Its times are the kernel's. They are those that the kubelet's timeout is about,
without what the agent or the kubelet's own goroutines add.

| result | when | what the kubelet makes of it |
|---|---|---|
| `success` | HTTP status 200 to 399, gRPC health `SERVING`, a TCP connection, exit code 0 | a success |
| `failure` | any other status, health or exit code; a connection that was closed or reset without an answer; an answer over HTTP that breaks off | a failure. Where only the body of an answer breaks off, an error that changes no count, neither there nor here |
| `timeout` | no whole answer in time | a failure |
| `refused` | no connection: nothing listens there, or the way is refused | a failure |
| `unknown` | it cannot be told | a success or a failure |

So `unknown` is no sign of trouble: failures are `result=~\"failure|timeout|refused\"`. It is the result of

- each answer over `https`, since it is encrypted. Only a connection or a handshake that failed, or ran out
  of time, is known. A handshake that the server refuses in its encrypted part, as for want of a client's
  certificate, is `unknown` too.
- each answer to `http` and `grpc` where connections are observed by their times alone: see
  [Without NET_ADMIN](#without-net_admin).
- an answer whose status is not among the first 256 bytes: after informational answers (1xx) or, of gRPC,
  after some 170 bytes of headers.

A command that gets a SIGKILL shortly before its timeout (the last quarter, a second at most) is a `timeout`:
the runtime kills it then. Earlier it is a `failure`, as when it was out of memory.

### Without NET_ADMIN

Without that capability, or where a program of others is in the way, a tracepoint observes the kubelet's
connections (`podvitals_probe_source_info{source=\"tracepoint\"}`). It tells when a connection was asked for,
established, refused and ended, and not what was said in it. Commands are observed as before.

| | with NET_ADMIN | without |
|---|---|---|
| results of `http` and `grpc` | all | `timeout` and `refused`. Each answer is `unknown`, be it good or bad |
| results of `https` | `timeout`, `refused`, `failure` of a handshake, else `unknown` | `timeout`, `refused`, else `unknown` |
| results of `tcp` and `exec` | all | all |
| durations, fractions of the timeout | all | all |
| phases of a connection (`probe_phases`) | `connect`, `first_byte`, `rest` | `connect`, and `first_byte` of timeouts |
| a server that answers no SYN | `timeout`, told when the time is up | `timeout`, told when the kernel gives up, some two minutes later |
| two probes of a container on one port | told apart by the request; by their schedule, if they ask the same | by their schedule alone, else `liveness_or_readiness`; with different handlers, else `ambiguous` |
| a handshake of TLS that hangs | `timeout`, told 0.25 s after the time is up | `not_a_probe` if the connection lasts for more than 2 s beyond the timeout, as Go's client lets it for 10 s |
| a hook or a redirect to a probe's port | no attempt of its own | may count as an attempt |
| failures left (`podvitals_probe_failures_left`) | all but `https` | `tcp` and `exec`. Of others it is absent from the first answer on |
| thresholds reached (`podvitals_probe_failure_threshold_reached_total`) | all but `https` | `tcp` and `exec`. Of others readiness is never counted, liveness and startup only while the container has never answered |
| triggers `liveness` and `startup` | decided by the attempts | inferred, as without the collector, where the failures that are left are not known |
| alerts | all; for `https` `PodvitalsReadinessFlapping` does not fire | `PodvitalsReadinessFlapping` fires for `tcp` and `exec` alone |
| panels of the dashboard *Probes* | all | \"Readiness lost\", \"Killed for a probe\", \"At their threshold\" and \"Thresholds reached\" are about `tcp` and `exec`; \"Failed attempts over time\" and \"Most failed attempts\" show timeouts and refused connections |

### When an attempt is told

When its connection has ended. Go's client may go on with one after the time of the request is up; durations
end at the timeout all the same.

- A server answers no SYN: its queue is full, or a network policy drops it. The timeout is told when the time
  is up, though not before the kernel has sent the SYN again, which it does after a second. The tracepoint is
  not called then: with it alone, the timeout is told when the kernel gives up (some two minutes,
  `net.ipv4.tcp_syn_retries`).
- A handshake of TLS hangs: the timeout is told 0.25 s after the time is up.
- Probes of `tcpSocket` and `grpc` end their connections in time.

Where a SYN without an answer may be of two probes that cannot be told apart, the longer time counts. A hook
over HTTP to a probe's port whose SYN has no answer counts as an attempt, as it says nothing of itself.

### Which probe it is

The liveness and the readiness probe of a container may be the same on the wire: same port, path and headers.
They are told apart by their schedule where that is certain. Else the attempt is of the probe
`liveness_or_readiness`, and is counted nowhere else. The two addresses of `localhost` are one attempt.

What may be of several containers counts for none. It is `ambiguous` in
`podvitals_probe_connections_total`:

- a connection that may be of two containers;
- to a Pod with `hostNetwork`, a connection that was refused, or that ended without a request, at a time at
  which no probe is due: the kubelet is a client of the API server too, which has the node's address. The
  first of such attempts is `ambiguous` where nothing was answered before;
- to a Pod's own address, a connection that a probe of another Pod can have made by its `host`, at a time at
  which the Pod's own probe is not due.

### What is not seen, and what is counted too

- A `connect` that fails at once makes no connection: the node has no route to the Pod, or no port is free.
- A probe whose `host` is a name other than `localhost`, or whose port's name is none of the container's, is
  not recognised. Its series stay at 0.
- A connection waits for its Pod's address for 10 s. It is `not_a_probe` where the Pod source reports it later.
- A command that somebody runs by hand with a probe's arguments is an attempt. Of longer ones the first 256
  bytes are compared.
- A hook over https to the port of a container's https probe is an attempt, since its request cannot be read.

### Failures that are left

They are counted as the kubelet does, from `failureThreshold`.

- A failure before a container was ready for the first time changes nothing, and so is no
  `podvitals_probe_failure_threshold_reached_total` of readiness.
- Of `liveness_or_readiness` they are not known: each of the two has its own threshold.
- `podvitals_probe_failures_left` is absent while no attempt was seen for more than two periods, as of a
  startup probe that is done.
- A kubelet that is started again counts anew, and so it is here: its cgroup is a new one then. Where other
  processes keep the cgroup, as the shims of k3s do, that is not noticed.

### How they differ from the kubelet's own

Kubernetes 1.37, `pkg/kubelet/prober`:

| | the kubelet | here |
|---|---|---|
| latency | `prober_probe_duration_seconds` observes successes alone | failures and timeouts too; refused connections are not |
| repeats | an attempt whose handler returns an error is repeated at once, up to 3 times; all of it is one duration | each is an attempt |
| errors | are counted nowhere | are results |
| time | what the prober takes, its waiting for a CPU and for the runtime included | what the connection or the command took |
| a command that leaves children | the runtime waits until nobody can write to the command's output, so children that keep it open make a timeout of an attempt (containerd, `drainExecSyncIO`) | the command's own end counts; its children are in `podvitals_probe_exec_leaked_processes_total` |
| labels | Pod and container, no handler | handler; latency by workload, results by container |
| fraction of the timeout | – | `podvitals_probe_timeout_used_ratio` |
| hooks | – | HTTP hooks of the kubelet are no probes; of https see above |

So `podvitals_probe_results_total` is `prober_probe_total` where no handler returned an error, no answer was
encrypted and no attempt may be of two probes. An exec probe's time begins when
its process is in the container, after the runtime's own work; the kubelet's timeout begins earlier.

## Labels

| label | values |
|---|---|
| `namespace`, `pod`, `container` | the Pod's own. A container that no source names has an empty `namespace`, its Pod's UID, and the first 12 digits of its id. A unit of a plain machine has `host`, its cgroup's path, and the last part of that path |
| `workload_kind`, `workload` | the owner that created the Pod, such as `Deployment`; `Pod` and the Pod's name where there is none or it is not known; `Unit` and the path for a unit |
| `cause` | `oom`, `killed_after_grace`, `killed_without_stop_signal`, `signal`, `error`, `completed`, `unknown`: see Causes above |
| `trigger` | `none`, `pod_deletion`, `api_eviction`, `preemption`, `taint`, `node_pressure`, `node_shutdown`, `deadline`, `liveness`, `startup`, `pod_completion`, `restart_other`, `unknown`: see Triggers above |
| `sender` | of a signal: `runtime` (the container runtime, as the kubelet or a human asks it), `kernel`, `self` (init), `same_container`, `other_container`, `host` (another process of the host) |
| `scope` | of an OOM, the limit that was reached: `container`, `pod`, or `node` for all above; `unknown` where the kernel's counters could not be read |
| `victim` | of an OOM: `init` (the container ends), `child` (another process of the container), `exec` (a process of a probe, a hook or `kubectl exec`) |
| `phase` | of a start: `scheduled_to_sandbox`, `sandbox_to_created` (network, images, containers before it), `init` (from the sandbox to the end of all init containers), `created_to_running`, `running_to_started` (the startup probe succeeds), `running_to_ready`; of an attempt of a probe: `connect`, `first_byte`, `rest`, `spawn`, `run` |
| `outcome` | of a shutdown: `exited` by itself or by the stop signal, `killed` by SIGKILL; of a connection of the kubelet, or a command in a container: `probe`, `hook`, `not_a_probe`, `other_request`, `ambiguous`, `no_container`, `abandoned`, `no_room` |
| `handler` | of a probe: `http`, `https`, `tcp`, `exec`, `grpc`; of a preStop hook: `exec`, `sleep`, `http` |
| `probe` | `startup`, `liveness`, `readiness`; `liveness_or_readiness` where the two cannot be told apart |
| `result` | of an attempt of a probe: `success`, `failure`, `timeout`, `refused`, `unknown`: see Probes above |
| `source` | of the kubelet's connections: `sock_ops` (with answers), `tracepoint` (times alone: see Without NET_ADMIN), `none` (not observed) |
| `reason` of `podvitals_probe_source_info` | why not all is seen; empty where it is. `no_cap_net_admin`: the capability is missing. `exclusive_program`: a program of others is in the way. `refused_by_kernel`, `no_programs`: the kernel does not take ours, as the log says. `kubelet_not_found`: its cgroup is not in the usual places. `no_connections`: a cgroup is observed, though not one connection came while probes are due, so it may be the wrong one. Those of other families are in their help |
| `killed` | of a shutdown under way: `true` once SIGKILL was sent, `false` before |
| `resource` | of pressure: `cpu`, `memory`, `io` |
| `kind` | of pressure: `some` or all (`full`) tasks; of page faults: `minor`, `major`; of received events the kernel's name, `signal_generate`, `exit_notify`, `sched_process_exec`, `sched_process_exit`, `mark_victim`, `cgroup_mkdir`, `cgroup_rmdir`, `cgroup_notify_populated`; of dropped evidence `stop_signal`, `death`, `report`, `restart`, `start_failure`, `exec_session`, `oom_counter`, `probe_address`, `probe_attempt`, `probe_container`; of unseen events `oom_kill` |
| `event` | a line of `memory.events`: `high`, `max`, `oom`, `oom_kill` |
| `program` | a BPF program: `cgroup_mkdir`, `cgroup_rmdir`, `cgroup_notify_populated`, `sched_process_exec`, `sched_process_exec_again`, `sched_process_exit`, `signal_generate`, `mark_victim`, `running_tasks`, `cgroup_iter`; on the kubelet's connections `kubelet_sock_ops`, `kubelet_ingress`, `kubelet_egress`, or `inet_sock_set_state` instead of them |
| `role` | `app`, `init`, `sidecar`, `ephemeral`, `unknown` |
| `qos` | `guaranteed`, `burstable`, `besteffort`; empty for a unit |
| `runtime` | `containerd`, `cri-o`, `docker`, `podman`; `unknown` where the cgroup's name does not tell |

## Questions

With the labels as the agent sets them (`honor_labels: true`), and `node` from `deploy/`. Families of a
workload are per node: `sum by` adds them up.

| question | PromQL |
|---|---|
| Why did this Pod die? | `last_over_time(podvitals_container_last_termination_info{namespace=\"shop\", pod=~\"web-.*\"}[1d])`: one series for each container and way to die; the value is when, in Unix seconds. Without `last_over_time` only Pods that are there, or were 10 minutes ago |
| Who was killed, and was a stop signal sent before? | `sum by (namespace, workload, container, cause) (increase(podvitals_terminations_total{cause=~\"killed_.*\"}[1h])) > 0` |
| Which workloads ignore their stop signal? | `sum by (namespace, workload, container, signal) (increase(podvitals_stop_signal_ignored_total[1d])) > 0` |
| How long do clean stops take? | `histogram_quantile(0.99, sum by (namespace, workload, container, le) (rate(podvitals_shutdown_duration_seconds_bucket{outcome=\"exited\"}[1d]))) > 0` |
| Who uses nearly the whole grace period? | `podvitals_container_last_shutdown_grace_used_ratio > 0.9` |
| What does not end, though it was killed? | `podvitals_container_terminating_seconds{killed=\"true\"} > 60` |
| Which memory limit led to OOM kills of containers? | `sum by (namespace, workload, container, scope) (increase(podvitals_oom_events_total{victim=\"init\"}[1h])) > 0` |
| What has containers of each node stopped? | `sum by (node, trigger) (increase(podvitals_terminations_by_trigger_total{trigger!=\"none\"}[1h])) > 0` |
| Who crashes repeatedly? | `increase(podvitals_container_restarts_total[30m]) > 2` |
| Who does not even start? | `sum by (namespace, workload, container) (increase(podvitals_start_failures_total[30m])) > 2` |
| Whose probes are close to their timeout? | `histogram_quantile(0.99, sum by (namespace, workload, container, probe, le) (rate(podvitals_probe_timeout_used_ratio_bucket[1h]))) > 0.75` |
| Whose probes fail, and how? | `sum by (namespace, pod, container, probe, result) (increase(podvitals_probe_results_total{result!=\"success\", result!=\"unknown\"}[1h])) > 0` |
| Does the agent miss anything? | `increase(podvitals_events_lost_total[1h]) > 0 or podvitals_program_attached{program!=\"cgroup_iter\"} == 0 or podvitals_containers_hidden > 0` |
";

/// What probes cost is said apart, by probe.
const WITHOUT_PROBES: Collectors =
    Collectors::ALL.without(Collector::Probes).without(Collector::ProbePhases);

/// Samples of a workload to which nothing has happened.
fn samples_at_first() -> Vec<String> {
    let mut store = Store::new(StoreOptions::default());
    let identity = Identity {
        namespace: "shop".into(),
        pod: "web-1".into(),
        container: "web".into(),
        pod_uid: String::new(),
        container_id: String::new(),
        image: String::new(),
        role: "app",
        qos: "burstable",
        runtime: "containerd",
        workload_kind: "Deployment".into(),
        workload: "web".into(),
    };
    store.shown(&Arc::new(Who {
        cgroup: CgroupId(1),
        pod_cgroup: None,
        origin: Origin::Unit(String::new(), String::new()),
        identity,
        birth: Birth::Seen { boot_ns: 1 },
    }));
    let generation = store.next_generation(1);
    let text = store.encode(generation, &AgentStats::default(), Format::Text);
    let text = String::from_utf8(text.for_reader(Seen::ALL, |chunk| chunk).concat()).unwrap();
    let is_of_workload = |line: &&str| line.contains("{namespace=\"shop\",workload_kind=");
    text.lines().filter(is_of_workload).map(str::to_owned).collect()
}

/// Property: which families of a workload begin with their first event is said, and of no other.
#[test]
fn families_that_begin_with_an_event_are_named() {
    let samples = samples_at_first();
    let at_first = |name: &str| samples.iter().any(|sample| sample.contains(name));
    let begun = HEAD.split("\n\n").find(|text| text.starts_with("Begun by")).unwrap();
    for family in families().filter(|family| family.scope == Scope::Workload) {
        let name = format!("`podvitals_{}`", family.name);
        assert_eq!(begun.contains(&name), !at_first(family.name), "{name}");
    }
    let ignored: Vec<_> = samples.iter().filter(|it| it.contains("stop_signal_ignored")).collect();
    assert_eq!(ignored.len(), 1);
    assert!(ignored[0].contains(r#"signal="SIGTERM",sender="runtime""#), "{ignored:?}");
    assert!(!samples.iter().any(|sample| sample.contains(r#"scope="unknown""#)));
}

fn section(scope: Scope) -> (&'static str, String) {
    match scope {
        Scope::Container => (
            "Per container",
            "Keyed by the container's name: a restart goes on counting. Gauges go with the cgroup; \
             counters, `_last_*` and `container_info` stay 10 minutes (`--metrics.retention`), and \
             as long as the API knows the container as waiting to run again."
                .into(),
        ),
        Scope::Pod => ("Per Pod", "From the Pod's own cgroup.".into()),
        Scope::Workload => (
            "Per workload on this node",
            format!(
                "Without a Pod source the workload is the Pod. Kept an hour after the last \
                 container, and as long as one waits to run again. A workload container has {} \
                 series from the start on, and {} at most; the others are made by their first event. \
                 Those of probes come on top.",
                samples_at_first().len(),
                series_max(Scope::Workload, WITHOUT_PROBES)
            ),
        ),
        Scope::Node => ("Per node, and the agent about itself", String::new()),
        Scope::Process => {
            ("The agent's process", "Under the names that all clients use.".into())
        }
    }
}

fn row(family: &Family) -> String {
    let unit = match family.unit {
        Unit::None => "",
        Unit::Seconds => "s",
        Unit::Bytes => "bytes",
        Unit::Cores => "cores",
    };
    let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    let needs: Vec<_> = family.needs.iter().map(Need::to_string).collect();
    format!(
        "| `{}{}` | {} | {unit} | {} | {} | {} | {} | {} |",
        family.prefix(),
        family.name,
        family.kind.name(),
        labels.join(", "),
        family.series_max,
        family.collector.map_or("", Collector::name),
        needs.join(", "),
        family.help
    )
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    out.push_str(
        "\n## Collectors\n\nAll are on but `probe_phases`. `--no-collector.<name>` or \
         `PODVITALS_COLLECTOR_<NAME>=false` switches one off: it then\nhas no state, no series, and \
         reads no files. `--collector.probe_phases` switches that one on. What probes cost is \
         9 series\na probe of a container and 24 a probe of a workload container at most; the table \
         has what all\nprobes of one can have while a rollout changes their handlers.\n\n",
    );
    out.push_str("| collector | what it exports | series at most |\n|---|---|---|\n");
    for collector in Collector::ALL {
        let name = collector.name();
        let _ = writeln!(out, "| `{name}` | {} | {} |", collector.help(), cost(collector));
    }
    for scope in Scope::ALL {
        let (title, words) = section(scope);
        let labels: Vec<_> = scope.labels().iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(out, "\n## {title}\n");
        if !words.is_empty() {
            let _ = writeln!(out, "{words}");
        }
        if !labels.is_empty() {
            let _ = writeln!(out, "Labels of each series: {}.", labels.join(", "));
        }
        if !words.is_empty() || !labels.is_empty() {
            out.push('\n');
        }
        out.push_str("| family | type | unit | labels | series | collector | needs | help |\n");
        out.push_str("|---|---|---|---|---|---|---|---|\n");
        for family in families().filter(|family| family.scope == scope) {
            let _ = writeln!(out, "{}", row(family));
        }
    }
    out
}

/// Property: the queries name families and labels that there are, with values that there are.
#[test]
fn the_queries_are_about_what_is_exported() {
    let (_, queries) = HEAD.split_once("## Questions").unwrap();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut count = 0;
    for row in queries.lines().filter(|line| line.starts_with("| ") && line.contains('`')) {
        let query = row.split('`').nth(1).unwrap();
        let mut labels = vec!["node", "le"];
        for name in query.split(|c| !is_name(c)).filter(|word| word.starts_with("podvitals_")) {
            let named = |family: &&Family| {
                let rest =
                    name.strip_prefix(family.prefix()).and_then(|it| it.strip_prefix(family.name));
                matches!((rest, family.kind.name()), (Some(""), _) | (Some("_bucket"), "histogram"))
            };
            let family = families().find(named).unwrap_or_else(|| panic!("{name}"));
            labels.extend(family.scope.labels().iter().chain(family.labels));
            count += 1;
        }
        let by = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        let matchers = query.split('{').skip(1).map(|rest| rest.split('}').next().unwrap());
        let matched = matchers
            .flat_map(|text| text.split(','))
            .map(|it| it.split(['=', '!']).next().unwrap());
        for label in by.flat_map(|text| text.split(',')).chain(matched).map(str::trim) {
            assert!(labels.contains(&label), "{label} in {query}");
        }
    }
    assert!(count > 10, "{count}");
}

/// Property: what the code can say of an end, a signal, an OOM or a start is explained.
#[test]
fn each_value_of_a_label_is_explained() {
    let rows = |label: &str| HEAD.lines().find(|line| line.starts_with(&format!("| `{label}` |")));
    // Of what is about containers: the golden file makes up some values of the agent's own families.
    let samples = || GOLDEN.lines().filter(|line| line.contains("namespace="));
    let shown = |label: &str| -> Vec<&str> {
        let values = samples().flat_map(|line| line.split(',').skip(1));
        let values = values.filter_map(|it| it.strip_prefix(label)?.strip_prefix("=\""));
        values.filter_map(|it| it.split('"').next()).collect()
    };
    let handlers = [Handler::Http, Handler::Https, Handler::Tcp, Handler::Exec, Handler::Grpc];
    let handlers = handlers.map(Handler::label).to_vec();
    let kinds = [EventKind::NAMES.to_vec(), shown("kind")].concat();
    let all: [(&str, Vec<&str>); 15] = [
        ("cause", Cause::ALL.map(Cause::label).to_vec()),
        ("trigger", Trigger::ALL.map(Trigger::label).to_vec()),
        ("sender", Sender::ALL.map(Sender::label).to_vec()),
        ("scope", OomScope::ALL.map(OomScope::label).to_vec()),
        ("victim", OomVictim::ALL.map(OomVictim::label).to_vec()),
        ("phase", [Phase::ALL.map(Phase::label).to_vec(), shown("phase")].concat()),
        ("handler", [shown("handler"), handlers].concat()),
        ("probe", ProbeKind::ALL.map(ProbeKind::label).to_vec()),
        ("result", ProbeResult::ALL.map(ProbeResult::label).to_vec()),
        ("outcome", [shown("outcome"), Outcome::ALL.map(Outcome::label).to_vec()].concat()),
        ("killed", shown("killed")),
        ("resource", shown("resource")),
        ("event", shown("event")),
        ("program", SUBJECTS.iter().map(|subject| subject.id.name()).collect()),
        ("kind", kinds),
    ];
    for (label, values) in all {
        let row = rows(label).unwrap();
        assert!(!values.is_empty(), "{label}");
        for value in values {
            assert!(row.contains(&format!("`{value}`")), "{label}={value}");
        }
    }
    for cause in Cause::ALL.map(Cause::label) {
        let causes = HEAD.split("\n\n").find(|text| text.starts_with("Causes")).unwrap();
        assert!(causes.contains(&format!("`{cause}`:")), "{cause}");
    }
    for trigger in Trigger::ALL.map(Trigger::label) {
        let triggers = HEAD.split("\n\n").find(|text| text.starts_with("Triggers")).unwrap();
        assert!(triggers.contains(&format!("`{trigger}`")), "{trigger}");
    }
}

#[test]
fn the_reference_is_what_the_catalogue_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/METRICS.md");
    let expected = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/METRICS.md is stale: UPDATE_GOLDEN=1 cargo test rewrites it");
}
