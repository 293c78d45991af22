//! The response to the request under way: the connection's commands for it.

use std::time::Duration;

use super::connection::{Connection, Fate, Phase};
use super::error::ResponseError;
use super::outbound::Stamp;

impl Connection {
    /// Whether a part of the response may have left already.
    #[must_use]
    pub fn is_response_begun(&self) -> bool {
        self.outbound.is_begun()
    }

    /// Whether the response's head was given, be it sent or not.
    #[must_use]
    pub fn is_response_started(&self) -> bool {
        self.outbound.is_started()
    }

    /// Whether the response that was started has a body. Where it has none, what is sent of one is
    /// dropped, and need not be fetched.
    #[must_use]
    pub fn takes_body(&self) -> bool {
        self.outbound.takes_body()
    }

    /// Bytes of body that the response's `content-length` leaves room for, where it has one.
    #[must_use]
    pub fn room(&self) -> Option<u64> {
        self.outbound.room()
    }

    /// Whether the response is complete but for its trailers.
    #[must_use]
    pub fn awaits_trailers(&self) -> bool {
        self.outbound.awaits_trailers()
    }

    /// Answers with a whole response.
    ///
    /// # Errors
    /// Nothing was written then, and the request still waits for its answer.
    pub fn respond<'h>(
        &mut self,
        now: Duration,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
    ) -> Result<(), ResponseError> {
        let keep = self.outbound.respond(stamp, status, headers, body, self.can_keep())?;
        self.finish(now, keep);
        Ok(())
    }

    /// Begins a response. Its head leaves with the first piece of body.
    ///
    /// # Errors
    /// Nothing changed then.
    pub fn start_response<'h>(
        &mut self,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        self.outbound.start(stamp, status, headers)
    }

    /// A piece of the response's body; the response is complete when `more` is false.
    ///
    /// # Errors
    /// A body of another length than announced. If a part of it has left, call
    /// [`abort`](Self::abort): the client cannot be told in another way.
    pub fn send_body(
        &mut self,
        now: Duration,
        data: &[u8],
        more: bool,
    ) -> Result<(), ResponseError> {
        let keep = self.outbound.send(data, more, self.can_keep())?;
        self.keep_alive &= keep;
        if !more && !self.outbound.awaits_trailers() {
            self.finish(now, keep);
        }
        Ok(())
    }

    /// An informational response (`103 Early Hints`), before [`start_response`](Self::start_response).
    /// Dropped where the client's version of HTTP has none.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn inform<'h>(
        &mut self,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        self.outbound.inform(status, headers).map(drop)
    }

    /// After [`start_response`](Self::start_response): the response is complete only with
    /// [`send_trailers`](Self::send_trailers).
    ///
    /// # Errors
    /// No response has just been started.
    pub fn announce_trailers(&mut self) -> Result<(), ResponseError> {
        self.outbound.announce_trailers()
    }

    /// Fields after a body, which was announced to have some. They go to clients that asked for
    /// trailers, if the body went in chunks. The response is complete when `more` is false.
    ///
    /// # Errors
    /// Nothing was written then.
    pub fn send_trailers<'h>(
        &mut self,
        now: Duration,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        more: bool,
    ) -> Result<(), ResponseError> {
        self.outbound.send_trailers(headers, more)?;
        if !more {
            self.finish(now, self.keep_alive);
        }
        Ok(())
    }

    /// Begins a piece of the response's body whose `length` bytes the transport has from elsewhere:
    /// a file. `true`: send what [`poll_output`](Self::poll_output) has, then the bytes, then call
    /// [`end_piece`](Self::end_piece). `false`: this response has no body, call that at once.
    ///
    /// # Errors
    /// As of [`send_body`](Self::send_body).
    pub fn begin_piece(&mut self, length: u64, more: bool) -> Result<bool, ResponseError> {
        let (wanted, keep) = self.outbound.begin_piece(length, more, self.can_keep())?;
        self.keep_alive &= keep;
        Ok(wanted)
    }

    /// `length` bytes went to the transport beside [`poll_output`](Self::poll_output).
    pub fn end_piece(&mut self, now: Duration, sent: u64, more: bool) {
        self.progress.hand_out(usize::try_from(sent).unwrap_or(usize::MAX));
        self.outbound.end_piece(more);
        if !more && !self.outbound.awaits_trailers() {
            self.finish(now, self.keep_alive);
        }
    }

    /// The application failed: 500 where nothing of its response has left, otherwise the end.
    pub fn fail(&mut self, now: Duration, stamp: &Stamp) {
        if self.phase != Phase::Body {
            return;
        }
        if self.outbound.is_begun() {
            self.end(Fate::Abort);
            return;
        }
        self.outbound.restart();
        let headers = [(&b"content-type"[..], &b"text/plain; charset=utf-8"[..])];
        let answered = self.respond(now, stamp, 500, headers.into_iter(), b"Internal Server Error");
        if answered.is_err() {
            self.end(Fate::Abort);
        }
    }

    fn can_keep(&self) -> bool {
        let body_comes = !self.continue_owed || self.decoder.decoded() > 0;
        let more_comes = !self.ended || self.parsed < self.input.len();
        self.keep_alive
            && !self.shutting_down
            && !self.outbound.close_asked
            && body_comes
            && more_comes
    }

    /// The response is complete.
    fn finish(&mut self, now: Duration, keep: bool) {
        let keep = keep && self.can_keep();
        let remaining = self.decoder.remaining();
        if keep && remaining == Some(0) {
            self.next_request(now);
        } else if keep && remaining.unwrap_or(0) <= self.limits.drain {
            self.phase = Phase::Drain;
            self.since = now;
            self.drain(now);
        } else if remaining == Some(0) && (self.client_closes || self.shutting_down) {
            self.end(Fate::Close);
        } else {
            // It may be sending still, not knowing that this was the last answer.
            self.linger(now);
        }
    }
}
