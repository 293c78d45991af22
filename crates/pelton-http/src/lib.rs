//! HTTP/1.1, HTTP/2 and WebSocket as state machines: bytes in, events out. No sockets, no clock.
//!
//! - [`h1::Connection`]: one HTTP/1.1 connection of a server
//! - [`h2::Connection`]: one HTTP/2 connection of a server
//! - [`websocket::Connection`]: what the connection becomes after an accepted upgrade
//! - [`coding`]: compressed bodies, both ways
//! - [`form`]: multipart and urlencoded bodies, streamed
//! - [`proxies`]: what proxies in between say about a client
//! - [`query`], [`cookie`], [`percent`]: the small grammars inside a request's head
//!
//! All connections sort their methods as quinn does: `handle_*` takes what happened, commands say
//! what the application wants, `poll_*` gives what is to be done. Time is an argument: the
//! [`Duration`](std::time::Duration) since any fixed moment, never going back.
#![forbid(unsafe_code)]

pub mod access_log;
pub mod coding;
pub mod cookie;
pub mod date;
mod decimal;
pub mod form;
pub mod h1;
pub mod h2;
pub mod headers;
pub mod limits;
pub mod percent;
mod progress;
pub mod proxies;
pub mod query;
pub mod status;
pub mod websocket;

pub use headers::Headers;
pub use limits::Limits;
