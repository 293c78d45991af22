//! What a client may ask for.

use std::time::Duration;

/// The limits of one connection. Each has the default that SECURITY.md states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the request line; more is answered 414.
    pub request_line: usize,
    /// Bytes of a request's head, its request line included; more is answered 431. Trailers, too.
    pub head: usize,
    /// Header fields of a request; more is answered 431. At most [`Limits::MAX_HEADERS`].
    pub headers: usize,
    /// Bytes of a request's body, decoded; more is answered 413. `None`: no limit.
    pub body: Option<u64>,
    /// Requests of one connection; the last is answered with `connection: close`. `None`: no limit.
    pub requests: Option<u64>,
    /// Bytes of body kept for an application that does not take them; then reading pauses.
    pub body_buffer: usize,
    /// Bytes of an unwanted body that are read and dropped to keep the connection.
    pub drain: u64,
    /// From a request's first byte to the end of its head; then 408.
    pub head_timeout: Duration,
    /// Between two pieces of a body that somebody waits for; then 408.
    pub body_timeout: Duration,
    /// Between two moments at which the client took some of what waits for it; then an abort.
    pub write_timeout: Duration,
    /// Between two requests; then the connection is closed.
    pub keep_alive: Duration,
    /// After an early answer, to read on so that the client sees it before the close.
    pub linger: Duration,
}

impl Limits {
    /// The largest value of [`Limits::headers`].
    pub const MAX_HEADERS: usize = 256;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 * 1024,
            head: 64 * 1024,
            headers: 100,
            body: Some(100 * 1024 * 1024),
            requests: None,
            body_buffer: 64 * 1024,
            drain: 64 * 1024,
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
            linger: Duration::from_secs(2),
        }
    }
}
