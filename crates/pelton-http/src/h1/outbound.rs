//! A response, written.

use crate::{date, decimal, status};

use super::body::is_forbidden_trailer;
use super::error::ResponseError;
use super::head::{Head, Version, is_token};

/// The fields that every response gets unless the application gives its own: `date` and `server`.
///
/// Made once a second, not once a response.
#[derive(Clone, Debug)]
pub struct Stamp {
    date: [u8; 29],
    server: Vec<u8>,
}

impl Stamp {
    /// `seconds`: since the epoch. `server`: empty for no such field.
    ///
    /// # Errors
    /// [`ResponseError::HeaderValue`] where `server` holds control characters.
    pub fn new(seconds: u64, server: &[u8]) -> Result<Self, ResponseError> {
        if !server.iter().all(|byte| is_value_byte(*byte)) {
            return Err(ResponseError::HeaderValue);
        }
        Ok(Self { date: date::format(seconds), server: server.to_vec() })
    }

    /// The `date` field's value.
    pub(crate) fn date(&self) -> &[u8] {
        &self.date
    }

    /// The `server` field's value; empty for no such field.
    pub(crate) fn server(&self) -> &[u8] {
        &self.server
    }

    /// Moves to another second.
    pub fn set_time(&mut self, seconds: u64) {
        self.date = date::format(seconds);
    }
}

/// The outgoing half of a connection: encodes one response at a time into `output`.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) output: Vec<u8>,
    state: State,
    /// The encoded head, while its framing waits for the first piece of body.
    head: Vec<u8>,
    request: Request,
    status: u16,
    length: Option<u64>,
    /// The application announced trailers.
    trailers: bool,
    /// Bytes of the piece of body under way.
    piece: u64,
    /// The application asked for `connection: close`.
    pub(super) close_asked: bool,
}

/// What of the request decides the response's form.
#[derive(Clone, Copy, Debug, Default)]
struct Request {
    http10: bool,
    is_head: bool,
    takes_trailers: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No request waits for an answer.
    #[default]
    Idle,
    /// A request waits.
    Expected,
    /// The head is encoded but not yet in `output`.
    Started,
    /// The body follows in this form.
    Body(BodyForm),
    /// The body is complete, trailers follow; `written`: to the client, too.
    Trailers { written: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyForm {
    /// So many bytes are missing.
    Length(u64),
    Chunked,
    /// To the end of the connection (HTTP/1.0).
    ToClose,
    /// There must be none; what the application sends is dropped.
    None,
}

impl Outbound {
    /// A request is there: it will be answered.
    pub(super) fn expect(&mut self, head: &Head) {
        self.state = State::Expected;
        self.request = Request {
            http10: head.version() == Version::Http10,
            is_head: head.method() == "HEAD",
            takes_trailers: head.takes_trailers,
        };
        self.trailers = false;
        self.close_asked = false;
    }

    /// Whether a part of the response may have left already.
    pub(super) fn is_begun(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Trailers { .. })
    }

    /// Whether the response under way has a body: one to `HEAD` has none, nor have some statuses.
    pub(super) fn takes_body(&self) -> bool {
        !self.request.is_head && !has_no_body(self.status)
    }

    /// Bytes of body that `content-length` leaves room for.
    pub(super) fn room(&self) -> Option<u64> {
        match self.state {
            State::Started => self.length,
            State::Body(BodyForm::Length(missing)) => Some(missing),
            _ => None,
        }
    }

    /// Whether the body is complete and trailers are still to come.
    pub(super) fn awaits_trailers(&self) -> bool {
        matches!(self.state, State::Trailers { .. })
    }

    /// Whether a head was given, be it sent or not.
    pub(super) fn is_started(&self) -> bool {
        !matches!(self.state, State::Idle | State::Expected)
    }

    /// Forgets the response under way.
    pub(super) fn drop_response(&mut self) {
        self.state = State::Idle;
        self.head.clear();
    }

    /// Forgets a head that has not left; the request waits for an answer again.
    pub(super) fn restart(&mut self) {
        self.head.clear();
        self.trailers = false;
        self.state = State::Expected;
    }

    /// An informational response before the response. `false`: the client's version has none.
    pub(super) fn inform<'h>(
        &mut self,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<bool, ResponseError> {
        match self.state {
            // A head that was given waits for the body still.
            State::Expected | State::Started => {}
            State::Body(_) | State::Trailers { .. } => return Ok(false),
            State::Idle => return Err(ResponseError::OutOfOrder("there is no request")),
        }
        if !(102..=199).contains(&status) {
            return Err(ResponseError::Status(status));
        }
        let begin = self.output.len();
        write_status_line(&mut self.output, status);
        for (name, value) in headers {
            if let Err(error) = check_field(name, value) {
                self.output.truncate(begin);
                return Err(error);
            }
            write_field(&mut self.output, name, value);
        }
        self.output.extend_from_slice(b"\r\n");
        if self.request.http10 {
            self.output.truncate(begin);
        }
        Ok(!self.request.http10)
    }

    /// Trailers will follow the body.
    pub(super) fn announce_trailers(&mut self) -> Result<(), ResponseError> {
        if self.state != State::Started {
            return Err(ResponseError::OutOfOrder("trailers are announced with the head"));
        }
        self.trailers = true;
        Ok(())
    }

    /// Fields after the body; `more`: others follow. A client that did not ask for trailers, or
    /// whose body is not in chunks, gets none.
    pub(super) fn send_trailers<'h>(
        &mut self,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        more: bool,
    ) -> Result<(), ResponseError> {
        let State::Trailers { written } = self.state else {
            return Err(ResponseError::OutOfOrder("trailers follow a body that announced them"));
        };
        let begin = self.output.len();
        for (name, value) in headers {
            if let Err(error) = check_trailer(name, value) {
                self.output.truncate(begin);
                return Err(error);
            }
            write_field(&mut self.output, name, value);
        }
        if !written {
            self.output.truncate(begin);
        }
        if !more {
            if written {
                self.output.extend_from_slice(b"\r\n");
            }
            self.state = State::Idle;
        }
        Ok(())
    }

