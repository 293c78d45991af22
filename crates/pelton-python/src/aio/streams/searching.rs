//! The search for the end of a message in a reader's buffer.

use std::rc::Rc;

use pelton_reactor::{NoSeparator, Search, Searched, Separator};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::reader::{Reader, Want};
use super::reading::fill;
use crate::transport::bytes_of;

/// A search, which goes on where it stopped.
pub(super) struct MessageSearch(Search);

/// What a look at the reader came to.
pub(super) enum Message {
    /// It ends here.
    Found(usize),
    Wait(Want),
    /// The stream has ended without one.
    End,
    Overrun {
        message: &'static str,
        consumed: usize,
    },
}

impl MessageSearch {
    /// For the end of a line.
    pub(super) fn newline() -> Self {
        Self(Search::new(Separator::Newline))
    }

    /// For a bytes-like object, or any one of a tuple of them.
    pub(super) fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let all = match object.cast::<PyTuple>() {
            Ok(tuple) => tuple.iter().map(|one| bytes_of(&one)).collect::<PyResult<Vec<_>>>()?,
            Err(_) => vec![bytes_of(object)?],
        };
        let separator = Separator::any_of(all).map_err(|error| {
            PyValueError::new_err(match error {
                NoSeparator::Nothing => "Separator should contain at least one element",
                NoSeparator::Empty => "Separator should be at least one-byte string",
            })
        })?;
        Ok(Self(Search::new(separator)))
    }

    /// Looks at what is there, and once at what is left in the socket.
    pub(super) fn advance(&mut self, py: Python<'_>, reader: &Rc<Reader>) -> PyResult<Message> {
        let mut filled = false;
        loop {
            let searched = self.search(reader);
            if filled || !matches!(searched, Message::Wait(_) | Message::End) {
                return Ok(searched);
            }
            filled = true;
            if !fill(py, reader)? {
                return Ok(searched);
            }
        }
    }

    fn search(&mut self, reader: &Reader) -> Message {
        let limit = reader.limit;
        match self.0.advance(reader.buffer.borrow().bytes(), limit) {
            Searched::Found(end) => Message::Found(end),
            Searched::Overrun { consumed, complete } => Message::Overrun {
                message: if complete {
                    "Separator is found, but chunk is longer than limit"
                } else {
                    "Separator is not found, and chunk exceed the limit"
                },
                consumed,
            },
            Searched::More if reader.eof.get() => Message::End,
            Searched::More => Message::Wait(match self.0.separator().last_byte() {
                Some(byte) => Want::Byte(byte, limit),
                None => Want::Any,
            }),
        }
    }
}
