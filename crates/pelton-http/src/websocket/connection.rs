//! The state machine of one WebSocket.

use std::collections::VecDeque;
use std::io::Cursor;
use std::time::Duration;

use thiserror::Error;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::h1::Fate;
use crate::progress::Progress;

use super::deflate::Deflate;
use super::message::Assembly;
use super::{Agreement, Close, CloseCode, DeflateOptions, Limits, Message, mask};

/// Bytes of scratch memory that a connection keeps.
const KEPT_SCRATCH: usize = 64 * 1024;

/// One WebSocket, seen from the server, from the accepted handshake to its end.
///
/// Pings are answered and close frames echoed here. The order of calls is that of
/// [`h1::Connection`](crate::h1::Connection): `handle_*`, commands, then
/// [`poll_message`](Self::poll_message), [`poll_output`](Self::poll_output) and
/// [`poll_fate`](Self::poll_fate).
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    /// Bytes not yet parsed are those from `parsed` on.
    input: Vec<u8>,
    parsed: usize,
    frame: Option<Frame>,
    assembly: Option<Assembly>,
    control: Vec<u8>,
    /// Compression, where it was agreed to.
    deflate: Option<Deflate>,
    /// A compressed piece without its mask, or a message that was compressed.
    scratch: Vec<u8>,
    messages: VecDeque<Message>,
    /// Bytes of `messages`.
    queued: usize,
    output: Vec<u8>,
    /// The client does not take what is sent: answers to its pings are held back.
    congested: bool,
    /// The answer held back; a newer ping takes its place (RFC 6455, 5.5.3).
    pong: Option<Vec<u8>>,
    /// Our close frame has been sent, at this time.
    close_sent: Option<Duration>,
    /// How it ended.
    closed: Option<Close>,
    last_heard: Duration,
    last_ping: Duration,
    ping_pending: bool,
    progress: Progress,
    fate: Fate,
}

/// A frame whose payload is arriving.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    length: u64,
    taken: u64,
}

/// Why something could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// A close frame was sent or received already.
    #[error("the WebSocket is closed")]
    Closed,
    /// The code is reserved.
    #[error("{0} cannot be sent as a close code: use 1000 to 1003, 1007 to 1014 or 3000 to 4999")]
    CloseCode(u16),
}

impl Connection {
    /// A fresh WebSocket.
    #[must_use]
    pub fn new(limits: Limits, now: Duration) -> Self {
        Self {
            limits,
            input: Vec::new(),
            parsed: 0,
            frame: None,
            assembly: None,
            control: Vec::new(),
            deflate: None,
            scratch: Vec::new(),
            messages: VecDeque::new(),
            queued: 0,
            output: Vec::new(),
            congested: false,
            pong: None,
            close_sent: None,
            closed: None,
            last_heard: now,
            last_ping: now,
            ping_pending: false,
            progress: Progress::new(now),
            fate: Fate::Open,
        }
    }

    /// Messages may be compressed from now on, as was agreed to in the handshake.
    pub fn use_deflate(&mut self, agreement: Agreement, options: DeflateOptions) {
        self.deflate = Some(Deflate::new(agreement, options));
    }

    /// Whether the client takes what is sent. While it does not, only the last of its pings is
    /// kept, and answered afterwards.
    pub fn set_congested(&mut self, congested: bool) {
        self.congested = congested;
        if !congested
            && self.is_open()
            && let Some(payload) = self.pong.take()
        {
            self.write_frame(OpCode::Control(Control::Pong), &payload, false);
        }
    }

    /// Bytes came in.
    pub fn handle_data(&mut self, now: Duration, data: &[u8]) {
        self.last_heard = now;
        if self.closed.is_some() {
            return;
        }
        if self.parsed == self.input.len() {
            self.input.clear();
            self.parsed = 0;
        }
        self.input.extend_from_slice(data);
        self.parse(now);
    }

    /// The client will send no more, with or without having said so.
    pub fn handle_eof(&mut self) {
        self.end(Close::new(CloseCode::ABNORMAL, ""), Fate::Close);
    }

