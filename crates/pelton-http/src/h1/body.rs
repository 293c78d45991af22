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
    /// Bytes of chunk extensions so far; the body's own bytes allow for as many.
    extensions: u64,
    /// Bytes of this chunk's extensions, or of the trailers.
    overhead: usize,
    /// Trailer fields so far.
    trailers: usize,
}

/// Bytes of the extensions of one chunk, and of all chunks that carry less data than that.
const EXTENSION_MAX: usize = 4096;

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
        part: Part,
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

/// Where in `;name`, `;name=value` or `;name="value"` we are. No blanks are taken in between: they
/// serve nobody, and readers differ on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Behind the semicolon.
    NameStart,
    Name,
    /// Behind the equals sign.
    ValueStart,
    Value,
    Quoted,
    /// Behind a backslash in quotes.
    Escaped,
    /// Behind the closing quote.
    Unquoted,
}

impl Part {
    /// What follows with `byte`; `None` where it cannot be there.
    fn next(self, byte: u8) -> Option<Self> {
        let quotable = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        match (self, byte) {
            (Self::NameStart | Self::Name, _) if is_token(byte) => Some(Self::Name),
            (Self::ValueStart | Self::Value, _) if is_token(byte) => Some(Self::Value),
            (Self::Name, b'=') => Some(Self::ValueStart),
            (Self::Name | Self::Value | Self::Unquoted, b';') => Some(Self::NameStart),
            (Self::ValueStart, b'"') => Some(Self::Quoted),
            (Self::Quoted, b'"') => Some(Self::Unquoted),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Quoted | Self::Escaped, _) if quotable => Some(Self::Quoted),
            _ => None,
        }
    }

    /// Whether the line may end here.
    fn is_complete(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Unquoted)
    }
}

impl Decoder {
    pub(super) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size { size: 0, digits: 0 },
        };
        Self { state, decoded: 0, extensions: 0, overhead: 0, trailers: 0 }
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
        const EXTENSION: RequestError = RequestError::Malformed("a chunk's extension is invalid");
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
            (State::Size { size, .. }, b'\r') => {
                self.check_size(size, limits)?;
                State::SizeEnd { size }
            }
            (State::Size { size, .. }, b';') => {
                self.overhead = 0;
                State::Extension { size, part: Part::NameStart }
            }
            (State::Extension { size, part }, b'\r') if part.is_complete() => {
                self.check_size(size, limits)?;
                self.overhead = 0;
                State::SizeEnd { size }
            }
            (State::Extension { size, part }, _) => {
                self.count_extension()?;
                let part = part.next(byte).ok_or(EXTENSION)?;
                State::Extension { size, part }
            }
            (State::Size { .. }, _) => return Err(SIZE),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Vec::new()),
            (State::SizeEnd { size }, b'\n') => State::Data(size),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { size: 0, digits: 0 },
            (State::SizeEnd { .. } | State::DataCr | State::DataLf, _) => return Err(END),
            (State::Trailer(line), b'\r') => State::TrailerLf(line),
            (State::Trailer(mut line), b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_trailer_byte(limits)?;
                line.push(byte);
                State::Trailer(line)
            }
            (State::TrailerLf(line), b'\n') if line.is_empty() => State::Done,
            (State::TrailerLf(line), b'\n') => {
                self.trailers += 1;
                if self.trailers > limits.headers {
                    return Err(RequestError::TooManyHeaders);
                }
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

    /// Extensions carry nothing for us: more than a little of them is an attempt to keep us busy.
    fn count_extension(&mut self) -> Result<(), RequestError> {
        const TOO_LONG: RequestError = RequestError::Malformed("the chunk extensions are too long");
        self.overhead += 1;
        self.extensions += 1;
        if self.overhead > EXTENSION_MAX || self.extensions > self.decoded + EXTENSION_MAX as u64 {
            return Err(TOO_LONG);
        }
        Ok(())
    }

    fn count_trailer_byte(&mut self, limits: &Limits) -> Result<(), RequestError> {
        self.overhead += 1;
        if self.overhead > limits.head {
            return Err(RequestError::HeadTooLarge);
        }
        Ok(())
    }
}

/// Trailers are not handed on, but what is no field is no HTTP, and a field that frames or routes a
/// message can only be there to confuse somebody.
fn check_trailer(line: &[u8]) -> Result<(), RequestError> {
    const INVALID: RequestError = RequestError::Malformed("a trailer is invalid");
    const FORBIDDEN: RequestError = RequestError::Malformed("a trailer may not be this field");
    let colon = memchr::memchr(b':', line).ok_or(INVALID)?;
    let name = &line[..colon];
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(INVALID);
    }
    if is_forbidden_trailer(name) { Err(FORBIDDEN) } else { Ok(()) }
}

/// Whether a field of this name means something only before a body.
pub(super) fn is_forbidden_trailer(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 14] = [
        b"authorization",
        b"connection",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"keep-alive",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    FORBIDDEN.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
}
