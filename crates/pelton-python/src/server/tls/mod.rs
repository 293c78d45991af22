//! TLS of the server, by rustls: a protocol between the socket's connection and the one that serves.
//!
//! `layer` encrypts and decrypts, and makes the protocol above it once the handshake is done;
//! `acceptor` is what connections begin with, and can be replaced under them; `identity` is a
//! certificate with its key, `resolver` chooses one by name; `session` is what was agreed, as
//! applications see it; `subject` reads a certificate's name; `tickets` lets
//! clients resume; `turns` keeps a flood of handshakes from holding the loop.

mod acceptor;
mod identity;
mod layer;
mod resolver;
mod session;
mod subject;
mod tickets;
mod turns;

pub(super) use acceptor::Acceptor;
pub(super) use layer::layered;
pub(crate) use session::TlsSession;