    /// Time went by. `queued`: bytes from [`poll_output`](Self::poll_output) that the transport
    /// still holds.
    pub fn handle_timeout(&mut self, now: Duration, queued: usize) {
        if self.fate == Fate::Abort {
            return;
        }
        // Also after the closing handshake: the transport closes only once the client has taken all.
        if self.progress.stalled_for(now, queued) >= self.limits.write_timeout {
            return self.end(Close::new(CloseCode::ABNORMAL, "write timeout"), Fate::Abort);
        }
        if self.fate != Fate::Open {
            return;
        }
        if let Some(sent) = self.close_sent {
            if now.saturating_sub(sent) >= self.limits.close_timeout {
                self.end(Close::new(CloseCode::ABNORMAL, "close timeout"), Fate::Abort);
            }
            return;
        }
        let Some(interval) = self.limits.ping_interval else { return };
        if !self.wants_read() {
            // The answer could not come through, and that is our application's doing.
            self.last_ping = now;
            self.ping_pending = false;
        } else if self.ping_pending && self.last_heard > self.last_ping {
            self.ping_pending = false;
        } else if self.ping_pending
            && now.saturating_sub(self.last_ping) >= self.limits.ping_timeout
        {
            self.end(Close::new(CloseCode::ABNORMAL, "keepalive ping timeout"), Fate::Abort);
        } else if !self.ping_pending && now.saturating_sub(self.last_ping) >= interval {
            self.last_ping = now;
            self.ping_pending = true;
            self.write_frame(OpCode::Control(Control::Ping), b"pelton", false);
        }
    }

