//! WebSockets as a server speaks them: RFC 6455, on tungstenite's frame headers, and RFC 7692.

mod close;
mod connection;
mod deflate;
mod extensions;
mod handshake;
mod limits;
mod mask;
mod message;

pub use close::{Close, CloseCode};
pub use connection::{Connection, SendError};
pub use extensions::{Agreement, DeflateOptions};
pub use handshake::{Handshake, HandshakeError};
pub use limits::Limits;
pub use message::Message;
