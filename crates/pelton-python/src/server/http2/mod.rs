//! HTTP/2: many requests on one connection.

mod connection;
mod stream;

pub(super) use connection::Http2Connection;
