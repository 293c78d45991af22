//! One client's connection: between the loop's transport and the engine.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use pelton_http::h1::{self, Event, Fate, Head, RequestError, ResponseError};
use pelton_http::websocket::Handshake;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::transport::native::{FilePart, NativeProtocol, NativeTransport};

use super::awaitable::Waiters;
use super::carrier::{Carrier, FieldIter};
use super::dispatch::OVERLOADED;
use super::door::Served;
use super::link::Link;
use super::origin::Addresses;
use super::request::Request;
use super::shared::Shared;
use super::websocket::Session;
use super::{dispatch, websocket};

/// Responses of a pipeline are handed to the transport in pieces of about this size.
const FLUSH_ABOVE: usize = 64 * 1024;

/// A connection of the server, in one of two lives: HTTP, and after an upgrade WebSocket.
pub(super) struct HttpConnection {
    pub(super) shared: Rc<Shared>,
    engine: RefCell<h1::Connection>,
    /// Those who wait for room in the transport's queue.
    writers: Waiters,
    me: Weak<Self>,
    link: Link,
    current: RefCell<Option<Rc<Request>>>,
    session: RefCell<Option<Rc<Session>>>,
    advancing: Cell<bool>,
    /// Our side has ended; what still comes is dropped.
    lingering: Cell<bool>,
}

impl HttpConnection {
    pub(super) fn new(shared: Rc<Shared>) -> Rc<Self> {
        let engine = h1::Connection::new(shared.options.limits.clone(), shared.now());
        Rc::new_cyclic(|me| Self {
            shared,
            engine: RefCell::new(engine),
            writers: Waiters::default(),
            me: me.clone(),
            link: Link::default(),
            current: RefCell::default(),
            session: RefCell::default(),
            advancing: Cell::new(false),
            lingering: Cell::new(false),
        })
    }

    fn write_output(&self, py: Python<'_>, transport: &dyn NativeTransport) {
        let mut engine = self.engine.borrow_mut();
        if !engine.poll_output().is_empty() {
            self.shared.counters.bytes_out.add(engine.poll_output().len());
            transport.write(py, engine.poll_output());
            engine.clear_output();
        }
    }

    fn write_if_long(&self, py: Python<'_>) {
        if self.engine.borrow().poll_output().len() > FLUSH_ABOVE
            && let Some(transport) = self.link.transport()
        {
            self.write_output(py, transport.as_ref());
        }
    }

    fn on_event(&self, py: Python<'_>, event: Event) -> PyResult<()> {
        match event {
            Event::Request(head) => self.on_request(py, head),
            Event::Body => self.on_body(py),
            Event::Refused(error) => {
                self.on_refused(py, error);
                Ok(())
            }
        }
    }

    fn on_request(&self, py: Python<'_>, head: Head) -> PyResult<()> {
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        // A WebSocket that was denied: this is another request. In a `let` of its own: the borrow
        // ends before the session is dropped.
        let denied = self.session.borrow_mut().take();
        drop(denied);
        let counters = &self.shared.counters;
        counters.requests.add(1);
        if self.shared.shutting_down.get() {
            // The first one of a connection that came in while the server stops: it is told.
            self.engine.borrow_mut().shutdown();
        }
        if head.is_websocket_upgrade() {
            return self.on_upgrade(py, me, head);
        }
        if self.shared.is_overloaded() {
            return self.turn_away();
        }
        counters.in_flight.add(1);
        let mount = dispatch::mount(&self.shared, &head);
        let request = Rc::new(Request::new(me, head, mount));
        *self.current.borrow_mut() = Some(request.clone());
        if dispatch::begin(py, &request)? {
            self.engine.borrow_mut().collect_body(self.shared.now());
            return self.on_body(py);
        }
        Ok(())
    }

    /// Too many requests are under way: the client may come again.
    fn turn_away(&self) -> PyResult<()> {
        self.shared.counters.rejected.add(1);
        self.shared.counters.count_status(503);
        self.respond(503, &mut OVERLOADED.into_iter(), b"Too many requests\n")
            .map_err(super::message::response_error)
    }

