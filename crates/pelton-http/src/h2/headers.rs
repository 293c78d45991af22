//! Requests and trailers, as they come in.

use std::time::Duration;

use crate::h1::RequestError;

use super::StreamId;
use super::connection::{Connection, Due, Event, Leaving};
use super::error::{Code, Fault};
use super::fields::{FieldSection, Request, Wrong};
use super::frame::{self, FrameHead, flags, u32_of};
use super::inbound::unpad;
use super::stream::Stream;
use super::streams::{Absent, ClosedBy};

/// A header block whose end is missing.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) stream: StreamId,
    pub(super) since: Duration,
    end_stream: bool,
    depends_on_itself: bool,
    bytes: Vec<u8>,
    continuations: u32,
}

impl Connection {
    /// A `HEADERS` frame.
    pub(super) fn on_headers(
        &mut self,
        now: Duration,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Fault> {
        if head.stream == 0 || head.stream.is_multiple_of(2) {
            return Err(Fault::protocol("HEADERS on a stream that no client opens"));
        }
        let mut fragment = unpad(&head, payload)?;
        let mut depends_on_itself = false;
        if head.has(flags::PRIORITY) {
            let Some((priority, rest)) = fragment.split_first_chunk::<5>() else {
                return Err(Fault::new(Code::FrameSize, "HEADERS without its priority"));
            };
            let [a, b, c, d, _] = *priority;
            depends_on_itself = u32_of([a & 0x7f, b, c, d]) == head.stream;
            fragment = rest;
        }
        let mut block = Block {
            stream: head.stream,
            since: now,
            end_stream: head.has(flags::END_STREAM),
            depends_on_itself,
            bytes: Vec::new(),
            continuations: 0,
        };
        if head.has(flags::END_HEADERS) {
            return self.on_block(now, &block, fragment);
        }
        block.bytes.extend_from_slice(fragment);
        self.block = Some(block);
        Ok(())
    }

    /// A `CONTINUATION` frame.
    pub(super) fn on_continuation(
        &mut self,
        now: Duration,
        head: FrameHead,
        payload: &[u8],
    ) -> Result<(), Fault> {
        let Some(mut block) = self.block.take() else {
            return Err(Fault::protocol("CONTINUATION of nothing"));
        };
        block.continuations += 1;
        // Compressed, a block is hardly longer than its fields may be.
        if block.continuations > self.limits.continuations
            || block.bytes.len() + payload.len() > self.requests.head + frame::MAX_PAYLOAD
        {
            return Err(Fault::new(Code::EnhanceYourCalm, "a header block is too long"));
        }
        if payload.is_empty() {
            self.spend_control(now)?;
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flags::END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            return self.on_block(now, &block, &bytes);
        }
        self.block = Some(block);
        Ok(())
    }

    /// A complete header block: a request, trailers, or nothing that matters any more.
    fn on_block(&mut self, now: Duration, block: &Block, bytes: &[u8]) -> Result<(), Fault> {
        let id = block.stream;
        let trailers = id <= self.streams.highest;
        let mut section = FieldSection::new(&self.requests, trailers);
        self.decoder
            .decode(bytes, &mut |name, value| section.add(name, value))
            .map_err(|broken| Fault::new(Code::Compression, broken.0))?;
        if !trailers {
            return self.on_request(now, block, section);
        }
        if self.streams.get(id).is_some() {
            return self.on_trailers(now, block, section);
        }
        match self.streams.absent(id) {
            Absent::Closed(ClosedBy::Us) => Ok(()),
            Absent::Closed(ClosedBy::Client) => {
                Err(Fault::new(Code::StreamClosed, "HEADERS on a closed stream"))
            }
            Absent::Idle | Absent::Passed => {
                Err(Fault::protocol("a new stream's number is not above the others"))
            }
        }
    }

    fn on_request(
        &mut self,
        now: Duration,
        block: &Block,
        section: FieldSection,
    ) -> Result<(), Fault> {
        let id = block.stream;
        self.streams.highest = id;
        if let Leaving::From(_) = self.leaving {
            // The client was told that nobody looks at it.
            self.streams.note_closed(id, ClosedBy::Us);
            return Ok(());
        }
        if self.streams.under_way() >= self.limits.streams as usize {
            return self.turn_down(now, id, Code::RefusedStream);
        }
        if block.depends_on_itself {
            return self.turn_down(now, id, Code::Protocol);
        }
        match section.into_request(block.end_stream) {
            Ok(request) => self.open(now, id, block.end_stream, request),
            Err(Wrong::Malformed(_)) => self.turn_down(now, id, Code::Protocol),
            Err(Wrong::Refused(error)) => self.refuse_head(now, id, error, block.end_stream),
        }
    }

    fn open(
        &mut self,
        now: Duration,
        id: StreamId,
        ended: bool,
        request: Request,
    ) -> Result<(), Fault> {
        if let (Some(length), Some(limit)) = (request.length, self.requests.body)
            && length > limit
        {
            return self.refuse_head(now, id, RequestError::BodyTooLarge, ended);
        }
        let window_in = self.limits.stream_window();
        let stream = Stream::new(&request, ended, window_in, self.client.initial_window, now);
        self.streams.insert(id, stream);
        // It comes with window updates and the like.
        self.control.earn(4000);
        self.tell(Event::Request(id, request.head));
        Ok(())
    }

    fn on_trailers(
        &mut self,
        now: Duration,
        block: &Block,
        section: FieldSection,
    ) -> Result<(), Fault> {
        let id = block.stream;
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        if stream.ended {
            return self.fail_stream(now, id, Code::StreamClosed);
        }
        if !block.end_stream || block.depends_on_itself || stream.tunnel {
            return self.fail_stream(now, id, Code::Protocol);
        }
        match section.into_trailers() {
            Ok(trailers) => {
                stream.trailers = Some(trailers);
                self.end_body(now, id)
            }
            Err(Wrong::Malformed(_)) => self.fail_stream(now, id, Code::Protocol),
            Err(Wrong::Refused(_)) => self.fail_stream(now, id, Code::EnhanceYourCalm),
        }
    }

    /// Answers a request that no application will see.
    fn refuse_head(
        &mut self,
        now: Duration,
        id: StreamId,
        error: RequestError,
        ended: bool,
    ) -> Result<(), Fault> {
        self.streams.note_closed(id, if ended { ClosedBy::Client } else { ClosedBy::Us });
        self.due.push_back(Due::RefuseHead(id, error, ended));
        self.spend_reset(now)
    }

    /// Resets a stream that was never opened.
    fn turn_down(&mut self, now: Duration, id: StreamId, code: Code) -> Result<(), Fault> {
        self.streams.note_closed(id, ClosedBy::Us);
        frame::write_reset(&mut self.output, id, code);
        self.spend_reset(now)
    }
}
