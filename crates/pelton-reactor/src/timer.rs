//! Deadlines: a binary heap whose cancelled entries leave when they come up, or all together.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Below this many cancelled entries a sweep is not worth it.
const SWEEP_MIN: usize = 128;

/// Items ordered by deadline; equal deadlines come in the order they were put in.
#[derive(Debug)]
pub struct TimerHeap<T> {
    heap: BinaryHeap<Entry<T>>,
    next_sequence: u64,
    /// Entries whose owner said they are cancelled. Invariant: at most `heap.len()`.
    cancelled: usize,
}

#[derive(Debug)]
struct Entry<T> {
    deadline_ns: u64,
    sequence: u64,
    item: T,
}

impl<T> TimerHeap<T> {
    /// An empty heap.
    #[must_use]
    pub fn new() -> Self {
        Self { heap: BinaryHeap::new(), next_sequence: 0, cancelled: 0 }
    }

    /// Entries, cancelled ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether there is no entry at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// All items, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.heap.iter().map(|entry| &entry.item)
    }

    /// Adds an item that is due at `deadline_ns`.
    pub fn push(&mut self, deadline_ns: u64, item: T) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.heap.push(Entry { deadline_ns, sequence, item });
    }

    /// The earliest deadline, and its item.
    #[must_use]
    pub fn peek(&self) -> Option<(u64, &T)> {
        self.heap.peek().map(|entry| (entry.deadline_ns, &entry.item))
    }

    /// Takes the earliest item; the caller has looked at it with `peek`.
    pub fn pop(&mut self) -> Option<(u64, T)> {
        self.heap.pop().map(|entry| (entry.deadline_ns, entry.item))
    }

    /// Notes that a cancelled entry was popped.
    pub fn forget_cancelled(&mut self) {
        self.cancelled = self.cancelled.saturating_sub(1);
    }

    /// Notes that an entry was cancelled. When most are, all of them are taken out and returned,
    /// so that the caller drops them where dropping is safe.
    pub fn note_cancelled(&mut self, is_cancelled: impl Fn(&T) -> bool) -> Vec<T> {
        self.cancelled += 1;
        if self.cancelled < SWEEP_MIN || self.cancelled * 2 < self.heap.len() {
            return Vec::new();
        }
        self.cancelled = 0;
        let (swept, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.heap)
            .into_vec()
            .into_iter()
            .partition(|entry| is_cancelled(&entry.item));
        self.heap = BinaryHeap::from(kept);
        swept.into_iter().map(|entry| entry.item).collect()
    }

    /// Takes everything out.
    pub fn take_all(&mut self) -> Vec<T> {
        self.cancelled = 0;
        std::mem::take(&mut self.heap).into_iter().map(|entry| entry.item).collect()
    }
}

impl<T> Default for TimerHeap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        // Reversed: `BinaryHeap` gives its greatest first.
        (other.deadline_ns, other.sequence).cmp(&(self.deadline_ns, self.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for Entry<T> {}

#[cfg(test)]
mod tests {
    use super::{SWEEP_MIN, TimerHeap};

    #[test]
    fn equal_deadlines_keep_their_order() {
        let mut heap = TimerHeap::new();
        for (deadline, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            heap.push(deadline, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| heap.pop()).collect();
        assert_eq!(order, [(1, 'a'), (1, 'b'), (5, 'c'), (5, 'd')]);
    }

    #[test]
    fn cancelled_entries_are_swept_when_they_are_most() {
        let mut heap = TimerHeap::new();
        let count = SWEEP_MIN * 2;
        for n in 0..count {
            heap.push(n as u64, n);
        }
        for n in 1..SWEEP_MIN {
            assert!(heap.note_cancelled(|_| true).is_empty(), "swept after {n}");
        }
        let swept = heap.note_cancelled(|n| n % 2 == 0);
        assert_eq!((swept.len(), heap.len()), (SWEEP_MIN, SWEEP_MIN));
        assert_eq!(heap.peek(), Some((1, &1)));
    }
}
