//! The dynamic table, as both sides keep it.

use std::collections::VecDeque;

use super::static_table::ENTRIES;

/// What an entry costs beyond its bytes (RFC 7541, 4.1).
const OVERHEAD: usize = 32;

/// Names and values, the newest first, of a limited size together.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    max_size: usize,
}

#[derive(Debug)]
struct Entry {
    /// The name, then the value.
    bytes: Box<[u8]>,
    name_len: usize,
    /// Of name and value, where [`Table::find`] is used.
    hash: u32,
}

impl Entry {
    fn name(&self) -> &[u8] {
        &self.bytes[..self.name_len]
    }

    fn value(&self) -> &[u8] {
        &self.bytes[self.name_len..]
    }
}

impl Table {
    /// An empty table.
    pub(super) fn new(max_size: usize) -> Self {
        Self { entries: VecDeque::new(), size: 0, max_size }
    }

    pub(super) fn max_size(&self) -> usize {
        self.max_size
    }

    /// Changes the limit; what is too much then goes.
    pub(super) fn set_max_size(&mut self, max_size: usize) {
        self.max_size = max_size;
        self.evict(0);
    }

    /// The field with this index, static ones included; 1 is the first.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let index = index.checked_sub(1)?;
        if let Some(entry) = ENTRIES.get(index) {
            return Some(*entry);
        }
        let entry = self.entries.get(index - ENTRIES.len())?;
        Some((entry.name(), entry.value()))
    }

    /// Adds a field. One that is larger than the whole table empties it and is not kept.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], hash: u32) {
        let cost = name.len() + value.len() + OVERHEAD;
        self.evict(cost);
        if cost <= self.max_size {
            let bytes = [name, value].concat().into_boxed_slice();
            self.entries.push_front(Entry { bytes, name_len: name.len(), hash });
            self.size += cost;
        }
    }

    /// As [`insert`](Self::insert), with the name of the field `index`, which exists.
    pub(super) fn insert_named(&mut self, index: usize, value: &[u8]) {
        // The entry that lends its name may be the one that has to go.
        let name = self.get(index).map(|(name, _)| name.to_vec()).unwrap_or_default();
        self.insert(&name, value, 0);
    }

    /// The index of a field in the dynamic part.
    pub(super) fn find(&self, name: &[u8], value: &[u8], hash: u32) -> Option<usize> {
        let at = self.entries.iter().position(|entry| {
            entry.hash == hash && entry.name() == name && entry.value() == value
        })?;
        Some(ENTRIES.len() + 1 + at)
    }

    /// The index of a name in the dynamic part.
    pub(super) fn find_name(&self, name: &[u8]) -> Option<usize> {
        let at = self.entries.iter().position(|entry| entry.name() == name)?;
        Some(ENTRIES.len() + 1 + at)
    }

    /// Makes room for so many more bytes.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.max_size {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= entry.bytes.len() + OVERHEAD;
        }
    }
}
