//! Settings of both sides: RFC 9113, section 6.5.

use super::error::{Code, Fault};
use super::frame::u32_of;
use super::limits::Limits;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const MAX_FRAME_SIZE: u16 = 0x5;
const MAX_HEADER_LIST_SIZE: u16 = 0x6;
/// RFC 8441: WebSockets by `CONNECT`.
const ENABLE_CONNECT_PROTOCOL: u16 = 0x8;
/// RFC 9218: the old priorities mean nothing here.
const NO_RFC7540_PRIORITIES: u16 = 0x9;

/// The window that streams and the connection begin with.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
/// No window may be larger.
pub(super) const MAX_WINDOW: u32 = (1 << 31) - 1;

/// What the client has set, as far as a server that pushes nothing cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientSettings {
    pub(super) header_table_size: u32,
    pub(super) initial_window: u32,
    pub(super) max_payload: u32,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self { header_table_size: 4096, initial_window: DEFAULT_WINDOW, max_payload: 16_384 }
    }
}

impl ClientSettings {
    /// Takes the payload of a `SETTINGS` frame, whose length is a multiple of six.
    pub(super) fn update(&mut self, payload: &[u8]) -> Result<(), Fault> {
        for setting in payload.as_chunks::<6>().0 {
            let [a, b, value @ ..] = *setting;
            let value = u32_of(value);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.header_table_size = value,
                ENABLE_PUSH if value > 1 => {
                    return Err(Fault::protocol("ENABLE_PUSH is neither 0 nor 1"));
                }
                INITIAL_WINDOW_SIZE if value > MAX_WINDOW => {
                    return Err(Fault::new(Code::FlowControl, "INITIAL_WINDOW_SIZE is too large"));
                }
                INITIAL_WINDOW_SIZE => self.initial_window = value,
                MAX_FRAME_SIZE if !(16_384..1 << 24).contains(&value) => {
                    return Err(Fault::protocol("MAX_FRAME_SIZE is out of range"));
                }
                MAX_FRAME_SIZE => self.max_payload = value,
                ENABLE_CONNECT_PROTOCOL | NO_RFC7540_PRIORITIES if value > 1 => {
                    return Err(Fault::protocol("a setting is neither 0 nor 1"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// What we tell the client.
pub(super) fn ours(limits: &Limits, head: usize) -> [(u16, u32); 5] {
    [
        (MAX_CONCURRENT_STREAMS, limits.streams),
        (INITIAL_WINDOW_SIZE, limits.stream_window()),
        (MAX_HEADER_LIST_SIZE, u32::try_from(head).unwrap_or(u32::MAX)),
        (ENABLE_CONNECT_PROTOCOL, 1),
        (NO_RFC7540_PRIORITIES, 1),
    ]
}
