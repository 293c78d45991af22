//! A field section, judged: RFC 9113, section 8.

use crate::h1::{Framing, Head, RequestError, Version, is_host, is_token, is_value_byte};
use crate::headers::Field;
use crate::{Headers, Limits, decimal};

use super::priority::Urgency;

/// The fields of a request or of its trailers, as they come out of the decoder.
///
/// After the first mistake nothing more is kept: the rest is decoded for the table's sake only.
#[derive(Debug)]
pub(super) struct FieldSection {
    trailers: bool,
    max_size: usize,
    max_fields: usize,
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// As `SETTINGS_MAX_HEADER_LIST_SIZE` counts.
    size: usize,
    cookie: Vec<u8>,
    /// A field that is no pseudo-header field was seen.
    regular: bool,
    pseudo: Pseudo,
    host: Option<Range>,
    length: Option<u64>,
    expects_continue: bool,
    urgency: Urgency,
    wrong: Option<Wrong>,
}

type Range = (u32, u32);

/// Where the pseudo-header fields' values lie.
#[derive(Debug, Default)]
struct Pseudo {
    method: Option<Range>,
    scheme: Option<Range>,
    path: Option<Range>,
    authority: Option<Range>,
    protocol: Option<Range>,
}

/// What is wrong with a field section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// The stream is reset.
    Malformed(&'static str),
    /// The request is answered.
    Refused(RequestError),
}

/// A request's head, and what the connection wants to know of it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    pub(super) length: Option<u64>,
    pub(super) expects_continue: bool,
    pub(super) urgency: Urgency,
}

/// What each field costs beyond its bytes.
const OVERHEAD: usize = 32;

impl FieldSection {
    /// For a request's head, or its trailers.
    pub(super) fn new(limits: &Limits, trailers: bool) -> Self {
        Self {
            trailers,
            max_size: limits.head,
            max_fields: limits.headers,
            bytes: Vec::with_capacity(256),
            fields: Vec::with_capacity(8),
            size: 0,
            cookie: Vec::new(),
            regular: false,
            pseudo: Pseudo::default(),
            host: None,
            length: None,
            expects_continue: false,
            urgency: Urgency::default(),
            wrong: None,
        }
    }

