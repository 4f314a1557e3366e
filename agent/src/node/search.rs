//! Search for the kubelet by its process, where its cgroup is in no known place. Pure.
//!
//! The kernel side reports root's processes of the kubelet's name that are in no container of a Pod. A
//! process counts when it is in the same cgroup at two looks, which are some seconds apart: a `kubelet
//! --version` that somebody types is gone by then, even one that takes the place of a shell, and so is
//! the kubelet itself before its service manager has moved it. If there are several, nothing tells
//! which is the node's.

use std::path::PathBuf;

use crate::cgroup::CgroupId;
use crate::cgroup::kubelet::Learned;
use crate::cgroup::tree::Tree;
use crate::escape;
use crate::event::{Comm, Task, TaskKey};

/// Limit of processes that are looked at: more than a node has kubelets.
const PROCESSES_MAX: usize = 64;

/// Result of a look.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The processes cannot be seen, or were not looked at.
    Unseen,
    /// No process.
    Nobody,
    /// A process that was not there at the last look.
    Young,
    /// A process of this cgroup.
    Found,
    /// Processes of several cgroups, of which these are two.
    Several([PathBuf; 2]),
    /// A process of a cgroup that holds Pods too.
    AbovePods(PathBuf),
}

/// Search over several looks.
#[derive(Debug)]
pub(super) struct Search {
    /// Processes of the last look.
    before: Vec<(TaskKey, CgroupId)>,
    seen: Seen,
}

impl Search {
    pub(super) const fn new() -> Self {
        Self { before: Vec::new(), seen: Seen::Unseen }
    }

    /// Takes in the processes of a look; `None` if they cannot be seen. Returns where the kubelet is, if
    /// that is certain. The looks have to be some seconds apart.
    pub(super) fn look(&mut self, tasks: Option<&[Task]>, tree: &Tree) -> Option<Learned> {
        let Some(tasks) = tasks else {
            *self = Self::new();
            return None;
        };
        let may_be = |task: &&Task| tree.may_hold_kubelet(task.cgroup);
        let now: Vec<&Task> = tasks.iter().filter(may_be).take(PROCESSES_MAX).collect();
        let keys = now.iter().map(|task| (task.key, task.cgroup)).collect();
        let before = std::mem::replace(&mut self.before, keys);
        let stayed = |task: &&&Task| before.contains(&(task.key, task.cgroup));
        let stayed: Vec<(CgroupId, Comm)> =
            now.iter().filter(stayed).map(|task| (task.cgroup, task.comm)).collect();
        let Some((cgroup, comm)) = stayed.first().copied() else {
            self.seen = if now.is_empty() { Seen::Nobody } else { Seen::Young };
            return None;
        };
        let path = |cgroup| tree.path(cgroup).unwrap_or_default();
        let directory = path(cgroup);
        if let Some((other, _)) = stayed.iter().find(|(other, _)| *other != cgroup) {
            self.seen = Seen::Several([directory, path(*other)]);
            return None;
        }
        if tree.is_above_pods(cgroup) {
            self.seen = Seen::AbovePods(directory);
            return None;
        }
        self.seen = Seen::Found;
        Some(Learned { directory, comm: comm.0 })
    }

