//! Entities by their label block, in the order of the blocks, with ids that stay.

use std::collections::HashMap;
use std::sync::Arc;

/// Place of an entity in its [`Table`], until it is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(usize);

/// Entities of one kind. Two entities never have the same labels, because the labels are the key.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<(Arc<[u8]>, T)>>,
    free: Vec<usize>,
    by_block: HashMap<Arc<[u8]>, Id>,
    /// Slots in the order of their blocks; empty when it must be sorted again.
    order: Vec<usize>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), by_block: HashMap::new(), order: Vec::new() }
    }
}

impl<T> Table<T> {
    /// The number of entities.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_block.len()
    }

    /// The id of the entity with this block.
    #[must_use]
    pub fn find(&self, block: &[u8]) -> Option<Id> {
        self.by_block.get(block).copied()
    }

    /// The entity with this id.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        self.slots.get_mut(id.0)?.as_mut().map(|(_, entity)| entity)
    }

    /// Whether there is an entity with this id.
    #[must_use]
    pub fn contains(&self, id: Id) -> bool {
        self.slots.get(id.0).is_some_and(Option::is_some)
    }

    /// Adds an entity whose block is not in the table.
    pub fn insert(&mut self, block: &[u8], entity: T) -> Id {
        let block: Arc<[u8]> = Arc::from(block);
        let entry = Some((Arc::clone(&block), entity));
        let at = self.free.pop().unwrap_or(self.slots.len());
        match self.slots.get_mut(at) {
            Some(slot) => *slot = entry,
            None => self.slots.push(entry),
        }
        self.by_block.insert(block, Id(at));
        self.order.clear();
        Id(at)
    }

    /// Removes an entity; its id may be used again.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        let (block, entity) = self.slots.get_mut(id.0)?.take()?;
        self.by_block.remove(&block);
        self.free.push(id.0);
        self.order.clear();
        Some(entity)
    }

    /// Removes the entities that `keep` rejects; their ids may be used again.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        for (at, slot) in self.slots.iter_mut().enumerate() {
            if let Some((block, entity)) = slot
                && !keep(entity)
            {
                self.by_block.remove(block);
                *slot = None;
                self.free.push(at);
                self.order.clear();
            }
        }
    }

    fn sort(&mut self) {
        if self.order.len() == self.count() {
            return;
        }
        let block = |at: &usize| self.slots.get(*at)?.as_ref().map(|(block, _)| block);
        self.order = (0..self.slots.len()).filter(|at| block(at).is_some()).collect();
        self.order.sort_unstable_by(|a, b| block(a).cmp(&block(b)));
    }

    /// Calls `f` for each entity, in the order of the blocks.
    pub fn each(&mut self, mut f: impl FnMut(&[u8], &mut T)) {
        self.sort();
        for at in &self.order {
            if let Some(Some((block, entity))) = self.slots.get_mut(*at) {
                f(block, entity);
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
            table.each(|_, entity| seen.push(*entity));
            seen
        };
        assert_eq!(seen(&mut table), [1, 2, 3]);
        table.retain(|entity| *entity != 2);
        assert_eq!(table.get_mut(b), None);
        assert_eq!(table.get_mut(c), Some(&mut 3));
        table.insert(b"0", 0);
        assert_eq!(table.slots.len(), 3, "the free slot is used again");
        assert_eq!(seen(&mut table), [0, 1, 3]);
    }
}
