//! Header compression: RFC 7541.

mod decoder;
mod encoder;
mod huffman;
mod integer;
mod static_table;
mod table;

pub(super) use decoder::Decoder;
pub(super) use encoder::Encoder;

/// The table size both sides begin with; we never ask for another.
pub(super) const DEFAULT_TABLE_SIZE: usize = 4096;

/// A header block that cannot be read. The tables of both sides differ from here on, so the
/// connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) &'static str);
