//! Bodies of requests: what is there, and the windows that let more come.

use std::time::Duration;

use crate::Headers;

use super::StreamId;
use super::connection::Connection;
use super::frame;
use super::stream::Stream;

/// A window is renewed when this part of it is used up.
const RENEW_AT: u32 = 2;

impl Connection {
    /// The part of the body that is there and was not taken.
    #[must_use]
    pub fn body(&self, id: StreamId) -> &[u8] {
        self.streams.get(id).map_or(&[], |stream| &stream.body)
    }

    /// Whether no more body comes after [`body`](Self::body).
    #[must_use]
    pub fn is_body_complete(&self, id: StreamId) -> bool {
        self.streams.get(id).is_none_or(|stream| stream.ended)
    }

    /// The trailers that followed a complete body.
    #[must_use]
    pub fn trailers(&self, id: StreamId) -> Option<&Headers> {
        self.streams.get(id)?.trailers.as_ref()
    }

    /// The application waits for (more of) the body: the client is told to continue, if it asked,
    /// and the body's timeout counts.
    pub fn want_body(&mut self, now: Duration, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.ended {
            return;
        }
        if !stream.wanted {
            stream.wanted = true;
            stream.since = now;
        }
        if std::mem::take(&mut stream.continue_owed) && stream.received == 0 && !stream.is_begun() {
            self.write_block(id, 100, None, &Headers::new(), false);
        }
    }

    /// The application wants the whole body at once: it is kept here until it is complete.
    pub fn collect_body(&mut self, now: Duration, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.collecting = true;
        let there = stream.body.len();
        self.collected += there as u64;
        self.release(id, there as u32);
        self.want_body(now, id);
    }

    /// What [`body`](Self::body) gave is taken; there is room for more.
    pub fn clear_body(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.wanted = false;
        let taken = stream.body.len();
        if stream.ended {
            stream.body = Vec::new();
        } else {
            stream.body.clear();
        }
        self.taken_from(id, taken);
    }

    /// As [`clear_body`](Self::clear_body), but what was there goes to `into`, which is empty.
    pub fn swap_body(&mut self, id: StreamId, into: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        std::mem::swap(&mut stream.body, into);
        stream.wanted = false;
        self.taken_from(id, into.len());
    }

    fn taken_from(&mut self, id: StreamId, taken: usize) {
        if self.streams.get(id).is_some_and(|stream| stream.collecting) {
            self.uncollect(taken);
        } else {
            self.release(id, taken as u32);
        }
    }

    /// So many bytes of a stream's body were taken: it may send more, and so may the connection.
    pub(super) fn release(&mut self, id: StreamId, taken: u32) {
        self.release_connection(taken);
        if let Some(stream) = self.streams.get_mut(id) {
            stream.taken += taken;
            self.renew(id);
        }
    }

    /// Lets the client send more of a body, if that is due and there is room for it.
    fn renew(&mut self, id: StreamId) {
        let due = self.limits.stream_window() / RENEW_AT;
        let Some(stream) = self.streams.get(id) else { return };
        if stream.ended || stream.taken < due {
            return;
        }
        let held = stream.collecting && !self.may_collect(id);
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.held = held;
        if !held {
            frame::write_window_update(&mut self.output, id, stream.taken);
            stream.window_in += i64::from(stream.taken);
            stream.taken = 0;
        }
    }

    /// As [`release`](Self::release), where the stream does not matter any more.
    pub(super) fn release_connection(&mut self, taken: u32) {
        self.taken += taken;
        if self.taken >= self.limits.connection_window() / RENEW_AT {
            frame::write_window_update(&mut self.output, 0, self.taken);
            self.window_in += i64::from(self.taken);
            self.taken = 0;
        }
    }

    /// A body that nobody will take.
    pub(super) fn release_dropped(&mut self, stream: &mut Stream) {
        let dropped = std::mem::take(&mut stream.body).len();
        if stream.collecting {
            self.uncollect(dropped);
        } else {
            self.release_connection(dropped as u32);
        }
    }

    /// Whether there is room for more of a body that is collected. What a connection's requests
    /// collect together is as much as one of them may have; above that, the oldest goes on alone.
    fn may_collect(&self, id: StreamId) -> bool {
        let Some(limit) = self.requests.body else { return true };
        let collecting = |stream: &Stream| stream.collecting && !stream.ended;
        self.collected < limit
            || !self.streams.iter().any(|(other, stream)| other < id && collecting(stream))
    }

    /// So much of what was collected is gone: others may go on.
    fn uncollect(&mut self, bytes: usize) {
        let had_room = self.requests.body.is_none_or(|limit| self.collected < limit);
        self.collected = self.collected.saturating_sub(bytes as u64);
        if had_room {
            // Then nobody was held back.
            return;
        }
        let mut held: Vec<_> =
            self.streams.iter().filter(|(_, stream)| stream.held).map(|(id, _)| id).collect();
        held.sort_unstable();
        for id in held {
            self.renew(id);
        }
    }
}
