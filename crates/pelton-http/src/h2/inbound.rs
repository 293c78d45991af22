//! Frames, as they come in.

use std::time::Duration;

use crate::h1::RequestError;

use super::StreamId;
use super::connection::{Connection, Due, Event, Leaving};
use super::error::{Code, Fault};
use super::frame::{self, FrameHead, Kind, flags, u32_of};
use super::priority::Urgency;
use super::settings::MAX_WINDOW;
use super::stream::Answer;
use super::streams::{Absent, ClosedBy};

impl Connection {
    /// A complete frame, the order of which is fine.
    pub(super) fn handle_frame(
        &mut self,
        now: Duration,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Fault> {
        match head.kind {
            Kind::Data => self.on_data(now, head, payload),
            Kind::Headers => self.on_headers(now, head, payload),
            Kind::Continuation => self.on_continuation(now, head, payload),
            Kind::Settings => self.on_settings(now, head, payload),
            Kind::WindowUpdate => self.on_window_update(now, head, payload),
            Kind::RstStream => self.on_reset(now, head, payload),
            Kind::Ping => self.on_ping(now, head, payload),
            Kind::Priority => self.on_priority(now, head, payload),
            Kind::PriorityUpdate => self.on_priority_update(now, head, payload),
            Kind::GoAway => self.on_goaway(now, head, payload),
            Kind::PushPromise => Err(Fault::protocol("a client does not push")),
            Kind::Unknown => self.spend_control(now),
        }
    }

    fn on_data(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let id = head.stream;
        if id == 0 {
            return Err(Fault::protocol("DATA on stream 0"));
        }
        let data = unpad(&head, payload)?;
        let (length, end) = (payload.len() as u32, head.has(flags::END_STREAM));
        if i64::from(length) > self.window_in {
            return Err(Fault::new(Code::FlowControl, "more data than the connection's window"));
        }
        self.window_in -= i64::from(length);
        if data.is_empty() && !end {
            self.spend_control(now)?;
        }
        let Some(stream) = self.streams.get_mut(id) else {
            self.release_connection(length);
            return self.on_late_data(now, id);
        };
        if stream.ended || i64::from(length) > stream.window_in {
            let code = if stream.ended { Code::StreamClosed } else { Code::FlowControl };
            self.release_connection(length);
            return self.fail_stream(now, id, code);
        }
        stream.window_in -= i64::from(length);
        stream.received += data.len() as u64;
        stream.since = now;
        if stream.length.is_some_and(|expected| stream.received > expected) {
            self.release_connection(length);
            return self.fail_stream(now, id, Code::Protocol);
        }
        let too_large = self.requests.body.is_some_and(|limit| stream.received > limit);
        // An answer that is complete stays: what still comes is dropped anyhow.
        let answered = matches!(stream.answer, Answer::Complete);
        if too_large && !stream.tunnel && !stream.refused && !answered {
            self.release_connection(length);
            self.refuse(id, RequestError::BodyTooLarge);
            return self.spend_reset(now);
        }
        let dropped = stream.refused || answered;
        if !dropped {
            stream.body.extend_from_slice(data);
            if stream.collecting {
                self.collected += data.len() as u64;
            }
        }
        let at_once =
            if stream.collecting || dropped { length } else { length - data.len() as u32 };
        if !data.is_empty() && stream.delivered && !stream.body_news && !dropped {
            stream.body_news = true;
            self.tell(Event::Body(id));
        }
        self.release(id, at_once);
        if end { self.end_body(now, id) } else { Ok(()) }
    }

    /// Data for a stream that is not open.
    fn on_late_data(&mut self, now: Duration, id: StreamId) -> Result<(), Fault> {
        match self.streams.absent(id) {
            Absent::Idle => Err(Fault::protocol("DATA on an idle stream")),
            Absent::Closed(ClosedBy::Us) => self.spend_control(now),
            Absent::Closed(ClosedBy::Client) | Absent::Passed => {
                frame::write_reset(&mut self.output, id, Code::StreamClosed);
                self.spend_reset(now)
            }
        }
    }

    /// The client has sent all of a body.
    pub(super) fn end_body(&mut self, now: Duration, id: StreamId) -> Result<(), Fault> {
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        if stream.length.is_some_and(|expected| expected != stream.received) {
            return self.fail_stream(now, id, Code::Protocol);
        }
        stream.ended = true;
        if stream.delivered && !stream.body_news {
            stream.body_news = true;
            self.due.push_back(Due::Event(Event::Body(id)));
        }
        if matches!(stream.answer, Answer::Complete) && !stream.has_backlog() {
            self.streams.close(id, ClosedBy::Client);
            self.close_if_done(now);
        }
        Ok(())
    }

    fn on_settings(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("SETTINGS on a stream"));
        }
        if head.has(flags::ACK) {
            return match payload {
                [] => self.spend_control(now),
                _ => Err(Fault::new(Code::FrameSize, "SETTINGS acknowledged with a payload")),
            };
        }
        if !payload.len().is_multiple_of(6) {
            return Err(Fault::new(Code::FrameSize, "SETTINGS of a broken length"));
        }
        self.spend_control(now)?;
        let before = self.client.initial_window;
        self.client.update(payload)?;
        self.encoder.set_limit(self.client.header_table_size as usize);
        let change = i64::from(self.client.initial_window) - i64::from(before);
        if change != 0 {
            self.move_windows(change)?;
        }
        frame::write_settings_ack(&mut self.output);
        self.settled();
        Ok(())
    }

    /// The initial window counts for the streams that are open, too.
    fn move_windows(&mut self, change: i64) -> Result<(), Fault> {
        let mut ready = Vec::new();
        for (id, stream) in self.streams.iter_mut() {
            stream.window_out += change;
            if stream.window_out > i64::from(MAX_WINDOW) {
                return Err(Fault::new(Code::FlowControl, "a stream's window is too large"));
            }
            if stream.has_backlog() {
                ready.push(id);
            }
        }
        for id in ready {
            self.enqueue(id);
        }
        Ok(())
    }

    fn on_window_update(
        &mut self,
        now: Duration,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let Ok(increment) = <[u8; 4]>::try_from(payload) else {
            return Err(Fault::new(Code::FrameSize, "WINDOW_UPDATE of a broken length"));
        };
        let increment = i64::from(u32_of(increment) & MAX_WINDOW);
        self.spend_control(now)?;
        if head.stream == 0 {
            if increment == 0 {
                return Err(Fault::protocol("WINDOW_UPDATE by nothing"));
            }
            if self.window_out <= 0 {
                self.streams.iter_mut().for_each(|(_, stream)| stream.blocked = None);
            }
            self.window_out += increment;
            if self.window_out > i64::from(MAX_WINDOW) {
                return Err(Fault::new(Code::FlowControl, "the window is too large"));
            }
            return Ok(());
        }
        let Some(stream) = self.streams.get_mut(head.stream) else {
            return self.expect_used(head.stream);
        };
        stream.window_out += increment;
        if increment == 0 {
            return self.fail_stream(now, head.stream, Code::Protocol);
        }
        if stream.window_out > i64::from(MAX_WINDOW) {
            return self.fail_stream(now, head.stream, Code::FlowControl);
        }
        if stream.has_backlog() {
            self.enqueue(head.stream);
        }
        Ok(())
    }

    fn on_reset(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        let id = head.stream;
        if payload.len() != 4 {
            return Err(Fault::new(Code::FrameSize, "RST_STREAM of a broken length"));
        }
        if id == 0 {
            return Err(Fault::protocol("RST_STREAM on stream 0"));
        }
        if self.streams.get(id).is_none() {
            self.expect_used(id)?;
            return self.spend_control(now);
        }
        let Some(mut stream) = self.streams.close(id, ClosedBy::Client) else { return Ok(()) };
        self.release_dropped(&mut stream);
        if stream.delivered && !matches!(stream.answer, Answer::Complete) {
            self.streams.abandon(id);
            self.tell(Event::Gone(id));
        }
        self.close_if_done(now);
        self.spend_reset(now)
    }

    fn on_ping(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("PING on a stream"));
        }
        let Ok(payload) = <&[u8; 8]>::try_from(payload) else {
            return Err(Fault::new(Code::FrameSize, "PING of a broken length"));
        };
        self.spend_control(now)?;
        if head.has(flags::ACK) {
            self.on_pong(now, payload);
        } else {
            frame::write_ping(&mut self.output, true, payload);
        }
        Ok(())
    }

    /// The old priorities are checked, and mean nothing.
    fn on_priority(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream == 0 {
            return Err(Fault::protocol("PRIORITY on stream 0"));
        }
        self.spend_control(now)?;
        let code = match <[u8; 5]>::try_from(payload) {
            Ok([a, b, c, d, _]) if u32_of([a & 0x7f, b, c, d]) == head.stream => Code::Protocol,
            Ok(_) => return Ok(()),
            Err(_) => Code::FrameSize,
        };
        if self.streams.get(head.stream).is_some() {
            return self.fail_stream(now, head.stream, code);
        }
        Err(Fault::new(code, "PRIORITY is broken"))
    }

    /// `PRIORITY_UPDATE` of RFC 9218.
    fn on_priority_update(
        &mut self,
        now: Duration,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let Some((id, value)) = payload.split_first_chunk::<4>() else {
            return Err(Fault::new(Code::FrameSize, "PRIORITY_UPDATE of a broken length"));
        };
        let id = u32_of(*id) & MAX_WINDOW;
        if head.stream != 0 || id == 0 {
            return Err(Fault::protocol("PRIORITY_UPDATE on a wrong stream"));
        }
        self.spend_control(now)?;
        if let Some(stream) = self.streams.get_mut(id) {
            stream.urgency = Urgency::parse(value);
        }
        Ok(())
    }

    fn on_goaway(&mut self, now: Duration, head: FrameHead, payload: &[u8]) -> Result<(), Fault> {
        if head.stream != 0 {
            return Err(Fault::protocol("GOAWAY on a stream"));
        }
        if payload.len() < 8 {
            return Err(Fault::new(Code::FrameSize, "GOAWAY of a broken length"));
        }
        self.spend_control(now)?;
        // Ours stays: of the streams above it the client knows that nobody looks at them.
        if !matches!(self.leaving, Leaving::From(_)) {
            self.leaving = Leaving::Client;
        }
        self.close_if_done(now);
        Ok(())
    }

    /// A frame on a stream that is closed matters to nobody, but there must have been one.
    fn expect_used(&self, id: StreamId) -> Result<(), Fault> {
        match self.streams.absent(id) {
            Absent::Idle => Err(Fault::protocol("a frame on an idle stream")),
            Absent::Closed(_) | Absent::Passed => Ok(()),
        }
    }

    /// One more frame that carries nothing.
    pub(super) fn spend_control(&mut self, now: Duration) -> Result<(), Fault> {
        if self.control.spend(now) {
            return Ok(());
        }
        Err(Fault::new(Code::EnhanceYourCalm, "too many frames that carry nothing"))
    }

    /// One more request that came to nothing, by the client's reset or by its fault.
    pub(super) fn spend_reset(&mut self, now: Duration) -> Result<(), Fault> {
        if self.resets.spend(now) {
            return Ok(());
        }
        Err(Fault::new(Code::EnhanceYourCalm, "too many requests that came to nothing"))
    }

    /// The client broke a rule of a stream.
    pub(super) fn fail_stream(
        &mut self,
        now: Duration,
        id: StreamId,
        code: Code,
    ) -> Result<(), Fault> {
        self.drop_stream(now, id, code);
        self.spend_reset(now)
    }

    /// The request of an open stream is refused: what its application has not taken of it is lost.
    pub(super) fn refuse(&mut self, id: StreamId, error: RequestError) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if std::mem::replace(&mut stream.refused, true) {
            return;
        }
        stream.wanted = false;
        // Taken out, so that its body can be given back, and put in again.
        if let Some(mut stream) = self.streams.take(id) {
            self.release_dropped(&mut stream);
            self.streams.insert(id, stream);
        }
        self.due.push_back(Due::Refuse(id, error));
    }
}

/// The payload without its padding.
pub(super) fn unpad<'a>(head: &FrameHead, payload: &'a [u8]) -> Result<&'a [u8], Fault> {
    if !head.has(flags::PADDED) {
        return Ok(payload);
    }
    let Some((padding, rest)) = payload.split_first() else {
        return Err(Fault::new(Code::FrameSize, "a padded frame without its padding"));
    };
    match rest.len().checked_sub(usize::from(*padding)) {
        Some(length) => Ok(&rest[..length]),
        None => Err(Fault::protocol("more padding than payload")),
    }
}