    fn on_upgrade(&self, py: Python<'_>, me: Rc<Self>, head: Head) -> PyResult<()> {
        match Handshake::check(&head) {
            Ok(handshake) => {
                let mount = dispatch::mount(&self.shared, &head);
                let session = Session::new(me, head, handshake, mount);
                *self.session.borrow_mut() = Some(session.clone());
                websocket::start(py, &session)
            }
            Err(error) => {
                let stamp = self.shared.stamp.borrow();
                let headers = [
                    (&b"content-type"[..], &b"text/plain; charset=utf-8"[..]),
                    (b"sec-websocket-version", b"13"),
                    (b"connection", b"close"),
                ];
                let answered = self.engine.borrow_mut().respond(
                    self.shared.now(),
                    &stamp,
                    error.status(),
                    headers.into_iter(),
                    error.to_string().as_bytes(),
                );
                self.shared.counters.count_status(error.status());
                answered.map_err(super::message::response_error)
            }
        }
    }

    fn on_body(&self, py: Python<'_>) -> PyResult<()> {
        let Some(request) = self.current.borrow().clone() else { return Ok(()) };
        if request.plan.borrow().is_none() {
            return request.receivers.wake(py);
        }
        let body = {
            let mut engine = self.engine.borrow_mut();
            if !engine.is_body_complete() {
                return Ok(());
            }
            let body = PyBytes::new(py, engine.body()).unbind();
            engine.clear_body();
            body
        };
        dispatch::resume(py, &request, body)
    }

    /// The engine answered for us.
    fn on_refused(&self, py: Python<'_>, error: RequestError) {
        self.shared.note_refused(py, &self.client_text(), error);
        self.lost_request(py);
    }

    /// Whoever works on a request or a WebSocket here learns that nobody waits for it.
    fn lost_request(&self, py: Python<'_>) {
        let current = self.current.borrow_mut().take();
        let session = self.session.borrow().clone();
        let told = current.map_or(Ok(()), |request| request.gone(py));
        let told = told.and(session.map_or(Ok(()), |session| session.lost(py)));
        if let Err(error) = told.and(self.writers.wake(py)) {
            self.shared.log_error(py, "Error while ending a connection", &error);
        }
    }
}

impl Carrier for HttpConnection {
    fn shared(&self) -> &Rc<Shared> {
        &self.shared
    }

    fn addresses(&self, py: Python<'_>) -> PyResult<&Addresses> {
        self.link.addresses(py)
    }

    fn client_text(&self) -> String {
        self.link.client_text()
    }

    fn take_body(&self, py: Python<'_>) -> PyResult<Option<(Py<PyBytes>, bool)>> {
        let mut engine = self.engine.borrow_mut();
        let complete = engine.is_body_complete();
        if engine.body().is_empty() && !complete {
            engine.want_body(self.shared.now());
            drop(engine);
            self.flush(py);
            return Ok(None);
        }
        let body = PyBytes::new(py, engine.body()).unbind();
        engine.clear_body();
        drop(engine);
        if !complete {
            self.advance(py);
        }
        Ok(Some((body, !complete)))
    }

    fn swap_body(&self, py: Python<'_>, into: &mut Vec<u8>) -> Option<bool> {
        let mut engine = self.engine.borrow_mut();
        let complete = engine.is_body_complete();
        if engine.body().is_empty() && !complete {
            engine.want_body(self.shared.now());
            drop(engine);
            self.flush(py);
            return None;
        }
        engine.swap_body(into);
        drop(engine);
        if !complete {
            self.advance(py);
        }
        Some(!complete)
    }

    fn is_writing_paused(&self) -> bool {
        self.link.writing_paused.get()
    }

    fn queued(&self) -> usize {
        self.link.queued()
    }

    fn writers(&self) -> &Waiters {
        &self.writers
    }

