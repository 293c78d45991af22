//! What proxies say about the clients behind them, and whom to believe.
//!
//! [`Trusted`] is the list of proxies; [`origin`] reads `X-Forwarded-*` or `Forwarded` (RFC 7239)
//! of a request that came from one; [`ProxyHeader`] is the PROXY protocol, versions 1 and 2.

mod forwarded;
mod protocol;
mod trusted;

pub use forwarded::{Origin, Source, origin};
pub use protocol::{HEADER_MAX, ProxyError, ProxyHeader};
pub use trusted::{Peer, Trusted, TrustedError};
