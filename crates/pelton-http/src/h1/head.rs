//! A request's head: found, parsed and judged.

use std::mem::MaybeUninit;

use memchr::memchr;

use crate::headers::Field;
use crate::{Headers, Limits, decimal};

use super::RequestError;

/// A request's head, judged: what is here can be understood in one way only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub(crate) headers: Headers,
    pub(crate) method: (u32, u32),
    pub(crate) path: (u32, u32),
    pub(crate) query: (u32, u32),
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expects_continue: bool,
    pub(crate) takes_trailers: bool,
    pub(crate) upgrade: bool,
}

/// The protocol version of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// By `content-length`; 0 where there is neither that nor a transfer coding.
    Length(u64),
    /// By chunks.
    Chunked,
}

impl Head {
    /// The method, as sent.
    #[must_use]
    pub fn method(&self) -> &str {
        std::str::from_utf8(self.headers.slice(self.method.0, self.method.1)).unwrap_or_default()
    }

    /// The path, still percent-encoded; `*` for `OPTIONS *`.
    #[must_use]
    pub fn path(&self) -> &[u8] {
        if self.path.0 == self.path.1 { b"/" } else { self.headers.slice(self.path.0, self.path.1) }
    }

    /// What follows `?`, undecoded; empty where there is none.
    #[must_use]
    pub fn query(&self) -> &[u8] {
        self.headers.slice(self.query.0, self.query.1)
    }

    /// The protocol version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Whether the client asks for a WebSocket; [`crate::websocket::Handshake`] judges the details.
    #[must_use]
    pub fn is_websocket_upgrade(&self) -> bool {
        self.upgrade
    }

    /// Whether the client wants fields after a body.
    #[must_use]
    pub fn takes_trailers(&self) -> bool {
        self.takes_trailers
    }

    /// Whether a body comes with it (a length of 0 is none).
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// The length of the body, where the client said it.
    #[must_use]
    pub fn content_length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    /// Parses `bytes`, which end with the empty line that [`Scanner`] found.
    pub(super) fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, RequestError> {
        let mut slots = [const { MaybeUninit::uninit() }; Limits::MAX_HEADERS];
        let allowed = limits.headers.min(Limits::MAX_HEADERS);
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, &mut slots[..allowed]) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => {
                return Err(RequestError::Malformed("the head ends too early"));
            }
            Err(error) => return Err(parse_error(error, bytes)),
        }
        let mut buffer = bytes.to_vec();
        let mut fields = Vec::with_capacity(request.headers.len());
        // Positions of httparse's slices in `bytes` are positions in the copy, too.
        let base = bytes.as_ptr() as usize;
        let range = |slice: &[u8]| {
            let start = slice.as_ptr() as usize - base;
            (start as u32, (start + slice.len()) as u32)
        };
        let mut facts = Facts::default();
        for header in request.headers.iter() {
            let (name_start, name_end) = range(header.name.as_bytes());
            let (value_start, value_end) = range(header.value);
            buffer[name_start as usize..name_end as usize].make_ascii_lowercase();
            facts.note(&buffer[name_start as usize..name_end as usize], header.value)?;
            fields.push(Field { name_start, name_end, value_start, value_end });
        }
        let method = request.method.unwrap_or_default();
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let target = request.path.unwrap_or_default().as_bytes();
        let target = Target::parse(method, target)?;
        if method == "CONNECT" {
            return Err(RequestError::Method);
        }
        facts.check_host(version, target.authority)?;
        let framing = facts.framing(version)?;
        if method == "TRACE" && framing != Framing::Length(0) {
            return Err(RequestError::Malformed("TRACE has no body"));
        }
        Ok(Self {
            method: range(method.as_bytes()),
            path: range(target.path),
            query: range(target.query),
            version,
            framing,
            keep_alive: !facts.close && (version == Version::Http11 || facts.keep_alive),
            expects_continue: facts.expects_continue && version == Version::Http11,
            takes_trailers: facts.takes_trailers && version == Version::Http11,
            upgrade: facts.upgrade_connection
                && facts.upgrade_websocket
                && version == Version::Http11
                && method == "GET"
                && framing == Framing::Length(0),
            headers: Headers::from_parts(buffer, fields),
        })
    }
}

/// Longer methods exist nowhere. (It matters for lines that are too long only.)
const METHOD_MAX: usize = 64;

/// Looks for the end of a head in bytes that arrive piece by piece, each byte once.
///
/// It also refuses what httparse would let pass: a line that ends with a bare LF.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scanner {
    scanned: usize,
    lines: usize,
}

