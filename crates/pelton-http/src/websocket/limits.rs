//! What a client may ask of a WebSocket.

use std::time::Duration;

/// The limits of one WebSocket. Each has the default that SECURITY.md states.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of one message, decompressed; more closes with 1009.
    pub message: usize,
    /// Bytes of one frame as it travels; more closes with 1009. `None`: as for messages.
    pub frame: Option<usize>,
    /// Messages kept for a slow application; then reading pauses. It does, too, when they have
    /// more bytes than one message may have.
    pub queue: usize,
    /// Bytes that may wait for a slow client when a message is sent; then the connection is
    /// dropped. For whoever sees the transport's queue.
    pub write_queue: usize,
    /// Between two pings; `None`: no pings.
    pub ping_interval: Option<Duration>,
    /// From a ping to any sign of life; then the connection is dropped.
    pub ping_timeout: Duration,
    /// From our close frame to the client's; then the connection is dropped.
    pub close_timeout: Duration,
    /// As in [`crate::Limits::write_timeout`].
    pub write_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 16 * 1024 * 1024,
            frame: None,
            queue: 32,
            write_queue: 64 * 1024 * 1024,
            ping_interval: Some(Duration::from_secs(20)),
            ping_timeout: Duration::from_secs(20),
            close_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(60),
        }
    }
}
