//! Entities by their label block, in the order of the blocks, with ids that stay.

use std::collections::HashMap;
use std::sync::Arc;

/// Place of an entity in its [`Table`]. It leads to no other entity after that one is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    at: usize,
    serial: u64,
}

/// An entity with its labels.
#[derive(Debug)]
struct Slot<T> {
    block: Arc<[u8]>,
    serial: u64,
    /// Number of its series: as of the last exposition, before that as many as it can have.
    series: u64,
    entity: T,
}

/// Entities of one kind. Two entities never have the same labels, because the labels are the key.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<Slot<T>>>,
    free: Vec<usize>,
    by_block: HashMap<Arc<[u8]>, Id>,
    /// Slots in the order of their blocks; empty when it must be sorted again.
    order: Vec<usize>,
    next_serial: u64,
    series: u64,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_block: HashMap::new(),
            order: Vec::new(),
            next_serial: 0,
            series: 0,
        }
    }
}

impl<T> Table<T> {
    /// The number of entities.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_block.len()
    }

    /// The series of all entities: as of the last exposition, with those expected of new entities.
    #[must_use]
    pub const fn series(&self) -> u64 {
        self.series
    }

    /// The id of the entity with this block.
    #[must_use]
    pub fn find(&self, block: &[u8]) -> Option<Id> {
        self.by_block.get(block).copied()
    }

    /// The entity with this id.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.at)?.as_mut();
        slot.filter(|slot| slot.serial == id.serial).map(|slot| &mut slot.entity)
    }

    /// Adds an entity whose block is not in the table, with the number of series expected of it.
    pub fn insert(&mut self, block: &[u8], entity: T, series: u64) -> Id {
        let block: Arc<[u8]> = Arc::from(block);
        let at = self.free.pop().unwrap_or(self.slots.len());
        let id = Id { at, serial: self.next_serial };
        self.next_serial += 1;
        let entry = Some(Slot { block: Arc::clone(&block), serial: id.serial, series, entity });
        match self.slots.get_mut(at) {
            Some(slot) => *slot = entry,
            None => self.slots.push(entry),
        }
        self.series = self.series.saturating_add(series);
        self.by_block.insert(block, id);
        self.order.clear();
        id
    }

    /// Removes an entity. Returns it with its number of series.
    pub fn remove(&mut self, id: Id) -> Option<(T, u64)> {
        let slot = self.slots.get_mut(id.at)?.take_if(|slot| slot.serial == id.serial)?;
        self.by_block.remove(&slot.block);
        self.free.push(id.at);
        self.order.clear();
        self.series = self.series.saturating_sub(slot.series);
        Some((slot.entity, slot.series))
    }

    /// Removes the entities that `keep` rejects.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let rejected = |(id, entity, _): (Id, &T, u64)| (!keep(entity)).then_some(id);
        let rejected: Vec<_> = self.iter().filter_map(rejected).collect();
        for id in rejected {
            self.remove(id);
        }
    }

    /// The entities with their ids and their numbers of series, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T, u64)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let slot = slot.as_ref()?;
            Some((Id { at, serial: slot.serial }, &slot.entity, slot.series))
        })
    }

    /// The entities, in no order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten().map(|slot| &mut slot.entity)
    }

    fn sort(&mut self) {
        if self.order.len() == self.count() {
            return;
        }
        let block = |at: &usize| self.slots.get(*at)?.as_ref().map(|slot| &slot.block);
        self.order = (0..self.slots.len()).filter(|at| block(at).is_some()).collect();
        self.order.sort_unstable_by(|a, b| block(a).cmp(&block(b)));
    }

    /// Calls `f` for each entity, in the order of the blocks.
    pub fn each(&mut self, mut f: impl FnMut(&[u8], &mut T)) {
        self.sort();
        for at in &self.order {
            if let Some(Some(slot)) = self.slots.get_mut(*at) {
                f(&slot.block, &mut slot.entity);
            }
        }
    }

    /// Begins to count the series again.
    pub fn restart_count(&mut self) {
        self.series = 0;
        for slot in self.slots.iter_mut().flatten() {
            slot.series = 0;
        }
    }

    /// Calls `f` for each entity, in the order of the blocks, and counts the series that it
    /// returns.
    pub fn each_counted(&mut self, mut f: impl FnMut(&[u8], &mut T) -> u64) {
        self.sort();
        for at in &self.order {
            if let Some(Some(slot)) = self.slots.get_mut(*at) {
                let series = f(&slot.block, &mut slot.entity);
                slot.series += series;
                self.series += series;
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
        let b = table.insert(b"b", 2, 0);
        let a = table.insert(b"a", 1, 0);
        let c = table.insert(b"c", 3, 0);
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
        table.insert(b"0", 0, 0);
        assert_eq!(table.get_mut(b), None, "an id leads to no other entity");
        assert_eq!(table.slots.len(), 3, "the free slot is used again");
        assert_eq!(seen(&mut table), [0, 1, 3]);
    }

    #[test]
    fn series_are_expected_then_counted_and_go_with_their_entity() {
        let mut table = Table::default();
        let a = table.insert(b"a", 1, 40);
        let b = table.insert(b"b", 2, 40);
        assert_eq!(table.series(), 80);
        table.restart_count();
        for _family in 0..3 {
            table.each_counted(|_, entity| *entity);
        }
        assert_eq!(table.series(), 9);
        assert_eq!(table.remove(b), Some((2, 6)));
        assert_eq!((table.remove(b), table.series()), (None, 3));
        table.retain(|_| false);
        assert_eq!(table.get_mut(a), None);
        assert_eq!(table.series(), 0);
    }
}
