//! TLS over the loop's connections: no thread, and no Python call for a record.
//!
//! `TlsTransport` (`transport`) is what a Python protocol gets. `connection` is the protocol of the
//! socket's connection underneath: handshake, shutdown and errors; `reading` and `writing` are the
//! ways of the data. `engine` encrypts and decrypts, on an `ssl.SSLObject`; `openssl` and `wire` are
//! its short way past Python, and `warm` says who keeps OpenSSL's buffers. See `docs/design/tls.md`.

mod connection;
mod engine;
mod openssl;
mod options;
mod reading;
mod transport;
mod warm;
mod wire;
mod writing;

pub(crate) use options::TlsOptions;
pub(crate) use transport::TlsTransport;
pub(crate) use warm::Warm;
