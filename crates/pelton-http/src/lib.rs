//! HTTP/1.1, WebSocket and routing as state machines: bytes in, events out. No sockets, no clock.
#![forbid(unsafe_code)]
