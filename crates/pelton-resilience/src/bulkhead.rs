//! How many may be under way at once.

use std::collections::BTreeSet;

/// At most `limit` at a time, and at most `queue` waiting for their turn, first come first served.
///
/// Whoever enters must [`leave`](Self::leave); whoever waits must be told of its turn, or
/// [`withdraw`](Self::withdraw). How long one may wait is the caller's to say.
#[derive(Debug)]
pub struct Bulkhead {
    limit: usize,
    queue: usize,
    running: usize,
    waiting: BTreeSet<Ticket>,
    next: u64,
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What became of somebody who wants in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// In.
    Entered,
    /// Waits; the ticket will be given out by a [`Bulkhead::leave`].
    Waits(Ticket),
    /// Refused: the queue is full, too.
    Full,
}

impl Bulkhead {
    /// One with nobody in it. A `limit` of zero counts as one.
    pub fn new(limit: usize, queue: usize) -> Self {
        let limit = limit.max(1);
        Self { limit, queue, running: 0, waiting: BTreeSet::new(), next: 0 }
    }

    /// Asks to be let in.
    pub fn enter(&mut self) -> Entry {
        if self.running < self.limit {
            self.running += 1;
            return Entry::Entered;
        }
        if self.waiting.len() >= self.queue {
            return Entry::Full;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.waiting.insert(ticket);
        Entry::Waits(ticket)
    }

    /// Somebody who was in has left: the ticket of the one who is in now in its place, if any.
    pub fn leave(&mut self) -> Option<Ticket> {
        let successor = self.waiting.pop_first();
        if successor.is_none() {
            self.running = self.running.saturating_sub(1);
        }
        successor
    }

    /// Gives up waiting. False: that ticket's turn had come, so its holder is in and must leave.
    pub fn withdraw(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket)
    }

    /// How many are in.
    pub fn running(&self) -> usize {
        self.running
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
