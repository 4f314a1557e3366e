//! Subjects by their label block, in the order of the blocks, with ids that stay.

use std::collections::HashMap;
use std::sync::Arc;

/// Where a subject is in its [`Table`], until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(usize);

/// Subjects of one kind. Two subjects never have the same labels, because the labels are the key.
#[derive(Debug)]
pub(super) struct Table<T> {
    slots: Vec<Option<(Arc<[u8]>, T)>>,
    free: Vec<usize>,
    by_block: HashMap<Arc<[u8]>, Id>,
    /// Slots in the order of their blocks; empty when it must be made anew.
    order: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_block: HashMap::new(), order: Vec::new() }
    }
}

impl<T> Table<T> {
    pub(super) fn len(&self) -> usize {
        self.by_block.len()
    }

    pub(super) fn find(&self, block: &[u8]) -> Option<Id> {
        self.by_block.get(block).copied()
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slots.get_mut(id.0)?.as_mut().map(|(_, subject)| subject)
    }

    pub(super) fn contains(&self, id: Id) -> bool {
        self.slots.get(id.0).is_some_and(Option::is_some)
    }

    /// Adds a subject whose block is not in the table.
    pub(super) fn insert(&mut self, block: &[u8], subject: T) -> Id {
        let block: Arc<[u8]> = Arc::from(block);
        let entry = Some((Arc::clone(&block), subject));
        let at = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(at) {
            Some(slot) => *slot = entry,
            None => self.slots.push(entry),
        }
        self.by_block.insert(block, Id(at));
        self.order.clear();
        Id(at)
    }

    /// Removes those that `keep` does not want; their ids may be used again.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some((block, subject)) = slot
                && !keep(subject)
            {
                self.by_block.remove(block);
                *slot = None;
                self.free.push(at);
                self.order.clear();
            }
        }
    }

    fn sort(&mut self) {
        if self.order.len() == self.len() {
            return;
        }
        let block = |at: &usize| self.slots.get(*at)?.as_ref().map(|(block, _)| block);
        self.order = (0..self.slots.len()).filter(|at| block(at).is_some()).collect();
        self.order.sort_unstable_by(|a, b| block(a).cmp(&block(b)));
    }

    /// Calls `f` for each subject, in the order of the blocks.
    pub(super) fn each(&mut self, mut f: impl FnMut(&[u8], &mut T)) {
        self.sort();
        for at in &self.order {
            if let Some(Some((block, subject))) = self.slots.get_mut(*at) {
                f(block, subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    #[test]
    fn ids_stay_and_the_order_is_that_of_the_blocks() {
        let mut table = Table::default();
        let b = table.insert(b"b", 2);
        let a = table.insert(b"a", 1);
        let c = table.insert(b"c", 3);
        assert_eq!((table.find(b"a"), table.find(b"x")), (Some(a), None));
        let seen = |table: &mut Table<i32>| {
            let mut seen = Vec::new();
            table.each(|_, subject| seen.push(*subject));
            seen
        };
        assert_eq!(seen(&mut table), [1, 2, 3]);
        table.retain(|subject| *subject != 2);
        assert_eq!(table.get_mut(b), None);
        assert_eq!(table.get_mut(c), Some(&mut 3));
        table.insert(b"0", 0);
        assert_eq!(table.slots.len(), 3, "the free slot is used again");
        assert_eq!(seen(&mut table), [0, 1, 3]);
    }
}
