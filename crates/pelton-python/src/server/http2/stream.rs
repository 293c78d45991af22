//! One stream, as a request sees it.

use std::cell::RefCell;
use std::rc::Rc;

use pelton_http::Headers;
use pelton_http::h1::{Head, ResponseError, check_trailer};
use pelton_http::h2::StreamId;
use pelton_http::websocket::Handshake;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::transport::native::FilePart;

use super::super::awaitable::Waiters;
use super::super::carrier::{Carrier, FieldIter};
use super::super::origin::Addresses;
use super::super::request::Request;
use super::super::shared::Shared;
use super::connection::Http2Connection;

/// A stream of a connection. When it is dropped, whoever worked on it has ended.
pub(super) struct Http2Stream {
    connection: Rc<Http2Connection>,
    id: StreamId,
    writers: Waiters,
    /// The client asked for trailers.
    takes_trailers: bool,
    /// The trailers so far, where the application announced some.
    trailers: RefCell<Option<Headers>>,
}

impl Http2Stream {
    pub(super) fn new(connection: Rc<Http2Connection>, id: StreamId, head: &Head) -> Self {
        Self {
            connection,
            id,
            writers: Waiters::default(),
            takes_trailers: head.takes_trailers(),
            trailers: RefCell::default(),
        }
    }
}

