//! `multipart/form-data`, cut into its parts.

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::FormError;
use super::options::Options;

/// The longest boundary; RFC 2046 allows 70 bytes.
const MAX_BOUNDARY: usize = 256;
/// Header fields of a part.
const MAX_HEADERS: usize = 8;
/// Bytes of one header field of a part.
const MAX_HEADER: usize = 4096 + 128;

/// The head of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// The field's name, undecoded.
    pub name: Vec<u8>,
    /// There is one: the part is a file.
    pub filename: Option<Vec<u8>>,
    /// All of its header fields, names in lower case.
    pub headers: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What comes out of the parser.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    Begin(Part),
    Data(&'a [u8]),
    End,
}

/// A state machine over the body's bytes, cut anywhere. It holds back no more than the beginning
/// of a delimiter, as a count, and one header field.
#[derive(Debug)]
pub(super) struct Multipart {
    /// CR LF, two hyphens and the boundary.
    delimiter: Vec<u8>,
    finder: Finder<'static>,
    state: State,
    name: Vec<u8>,
    value: Vec<u8>,
    /// Bytes of the header field so far, its colon and leading spaces included.
    header_size: usize,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing yet.
    Start,
    /// A line end came first: skipped up to a hyphen.
    Preamble,
    /// So many bytes of the first delimiter (which lacks its CR LF) have come.
    First(usize),
    FirstCr,
    FirstHyphen,
    HeaderStart,
    Name,
    Spaces,
    Value,
    ValueCr,
    HeadersCr,
    /// Data, of which the last bytes may be so many of a delimiter.
    Data(usize),
    Delimiter,
    DelimiterCr,
    DelimiterHyphen,
    Padding,
    PaddingCr,
    /// After the last delimiter, where anything may follow.
    Over,
}

impl Multipart {
    /// A parser for this boundary.
    pub(super) fn new(boundary: &[u8]) -> Result<Self, FormError> {
        if boundary.len() > MAX_BOUNDARY || boundary.iter().any(|b| matches!(b, b'\r' | b'\n')) {
            return Err(FormError::Malformed("the boundary is too long, or has a line end in it"));
        }
        let delimiter = [b"\r\n--", boundary].concat();
        Ok(Self {
            finder: Finder::new(&delimiter).into_owned(),
            delimiter,
            state: State::Start,
            name: Vec::new(),
            value: Vec::new(),
            header_size: 0,
            headers: Vec::new(),
        })
    }

    /// Takes the next bytes and gives what they hold to `on`.
    pub(super) fn feed<E: From<FormError>>(
        &mut self,
        data: &[u8],
        on: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        while let Some(&byte) = data.get(at) {
            let rest = &data[at..];
            at += match self.state {
                State::Start | State::Preamble => self.before(rest),
                State::First(_) | State::FirstCr | State::FirstHyphen => self.first(byte)?,
                State::Name | State::Value => self.header(rest)?,
                State::HeaderStart | State::Spaces | State::ValueCr => self.header_edge(byte)?,
                State::HeadersCr => {
                    expect(byte, b'\n', "no LF after a part's headers")?;
                    self.state = State::Data(0);
                    on(Piece::Begin(self.part()?))?;
                    1
                }
                State::Data(0) => self.search(rest, on)?,
                State::Data(matched) => self.resume(rest, matched, on)?,
                State::Delimiter | State::DelimiterCr | State::DelimiterHyphen => {
                    self.delimited(byte, on)?
                }
                State::Padding | State::PaddingCr => self.padding(byte, on)?,
                State::Over => rest.len(),
            };
        }
        Ok(())
    }

    fn before(&mut self, rest: &[u8]) -> usize {
        if self.state == State::Start && !matches!(rest[0], b'\r' | b'\n') {
            self.state = State::First(0);
            return 0;
        }
        self.state = State::Preamble;
        match memchr(b'-', rest) {
            Some(at) => {
                self.state = State::First(0);
                at
            }
            None => rest.len(),
        }
    }

    fn first(&mut self, byte: u8) -> Result<usize, FormError> {
        let expected = &self.delimiter[2..];
        self.state = match self.state {
            State::First(matched) if matched < expected.len() => {
                expect(byte, expected[matched], "the body does not begin with its boundary")?;
                State::First(matched + 1)
            }
            State::First(_) => match byte {
                b'-' => State::FirstHyphen,
                b'\r' => State::FirstCr,
                _ => return Err(FormError::Malformed("no CR after the first boundary")),
            },
            State::FirstHyphen => {
                expect(byte, b'-', "no second hyphen after the first boundary")?;
                State::Over
            }
            _ => {
                expect(byte, b'\n', "no LF after the first boundary")?;
                State::HeaderStart
            }
        };
        Ok(1)
    }

    /// The bytes of a header's name or value.
    fn header(&mut self, rest: &[u8]) -> Result<usize, FormError> {
        let in_name = self.state == State::Name;
        let end = memchr(if in_name { b':' } else { b'\r' }, rest);
        let text = &rest[..end.unwrap_or(rest.len())];
        self.header_size += text.len() + usize::from(in_name && end.is_some());
        if self.header_size > MAX_HEADER {
            return Err(FormError::Malformed("a part's header is too long"));
        }
        if !in_name {
            self.value.extend_from_slice(text);
            if end.is_some() {
                let name = std::mem::take(&mut self.name).to_ascii_lowercase();
                self.headers.push((name, std::mem::take(&mut self.value)));
                self.state = State::ValueCr;
            }
        } else {
            if !text.iter().all(|byte| is_token(*byte)) {
                return Err(FormError::Malformed("invalid character in a part's header name"));
            }
            self.name.extend_from_slice(text);
            if end.is_some() {
                if self.name.is_empty() {
                    return Err(FormError::Malformed("a part's header without a name"));
                }
                self.state = State::Spaces;
            }
        }
        Ok(text.len() + usize::from(end.is_some()))
    }

