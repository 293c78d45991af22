//! Where a message ends.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::transport::bytes_of;

/// The separators of one `readuntil`.
#[derive(Debug)]
pub(super) enum Separator {
    /// `b"\n"`, for which nothing is kept.
    Newline,
    /// The shortest first.
    Any(Vec<Vec<u8>>),
}

/// A place in a buffer where one was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where the separator begins.
    pub(super) start: usize,
    /// Where the bytes after it begin.
    pub(super) end: usize,
}

impl Separator {
    /// A bytes-like object, or a tuple of them.
    pub(super) fn parse(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut all = match object.cast::<PyTuple>() {
            Ok(tuple) => tuple.iter().map(|one| bytes_of(&one)).collect::<PyResult<Vec<_>>>()?,
            Err(_) => vec![bytes_of(object)?],
        };
        all.sort_by_key(Vec::len);
        match all.first() {
            None => Err(PyValueError::new_err("Separator should contain at least one element")),
            Some(shortest) if shortest.is_empty() => {
                Err(PyValueError::new_err("Separator should be at least one-byte string"))
            }
            Some(shortest) if all.len() == 1 && shortest == b"\n" => Ok(Self::Newline),
            Some(_) => Ok(Self::Any(all)),
        }
    }

    pub(super) fn min_len(&self) -> usize {
        match self {
            Self::Newline => 1,
            Self::Any(all) => all[0].len(),
        }
    }

    pub(super) fn max_len(&self) -> usize {
        match self {
            Self::Newline => 1,
            Self::Any(all) => all[all.len() - 1].len(),
        }
    }

    /// A byte without which the separator cannot end, if there is just one.
    pub(super) fn last_byte(&self) -> Option<u8> {
        match self {
            Self::Newline => Some(b'\n'),
            Self::Any(all) if all.len() == 1 => all[0].last().copied(),
            Self::Any(_) => None,
        }
    }

    /// The one that ends first, from `offset` on; of two that end there, the shorter.
    pub(super) fn find(&self, data: &[u8], offset: usize) -> Option<Found> {
        match self {
            Self::Newline => position(&data[offset..], b'\n')
                .map(|at| Found { start: offset + at, end: offset + at + 1 }),
            Self::Any(all) => all
                .iter()
                .filter_map(|one| find(&data[offset..], one).map(|at| (one, offset + at)))
                .map(|(one, start)| Found { start, end: start + one.len() })
                .min_by_key(|found| found.end),
        }
    }
}

/// The first place of `byte`.
pub(super) fn position(data: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: the pointer and length describe `data`; what is returned lies within, or is null.
    unsafe {
        let found = libc::memchr(data.as_ptr().cast(), byte.into(), data.len());
        (!found.is_null()).then(|| found.cast::<u8>().offset_from(data.as_ptr()) as usize)
    }
}

fn find(data: &[u8], wanted: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + position(data.get(from..)?, wanted[0])?;
        if data.get(at..at + wanted.len())? == wanted {
            return Some(at);
        }
        from = at + 1;
    }
}