impl Scanner {
    /// Whether nothing of a head was seen.
    pub(super) fn is_fresh(&self) -> bool {
        self.lines == 0
    }

    /// The length of the head at the start of `input`, once it is complete.
    pub(super) fn find_end(
        &mut self,
        input: &[u8],
        limits: &Limits,
    ) -> Result<Option<usize>, RequestError> {
        if self.scanned == 0 && input.first().is_some_and(|byte| !is_token(*byte) && *byte != b'\r')
        {
            return Err(RequestError::Malformed("this is not HTTP"));
        }
        while let Some(at) = memchr(b'\n', &input[self.scanned..]) {
            let line_feed = self.scanned + at;
            if line_feed == 0 || input[line_feed - 1] != b'\r' {
                return Err(RequestError::Malformed("a line ends without a carriage return"));
            }
            self.scanned = line_feed + 1;
            if self.lines == 0 && line_feed > limits.request_line {
                return Err(line_too_long(input));
            }
            if self.scanned > limits.head {
                return Err(RequestError::HeadTooLarge);
            }
            self.lines += 1;
            if input[..line_feed].ends_with(b"\r\n\r") {
                return Ok(Some(self.scanned));
            }
            if self.lines > limits.headers + 1 {
                return Err(RequestError::TooManyHeaders);
            }
        }
        self.scanned = input.len();
        if self.lines == 0 && input.len() > limits.request_line {
            return Err(line_too_long(input));
        }
        if input.len() > limits.head {
            return Err(RequestError::HeadTooLarge);
        }
        Ok(None)
    }
}

/// A target that is too long, or no target at all.
fn line_too_long(input: &[u8]) -> RequestError {
    let method = input.iter().take_while(|byte| is_token(**byte)).count();
    if method > METHOD_MAX {
        RequestError::Malformed("the method is too long")
    } else {
        RequestError::RequestLineTooLong
    }
}

/// Whether the byte may be in a method or a field name.
pub(crate) fn is_token(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'!' | b'#' | b'$' | b'%' | b'&'
        | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

fn parse_error(error: httparse::Error, bytes: &[u8]) -> RequestError {
    match error {
        httparse::Error::TooManyHeaders => RequestError::TooManyHeaders,
        httparse::Error::Version if names_other_version(bytes) => RequestError::Version,
        httparse::Error::Version => RequestError::Malformed("the version is invalid"),
        httparse::Error::HeaderName => RequestError::Malformed("a header name is invalid"),
        httparse::Error::HeaderValue => RequestError::Malformed("a header value is invalid"),
        httparse::Error::NewLine => RequestError::Malformed("a line break is invalid"),
        httparse::Error::Token | httparse::Error::Status => {
            RequestError::Malformed("the request line is invalid")
        }
    }
}

/// Whether the request line ends with `HTTP/`, a digit, a dot and a digit, but not ours.
fn names_other_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    match version {
        b"HTTP/1.1" | b"HTTP/1.0" => false,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] => {
            major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// A request target, split.
struct Target<'a> {
    authority: Option<&'a [u8]>,
    path: &'a [u8],
    query: &'a [u8],
}

impl<'a> Target<'a> {
    fn parse(method: &str, target: &'a [u8]) -> Result<Self, RequestError> {
        if target.iter().any(|byte| *byte >= 0x80 || *byte == b'#') {
            return Err(RequestError::Malformed("the target is not a URI"));
        }
        let (authority, rest) = match target {
            [b'/', ..] => (None, target),
            [b'*'] if method == "OPTIONS" => (None, target),
            _ if method == "CONNECT" => (None, &target[..0]),
            _ => {
                let after = strip_scheme(target)
                    .ok_or(RequestError::Malformed("the target is not a path"))?;
                let end = after
                    .iter()
                    .position(|byte| matches!(byte, b'/' | b'?'))
                    .unwrap_or(after.len());
                (Some(&after[..end]), &after[end..])
            }
        };
        let (path, query) = match memchr(b'?', rest) {
            Some(at) => (&rest[..at], &rest[at + 1..]),
            None => (rest, &rest[rest.len()..]),
        };
        // Some readers take it for a slash. (In a query, browsers send it as it is.)
        if memchr(b'\\', path).is_some() {
            return Err(RequestError::Malformed("the target has a backslash in its path"));
        }
        Ok(Self { authority, path, query })
    }
}

fn strip_scheme(target: &[u8]) -> Option<&[u8]> {
    ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme.as_bytes()).then_some(rest)
    })
}

