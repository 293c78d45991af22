//! Answers, as they go out.

use std::time::Duration;

use crate::h1::{RequestError, ResponseError, Stamp, check_field, note_length};
use crate::{Headers, decimal};

use super::StreamId;
use super::connection::Connection;
use super::error::Code;
use super::frame;
use super::stream::{Answer, BodyForm, Prepared, Stream};
use super::streams::ClosedBy;

const GONE: ResponseError = ResponseError::OutOfOrder("the stream is over");

impl Connection {
    /// Whether the response's head was given, be it sent or not.
    #[must_use]
    pub fn is_response_started(&self, id: StreamId) -> bool {
        self.streams.get(id).is_some_and(|stream| !matches!(stream.answer, Answer::Owed))
    }

    /// Whether the response that was started has a body. Where it has none, what is sent of one is
    /// dropped, and need not be fetched.
    #[must_use]
    pub fn takes_body(&self, id: StreamId) -> bool {
        self.streams.get(id).is_none_or(|stream| match &stream.answer {
            Answer::Started(prepared) => !stream.has_no_body(prepared.status),
            Answer::Body(form) => *form != BodyForm::None,
            Answer::Owed | Answer::Complete => true,
        })
    }

    /// Answers with a whole response.
    ///
    /// # Errors
    /// Nothing was written then, and the request still waits for its answer.
    pub fn respond<'h>(
        &mut self,
        now: Duration,
        id: StreamId,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
        body: &[u8],
    ) -> Result<(), ResponseError> {
        let prepared = self.prepare(id, stamp, status, headers)?;
        self.begin(now, id, prepared, body, false)
    }

    /// Begins a response. Its head leaves with the first piece of body.
    ///
    /// # Errors
    /// Nothing changed then.
    pub fn start_response<'h>(
        &mut self,
        id: StreamId,
        stamp: &Stamp,
        status: u16,
        headers: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        let prepared = self.prepare(id, stamp, status, headers)?;
        let stream = self.streams.get_mut(id).ok_or(GONE)?;
        stream.answer = Answer::Started(prepared);
        Ok(())
    }

    /// A piece of the response's body; the response is complete when `more` is false.
    ///
    /// # Errors
    /// A body of another length than announced. If a part of it has left, call
    /// [`fail`](Self::fail): the client cannot be told in another way.
    pub fn send_body(
        &mut self,
        now: Duration,
        id: StreamId,
        data: &[u8],
        more: bool,
    ) -> Result<(), ResponseError> {
        let stream = self.streams.get_mut(id).ok_or(GONE)?;
        match std::mem::replace(&mut stream.answer, Answer::Owed) {
            Answer::Started(prepared) => self.begin(now, id, prepared, data, more),
            Answer::Body(form) => {
                stream.answer = Answer::Body(form);
                let next = form.after(data.len(), more)?;
                stream.answer = if more { Answer::Body(next) } else { Answer::Complete };
                let data = if form == BodyForm::None { &[] } else { data };
                self.write_body(now, id, data, !more);
                Ok(())
            }
            before @ (Answer::Owed | Answer::Complete) => {
                stream.answer = before;
                Err(ResponseError::OutOfOrder("a body needs a head before it"))
            }
        }
    }

    /// Ends a response, all of whose body was sent with `more`, with trailers.
    ///
    /// # Errors
    /// As for a body that ends; a field that could not leave unharmed.
    pub fn send_trailers<'h>(
        &mut self,
        now: Duration,
        id: StreamId,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        let stream = self.streams.get_mut(id).ok_or(GONE)?;
        let mut trailers = Headers::new();
        for (name, value) in fields {
            check_field(name, value)?;
            if !is_of_connection(name) {
                trailers.push(name, value);
            }
        }
        match &stream.answer {
            Answer::Body(form) => {
                form.after(0, false)?;
            }
            Answer::Started(_) => self.send_body(now, id, &[], true)?,
            Answer::Owed | Answer::Complete => {
                return Err(ResponseError::OutOfOrder("trailers need a body before them"));
            }
        }
        let Some(stream) = self.streams.get_mut(id) else { return Ok(()) };
        stream.answer = Answer::Complete;
        if stream.has_backlog() {
            stream.trailers_wait = Some(trailers);
            return Ok(());
        }
        self.write_trailers(now, id, &trailers);
        Ok(())
    }

    /// An interim response, such as `103`.
    ///
    /// # Errors
    /// A status that is not interim, a field that could not leave, or a response that has begun.
    pub fn send_informational<'h>(
        &mut self,
        id: StreamId,
        status: u16,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<(), ResponseError> {
        let stream = self.streams.get(id).ok_or(GONE)?;
        if stream.is_begun() {
            return Err(ResponseError::OutOfOrder("the response has begun"));
        }
        if !(100..200).contains(&status) || status == 101 {
            return Err(ResponseError::Status(status));
        }
        let mut headers = Headers::new();
        for (name, value) in fields {
            check_field(name, value)?;
            if !is_of_connection(name) {
                headers.push(name, value);
            }
        }
        self.write_block(id, status, None, &headers, false);
        Ok(())
    }

    /// The application failed: 500 where nothing of its response has left, otherwise a reset.
    pub fn fail(&mut self, now: Duration, id: StreamId, stamp: &Stamp) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if stream.is_begun() {
            return self.reset(now, id, Code::Internal);
        }
        stream.answer = Answer::Owed;
        let headers = [(&b"content-type"[..], &b"text/plain; charset=utf-8"[..])];
        let body = b"Internal Server Error";
        if self.respond(now, id, stamp, 500, headers.into_iter(), body).is_err() {
            self.reset(now, id, Code::Internal);
        }
    }

    /// Gives a stream up; no event follows.
    pub fn reset(&mut self, now: Duration, id: StreamId, code: Code) {
        let Some(mut stream) = self.streams.close(id, ClosedBy::Us) else { return };
        self.release_dropped(&mut stream);
        frame::write_reset(&mut self.output, id, code);
        self.close_if_done(now);
    }

    /// The application of a stream that is over has ended: it no longer counts.
    pub fn release_stream(&mut self, id: StreamId) {
        self.streams.release(id);
    }

    /// Answers a refused request, or gives its stream up if its answer has begun. `false`: it is
    /// over.
    pub(super) fn answer_refused(
        &mut self,
        now: Duration,
        stamp: &Stamp,
        id: StreamId,
        error: RequestError,
    ) -> bool {
        let Some(stream) = self.streams.get_mut(id) else { return false };
        let begun = stream.is_begun();
        // One that has answered in full has let the stream go, and will not do so again.
        let works = stream.delivered && !matches!(stream.answer, Answer::Complete);
        stream.answer = Answer::Owed;
        stream.delivered = false;
        if works {
            self.streams.abandon(id);
        }
        let headers = [(&b"content-type"[..], &b"text/plain; charset=utf-8"[..])];
        let text = format!("{error}\n");
        let status = error.status();
        if begun {
            self.reset(now, id, Code::Cancel);
        } else if self
            .respond(now, id, stamp, status, headers.into_iter(), text.as_bytes())
            .is_err()
        {
            self.reset(now, id, Code::Internal);
        }
        true
    }

    /// Answers a request that was never opened: its method is not kept, so there is no body.
    pub(super) fn answer_refused_head(
        &mut self,
        stamp: &Stamp,
        id: StreamId,
        error: RequestError,
        ended: bool,
    ) {
        let mut headers = Headers::new();
        headers.push(b"date", stamp.date());
        if !stamp.server().is_empty() {
            headers.push(b"server", stamp.server());
        }
        self.write_block(id, error.status(), Some(0), &headers, true);
        if !ended {
            frame::write_reset(&mut self.output, id, Code::NoError);
        }
    }

    /// Checks a response's head and adds what every one has.
    fn prepare<'h>(
        &mut self,
        id: StreamId,
        stamp: &Stamp,
        status: u16,
        fields: impl Iterator<Item = (&'h [u8], &'h [u8])>,
    ) -> Result<Prepared, ResponseError> {
        let stream = self.streams.get(id).ok_or(GONE)?;
        if !matches!(stream.answer, Answer::Owed) {
            return Err(ResponseError::OutOfOrder("a response's head was sent already"));
        }
        if !(200..=999).contains(&status) {
            return Err(ResponseError::Status(status));
        }
        let mut headers = std::mem::take(&mut self.scratch_fields);
        headers.clear();
        let mut length = None;
        let (mut has_date, mut has_server) = (false, false);
        for (name, value) in fields {
            check_field(name, value)?;
            match name.len() {
                4 => has_date |= name.eq_ignore_ascii_case(b"date"),
                6 => has_server |= name.eq_ignore_ascii_case(b"server"),
                14 if name.eq_ignore_ascii_case(b"content-length") => {
                    note_length(&mut length, value)?;
                    continue;
                }
                _ if is_of_connection(name) => continue,
                _ => {}
            }
            headers.push(name, value);
        }
        if !has_date {
            headers.push(b"date", stamp.date());
        }
        if !has_server && !stamp.server().is_empty() {
            headers.push(b"server", stamp.server());
        }
        Ok(Prepared { status, headers, length })
    }

    /// Sends a head with the first piece of its body.
    fn begin(
        &mut self,
        now: Duration,
        id: StreamId,
        prepared: Prepared,
        data: &[u8],
        more: bool,
    ) -> Result<(), ResponseError> {
        let stream = self.streams.get_mut(id).ok_or(GONE)?;
        let form = stream.form(&prepared, data.len(), more);
        let next = match form.after(data.len(), more) {
            Ok(next) => next,
            Err(error) => {
                self.scratch_fields = prepared.headers;
                return Err(error);
            }
        };
        let length = match form {
            BodyForm::Length(length) => Some(length),
            BodyForm::None if prepared.status == 204 => None,
            BodyForm::None if stream.is_head && !more => {
                prepared.length.or(Some(data.len() as u64))
            }
            BodyForm::None | BodyForm::Open => prepared.length,
        };
        stream.answer = if more { Answer::Body(next) } else { Answer::Complete };
        let data = if form == BodyForm::None { &[] } else { data };
        let end = !more && data.is_empty();
        self.write_block(id, prepared.status, length, &prepared.headers, end);
        self.scratch_fields = prepared.headers;
        if end {
            self.finish(now, id);
        } else if !data.is_empty() {
            self.write_body(now, id, data, !more);
        }
        Ok(())
    }

    pub(super) fn write_block(
        &mut self,
        id: StreamId,
        status: u16,
        length: Option<u64>,
        headers: &Headers,
        end: bool,
    ) {
        let mut block = std::mem::take(&mut self.scratch);
        block.clear();
        self.encoder.begin(&mut block);
        self.encoder.status(status, &mut block);
        for (name, value) in headers.iter() {
            self.encoder.field(name, value, &mut block);
        }
        if let Some(length) = length {
            let mut digits = [0; 20];
            let length = decimal::digits(length, &mut digits);
            self.encoder.field(b"content-length", length, &mut block);
        }
        let max = self.client.max_payload as usize;
        frame::write_headers(&mut self.output, id, &block, end, max);
        self.scratch = block;
    }

    pub(super) fn write_trailers(&mut self, now: Duration, id: StreamId, trailers: &Headers) {
        if trailers.is_empty() {
            frame::write_data(&mut self.output, id, &[], true);
        } else {
            let mut block = Vec::new();
            self.encoder.begin(&mut block);
            for (name, value) in trailers.iter() {
                self.encoder.field(name, value, &mut block);
            }
            let max = self.client.max_payload as usize;
            frame::write_headers(&mut self.output, id, &block, true, max);
        }
        self.finish(now, id);
    }
}

