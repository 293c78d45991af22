//! What a client may ask of an HTTP/2 connection.

use super::settings::{DEFAULT_WINDOW, MAX_WINDOW};

/// The limits of one connection beyond [`crate::Limits`], which holds those of its requests. Each
/// has the default that SECURITY.md states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests under way at once; more are refused, and can be sent again. A request that the
    /// client took back counts for as long as its application still runs.
    pub streams: u32,
    /// Bytes of a request's body on their way, or kept for an application that does not take them.
    /// At least 65 535.
    pub stream_window: u32,
    /// The same for all requests of the connection together.
    pub connection_window: u32,
    /// Frames that continue one header block; more end the connection.
    pub continuations: u32,
    /// Requests that the client takes back, beyond half of those that it lets end: at once, and
    /// within ten seconds. More end the connection.
    pub resets: u32,
    /// Frames that carry nothing (pings, settings, priorities, window updates, empty data), beyond
    /// what the requests and the answers explain: at once, and within ten seconds. More end the
    /// connection.
    pub control_frames: u32,
    /// Bytes of an answer that wait for the client's window before the application has to wait.
    pub send_buffer: usize,
}

impl Limits {
    pub(super) fn stream_window(&self) -> u32 {
        self.stream_window.clamp(DEFAULT_WINDOW, MAX_WINDOW)
    }

    pub(super) fn connection_window(&self) -> u32 {
        self.connection_window.clamp(DEFAULT_WINDOW, MAX_WINDOW)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 100,
            stream_window: 128 * 1024,
            connection_window: 1024 * 1024,
            continuations: 16,
            resets: 100,
            control_frames: 1000,
            send_buffer: 64 * 1024,
        }
    }
}