    /// Answers `100 Continue`.
    pub(super) fn send_continue(&mut self) {
        self.output.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Encodes the head. It stays here until the first piece of body says how that is framed.
    pub(super) fn start<'h>(
        &mut self,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        if self.state != State::Expected {
            return Err(ResponseError::OutOfOrder("a response's head was sent already"));
        }
        if !(200..=999).contains(&status) {
            return Err(ResponseError::Status(status));
        }
        self.head.clear();
        write_status_line(&mut self.head, status);
        if let Err(error) = self.write_fields(stamp, headers) {
            self.head.clear();
            return Err(error);
        }
        self.status = status;
        self.state = State::Started;
        Ok(())
    }

    fn write_fields<'h>(
        &mut self,
        stamp: &Stamp,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        self.length = None;
        let (mut has_date, mut has_server, mut close) = (false, false, false);
        for (name, value) in headers {
            check_field(name, value)?;
            match name.len() {
                4 => has_date |= name.eq_ignore_ascii_case(b"date"),
                6 => has_server |= name.eq_ignore_ascii_case(b"server"),
                // Connections and their framing are ours.
                7 if name.eq_ignore_ascii_case(b"upgrade") => continue,
                10 if name.eq_ignore_ascii_case(b"connection") => {
                    close |= super::head::list(value)
                        .any(|option| option.eq_ignore_ascii_case(b"close"));
                    continue;
                }
                10 if name.eq_ignore_ascii_case(b"keep-alive") => continue,
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    note_length(&mut self.length, value)?;
                    continue;
                }
                17 if name.eq_ignore_ascii_case(b"transfer-encoding") => continue,
                _ => {}
            }
            write_field(&mut self.head, name, value);
        }
        if !has_date {
            write_field(&mut self.head, b"date", &stamp.date);
        }
        if !has_server && !stamp.server.is_empty() {
            write_field(&mut self.head, b"server", &stamp.server);
        }
        self.close_asked |= close;
        Ok(())
    }

    /// A piece of the body; `more`: others follow. `keep`: whether the connection is to be kept.
    ///
    /// Returns whether the connection can be kept (an HTTP/1.0 body may end with it only).
    pub(super) fn send(
        &mut self,
        data: &[u8],
        more: bool,
        keep: bool,
    ) -> Result<bool, ResponseError> {
        let (wanted, keep) = self.begin_piece(data.len() as u64, more, keep)?;
        if wanted {
            self.output.extend_from_slice(data);
        }
        self.end_piece(more);
        Ok(keep)
    }

    /// All that comes before a piece of the body of `length` bytes. Returns whether the bytes
    /// themselves are to follow (before [`end_piece`](Self::end_piece)), and whether the connection
    /// can be kept.
    pub(super) fn begin_piece(
        &mut self,
        length: u64,
        more: bool,
        keep: bool,
    ) -> Result<(bool, bool), ResponseError> {
        let mut keep = keep;
        let form = match self.state {
            State::Started => {
                let form = self.form(length, more);
                if let BodyForm::Length(missing) = form {
                    check_length(missing, length, more)?;
                }
                keep &= form != BodyForm::ToClose;
                self.flush_head(form, keep);
                form
            }
            State::Body(form) => {
                if let BodyForm::Length(missing) = form {
                    check_length(missing, length, more)?;
                }
                form
            }
            State::Idle | State::Expected => {
                return Err(ResponseError::OutOfOrder("a body needs a head before it"));
            }
            State::Trailers { .. } => {
                return Err(ResponseError::OutOfOrder("the body was complete already"));
            }
        };
        keep &= form != BodyForm::ToClose;
        self.piece = length;
        let next = match form {
            BodyForm::Length(missing) => BodyForm::Length(missing - length),
            BodyForm::Chunked if length > 0 => {
                let mut digits = [0; 16];
                self.output.extend_from_slice(hexadecimal(length, &mut digits));
                self.output.extend_from_slice(b"\r\n");
                form
            }
            form => form,
        };
        self.state = State::Body(next);
        Ok((form != BodyForm::None, keep))
    }

    /// All that comes after a piece of the body.
    pub(super) fn end_piece(&mut self, more: bool) {
        let is_chunked = self.state == State::Body(BodyForm::Chunked);
        if is_chunked && self.piece > 0 {
            self.output.extend_from_slice(b"\r\n");
        }
        if more {
            return;
        }
        if is_chunked {
            self.output.extend_from_slice(b"0\r\n");
        }
        if self.trailers {
            self.state = State::Trailers { written: is_chunked && self.request.takes_trailers };
            if is_chunked && !self.request.takes_trailers {
                self.output.extend_from_slice(b"\r\n");
            }
        } else {
            if is_chunked {
                self.output.extend_from_slice(b"\r\n");
            }
            self.state = State::Idle;
        }
    }

    fn form(&self, first: u64, more: bool) -> BodyForm {
        let trailers = self.trailers && self.request.takes_trailers;
        if self.request.is_head || has_no_body(self.status) {
            BodyForm::None
        } else if let Some(length) = self.length {
            BodyForm::Length(length)
        } else if !more && !trailers {
            BodyForm::Length(first)
        } else if self.request.http10 {
            BodyForm::ToClose
        } else {
            BodyForm::Chunked
        }
    }

    fn flush_head(&mut self, form: BodyForm, keep: bool) {
        self.output.append(&mut self.head);
        let length = match form {
            BodyForm::Length(length) => Some(length),
            BodyForm::None if self.status != 204 => self.length,
            _ => None,
        };
        if let Some(length) = length {
            self.output.extend_from_slice(b"content-length: ");
            decimal::write(&mut self.output, length);
            self.output.extend_from_slice(b"\r\n");
        }
        if form == BodyForm::Chunked {
            self.output.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if !keep {
            self.output.extend_from_slice(b"connection: close\r\n");
        } else if self.request.http10 {
            self.output.extend_from_slice(b"connection: keep-alive\r\n");
        }
        self.output.extend_from_slice(b"\r\n");
    }

    /// A whole response in one go.
    pub(super) fn respond<'h>(
        &mut self,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
        keep: bool,
    ) -> Result<bool, ResponseError> {
        self.start(stamp, status, headers)?;
        if self.request.is_head && self.length.is_none() && !has_no_body(status) {
            self.length = Some(body.len() as u64);
        }
        let keep = keep && !self.close_asked;
        self.send(body, false, keep).inspect_err(|_| {
            self.head.clear();
            self.state = State::Expected;
        })
    }

    /// An answer of the connection itself, to a request that no application sees.
    pub(super) fn refuse(&mut self, stamp: &Stamp, status: u16, reason: &str) {
        self.head.clear();
        write_status_line(&mut self.output, status);
        write_stamp(&mut self.output, stamp);
        write_field(&mut self.output, b"content-type", b"text/plain; charset=utf-8");
        let is_head = std::mem::take(&mut self.request).is_head;
        self.output.extend_from_slice(b"content-length: ");
        decimal::write(&mut self.output, reason.len() as u64 + 1);
        self.output.extend_from_slice(b"\r\nconnection: close\r\n\r\n");
        if !is_head {
            self.output.extend_from_slice(reason.as_bytes());
            self.output.push(b'\n');
        }
        self.state = State::Idle;
    }
}