    /// What is between the names and values of a part's headers.
    fn header_edge(&mut self, byte: u8) -> Result<usize, FormError> {
        match self.state {
            State::HeaderStart if byte == b'\r' => {
                self.state = State::HeadersCr;
                Ok(1)
            }
            State::HeaderStart => {
                if self.headers.len() == MAX_HEADERS {
                    return Err(FormError::Malformed("a part has too many headers"));
                }
                self.header_size = 0;
                self.state = State::Name;
                Ok(0)
            }
            State::Spaces if byte == b' ' => {
                self.header_size += 1;
                if self.header_size > MAX_HEADER {
                    return Err(FormError::Malformed("a part's header is too long"));
                }
                Ok(1)
            }
            State::Spaces => {
                self.state = State::Value;
                Ok(0)
            }
            _ => {
                expect(byte, b'\n', "no LF after a part's header")?;
                self.state = State::HeaderStart;
                Ok(1)
            }
        }
    }

    /// The part whose headers are complete.
    fn part(&mut self) -> Result<Part, FormError> {
        let headers = std::mem::take(&mut self.headers);
        let disposition = headers.iter().rev().find(|(name, _)| name == b"content-disposition");
        let options = disposition.map(|(_, value)| Options::parse(value)).unwrap_or_default();
        let name = options.get(b"name").ok_or(FormError::MissingName)?.to_vec();
        let filename = options.get(b"filename").map(<[u8]>::to_vec);
        Ok(Part { name, filename, headers })
    }

    /// Looks for the delimiter in data.
    fn search<E: From<FormError>>(
        &mut self,
        rest: &[u8],
        on: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (data, used) = if let Some(found) = self.finder.find(rest) {
            self.state = State::Delimiter;
            (&rest[..found], found + self.delimiter.len())
        } else {
            // The delimiter's only CR is its first byte, so the last CR is the only candidate.
            let from = rest.len().saturating_sub(self.delimiter.len() - 1);
            let tail = memrchr(b'\r', &rest[from..])
                .map(|at| &rest[from + at..])
                .filter(|tail| self.delimiter.starts_with(tail));
            let held = tail.map_or(0, <[u8]>::len);
            self.state = State::Data(held);
            (&rest[..rest.len() - held], rest.len())
        };
        if !data.is_empty() {
            on(Piece::Data(data))?;
        }
        Ok(used)
    }

    /// Goes on with a delimiter that a cut went through.
    fn resume<E: From<FormError>>(
        &mut self,
        rest: &[u8],
        matched: usize,
        on: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let wanted = &self.delimiter[matched..];
        let same = wanted.iter().zip(rest).take_while(|(wanted, byte)| wanted == byte).count();
        if same == wanted.len() {
            self.state = State::Delimiter;
        } else if same == rest.len() {
            self.state = State::Data(matched + same);
        } else {
            self.state = State::Data(0);
            on(Piece::Data(&self.delimiter[..matched + same]))?;
        }
        Ok(same)
    }

    /// What follows a delimiter decides whether it is one.
    fn delimited<E: From<FormError>>(
        &mut self,
        byte: u8,
        on: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let seen: &[u8] = match (self.state, byte) {
            (State::Delimiter, b'\r') => {
                self.state = State::DelimiterCr;
                return Ok(1);
            }
            (State::Delimiter, b'-') => {
                self.state = State::DelimiterHyphen;
                return Ok(1);
            }
            (State::Delimiter, b' ' | b'\t') => {
                self.state = State::Padding;
                return Ok(1);
            }
            (State::DelimiterCr, b'\n') => {
                self.state = State::HeaderStart;
                on(Piece::End)?;
                return Ok(1);
            }
            (State::DelimiterHyphen, b'-') => {
                self.state = State::Over;
                on(Piece::End)?;
                return Ok(1);
            }
            (State::DelimiterCr, _) => b"\r",
            (State::DelimiterHyphen, _) => b"-",
            _ => b"",
        };
        self.state = State::Data(0);
        on(Piece::Data(&[&self.delimiter, seen].concat()))?;
        Ok(0)
    }

    /// White space between a delimiter and its line end.
    fn padding<E: From<FormError>>(
        &mut self,
        byte: u8,
        on: &mut impl FnMut(Piece<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        match (self.state, byte) {
            (State::Padding, b' ' | b'\t') => {}
            (State::Padding, b'\r') => self.state = State::PaddingCr,
            (State::PaddingCr, b'\n') => {
                self.state = State::HeaderStart;
                on(Piece::End)?;
            }
            _ => return Err(FormError::Malformed("no line end after a boundary").into()),
        }
        Ok(1)
    }
}

fn expect(byte: u8, expected: u8, problem: &'static str) -> Result<(), FormError> {
    if byte == expected { Ok(()) } else { Err(FormError::Malformed(problem)) }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
