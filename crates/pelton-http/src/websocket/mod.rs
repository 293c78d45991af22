//! WebSockets as a server speaks them: RFC 6455, on tungstenite's frame headers.

mod close;
mod connection;
mod handshake;
mod mask;
mod message;

pub use close::{Close, CloseCode};
pub use connection::{Connection, Limits, SendError};
pub use handshake::{Handshake, HandshakeError};
pub use message::Message;