/// Takes an application's `content-length`, of which there may be several that agree.
pub(crate) fn note_length(length: &mut Option<u64>, value: &[u8]) -> Result<(), ResponseError> {
    let said = decimal::parse(value).ok_or(ResponseError::ContentLength)?;
    match length.replace(said) {
        Some(before) if before != said => Err(ResponseError::ContentLength),
        _ => Ok(()),
    }
}

fn check_length(missing: u64, given: u64, more: bool) -> Result<(), ResponseError> {
    match given.cmp(&missing) {
        std::cmp::Ordering::Greater => Err(ResponseError::BodyTooLong),
        std::cmp::Ordering::Less if !more => Err(ResponseError::BodyTooShort),
        _ => Ok(()),
    }
}

fn has_no_body(status: u16) -> bool {
    matches!(status, 204 | 304)
}

/// Visible characters, blanks, tabs and bytes above 127.
pub(crate) fn is_value_byte(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

pub(crate) fn write_status_line(output: &mut Vec<u8>, status: u16) {
    if status == 200 {
        output.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    output.extend_from_slice(b"HTTP/1.1 ");
    decimal::write(output, u64::from(status));
    output.push(b' ');
    output.extend_from_slice(status::reason(status).as_bytes());
    output.extend_from_slice(b"\r\n");
}

pub(crate) fn write_stamp(output: &mut Vec<u8>, stamp: &Stamp) {
    write_field(output, b"date", &stamp.date);
    if !stamp.server.is_empty() {
        write_field(output, b"server", &stamp.server);
    }
}

pub(crate) fn write_field(output: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    output.reserve(name.len() + value.len() + 4);
    output.extend_from_slice(name);
    output.extend_from_slice(b": ");
    output.extend_from_slice(value);
    output.extend_from_slice(b"\r\n");
}

/// Whether a field may leave: nothing in it can end its line.
pub(crate) fn check_field(name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
        return Err(ResponseError::HeaderName);
    }
    if !value.iter().all(|byte| is_value_byte(*byte)) {
        return Err(ResponseError::HeaderValue);
    }
    Ok(())
}

/// Whether a field may follow a body.
///
/// # Errors
/// What is no field, or one that means something only before a body.
pub fn check_trailer(name: &[u8], value: &[u8]) -> Result<(), ResponseError> {
    check_field(name, value)?;
    if is_forbidden_trailer(name) { Err(ResponseError::Trailer) } else { Ok(()) }
}

fn hexadecimal(mut value: u64, digits: &mut [u8; 16]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[(value & 15) as usize];
        value >>= 4;
        if value == 0 {
            break;
        }
    }
    &digits[at..]
}