    /// Takes the next field.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        if self.wrong.is_some() {
            return;
        }
        self.size += name.len() + value.len() + OVERHEAD;
        let added = if self.size > self.max_size {
            Err(Wrong::Refused(RequestError::HeadTooLarge))
        } else if name.first() == Some(&b':') {
            self.add_pseudo(name, value)
        } else {
            self.add_regular(name, value)
        };
        self.wrong = added.err();
    }

    fn add_pseudo(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        if self.trailers {
            return Err(Wrong::Malformed("a pseudo-header field in trailers"));
        }
        if self.regular {
            return Err(Wrong::Malformed("a pseudo-header field after a regular one"));
        }
        let place = match name {
            b":method" => &mut self.pseudo.method,
            b":scheme" => &mut self.pseudo.scheme,
            b":path" => &mut self.pseudo.path,
            b":authority" => &mut self.pseudo.authority,
            b":protocol" => &mut self.pseudo.protocol,
            _ => return Err(Wrong::Malformed("an unknown pseudo-header field")),
        };
        if place.is_some() {
            return Err(Wrong::Malformed("a pseudo-header field comes twice"));
        }
        *place = Some(append(&mut self.bytes, value));
        Ok(())
    }

    fn add_regular(&mut self, name: &[u8], value: &[u8]) -> Result<(), Wrong> {
        self.regular = true;
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte) && !byte.is_ascii_uppercase())
        {
            return Err(Wrong::Malformed("a field name is invalid"));
        }
        if !is_value(value) {
            return Err(Wrong::Malformed("a field value is invalid"));
        }
        match name {
            b"connection" | b"proxy-connection" | b"keep-alive" | b"transfer-encoding"
            | b"upgrade" => {
                return Err(Wrong::Malformed("a field that is about the connection"));
            }
            b"te" if value != b"trailers" => {
                return Err(Wrong::Malformed("te says more than `trailers`"));
            }
            b"content-length" if !self.trailers => self.note_length(value)?,
            b"cookie" if !self.trailers => {
                self.add_cookie(value);
                return Ok(());
            }
            b"expect" if !self.trailers => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Wrong::Refused(RequestError::Expectation));
                }
                self.expects_continue = true;
            }
            b"priority" => self.urgency = Urgency::parse(value),
            _ => {}
        }
        if self.fields.len() >= self.max_fields {
            return Err(Wrong::Refused(RequestError::TooManyHeaders));
        }
        let (name_start, name_end) = append(&mut self.bytes, name);
        let (value_start, value_end) = append(&mut self.bytes, value);
        if name == b"host" {
            if self.host.is_some() {
                return Err(Wrong::Malformed("more than one host"));
            }
            self.host = Some((value_start, value_end));
        }
        self.fields.push(Field { name_start, name_end, value_start, value_end });
        Ok(())
    }

    /// Clients may cut a cookie into crumbs; the application gets it in one piece.
    fn add_cookie(&mut self, value: &[u8]) {
        if !self.cookie.is_empty() {
            self.cookie.extend_from_slice(b"; ");
        }
        self.cookie.extend_from_slice(value);
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Wrong> {
        if self.length.is_some() {
            return Err(Wrong::Malformed("more than one content-length"));
        }
        let length = decimal::parse(value);
        self.length = Some(length.ok_or(Wrong::Malformed("the content-length is invalid"))?);
        Ok(())
    }

    /// The trailers.
    pub(super) fn into_trailers(self) -> Result<Headers, Wrong> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None => Ok(Headers::from_parts(self.bytes, self.fields)),
        }
    }

    /// The request. `end`: no body follows.
    pub(super) fn into_request(mut self, end: bool) -> Result<Request, Wrong> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        if !self.cookie.is_empty() {
            let (name_start, name_end) = append(&mut self.bytes, b"cookie");
            let (value_start, value_end) = append(&mut self.bytes, &self.cookie);
            self.fields.push(Field { name_start, name_end, value_start, value_end });
        }
        self.settle_host()?;
        let method = self.pseudo.method.ok_or(Wrong::Malformed("no :method"))?;
        if self.slice(method).is_empty() || !self.slice(method).iter().all(|byte| is_token(*byte)) {
            return Err(Wrong::Malformed("the method is invalid"));
        }
        let is_connect = self.slice(method) == b"CONNECT";
        let (path, query) = self.target(method, is_connect)?;
        if is_connect && self.pseudo.protocol.is_none() {
            return Err(Wrong::Refused(RequestError::Method));
        }
        let upgrade = match self.pseudo.protocol {
            Some(_) if !is_connect => {
                return Err(Wrong::Malformed(":protocol without CONNECT"));
            }
            Some(protocol) if self.slice(protocol).eq_ignore_ascii_case(b"websocket") => true,
            // Other protocols are not spoken here.
            Some(_) => return Err(Wrong::Refused(RequestError::Method)),
            None => false,
        };
        if end && self.length.unwrap_or(0) != 0 {
            return Err(Wrong::Malformed("a content-length without a body"));
        }
        let framing = match (end, self.length) {
            (true, _) => Framing::Length(0),
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Chunked,
        };
        let headers = Headers::from_parts(self.bytes, self.fields);
        // No other value of it is allowed here.
        let takes_trailers = headers.get(b"te").is_some();
        let head = Head {
            headers,
            method,
            path,
            query,
            version: Version::Http2,
            framing,
            keep_alive: true,
            expects_continue: self.expects_continue,
            takes_trailers,
            upgrade,
        };
        Ok(Request {
            head,
            length: self.length,
            expects_continue: self.expects_continue && !end,
            urgency: self.urgency,
        })
    }

    /// What HTTP/1.1 has in `host`, applications look for there.
    fn settle_host(&mut self) -> Result<(), Wrong> {
        let host = match (self.pseudo.authority, self.host) {
            (Some(authority), Some(host)) => {
                if !self.slice(authority).eq_ignore_ascii_case(self.slice(host)) {
                    return Err(Wrong::Malformed("the host is not the authority"));
                }
                host
            }
            (Some(authority), None) => {
                let (name_start, name_end) = append(&mut self.bytes, b"host");
                let (value_start, value_end) = authority;
                self.fields.insert(0, Field { name_start, name_end, value_start, value_end });
                authority
            }
            (None, Some(host)) => host,
            (None, None) => return Err(Wrong::Malformed("neither :authority nor host")),
        };
        let host = self.slice(host);
        if !is_host(host) {
            return Err(Wrong::Malformed("the authority is invalid"));
        }
        Ok(())
    }

    /// Path and query.
    fn target(&self, method: Range, is_connect: bool) -> Result<(Range, Range), Wrong> {
        if is_connect && self.pseudo.protocol.is_none() {
            return match (self.pseudo.scheme, self.pseudo.path) {
                (None, None) => Ok(((0, 0), (0, 0))),
                _ => Err(Wrong::Malformed("CONNECT with a scheme or a path")),
            };
        }
        let scheme = self.pseudo.scheme.ok_or(Wrong::Malformed("no :scheme"))?;
        let scheme = self.slice(scheme);
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(Wrong::Malformed("the scheme is neither http nor https"));
        }
        let (start, end) = self.pseudo.path.ok_or(Wrong::Malformed("no :path"))?;
        let path = self.slice((start, end));
        let is_star = path == b"*" && self.slice(method) == b"OPTIONS";
        if path.first() != Some(&b'/') && !is_star {
            return Err(Wrong::Malformed("the path does not begin with a slash"));
        }
        if path.iter().any(|byte| !(0x21..0x7f).contains(byte) || *byte == b'#') {
            return Err(Wrong::Malformed("the path is not a URI"));
        }
        Ok(match memchr::memchr(b'?', path) {
            Some(at) => {
                let mark = start + at as u32;
                ((start, mark), (mark + 1, end))
            }
            None => ((start, end), (end, end)),
        })
    }

    fn slice(&self, (start, end): Range) -> &[u8] {
        &self.bytes[start as usize..end as usize]
    }
}

/// The size is limited to far less than 4 GiB, so positions fit.
fn append(bytes: &mut Vec<u8>, part: &[u8]) -> Range {
    let start = bytes.len() as u32;
    bytes.extend_from_slice(part);
    (start, bytes.len() as u32)
}

fn is_value(value: &[u8]) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    value.iter().all(|byte| is_value_byte(*byte)) && !blank(value.first()) && !blank(value.last())
}
