//! The opening handshake.

use thiserror::Error;
use tungstenite::handshake::derive_accept_key;

use super::{Agreement, DeflateOptions};
use crate::h1::{Head, ResponseError, Stamp};
use crate::h1::{check_field, list, write_field, write_stamp, write_status_line};

/// A client's wish for a WebSocket, checked.
#[derive(Clone, Debug)]
pub struct Handshake {
    accept_key: String,
    /// The offers of extensions, undecoded.
    extensions: Vec<Vec<u8>>,
    subprotocols: Vec<String>,
}

/// Why it is no WebSocket handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HandshakeError {
    /// Not version 13; the answer says `sec-websocket-version: 13`.
    #[error("the WebSocket version is not supported: only 13 is")]
    Version,
    /// No `sec-websocket-key` of 16 bytes.
    #[error("the WebSocket key is missing or invalid")]
    Key,
    /// `sec-websocket-extensions` is not a list of extensions.
    #[error("the header sec-websocket-extensions is malformed")]
    Extensions,
}

impl HandshakeError {
    /// The status that answers it.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Version => 426,
            Self::Key | Self::Extensions => 400,
        }
    }
}

impl Handshake {
    /// Checks a head for which [`Head::is_websocket_upgrade`] holds.
    ///
    /// # Errors
    /// The client's mistake, with the status that answers it.
    pub fn check(head: &Head) -> Result<Self, HandshakeError> {
        let headers = head.headers();
        if headers.get(b"sec-websocket-version") != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        let mut keys = headers.get_all(b"sec-websocket-key");
        let key = match (keys.next(), keys.next()) {
            (Some(key), None) if is_key(key) => key,
            _ => return Err(HandshakeError::Key),
        };
        Self::new(derive_accept_key(key), head)
    }

    /// The same over HTTP/2, where the stream itself stands for the key (RFC 8441).
    ///
    /// # Errors
    /// The client's mistake, with the status that answers it.
    pub fn check_extended(head: &Head) -> Result<Self, HandshakeError> {
        if head.headers().get(b"sec-websocket-version") != Some(b"13") {
            return Err(HandshakeError::Version);
        }
        Self::new(String::new(), head)
    }

    fn new(accept_key: String, head: &Head) -> Result<Self, HandshakeError> {
        let headers = head.headers();
        let names = headers.get_all(b"sec-websocket-protocol").flat_map(list);
        let subprotocols = names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let extensions: Vec<_> =
            headers.get_all(b"sec-websocket-extensions").map(<[u8]>::to_vec).collect();
        let handshake = Self { accept_key, extensions, subprotocols };
        // Whatever the options are, the header must be one.
        handshake.negotiate(&DeflateOptions::default())?;
        Ok(handshake)
    }

    /// The compression that the client offers and these options allow.
    ///
    /// # Errors
    /// [`HandshakeError::Extensions`], which [`check`](Self::check) has ruled out.
    pub fn negotiate(&self, options: &DeflateOptions) -> Result<Option<Agreement>, HandshakeError> {
        Agreement::negotiate(self.extensions.iter().map(Vec::as_slice), options)
            .map_err(|_| HandshakeError::Extensions)
    }

    /// The subprotocols the client offers, in its order.
    #[must_use]
    pub fn subprotocols(&self) -> &[String] {
        &self.subprotocols
    }

    /// The `101` response's head, for [`h1::Connection::upgrade`](crate::h1::Connection::upgrade).
    ///
    /// # Errors
    /// A field that could not leave unharmed.
    pub fn accept<'h>(
        &self,
        stamp: &Stamp,
        subprotocol: Option<&str>,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<Vec<u8>, ResponseError> {
        let mut output = Vec::with_capacity(256);
        write_status_line(&mut output, 101);
        write_field(&mut output, b"upgrade", b"websocket");
        write_field(&mut output, b"connection", b"Upgrade");
        write_field(&mut output, b"sec-websocket-accept", self.accept_key.as_bytes());
        if let Some(name) = subprotocol {
            check_field(b"sec-websocket-protocol", name.as_bytes())?;
            write_field(&mut output, b"sec-websocket-protocol", name.as_bytes());
        }
        for (name, value) in headers {
            check_field(name, value)?;
            write_field(&mut output, name, value);
        }
        write_stamp(&mut output, stamp);
        output.extend_from_slice(b"\r\n");
        Ok(output)
    }
}

/// Whether it can be the base64 of 16 bytes.
fn is_key(key: &[u8]) -> bool {
    key.len() == 24
        && key.ends_with(b"==")
        && key[..22].iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}
