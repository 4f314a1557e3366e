//! Rejected items: what a Pod source sent and the agent does not take in, counted by reason.
//!
//! An item of a list that cannot be read is still there: its Pod is not concluded to be gone.

use std::collections::HashSet;

/// Limit of UIDs that are kept of a list's unread items.
const UNREAD_MAX: usize = 4_096;

/// Reason why an item is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The item is no Pod: broken JSON, a field of the wrong type, a date that is none.
    Malformed,
    /// The item is longer than any Pod can be.
    TooLarge,
    /// The Pod has no UID.
    NoUid,
    /// The Pod is on another node.
    OtherNode,
    /// The Pods of one list would take too much memory.
    OverLimit,
    /// The Pod has more containers than are kept: it is taken in without the rest.
    Truncated,
}

impl Reason {
    /// All reasons, by their index.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::TooLarge,
        Self::NoUid,
        Self::OtherNode,
        Self::OverLimit,
        Self::Truncated,
    ];

    /// Value of the label `reason`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::NoUid => "no_uid",
            Self::OtherNode => "other_node",
            Self::OverLimit => "over_limit",
            Self::Truncated => "truncated",
        }
    }
}

/// Rejected items of one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    counts: [u64; Reason::ALL.len()],
    /// The first item of each reason, in words.
    first: [Option<String>; Reason::ALL.len()],
    unread: Unread,
}

/// Pods that are there and could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Unread {
    uids: HashSet<String>,
    /// Whether there are others, which cannot be told apart.
    others: bool,
}

impl Rejected {
    /// Adds an item. `uid` is its Pod's, where it is known, and `what` tells of it in words.
    pub fn add(&mut self, reason: Reason, uid: Option<&str>, what: impl FnOnce() -> String) {
        let index = reason as usize;
        if let (Some(count), Some(first)) = (self.counts.get_mut(index), self.first.get_mut(index))
        {
            *count += 1;
            first.get_or_insert_with(what);
        }
        match (reason, uid) {
            // It is not among those that the list is asked for, or it is taken in.
            (Reason::OtherNode | Reason::NoUid | Reason::Truncated, _) => {}
            (_, Some(uid)) if self.unread.uids.len() < UNREAD_MAX => {
                self.unread.uids.insert(uid.to_owned());
            }
            _ => self.unread.others = true,
        }
    }

    /// Number of items rejected for this reason.
    #[must_use]
    pub fn count(&self, reason: Reason) -> u64 {
        self.counts.get(reason as usize).copied().unwrap_or_default()
    }

    /// Whether there are Pods that could not be read.
    #[must_use]
    pub fn leaves_unread(&self) -> bool {
        self.unread.others || !self.unread.uids.is_empty()
    }

    /// The same, of a watch: no list belongs to it.
    #[must_use]
    pub fn of_watch(self) -> Self {
        Self { unread: Unread::default(), ..self }
    }

    /// Whether nothing was rejected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }
}

/// Rejected items since the agent's start, and those of the list that is about to come.
#[derive(Debug, Default)]
pub struct Rejections {
    counts: [u64; Reason::ALL.len()],
    unread: Unread,
}

impl Rejections {
    /// Takes in those of an answer. The first item of each reason is logged.
    pub fn take_in(&mut self, rejected: Rejected) {
        let firsts = Reason::ALL.iter().zip(rejected.first);
        for ((total, count), (reason, first)) in
            self.counts.iter_mut().zip(rejected.counts).zip(firsts)
        {
            if let Some(what) = first.filter(|_| *total == 0) {
                let reason = reason.label();
                tracing::warn!(
                    reason,
                    what,
                    "item of the Pod source dropped: it counts in pod_items_dropped_total, as all \
                     that follow"
                );
            }
            *total = total.saturating_add(count);
        }
        self.unread.uids.extend(rejected.unread.uids);
        self.unread.others |= rejected.unread.others;
    }

    /// A function that says whether a Pod may be in the list that has come, though it could not be
    /// read. What came before the list belongs to it.
    pub fn of_list(&mut self) -> impl Fn(&str) -> bool + use<> {
        let unread = std::mem::take(&mut self.unread);
        move |uid| unread.others || unread.uids.contains(uid)
    }

    /// Totals by reason.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reason::ALL.iter().map(|reason| reason.label()).zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(reason: Reason, uid: Option<&str>) -> Rejected {
        let mut rejected = Rejected::default();
        rejected.add(reason, uid, || "shop/web".to_owned());
        rejected
    }

    #[test]
    fn reasons_are_indices() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn unread_items_belong_to_the_list_after_them() {
        let mut rejections = Rejections::default();
        rejections.take_in(one(Reason::Malformed, Some("u1")));
        rejections.take_in(one(Reason::OtherNode, Some("u2")));
        let may_be_there = rejections.of_list();
        assert!(may_be_there("u1") && !may_be_there("u2") && !may_be_there("u3"));
        assert!(!rejections.of_list()("u1"), "not to the next one");
        rejections.take_in(one(Reason::TooLarge, None));
        assert!(rejections.of_list()("u3"), "an item that nobody can tell may be any Pod");
        let counts: Vec<_> = rejections.counts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counts, [("malformed", 1), ("too_large", 1), ("other_node", 1)]);
    }

    #[test]
    fn unread_items_are_bounded() {
        let mut rejected = Rejected::default();
        for uid in 0..10_000 {
            rejected.add(Reason::Malformed, Some(&uid.to_string()), String::new);
        }
        assert_eq!(rejected.count(Reason::Malformed), 10_000);
        assert_eq!((rejected.unread.uids.len(), rejected.unread.others), (UNREAD_MAX, true));
    }
}
