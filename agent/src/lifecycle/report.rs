//! Reports: the runtime's report of an end, compared with the kernel's record. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fact::{Cause, Fact, FactKind, Misreport, Termination};
use super::subject::Who;
use crate::cgroup::CgroupId;
use crate::kube::pods::Pods;

/// Limit of deaths whose report is expected.
const EXPECTED_MAX: usize = 1024;
/// Longest time between the end of a container and its report.
const TIMEOUT_NS: u64 = 60_000_000_000;

#[derive(Debug)]
struct Expected {
    who: Arc<Who>,
    end: Termination,
}

/// Deaths that the runtime has not reported yet.
#[derive(Debug, Default)]
pub struct Reports {
    expected: VecDeque<Expected>,
    dropped: u64,
}

impl Reports {
    /// Total of deaths whose report is not waited for any more, for want of room.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Records the end of a Pod's container, whose report is expected.
    pub fn expect(&mut self, who: &Arc<Who>, end: Termination) {
        if self.expected.len() >= EXPECTED_MAX {
            self.expected.pop_front();
            self.dropped = self.dropped.saturating_add(1);
        }
        self.expected.push_back(Expected { who: Arc::clone(who), end });
    }

    /// Takes over another name of a container, for the report that is expected.
    pub fn rename(&mut self, who: &Arc<Who>) {
        for expected in self.expected.iter_mut().filter(|it| it.who.cgroup == who.cgroup) {
            expected.who = Arc::clone(who);
        }
    }

    /// Expects no report of a container any more: it turns out to be a sandbox.
    pub fn retract(&mut self, container: CgroupId) {
        self.expected.retain(|expected| expected.who.cgroup != container);
    }

    /// Reports that differ from the kernel's record. Each is returned once.
    pub fn compare(&mut self, pods: &Pods, now_boot_ns: u64) -> Vec<(Arc<Who>, Fact)> {
        let mut out = Vec::new();
        self.expected.retain(|Expected { who, end }| {
            let Some((pod, name)) = who.origin.pod() else { return false };
            let container = pods.container(pod, name);
            let Some(report) = container.and_then(|(_, container)| container.terminated(&name.id))
            else {
                // The last status of a Pod whose removal was seen is the last.
                let known = pods.of_cgroup(pod);
                let may_come = known.is_none_or(|known| known.removal_noticed().is_none());
                return may_come && now_boot_ns < end.end_boot_ns.saturating_add(TIMEOUT_NS);
            };
            if let Some(misreport) = differs(end, &report.reason) {
                let kind = FactKind::Misreported(misreport);
                out.push((Arc::clone(who), Fact { time_boot_ns: end.end_boot_ns, kind }));
            }
            false
        });
        out
    }
}

/// The difference between the kernel's record and the runtime's reason, if there is one.
fn differs(end: &Termination, reported: &str) -> Option<Misreport> {
    // Without a status the kernel's record proves nothing.
    let differs = end.status.is_some() && reported != expected(end.cause);
    differs.then(|| Misreport { reported: reported.to_owned(), observed: end.cause })
}

/// The reason that a runtime is expected to report.
const fn expected(cause: Cause) -> &'static str {
    match cause {
        Cause::Oom => "OOMKilled",
        Cause::Completed => "Completed",
        Cause::Error
        | Cause::Signal
        | Cause::KilledAfterGrace
        | Cause::KilledWithoutStopSignal
        // With a status it is a SIGKILL.
        | Cause::Unknown => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::path::{ContainerName, Origin, PodName, Qos, Runtime};
    use crate::event::ExitStatus;
    use crate::kube::event::{PodEvent, PodEventKind};
    use crate::kube::identity::Identity;
    use crate::kube::pod::Pod;
    use crate::lifecycle::fact::{EndSource, Outcome};
    use crate::lifecycle::subject::Birth;

    fn end(cause: Cause, status: Option<ExitStatus>) -> Termination {
        Termination {
            cause,
            status,
            stop_boot_ns: None,
            end_boot_ns: 7,
            outcome: Outcome::Exited,
            fatal: None,
            end_source: EndSource::ParentNotified,
            init_cpu_ns: None,
        }
    }

    #[test]
    fn each_cause_has_the_reason_that_runtimes_report() {
        let seen = Some(ExitStatus::Code(1));
        for (cause, reason) in [
            (Cause::Oom, "OOMKilled"),
            (Cause::Completed, "Completed"),
            (Cause::Error, "Error"),
            (Cause::Signal, "Error"),
            (Cause::KilledAfterGrace, "Error"),
            (Cause::KilledWithoutStopSignal, "Error"),
            (Cause::Unknown, "Error"),
        ] {
            assert_eq!(differs(&end(cause, seen), reason), None, "{cause:?}");
            let other = differs(&end(cause, seen), "ContainerStatusUnknown").unwrap();
            assert_eq!(
                (other.reported.as_str(), other.observed),
                ("ContainerStatusUnknown", cause)
            );
            assert_eq!(differs(&end(cause, None), "anything"), None, "no status to compare with");
        }
        assert!(differs(&end(Cause::Signal, seen), "OOMKilled").is_some());
    }

    #[test]
    fn no_report_is_waited_for_of_a_pod_whose_removal_was_seen() {
        for (kind, waits) in
            [(PodEventKind::Listed(Vec::new()), 1), (PodEventKind::Deleted(Box::new(pod())), 0)]
        {
            let mut pods = Pods::new();
            pods.apply(PodEvent { time_boot_ns: 5, kind: PodEventKind::Listed(vec![pod()]) });
            let mut reports = Reports::default();
            reports.expect(&who(), end(Cause::Completed, Some(ExitStatus::Code(0))));
            assert_eq!(reports.compare(&pods, 8), []);
            assert_eq!(reports.expected.len(), 1, "it may come");
            pods.apply(PodEvent { time_boot_ns: 9, kind });
            assert_eq!(reports.compare(&pods, 10), []);
            assert_eq!(reports.expected.len(), waits);
        }
    }

    fn pod() -> Pod {
        Pod { uid: "uid".into(), ..Pod::default() }
    }

    fn who() -> Arc<Who> {
        let pod = PodName { uid: "uid".into(), qos: Qos::Burstable };
        let name = ContainerName { id: "id".into(), runtime: Runtime::Containerd };
        let identity = Identity::fallback(&pod, &name);
        let (cgroup, birth) = (CgroupId(1), Birth::Seen { boot_ns: 1 });
        let origin = Origin::Pod(pod, name);
        Arc::new(Who { cgroup, pod_cgroup: None, origin, identity, birth })
    }
}
