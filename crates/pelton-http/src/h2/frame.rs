//! Frames: their head, and those that we send.

use super::error::Code;

/// What a client sends before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest payload that we take: the protocol's default, which we do not raise.
pub(super) const MAX_PAYLOAD: usize = 16_384;

pub(super) mod flags {
    pub(in crate::h2) const ACK: u8 = 0x1;
    pub(in crate::h2) const END_STREAM: u8 = 0x1;
    pub(in crate::h2) const END_HEADERS: u8 = 0x4;
    pub(in crate::h2) const PADDED: u8 = 0x8;
    pub(in crate::h2) const PRIORITY: u8 = 0x20;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Data,
    Headers,
    Priority,
    RstStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    /// RFC 9218.
    PriorityUpdate,
    /// Others are ignored.
    Unknown,
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x2 => Self::Priority,
            0x3 => Self::RstStream,
            0x4 => Self::Settings,
            0x5 => Self::PushPromise,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            0x10 => Self::PriorityUpdate,
            _ => Self::Unknown,
        }
    }
}

/// The nine bytes before a frame's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    pub(super) length: usize,
    pub(super) kind: Kind,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) const SIZE: usize = 9;

    /// The head at the start of `input`, once it is complete.
    pub(super) fn parse(input: &[u8]) -> Option<Self> {
        let head: &[u8; Self::SIZE] = input.first_chunk()?;
        Some(Self {
            length: usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]),
            kind: Kind::of(head[3]),
            flags: head[4],
            stream: u32_of([head[5] & 0x7f, head[6], head[7], head[8]]),
        })
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A number of four bytes, as frames hold them.
pub(super) fn u32_of(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// Writes a frame's head; the payload of `length` bytes is to follow.
pub(super) fn write_head(output: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, high, middle, low] = (length as u32).to_be_bytes();
    let [a, b, c, d] = stream.to_be_bytes();
    output.extend_from_slice(&[high, middle, low, kind, flags, a, b, c, d]);
}

/// Writes a `DATA` frame.
pub(super) fn write_data(output: &mut Vec<u8>, stream: u32, data: &[u8], end: bool) {
    output.reserve(FrameHead::SIZE + data.len());
    write_head(output, data.len(), 0x0, if end { flags::END_STREAM } else { 0 }, stream);
    output.extend_from_slice(data);
}

/// Writes a header block, in as many frames as it needs.
pub(super) fn write_headers(
    output: &mut Vec<u8>,
    stream: u32,
    block: &[u8],
    end: bool,
    max_payload: usize,
) {
    let end = if end { flags::END_STREAM } else { 0 };
    let (first, mut rest) = block.split_at(block.len().min(max_payload));
    let last = if rest.is_empty() { flags::END_HEADERS } else { 0 };
    output.reserve(FrameHead::SIZE + block.len());
    write_head(output, first.len(), 0x1, end | last, stream);
    output.extend_from_slice(first);
    while !rest.is_empty() {
        let (next, after) = rest.split_at(rest.len().min(max_payload));
        let last = if after.is_empty() { flags::END_HEADERS } else { 0 };
        write_head(output, next.len(), 0x9, last, stream);
        output.extend_from_slice(next);
        rest = after;
    }
}

/// Writes `RST_STREAM`.
pub(super) fn write_reset(output: &mut Vec<u8>, stream: u32, code: Code) {
    write_head(output, 4, 0x3, 0, stream);
    output.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes `SETTINGS`.
pub(super) fn write_settings(output: &mut Vec<u8>, settings: &[(u16, u32)]) {
    write_head(output, settings.len() * 6, 0x4, 0, 0);
    for (name, value) in settings {
        output.extend_from_slice(&name.to_be_bytes());
        output.extend_from_slice(&value.to_be_bytes());
    }
}

/// Acknowledges the client's `SETTINGS`.
pub(super) fn write_settings_ack(output: &mut Vec<u8>) {
    write_head(output, 0, 0x4, flags::ACK, 0);
}

/// Writes `PING`, or the answer to one.
pub(super) fn write_ping(output: &mut Vec<u8>, ack: bool, payload: &[u8; 8]) {
    write_head(output, 8, 0x6, if ack { flags::ACK } else { 0 }, 0);
    output.extend_from_slice(payload);
}

/// Writes `GOAWAY`: streams above `last` were not looked at.
pub(super) fn write_goaway(output: &mut Vec<u8>, last: u32, code: Code, reason: &str) {
    write_head(output, 8 + reason.len(), 0x7, 0, 0);
    output.extend_from_slice(&last.to_be_bytes());
    output.extend_from_slice(&(code as u32).to_be_bytes());
    output.extend_from_slice(reason.as_bytes());
}

/// Writes `WINDOW_UPDATE`; stream 0 is the connection.
pub(super) fn write_window_update(output: &mut Vec<u8>, stream: u32, increment: u32) {
    write_head(output, 4, 0x8, 0, stream);
    output.extend_from_slice(&increment.to_be_bytes());
}