impl Stream {
    fn has_no_body(&self, status: u16) -> bool {
        self.is_head || matches!(status, 204 | 304)
    }

    fn form(&self, prepared: &Prepared, first: usize, more: bool) -> BodyForm {
        if self.tunnel && (200..300).contains(&prepared.status) {
            BodyForm::Open
        } else if self.has_no_body(prepared.status) {
            BodyForm::None
        } else if let Some(length) = prepared.length {
            BodyForm::Length(length)
        } else if more {
            BodyForm::Open
        } else {
            BodyForm::Length(first as u64)
        }
    }
}

impl BodyForm {
    /// What remains after a piece of this size.
    fn after(self, size: usize, more: bool) -> Result<Self, ResponseError> {
        match self {
            Self::Length(missing) => match missing.checked_sub(size as u64) {
                None => Err(ResponseError::BodyTooLong),
                Some(1..) if !more => Err(ResponseError::BodyTooShort),
                Some(missing) => Ok(Self::Length(missing)),
            },
            Self::Open | Self::None => Ok(self),
        }
    }
}

/// Fields that are HTTP/1.1's way to speak of the connection.
fn is_of_connection(name: &[u8]) -> bool {
    match name.len() {
        7 => name.eq_ignore_ascii_case(b"upgrade"),
        10 => name.eq_ignore_ascii_case(b"connection") || name.eq_ignore_ascii_case(b"keep-alive"),
        16 => name.eq_ignore_ascii_case(b"proxy-connection"),
        17 => name.eq_ignore_ascii_case(b"transfer-encoding"),
        _ => false,
    }
}