    fn is_response_started(&self) -> bool {
        self.engine.borrow().is_response_started()
    }

    fn start_response(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError> {
        let stamp = self.shared.stamp.borrow();
        self.engine.borrow_mut().start_response(&stamp, status, fields)
    }

    fn send_body(&self, data: &[u8], more: bool) -> Result<(), ResponseError> {
        self.engine.borrow_mut().send_body(self.shared.now(), data, more)
    }

    fn room(&self) -> Option<u64> {
        self.engine.borrow().room()
    }

    fn send_file(
        &self,
        py: Python<'_>,
        part: FilePart,
        more: bool,
    ) -> Result<Option<FilePart>, ResponseError> {
        let transport = self.link.transport().filter(|transport| transport.sends_files());
        if transport.is_none() && self.engine.borrow().takes_body() {
            return Ok(Some(part));
        }
        let length = part.length;
        let wanted = self.engine.borrow_mut().begin_piece(length as u64, more)? && length > 0;
        if let Some(transport) = transport.filter(|_| wanted) {
            self.write_output(py, transport.as_ref());
            self.shared.counters.bytes_out.add(length);
            transport.send_file(py, part);
        }
        let sent = if wanted { length as u64 } else { 0 };
        self.engine.borrow_mut().end_piece(self.shared.now(), sent, more);
        Ok(None)
    }

    fn inform(&self, status: u16, fields: FieldIter<'_, '_>) -> Result<(), ResponseError> {
        self.engine.borrow_mut().inform(status, fields)
    }

    fn announce_trailers(&self) -> Result<(), ResponseError> {
        self.engine.borrow_mut().announce_trailers()
    }

    fn send_trailers(&self, fields: FieldIter<'_, '_>, more: bool) -> Result<(), ResponseError> {
        self.engine.borrow_mut().send_trailers(self.shared.now(), fields, more)
    }

    fn leave(&self, py: Python<'_>) {
        self.engine.borrow_mut().leave();
        self.flush(py);
    }

    fn respond(
        &self,
        status: u16,
        fields: FieldIter<'_, '_>,
        body: &[u8],
    ) -> Result<(), ResponseError> {
        let stamp = self.shared.stamp.borrow();
        self.engine.borrow_mut().respond(self.shared.now(), &stamp, status, fields, body)
    }

    fn fail(&self) {
        let stamp = self.shared.stamp.borrow();
        self.engine.borrow_mut().fail(self.shared.now(), &stamp);
    }

    fn finish_request(&self, py: Python<'_>, request: &Request) -> PyResult<()> {
        let is_current =
            self.current.borrow().as_ref().is_some_and(|current| current.id == request.id);
        let current = if is_current { self.current.borrow_mut().take() } else { None };
        let answered = request.answered(py);
        drop(current);
        answered
    }

    fn advance(&self, py: Python<'_>) {
        if self.advancing.replace(true) {
            // Within the loop below: it goes on by itself. But an application that sends much in
            // its first step must learn when to wait.
            self.write_if_long(py);
            return;
        }
        while !self.link.writing_paused.get() {
            let event = {
                let stamp = self.shared.stamp.borrow();
                self.engine.borrow_mut().poll_event(self.shared.now(), &stamp)
            };
            let Some(event) = event else { break };
            if let Err(error) = self.on_event(py, event) {
                self.shared.log_error(py, "Error in the server", &error);
                self.engine.borrow_mut().abort();
            }
            self.write_if_long(py);
        }
        self.advancing.set(false);
        self.flush(py);
    }

    fn flush(&self, py: Python<'_>) {
        let Some(transport) = self.link.transport() else { return };
        self.write_output(py, transport.as_ref());
        let (mut fate, mut wants_read) = {
            let engine = self.engine.borrow();
            (engine.poll_fate(), engine.wants_read())
        };
        let session = self.session.borrow().clone();
        if let Some(session) = session
            && session.is_open()
        {
            (fate, wants_read) = session.flush(&mut |output| {
                self.shared.counters.bytes_out.add(output.len());
                transport.write(py, output);
            });
        }
        match fate {
            Fate::Open => self.link.set_reading(transport.as_ref(), wants_read),
            Fate::Linger => {
                if !self.lingering.replace(true) {
                    transport.write_eof(py);
                }
                self.link.set_reading(transport.as_ref(), true);
            }
            Fate::Close if !self.link.closing.replace(true) => {
                self.lost_request(py);
                transport.close(py);
            }
            Fate::Abort => {
                if !self.link.closing.replace(true) {
                    self.lost_request(py);
                }
                // Also where it was closing: the client does not take what is left.
                transport.abort(py);
            }
            Fate::Close => {}
        }
    }

    fn accept(
        &self,
        handshake: &Handshake,
        subprotocol: Option<&str>,
        fields: FieldIter<'_, '_>,
    ) -> Result<Vec<u8>, ResponseError> {
        let head = handshake.accept(&self.shared.stamp.borrow(), subprotocol, fields)?;
        self.shared.counters.count_status(101);
        Ok(self.engine.borrow_mut().upgrade(&head))
    }
}

impl Served for HttpConnection {
    fn tick(&self, py: Python<'_>) {
        let now = self.shared.now();
        let queued = self.queued();
        let session = self.session.borrow().clone();
        if let Some(session) = session
            && session.is_open()
        {
            session.tick(py, now, queued);
        } else {
            let event = {
                let stamp = self.shared.stamp.borrow();
                self.engine.borrow_mut().handle_timeout(now, queued, &stamp)
            };
            if let Some(Event::Refused(error)) = event {
                self.on_refused(py, error);
            }
        }
        self.flush(py);
    }

