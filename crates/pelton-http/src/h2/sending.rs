//! Bodies of answers: what the windows let through, and what waits for them.

use std::time::Duration;

use super::StreamId;
use super::connection::{Connection, Due, Event};
use super::error::Code;
use super::frame;
use super::stream::Stream;
use super::streams::ClosedBy;

/// So much is written in one go; then it is the transport's turn.
const PIECE: usize = 64 * 1024;

impl Connection {
    /// Whether the application should wait until [`Event::Writable`]: more than
    /// [`Limits::send_buffer`](super::Limits::send_buffer) waits for the client's window.
    pub fn is_paused(&mut self, id: StreamId) -> bool {
        let limit = self.limits.send_buffer;
        let Some(stream) = self.streams.get_mut(id) else { return false };
        stream.paused = stream.backlog() > limit;
        stream.paused
    }

    /// Bytes of the answer that wait for the client's window.
    #[must_use]
    pub fn backlog(&self, id: StreamId) -> usize {
        self.streams.get(id).map_or(0, Stream::backlog)
    }

    /// Sends a piece of body as far as the windows let it through; the rest waits.
    pub(super) fn write_body(&mut self, now: Duration, id: StreamId, data: &[u8], end: bool) {
        let max = self.client.max_payload as usize;
        let Some(stream) = self.streams.get_mut(id) else { return };
        let mut rest = data;
        if !stream.has_backlog() {
            while !rest.is_empty() && self.output.len() < PIECE {
                let room = stream.window_out.min(self.window_out).max(0);
                let size = usize::try_from(room).unwrap_or(0).min(max).min(rest.len());
                if size == 0 {
                    break;
                }
                let (piece, after) = rest.split_at(size);
                frame::write_data(&mut self.output, id, piece, end && after.is_empty());
                stream.window_out -= size as i64;
                self.window_out -= size as i64;
                self.control.earn(2000);
                rest = after;
            }
            if rest.is_empty() {
                if end && data.is_empty() {
                    frame::write_data(&mut self.output, id, &[], true);
                }
                if end {
                    self.finish(now, id);
                }
                return;
            }
        }
        stream.wait(rest);
        stream.end_waits = end;
        self.enqueue(id);
    }

    /// The stream has something to send.
    pub(super) fn enqueue(&mut self, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.window_out > 0 && self.window_out > 0 {
            stream.blocked = None;
        }
        if !stream.queued {
            stream.queued = true;
            self.sending[usize::from(stream.urgency.0)].push_back(id);
        }
    }

    /// Writes what the windows let through, a frame of each stream in turn, the urgent first.
    pub(super) fn pump(&mut self, now: Duration) {
        for level in 0..self.sending.len() {
            while self.output.len() < PIECE {
                let Some(id) = self.sending[level].pop_front() else { break };
                match self.send_next(now, id) {
                    Turn::Again => self.sending[level].push_back(id),
                    Turn::Over => {}
                    Turn::NoWindow => {
                        // No body can go on until the client enlarges the window; all keep their
                        // turns.
                        self.sending[level].push_front(id);
                        self.mark_blocked(now);
                        return;
                    }
                }
            }
        }
    }

    /// Sends a frame of a stream's backlog.
    fn send_next(&mut self, now: Duration, id: StreamId) -> Turn {
        let max = self.client.max_payload as usize;
        let (limit, all) = (self.limits.send_buffer, self.window_out);
        let Some(stream) = self.streams.get_mut(id) else { return Turn::Over };
        let room = usize::try_from(stream.window_out.min(all)).unwrap_or(0);
        let size = stream.backlog().min(room).min(max);
        if size == 0 && stream.backlog() > 0 {
            if all <= 0 {
                return Turn::NoWindow;
            }
            stream.queued = false;
            stream.blocked.get_or_insert(now);
            return Turn::Over;
        }
        let piece = &stream.waiting[stream.sent..stream.sent + size];
        let done = size == stream.backlog();
        let end = done && stream.end_waits;
        if size > 0 || end {
            frame::write_data(&mut self.output, id, piece, end);
            self.control.earn(2000);
        }
        stream.sent += size;
        stream.window_out -= size as i64;
        self.window_out -= size as i64;
        stream.blocked = None;
        if stream.paused && stream.backlog() <= limit / 4 {
            stream.paused = false;
            self.due.push_back(Due::Event(Event::Writable(id)));
        }
        if !done {
            return Turn::Again;
        }
        stream.queued = false;
        stream.waiting = Vec::new();
        stream.sent = 0;
        if end {
            stream.end_waits = false;
            self.finish(now, id);
        } else if let Some(trailers) = stream.trailers_wait.take() {
            self.write_trailers(now, id, &trailers);
        }
        Turn::Over
    }

    /// The connection's window is used up: all who have something to send wait for the client.
    fn mark_blocked(&mut self, now: Duration) {
        for (_, stream) in self.streams.iter_mut() {
            if stream.backlog() > 0 {
                stream.blocked.get_or_insert(now);
            }
        }
    }

    /// The end of an answer was written.
    pub(super) fn finish(&mut self, now: Duration, id: StreamId) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        self.resets.earn(500);
        stream.since = now;
        if stream.ended {
            self.streams.close(id, ClosedBy::Client);
        } else if !stream.tunnel {
            // The rest of the body is not wanted (RFC 9113, 8.1).
            return self.reset(now, id, Code::NoError);
        }
        self.close_if_done(now);
    }
}

/// What came of a stream's turn to send.
enum Turn {
    Again,
    Over,
    /// The connection's window is used up.
    NoWindow,
}
