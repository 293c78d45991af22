//! HTTP/2 as a server speaks it: RFC 9113, with WebSockets (RFC 8441) and priorities (RFC 9218).

mod bodies;
mod budget;
mod connection;
mod error;
mod fields;
mod frame;
mod headers;
mod hpack;
mod inbound;
mod limits;
mod outbound;
mod priority;
mod sending;
mod settings;
mod stream;
mod streams;

pub use connection::{Connection, Event, goodbye};
pub use error::{Code, Fault};
pub use frame::PREFACE;
pub use limits::Limits;
pub use streams::{IdHasher, StreamMap};

/// The number of a stream.
pub type StreamId = u32;

#[cfg(test)]
mod tests;
