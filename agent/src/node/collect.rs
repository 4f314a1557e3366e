//! A collection: samples every shown cgroup, for all scrapes that wait.

use super::{Collection, Node};
use crate::clock::Now;
use crate::reader::Reading;

impl Node {
    /// Takes in what has happened and samples every shown cgroup.
    #[must_use]
    pub fn collect(&mut self, now: Now) -> Collection {
        self.tick(now);
        self.shown_wall.follow(now.wall);
        let Self { sampler, tracking, registry, publish, lifecycle, .. } = self;
        sampler.sample(tracking.tree(), registry.shown(), |subject, sample| {
            publish.sample(subject, sample, Reading::Current);
        });
        publish.set_terminating(now.boot_ns, lifecycle.open_shutdowns(now.boot_ns));
        Collection { generation: publish.next_generation(now.boot_ns), stats: self.stats() }
    }
}
