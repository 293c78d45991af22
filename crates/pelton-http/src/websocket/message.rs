//! Messages, put together from fragments.

use super::deflate::Deflate;
use super::{Close, CloseCode, mask};

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
    pub(super) is_compressed: bool,
    data: Vec<u8>,
    /// Invariant: `data[..valid]` is UTF-8 (text only).
    valid: usize,
}

impl Assembly {
    pub(super) fn new(is_text: bool, is_compressed: bool) -> Self {
        Self { is_text, is_compressed, data: Vec::new(), valid: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    /// Adds a piece, unmasking it on the way.
    pub(super) fn push(&mut self, piece: &[u8], mask: [u8; 4], offset: u64) -> Result<(), Close> {
        mask::extend(&mut self.data, piece, mask, offset);
        self.check()
    }

    /// Adds a compressed piece, already unmasked; the message may have `limit` bytes.
    pub(super) fn inflate(
        &mut self,
        piece: &[u8],
        deflate: &mut Deflate,
        limit: usize,
    ) -> Result<(), Close> {
        deflate.inflate(piece, &mut self.data, limit)?;
        self.check()
    }

    /// Text is checked as it arrives, so that a long message fails where it goes wrong.
    fn check(&mut self) -> Result<(), Close> {
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

    /// The message, after its last piece; `deflate` if it is compressed.
    pub(super) fn finish(
        mut self,
        deflate: Option<&mut Deflate>,
        limit: usize,
    ) -> Result<Message, Close> {
        if let (true, Some(deflate)) = (self.is_compressed, deflate) {
            deflate.finish(&mut self.data, limit)?;
        }
        if !self.is_text {
            return Ok(Message::Binary(self.data));
        }
        // The most part was found valid: what is left is at most the last character.
        self.check()?;
        if self.valid < self.data.len() {
            return Err(invalid_text());
        }
        String::from_utf8(self.data).map(Message::Text).map_err(|_| invalid_text())
    }
}

fn invalid_text() -> Close {
    Close::new(CloseCode::INVALID_DATA, "text is not UTF-8")
}
