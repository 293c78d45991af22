//! Messages, put together from fragments.

use super::{Close, CloseCode};

/// A complete message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Valid UTF-8.
    Text(String),
    /// Any bytes.
    Binary(Vec<u8>),
}

impl Message {
    /// Bytes of its content.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }

    /// Whether it has no content.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A message under way.
#[derive(Debug)]
pub(super) struct Assembly {
    is_text: bool,
    data: Vec<u8>,
    /// Invariant: `data[..valid]` is UTF-8 (text only).
    valid: usize,
}

impl Assembly {
    pub(super) fn new(is_text: bool) -> Self {
        Self { is_text, data: Vec::new(), valid: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Adds a piece, unmasking it on the way. Text is checked at once, so that a long message
    /// fails where it goes wrong.
    pub(super) fn push(&mut self, piece: &[u8], mask: [u8; 4], offset: u64) -> Result<(), Close> {
        let start = self.data.len();
        self.data.extend_from_slice(piece);
        super::mask::apply(&mut self.data[start..], mask, offset);
        if !self.is_text {
            return Ok(());
        }
        match std::str::from_utf8(&self.data[self.valid..]) {
            Ok(_) => self.valid = self.data.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(invalid_text()),
        }
        Ok(())
    }

    /// The message, after its last piece.
    pub(super) fn finish(self) -> Result<Message, Close> {
        if !self.is_text {
            return Ok(Message::Binary(self.data));
        }
        String::from_utf8(self.data).map(Message::Text).map_err(|_| invalid_text())
    }
}

fn invalid_text() -> Close {
    Close::new(CloseCode::INVALID_DATA, "text is not UTF-8")
}
