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
        let held = stream.body.len() as u32;
        self.release(id, held);
        self.want_body(now, id);
    }

    /// What [`body`](Self::body) gave is taken; there is room for more.
    pub fn clear_body(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.wanted = false;
        let taken = stream.body.len() as u32;
        let collecting = stream.collecting;
        if stream.ended {
            stream.body = Vec::new();
        } else {
            stream.body.clear();
        }
        if !collecting {
            self.release(id, taken);
        }
    }

    /// As [`clear_body`](Self::clear_body), but what was there goes to `into`, which is empty.
    pub fn swap_body(&mut self, id: StreamId, into: &mut Vec<u8>) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        std::mem::swap(&mut stream.body, into);
        let taken = into.len() as u32;
        stream.wanted = false;
        if !stream.collecting {
            self.release(id, taken);
        }
    }

    /// So many bytes of a stream's body were taken: it may send more, and so may the connection.
    pub(super) fn release(&mut self, id: StreamId, taken: u32) {
        self.release_connection(taken);
        let window = self.limits.stream_window();
        let Some(stream) = self.streams.get_mut(id) else { return };
        stream.taken += taken;
        if !stream.ended && stream.taken >= window / RENEW_AT {
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
        if !stream.collecting {
            self.release_connection(stream.body.len() as u32);
        }
        stream.body = Vec::new();
    }
}