    fn shutdown(&self, py: Python<'_>) {
        self.engine.borrow_mut().shutdown();
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            session.shutdown();
        }
        self.flush(py);
    }

    fn abort(&self, py: Python<'_>) {
        self.engine.borrow_mut().abort();
        self.link.abort(py);
    }
}

impl NativeProtocol for HttpConnection {
    fn name(&self) -> &'static str {
        "HTTP connection"
    }

    fn connection_made(&self, _py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        self.link.connect(transport);
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        self.shared.counters.bytes_in.add(data.len());
        let now = self.shared.now();
        let session = self.session.borrow().clone();
        if let Some(session) = session
            && session.is_open()
        {
            session.handle_data(py, now, data);
            self.flush(py);
            return;
        }
        self.engine.borrow_mut().handle_data(now, data);
        self.advance(py);
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.engine.borrow_mut().handle_eof();
        let session = self.session.borrow().clone();
        if let Some(session) = session {
            session.handle_eof();
            self.lost_request(py);
            return false;
        }
        self.advance(py);
        if self.link.closing.get() {
            return false;
        }
        // The client may only have closed its own side: what is under way is answered, unless the
        // application asks whether anybody is there.
        let current = self.current.borrow().clone();
        if let Some(Err(error)) = current.map(|request| request.half_closed(py)) {
            self.shared.log_error(py, "Error in the server", &error);
        }
        true
    }

    fn pause_writing(&self, _py: Python<'_>) {
        self.link.writing_paused.set(true);
    }

    fn resume_writing(&self, py: Python<'_>) {
        self.link.writing_paused.set(false);
        if let Err(error) = self.writers.wake(py) {
            self.shared.log_error(py, "Error in the server", &error);
        }
        self.advance(py);
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        if error.is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            self.shared.log_message(py, "error", "A file became shorter while it was sent");
        }
        self.link.lose();
        self.engine.borrow_mut().handle_eof();
        let session = self.session.borrow_mut().take();
        if let Some(session) = &session {
            session.handle_eof();
        }
        self.lost_request(py);
        if let Some(Err(error)) = session.map(|session| session.lost(py)) {
            self.shared.log_error(py, "Error while ending a connection", &error);
        }
        self.link.release();
    }
}