    /// The last look in words that go on after where the cgroup was looked for; and whether the next
    /// look may find it.
    pub(super) fn explain(&self) -> (String, bool) {
        let (words, soon) = match &self.seen {
            // What was found is gone: nothing is known of the time since.
            Seen::Unseen | Seen::Found => (String::new(), false),
            Seen::Nobody => {
                (", and no process of root's outside of Pods has its name".to_owned(), false)
            }
            Seen::Young => {
                (", and a process of its name has to be there for some seconds".to_owned(), true)
            }
            Seen::Several([one, other]) => {
                let (one, other) = (escape::path(one), escape::path(other));
                (format!(", and processes of its name are in {one} and in {other}"), false)
            }
            Seen::AbovePods(directory) => {
                let directory = escape::path(directory);
                (format!(", and its process is in {directory}, which holds Pods too"), false)
            }
        };
        (words, soon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tree::Mode;

    const ODD: CgroupId = CgroupId(10);
    const OTHER: CgroupId = CgroupId(11);
    const ABOVE: CgroupId = CgroupId(12);
    const PODS: CgroupId = CgroupId(13);

    fn tree() -> Tree {
        let mut tree = Tree::new(Mode::Kubernetes);
        tree.insert_root(CgroupId(1), "/cgroup".into());
        for (id, parent, name) in [
            (ODD, CgroupId(1), "odd"),
            (OTHER, CgroupId(1), "other"),
            (ABOVE, CgroupId(1), "above"),
            (PODS, ABOVE, "kubepods"),
        ] {
            tree.insert(id, parent, name.as_bytes());
        }
        tree
    }

    fn process(tgid: u32, cgroup: CgroupId) -> Task {
        let key = TaskKey { tgid, start_boot_ns: 7 };
        Task { key, tid: tgid, cgroup, comm: Comm::from("kubelet") }
    }

    /// What the last of these looks finds, and says.
    fn after(looks: &[&[Task]]) -> (Option<PathBuf>, String, bool) {
        let (tree, mut search) = (tree(), Search::new());
        let mut found = None;
        for tasks in looks {
            found = search.look(Some(tasks), &tree);
        }
        let (words, soon) = search.explain();
        (found.map(|it| it.directory), words, soon)
    }

    #[test]
    fn a_process_that_stays_is_the_kubelet() {
        let kubelet = process(5, ODD);
        let (found, words, soon) = after(&[&[kubelet]]);
        assert!(found.is_none() && words.contains("some seconds") && soon, "{words}");
        assert_eq!(after(&[&[kubelet], &[kubelet]]).0, Some("/cgroup/odd".into()));
        let short = process(6, OTHER);
        assert_eq!(after(&[&[kubelet, short], &[kubelet]]).0, Some("/cgroup/odd".into()));
        assert_eq!(after(&[&[kubelet], &[kubelet, short]]).0, Some("/cgroup/odd".into()));
        let several = [process(7, ODD), process(8, ODD)];
        assert_eq!(after(&[&several, &several]).0, Some("/cgroup/odd".into()), "one cgroup");
    }

    #[test]
    fn one_that_comes_and_goes_is_not() {
        let one = process(5, ODD);
        assert_eq!(after(&[&[one], &[process(6, ODD)]]).0, None, "another one");
        assert_eq!(after(&[&[one], &[process(5, OTHER)]]).0, None, "it was moved");
        let again = Task { key: TaskKey { tgid: 5, start_boot_ns: 8 }, ..one };
        assert_eq!(after(&[&[one], &[again]]).0, None, "its id was given again");
        assert_eq!(after(&[&[one], &[], &[one]]).0, None, "it was away");
        let (_, words, soon) = after(&[&[one], &[]]);
        assert!(words.contains("no process") && !soon, "{words}");
        let mut search = Search::new();
        search.look(Some(&[one]), &tree());
        search.look(None, &tree());
        assert_eq!(search.look(Some(&[one]), &tree()), None, "nothing was seen meanwhile");
    }

    #[test]
    fn one_in_a_pod_or_in_no_known_cgroup_is_not() {
        for cgroup in [PODS, CgroupId(99)] {
            let one = [process(5, cgroup)];
            let (found, words, _) = after(&[&one, &one]);
            assert!(found.is_none() && words.contains("no process"), "{words}");
        }
    }

    #[test]
    fn what_is_not_certain_is_told() {
        let both = [process(5, ODD), process(6, OTHER)];
        let (found, words, _) = after(&[&both, &both]);
        assert!(found.is_none(), "either may be the node's");
        assert!(words.contains("/cgroup/odd") && words.contains("/cgroup/other"), "{words}");
        for cgroup in [ABOVE, CgroupId(1)] {
            let one = [process(5, cgroup)];
            let (found, words, _) = after(&[&one, &one]);
            assert!(found.is_none() && words.contains("holds Pods"), "{words}");
        }
    }
}