    /// The next message; ask until `None`.
    pub fn poll_message(&mut self, now: Duration) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.queued -= message.len();
        if self.closed.is_none() {
            self.parse(now);
        }
        Some(message)
    }

    /// The bytes to send, to be followed by [`clear_output`](Self::clear_output).
    #[must_use]
    pub fn poll_output(&self) -> &[u8] {
        &self.output
    }

    /// What [`poll_output`](Self::poll_output) gave is queued on the transport.
    pub fn clear_output(&mut self) {
        self.progress.hand_out(self.output.len());
        self.output.clear();
    }

    /// What is to become of the transport. Output goes first.
    #[must_use]
    pub fn poll_fate(&self) -> Fate {
        self.fate
    }

    /// How it ended, once it has; messages that came before are still to be polled.
    #[must_use]
    pub fn closed(&self) -> Option<&Close> {
        self.closed.as_ref()
    }

    /// Whether messages can still be sent.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed.is_none() && self.close_sent.is_none()
    }

    /// Whether to read on: `false` while a full queue waits for a slow application.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let has_room =
            self.messages.len() < self.limits.queue && self.queued < self.limits.message.max(1);
        has_room || self.close_sent.is_some()
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// [`SendError::Closed`]
    pub fn send_text(&mut self, text: &str) -> Result<(), SendError> {
        self.send(Data::Text, text.as_bytes())
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// [`SendError::Closed`]
    pub fn send_binary(&mut self, data: &[u8]) -> Result<(), SendError> {
        self.send(Data::Binary, data)
    }

    /// Sends a close frame and waits for the client's.
    ///
    /// # Errors
    /// Closed already, or a code that may not be sent.
    pub fn close(&mut self, now: Duration, close: &Close) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        if !close.code.is_sendable() && close.code != CloseCode::NO_STATUS {
            return Err(SendError::CloseCode(close.code.0));
        }
        self.write_frame(OpCode::Control(Control::Close), &close.payload(), false);
        self.close_sent = Some(now);
        Ok(())
    }

    /// The connection is dropped, without a closing handshake.
    pub fn abort(&mut self) {
        self.end(Close::new(CloseCode::ABNORMAL, ""), Fate::Abort);
    }

    fn send(&mut self, kind: Data, data: &[u8]) -> Result<(), SendError> {
        if !self.is_open() {
            return Err(SendError::Closed);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let compressed = match &mut self.deflate {
            Some(deflate) if deflate.pays_for(data.len()) => deflate.compress(data, &mut scratch),
            _ => false,
        };
        self.write_frame(OpCode::Data(kind), if compressed { &scratch } else { data }, compressed);
        self.keep_scratch(scratch);
        Ok(())
    }

    /// Parses what is there, as far as the queue has room.
    fn parse(&mut self, now: Duration) {
        while self.closed.is_none() && self.wants_read() {
            let advanced = match self.frame {
                None => self.parse_header(),
                Some(frame) => self.take_payload(frame, now),
            };
            match advanced {
                Ok(true) => {}
                Ok(false) => break,
                Err(close) => self.fail(close, now),
            }
        }
        if self.parsed > 0 && self.parsed * 2 >= self.input.len() {
            self.input.drain(..self.parsed);
            self.parsed = 0;
        }
    }

    /// Reads a frame's header; `false` where it is not complete.
    fn parse_header(&mut self) -> Result<bool, Close> {
        let protocol = |reason| Close::new(CloseCode::PROTOCOL, reason);
        let mut cursor = Cursor::new(&self.input[self.parsed..]);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| protocol("invalid frame header"))?;
        let Some((header, length)) = parsed else { return Ok(false) };
        let taken = usize::try_from(cursor.position()).unwrap_or_default();
        let may_compress = self.deflate.is_some()
            && matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if (header.rsv1 && !may_compress) || header.rsv2 || header.rsv3 {
            return Err(protocol("reserved bits are set"));
        }
        let Some(mask) = header.mask else {
            return Err(protocol("a client's frames must be masked"));
        };
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > 125 => {
                return Err(protocol("invalid control frame"));
            }
            OpCode::Control(_) => self.control.clear(),
            OpCode::Data(Data::Continue) if self.assembly.is_none() => {
                return Err(protocol("nothing to continue"));
            }
            OpCode::Data(Data::Continue) => {}
            OpCode::Data(kind) => {
                if self.assembly.is_some() {
                    return Err(protocol("a message is not finished"));
                }
                self.assembly = Some(Assembly::new(kind == Data::Text, header.rsv1));
            }
        }
        if let (OpCode::Data(_), Some(assembly)) = (header.opcode, &self.assembly) {
            // What a compressed frame holds shows only as it is inflated.
            let room = (self.limits.message - assembly.len()) as u64;
            if !assembly.is_compressed && length > room {
                return Err(Close::new(CloseCode::TOO_BIG, "message too big"));
            }
            if self.limits.frame.is_some_and(|limit| length > limit as u64) {
                return Err(Close::new(CloseCode::TOO_BIG, "frame too big"));
            }
        }
        self.parsed += taken;
        self.frame = Some(Frame {
            opcode: header.opcode,
            is_final: header.is_final,
            mask,
            length,
            taken: 0,
        });
        Ok(true)
    }

    /// Takes what is there of a frame's payload; `false` where more is to come.
    fn take_payload(&mut self, frame: Frame, now: Duration) -> Result<bool, Close> {
        let missing = usize::try_from(frame.length - frame.taken).unwrap_or(usize::MAX);
        let available = &self.input[self.parsed..];
        let piece = &available[..missing.min(available.len())];
        let length = piece.len();
        match (&frame.opcode, &mut self.assembly, &mut self.deflate) {
            (OpCode::Data(_), Some(assembly), Some(deflate)) if assembly.is_compressed => {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.clear();
                mask::extend(&mut scratch, piece, frame.mask, frame.taken);
                assembly.inflate(&scratch, deflate, self.limits.message)?;
                self.keep_scratch(scratch);
            }
            (OpCode::Data(_), Some(assembly), _) => {
                assembly.push(piece, frame.mask, frame.taken)?;
            }
            _ => mask::extend(&mut self.control, piece, frame.mask, frame.taken),
        }
        self.parsed += length;
        if length < missing {
            self.frame = Some(Frame { taken: frame.taken + length as u64, ..frame });
            return Ok(false);
        }
        self.frame = None;
        self.finish_frame(frame, now)?;
        Ok(true)
    }

    fn finish_frame(&mut self, frame: Frame, now: Duration) -> Result<(), Close> {
        match frame.opcode {
            OpCode::Data(_) => {
                if !frame.is_final {
                    return Ok(());
                }
                let Some(assembly) = self.assembly.take() else { return Ok(()) };
                let message = assembly.finish(self.deflate.as_mut(), self.limits.message)?;
                if self.close_sent.is_none() {
                    self.queued += message.len();
                    self.messages.push_back(message);
                }
            }
            OpCode::Control(Control::Ping) => {
                if self.close_sent.is_none() {
                    let payload = std::mem::take(&mut self.control);
                    if self.congested {
                        self.pong = Some(payload);
                    } else {
                        self.write_frame(OpCode::Control(Control::Pong), &payload, false);
                    }
                }
            }
            OpCode::Control(Control::Close) => {
                let close = Close::parse(&self.control)?;
                if self.close_sent.is_none() {
                    self.write_frame(OpCode::Control(Control::Close), &close.payload(), false);
                    self.close_sent = Some(now);
                }
                self.end(close, Fate::Close);
            }
            OpCode::Control(_) => {}
        }
        Ok(())
    }

    /// The client broke a rule: it is told which, and that is the end.
    fn fail(&mut self, close: Close, now: Duration) {
        if self.close_sent.is_none() {
            self.write_frame(OpCode::Control(Control::Close), &close.payload(), false);
            self.close_sent = Some(now);
        }
        self.end(close, Fate::Close);
    }

    /// Memory of a usual message is used again, that of a huge one is not kept.
    fn keep_scratch(&mut self, scratch: Vec<u8>) {
        if scratch.capacity() <= KEPT_SCRATCH {
            self.scratch = scratch;
        }
    }

    fn end(&mut self, close: Close, fate: Fate) {
        self.closed.get_or_insert(close);
        self.fate = fate;
        self.assembly = None;
        self.frame = None;
    }

    fn write_frame(&mut self, opcode: OpCode, payload: &[u8], compressed: bool) {
        let header = FrameHeader { opcode, rsv1: compressed, ..FrameHeader::default() };
        // INVARIANT: writing to a Vec does not fail, and that is the only error there is.
        let written = header.format(payload.len() as u64, &mut self.output);
        debug_assert!(written.is_ok());
        self.output.extend_from_slice(payload);
    }
}
