//! Traces of facts that the store has counted.

use opentelemetry::trace::TraceId;

use super::super::entity::Workload;
use super::Store;
use crate::lifecycle::fact::Fact;
use crate::lifecycle::subject::Who;

impl Store {
    /// Takes in the trace that tells of a fact, once it is queued: histograms that counted the fact have
    /// it as their exemplar. A trace may come minutes after its facts, so the container's workload is
    /// found by its names where its cgroup is forgotten. What is not shown gets nothing.
    pub fn traced(&mut self, who: &Who, fact: &Fact, trace: TraceId) {
        if self.refused.has(who.cgroup) {
            return;
        }
        let id = match self.members.get(&who.cgroup) {
            Some(member) => Some(member.workload),
            None => self.workloads.find(Workload::block(&who.identity).bytes()),
        };
        if let Some(workload) = id.and_then(|id| self.workloads.get_mut(id)) {
            workload.traced(fact, trace);
        }
    }
}
