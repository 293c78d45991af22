//! The streams of a connection.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::StreamId;
use super::stream::Stream;

/// Those that are open, and what is known of the others.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: StreamMap<Stream>,
    /// The last ones that were closed, and by whom.
    closed: VecDeque<(StreamId, ClosedBy)>,
    /// The client took them back, and their applications still run.
    abandoned: HashSet<StreamId>,
    /// The highest that the client has used.
    pub(super) highest: StreamId,
}

/// Something for each of some streams.
pub type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<IdHasher>>;

/// Who ended a stream; it decides what a late frame means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClosedBy {
    /// Us, before the client had sent all: what follows was sent before it knew.
    Us,
    /// The client, by a reset or in good order.
    Client,
}

/// What a stream is that is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Absent {
    /// Not used so far.
    Idle,
    Closed(ClosedBy),
    /// Closed long ago, or skipped by the client.
    Passed,
}

/// Of how many closed streams is remembered who closed them.
const REMEMBERED: usize = 256;

impl Streams {
    pub(super) fn get(&self, id: StreamId) -> Option<&Stream> {
        self.open.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.open.get_mut(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &Stream)> {
        self.open.iter().map(|(id, stream)| (*id, stream))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (StreamId, &mut Stream)> {
        self.open.iter_mut().map(|(id, stream)| (*id, stream))
    }

    pub(super) fn insert(&mut self, id: StreamId, stream: Stream) {
        self.open.insert(id, stream);
    }

    /// Takes a stream out for a moment.
    pub(super) fn take(&mut self, id: StreamId) -> Option<Stream> {
        self.open.remove(&id)
    }

    /// Removes a stream that is over.
    pub(super) fn close(&mut self, id: StreamId, by: ClosedBy) -> Option<Stream> {
        let stream = self.open.remove(&id);
        self.note_closed(id, by);
        stream
    }

    /// Remembers who closed a stream.
    pub(super) fn note_closed(&mut self, id: StreamId, by: ClosedBy) {
        if self.closed.len() >= REMEMBERED {
            self.closed.pop_front();
        }
        self.closed.push_back((id, by));
    }

    /// What is known of a stream that is not open.
    pub(super) fn absent(&self, id: StreamId) -> Absent {
        if id > self.highest || id.is_multiple_of(2) {
            return Absent::Idle;
        }
        let found = self.closed.iter().rev().find(|(closed, _)| *closed == id);
        found.map_or(Absent::Passed, |(_, by)| Absent::Closed(*by))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// How many count against the limit.
    pub(super) fn under_way(&self) -> usize {
        self.open.len() + self.abandoned.len()
    }

    /// Its application still runs.
    pub(super) fn abandon(&mut self, id: StreamId) {
        self.abandoned.insert(id);
    }

    /// Its application has ended.
    pub(super) fn release(&mut self, id: StreamId) {
        if !self.abandoned.is_empty() {
            self.abandoned.remove(&id);
        }
    }

    /// Takes all streams out.
    pub(super) fn drain(&mut self) -> Vec<(StreamId, Stream)> {
        self.open.drain().collect()
    }
}

/// Stream numbers need no hashing against collisions: there are few at a time, and they only grow.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 << 8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id >> 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
