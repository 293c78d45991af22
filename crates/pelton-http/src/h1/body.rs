//! A request's body, decoded.

use crate::Limits;

use super::RequestError;
use super::head::{Framing, is_token};

/// Takes a body out of the bytes that carry it.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    state: State,
    /// Bytes decoded so far.
    decoded: u64,
    /// Bytes of chunk extensions and trailers so far; limited over the whole body.
    overhead: usize,
}

#[derive(Clone, Debug)]
enum State {
    /// So many bytes are to come, with nothing around them.
    Length(u64),
    /// In a chunk's size; the number of digits so far.
    Size {
        size: u64,
        digits: u8,
    },
    /// After the size, before its CR.
    Extension {
        size: u64,
    },
    /// Before the LF of a size line.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of the chunk are to come.
    Data(u64),
    /// Before the CR after a chunk.
    DataCr,
    /// Before the LF after a chunk.
    DataLf,
    /// In a trailer line (without its CR).
    Trailer(Vec<u8>),
    /// Before the LF of a trailer line.
    TrailerLf(Vec<u8>),
    Done,
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Self { state, decoded: 0, overhead: 0 }
    }

    /// Whether the body has come to its end.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Bytes still to come, where the client said it.
    pub(super) fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(remaining) => Some(remaining),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Bytes decoded so far.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded
    }

    /// Decodes from `input` at most `room` bytes of body, given to `sink`; says how much of
    /// `input` it took.
    pub(super) fn decode(
        &mut self,
        input: &[u8],
        room: usize,
        limits: &Limits,
        sink: &mut dyn FnMut(&[u8]),
    ) -> Result<usize, RequestError> {
        let mut at = 0;
        let mut room = room;
        while at < input.len() {
            match &mut self.state {
                State::Done => break,
                State::Length(remaining) | State::Data(remaining) => {
                    let wanted = usize::try_from(*remaining).unwrap_or(usize::MAX);
                    let length = wanted.min(input.len() - at).min(room);
                    if length == 0 {
                        break;
                    }
                    sink(&input[at..at + length]);
                    at += length;
                    room -= length;
                    self.decoded += length as u64;
                    *remaining -= length as u64;
                    if *remaining == 0 {
                        self.state = match self.state {
                            State::Length(_) => State::Done,
                            _ => State::DataCr,
                        };
                    }
                }
                _ => {
                    self.step(input[at], limits)?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }

    /// One byte of what lies between the data.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), RequestError> {
        const SIZE: RequestError = RequestError::Malformed("a chunk's size is invalid");
        const END: RequestError = RequestError::Malformed("a chunk does not end where it should");
        let next = match (std::mem::replace(&mut self.state, State::Done), byte) {
            (State::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                if digits == 16 {
                    return Err(SIZE);
                }
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                let size = size << 4 | u64::from(digit);
                State::Size { size, digits: digits + 1 }
            }
            (State::Size { digits: 0, .. }, _) => return Err(SIZE),
            (State::Size { size, .. } | State::Extension { size }, b'\r') => {
                self.check_size(size, limits)?;
                State::SizeEnd { size }
            }
            (State::Size { size, .. }, b';') => State::Extension { size },
            (State::Extension { size }, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead(limits)?;
                State::Extension { size }
            }
            (State::Size { .. } | State::Extension { .. }, _) => return Err(SIZE),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Vec::new()),
            (State::SizeEnd { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::SizeEnd { .. } | State::DataCr | State::DataLf, _) => return Err(END),
            (State::Trailer(line), b'\r') => State::TrailerLf(line),
            (State::Trailer(mut line), b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_overhead(limits)?;
                line.push(byte);
                State::Trailer(line)
            }
            (State::TrailerLf(line), b'\n') if line.is_empty() => State::Done,
            (State::TrailerLf(line), b'\n') => {
                check_trailer(&line)?;
                State::Trailer(Vec::new())
            }
            (State::Trailer(_) | State::TrailerLf(_), _) => {
                return Err(RequestError::Malformed("a line break is invalid"));
            }
            // INVARIANT: `decode` handles these three itself.
            (state @ (State::Length(_) | State::Data(_) | State::Done), _) => state,
        };
        self.state = next;
        Ok(())
    }

    fn check_size(&self, size: u64, limits: &Limits) -> Result<(), RequestError> {
        match (self.decoded.checked_add(size), limits.body) {
            (None, _) => Err(RequestError::BodyTooLarge),
            (Some(total), Some(limit)) if total > limit => Err(RequestError::BodyTooLarge),
            _ => Ok(()),
        }
    }

    fn count_overhead(&mut self, limits: &Limits) -> Result<(), RequestError> {
        self.overhead += 1;
        if self.overhead > limits.head {
            return Err(RequestError::HeadTooLarge);
        }
        Ok(())
    }
}

/// Trailers are not handed on, but what is no field is no HTTP.
fn check_trailer(line: &[u8]) -> Result<(), RequestError> {
    const INVALID: RequestError = RequestError::Malformed("a trailer is invalid");
    let colon = memchr::memchr(b':', line).ok_or(INVALID)?;
    let valid = colon > 0 && line[..colon].iter().all(|byte| is_token(*byte));
    valid.then_some(()).ok_or(INVALID)
}