/// What the fields say about the message itself.
#[derive(Default)]
struct Facts<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_connection: bool,
    upgrade_websocket: bool,
    expects_continue: bool,
    takes_trailers: bool,
}

impl<'a> Facts<'a> {
    fn note(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), RequestError> {
        match name {
            b"host" if self.host.is_some() => {
                return Err(RequestError::Malformed("more than one host"));
            }
            b"host" => self.host = Some(value),
            b"content-length" if self.length.is_some() => {
                return Err(RequestError::Malformed("more than one content-length"));
            }
            b"content-length" => {
                const INVALID: RequestError =
                    RequestError::Malformed("the content-length is invalid");
                self.length = Some(decimal::parse(value).ok_or(INVALID)?);
            }
            b"transfer-encoding" => self.note_coding(value)?,
            b"connection" => {
                for option in list(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                    self.upgrade_connection |= option.eq_ignore_ascii_case(b"upgrade");
                }
            }
            b"upgrade" => {
                self.upgrade_websocket |=
                    list(value).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
            }
            b"expect" => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(RequestError::Expectation);
                }
                self.expects_continue = true;
            }
            b"te" => {
                self.takes_trailers |=
                    list(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
            }
            // Gateways that write names with underscores would take these for the real ones.
            b"content_length" | b"transfer_encoding" => {
                return Err(RequestError::Malformed("a name that looks like another"));
            }
            _ => {}
        }
        Ok(())
    }

    fn note_coding(&mut self, value: &[u8]) -> Result<(), RequestError> {
        if self.chunked {
            return Err(RequestError::Malformed("more than one transfer-encoding"));
        }
        if value.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
            return Ok(());
        }
        // `gzip, chunked` is delimited well but not ours to decode; all else is ambiguous.
        let codings: Vec<_> = list(value).collect();
        let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
        match codings.split_last() {
            Some((last, others))
                if is_chunked(last) && !others.is_empty() && !others.iter().any(is_chunked) =>
            {
                Err(RequestError::TransferCoding)
            }
            _ => Err(RequestError::Malformed("the transfer-encoding is not `chunked`")),
        }
    }

    fn check_host(&self, version: Version, authority: Option<&[u8]>) -> Result<(), RequestError> {
        const INVALID: RequestError = RequestError::Malformed("the host is invalid");
        match (self.host, authority) {
            (None, _) if version == Version::Http11 => Err(RequestError::Malformed("no host")),
            (None, Some(authority)) if !is_host(authority) => Err(INVALID),
            (None, _) => Ok(()),
            (Some(host), _) if !is_host(host) => Err(INVALID),
            (Some(host), Some(authority)) if !authority.eq_ignore_ascii_case(host) => {
                Err(RequestError::Malformed("the host is not that of the target"))
            }
            (Some(_), _) => Ok(()),
        }
    }

    fn framing(&self, version: Version) -> Result<Framing, RequestError> {
        match (self.chunked, self.length) {
            (true, Some(_)) => {
                Err(RequestError::Malformed("both content-length and transfer-encoding"))
            }
            (true, None) if version == Version::Http10 => {
                Err(RequestError::Malformed("transfer-encoding in HTTP/1.0"))
            }
            (true, None) => Ok(Framing::Chunked),
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

/// The members of a comma-separated list, blanks around them dropped.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Whether it is a name or an address, with or without a port. The name of nothing is none.
pub(crate) fn is_host(host: &[u8]) -> bool {
    let (name, port) = match host {
        [b'[', rest @ ..] => {
            let Some(end) = memchr(b']', rest) else { return false };
            let (address, port) = (&rest[..end], &rest[end + 1..]);
            if address.is_empty() || !address.iter().all(|byte| is_address_byte(*byte)) {
                return false;
            }
            (&b"-"[..], port)
        }
        _ => host.split_at(memchr(b':', host).unwrap_or(host.len())),
    };
    let port = match port {
        [] => port,
        [b':', digits @ ..] => digits,
        _ => return false,
    };
    !name.is_empty()
        && name.iter().all(|byte| is_name_byte(*byte))
        && port.len() <= 5
        && port.iter().all(u8::is_ascii_digit)
}

/// Of an IPv6 address in its brackets.
fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')
}

/// Of a host's name.
fn is_name_byte(byte: u8) -> bool {
    const MARKS: &[u8] = b"-._~%!$&'()*+;=";
    byte.is_ascii_alphanumeric() || MARKS.contains(&byte)
}