impl Carrier for Http2Stream {
    fn shared(&self) -> &Rc<Shared> {
        &self.connection.shared
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<&Addresses> {
        self.connection.link.addresses(py)
    }

    fn client_text(&self) -> String {
        self.connection.link.client_text()
    }

    fn take_body(&self, py: Python<'_>) -> PyResult<Option<(Py<PyBytes>, bool)>> {
        let mut engine = self.connection.engine.borrow_mut();
        let complete = engine.is_body_complete(self.id);
        let there = engine.body(self.id);
        if there.is_empty() && !complete {
            engine.want_body(self.connection.shared.now(), self.id);
            drop(engine);
            self.connection.advance(py);
            return Ok(None);
        }
        let body = PyBytes::new(py, there).unbind();
        engine.clear_body(self.id);
        drop(engine);
        if !complete {
            self.connection.advance(py);
        }
        Ok(Some((body, !complete)))
    }

    fn swap_body(&self, py: Python<'_>, into: &mut Vec<u8>) -> Option<bool> {
        let mut engine = self.connection.engine.borrow_mut();
        let complete = engine.is_body_complete(self.id);
        if engine.body(self.id).is_empty() && !complete {
            engine.want_body(self.connection.shared.now(), self.id);
            drop(engine);
            self.connection.advance(py);
            return None;
        }
        engine.swap_body(self.id, into);
        drop(engine);
        if !complete {
            self.connection.advance(py);
        }
        Some(!complete)
    }

    fn queued(&self) -> usize {
        self.connection.link.queued() + self.connection.engine.borrow().backlog(self.id)
    }

    fn is_writing_paused(&self) -> bool {
        self.connection.link.writing_paused.get()
            || self.connection.engine.borrow_mut().is_paused(self.id)
    }

    fn writers(&self) -> &Waiters {
        &self.writers
    }

    fn is_response_started(&self) -> bool {
        self.connection.engine.borrow().is_response_started(self.id)
    }

    fn start_response(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError> {
        let stamp = self.connection.shared.stamp.borrow();
        self.connection.engine.borrow_mut().start_response(self.id, &stamp, status, fields)
    }

    fn send_body(&self, data: &[u8], more: bool) -> Result<(), ResponseError> {
        let now = self.connection.shared.now();
        let more = more || self.trailers.borrow().is_some();
        let sent = self.connection.engine.borrow_mut().send_body(now, self.id, data, more);
        if !more {
            self.connection.forget_socket(self.id);
        }
        sent
    }

    fn room(&self) -> Option<u64> {
        // What it is read for goes through `send_body`, which counts.
        None
    }

    fn send_file(
        &self,
        _py: Python<'_>,
        part: FilePart,
        more: bool,
    ) -> Result<Option<FilePart>, ResponseError> {
        if self.connection.engine.borrow().takes_body(self.id) {
            return Ok(Some(part));
        }
        // Begun before it is ended, it says no length that the application did not say.
        self.send_body(b"", true)?;
        if !more {
            self.send_body(b"", false)?;
        }
        Ok(None)
    }

    fn inform(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError> {
        let mut engine = self.connection.engine.borrow_mut();
        match engine.send_informational(self.id, status, fields) {
            // Too late for a hint is no mistake.
            Err(ResponseError::OutOfOrder(_)) => Ok(()),
            sent => sent,
        }
    }

    fn announce_trailers(&self) -> Result<(), ResponseError> {
        *self.trailers.borrow_mut() = Some(Headers::new());
        Ok(())
    }

    fn send_trailers(&self, fields: FieldIter<'_, '_>, more: bool) -> Result<(), ResponseError> {
        let mut trailers = self.trailers.borrow_mut();
        let Some(collected) = trailers.as_mut() else {
            return Err(ResponseError::OutOfOrder("trailers follow a body that announced them"));
        };
        for (name, value) in fields {
            check_trailer(name, value)?;
            collected.push(name, value);
        }
        if more {
            return Ok(());
        }
        let now = self.connection.shared.now();
        let mut engine = self.connection.engine.borrow_mut();
        if self.takes_trailers && !collected.is_empty() {
            engine.send_trailers(now, self.id, collected.iter())
        } else {
            engine.send_body(now, self.id, b"", false)
        }
    }

    fn leave(&self, _py: Python<'_>) {}

    fn respond(
        &self,
        status: u16,
        fields: FieldIter<'_, '_>,
        body: &[u8],
    ) -> Result<(), ResponseError> {
        let shared = &self.connection.shared;
        let stamp = shared.stamp.borrow();
        let mut engine = self.connection.engine.borrow_mut();
        let answered = engine.respond(shared.now(), self.id, &stamp, status, fields, body);
        drop(engine);
        self.connection.forget_socket(self.id);
        answered
    }

    fn fail(&self) {
        let shared = &self.connection.shared;
        let stamp = shared.stamp.borrow();
        self.connection.engine.borrow_mut().fail(shared.now(), self.id, &stamp);
        self.connection.forget_socket(self.id);
    }

    fn finish_request(&self, py: Python<'_>, request: &Request) -> PyResult<()> {
        self.connection.forget(self.id);
        request.answered(py)
    }

    fn advance(&self, py: Python<'_>) {
        self.connection.advance(py);
    }

    fn flush(&self, py: Python<'_>) {
        self.connection.pump_socket(py, self.id);
        self.connection.advance(py);
    }

    fn accept(
        &self,
        _handshake: &Handshake,
        subprotocol: Option<&str>,
        fields: FieldIter<'_, '_>,
    ) -> Result<Vec<u8>, ResponseError> {
        let shared = &self.connection.shared;
        let mut all: Vec<(&[u8], &[u8])> = Vec::new();
        all.extend(subprotocol.map(|name| (&b"sec-websocket-protocol"[..], name.as_bytes())));
        for (name, value) in fields {
            all.push((name, value));
        }
        let stamp = shared.stamp.borrow();
        let mut engine = self.connection.engine.borrow_mut();
        engine.start_response(self.id, &stamp, 200, all.into_iter())?;
        engine.send_body(shared.now(), self.id, b"", true)?;
        shared.counters.count_status(200);
        let early = engine.body(self.id).to_vec();
        engine.clear_body(self.id);
        Ok(early)
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        match self.connection.engine.try_borrow_mut() {
            Ok(mut engine) => engine.release_stream(self.id),
            Err(_) => self.connection.ended.borrow_mut().push(self.id),
        }
    }
}
