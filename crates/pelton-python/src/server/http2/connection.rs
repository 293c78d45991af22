//! One client's HTTP/2 connection: between the loop's transport and the engine.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use pelton_http::h1::{Fate, Head, RequestError};
use pelton_http::h2::{self, Event, StreamId, StreamMap};
use pelton_http::websocket::Handshake;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::transport::native::{NativeProtocol, NativeTransport};

use super::super::carrier::Carrier;
use super::super::door::Served;
use super::super::link::Link;
use super::super::request::Request;
use super::super::shared::Shared;
use super::super::websocket::Session;
use super::super::{dispatch, websocket};
use super::stream::Http2Stream;

/// A connection and the streams that somebody works on.
pub(in crate::server) struct Http2Connection {
    pub(super) shared: Rc<Shared>,
    pub(super) engine: RefCell<h2::Connection>,
    /// What is under way, by stream.
    work: RefCell<StreamMap<Work>>,
    /// Streams whose applications ended while the engine was busy.
    pub(super) ended: RefCell<Vec<StreamId>>,
    me: Weak<Self>,
    pub(super) link: Link,
    advancing: Cell<bool>,
}

/// What a stream carries.
#[derive(Clone)]
enum Work {
    Request(Rc<Request>),
    Socket(Rc<Session>),
}

impl Http2Connection {
    pub(in crate::server) fn new(shared: Rc<Shared>) -> Rc<Self> {
        let options = &shared.options;
        let engine =
            h2::Connection::new(options.limits.clone(), options.http2_limits.clone(), shared.now());
        Rc::new_cyclic(|me| Self {
            engine: RefCell::new(engine),
            shared,
            work: RefCell::default(),
            ended: RefCell::default(),
            me: me.clone(),
            link: Link::default(),
            advancing: Cell::new(false),
        })
    }

    /// The response of a request is complete.
    pub(super) fn forget(&self, id: StreamId) {
        // A `let` of its own: the borrow ends before the work is dropped.
        let work = self.work.borrow_mut().remove(&id);
        drop(work);
    }

    /// A WebSocket's stream was answered by a response: there is no socket.
    pub(super) fn forget_socket(&self, id: StreamId) {
        let is_socket = matches!(self.work.borrow().get(&id), Some(Work::Socket(_)));
        if is_socket {
            self.forget(id);
        }
    }

    /// Handles what the engine finds, sends what it has to say, and does with the transport what it
    /// decides. Called after everything that could change one of these.
    pub(super) fn advance(&self, py: Python<'_>) {
        if self.advancing.replace(true) {
            // Within the loop below, which goes on by itself.
            return;
        }
        loop {
            let event = {
                let stamp = self.shared.stamp.borrow();
                let mut engine = self.engine.borrow_mut();
                for id in self.ended.borrow_mut().drain(..) {
                    engine.release_stream(id);
                }
                engine.poll_event(self.shared.now(), &stamp)
            };
            match event {
                Some(event) => {
                    if let Err(error) = self.on_event(py, event) {
                        self.shared.log_error(py, "Error in the server", &error);
                        self.engine.borrow_mut().abort();
                    }
                }
                // Room in the transport may have made room for an application.
                None if self.write_output(py) => {}
                None => break,
            }
        }
        self.advancing.set(false);
        self.apply_fate(py);
    }

    /// Moves a WebSocket's bytes in both directions.
    pub(super) fn pump_socket(&self, py: Python<'_>, id: StreamId) {
        let session = match self.work.borrow().get(&id) {
            Some(Work::Socket(session)) if session.is_open() => session.clone(),
            _ => return,
        };
        let now = self.shared.now();
        loop {
            let (fate, wants_read) = session.flush(&mut |output| {
                // It fails only where the stream is over, of which there is an event.
                let _ = self.engine.borrow_mut().send_body(now, id, output, true);
            });
            match fate {
                Fate::Open | Fate::Linger => {}
                Fate::Close => {
                    let _ = self.engine.borrow_mut().send_body(now, id, b"", false);
                    return self.lose(py, id);
                }
                Fate::Abort => {
                    self.engine.borrow_mut().reset(now, id, h2::Code::Cancel);
                    return self.lose(py, id);
                }
            }
            let (data, complete) = {
                let mut engine = self.engine.borrow_mut();
                let data = if wants_read { engine.body(id).to_vec() } else { Vec::new() };
                if !data.is_empty() {
                    engine.clear_body(id);
                }
                (data, engine.is_body_complete(id) && engine.body(id).is_empty())
            };
            if !data.is_empty() {
                session.handle_data(py, now, &data);
            } else if complete {
                session.handle_eof();
                let _ = self.engine.borrow_mut().send_body(now, id, b"", false);
                return self.lose(py, id);
            } else {
                return;
            }
        }
    }

    /// Whoever works on a stream learns that nobody waits for it.
    fn lose(&self, py: Python<'_>, id: StreamId) {
        let work = self.work.borrow_mut().remove(&id);
        let Some(work) = work else { return };
        let told = match &work {
            Work::Request(request) => {
                request.gone(py).and_then(|()| request.carrier.writers().wake(py))
            }
            Work::Socket(session) => {
                session.handle_eof();
                session.lost(py)
            }
        };
        if let Err(error) = told {
            self.shared.log_error(py, "Error while ending a stream", &error);
        }
    }

    fn on_event(&self, py: Python<'_>, event: Event) -> PyResult<()> {
        match event {
            Event::Request(id, head) => self.on_request(py, id, head),
            Event::Body(id) => self.on_body(py, id),
            Event::Writable(id) => self.on_writable(py, id),
            Event::Gone(id) => {
                self.lose(py, id);
                Ok(())
            }
            Event::Refused(id, error) => {
                self.on_refused(py, id, error);
                Ok(())
            }
        }
    }

    fn on_request(&self, py: Python<'_>, id: StreamId, head: Head) -> PyResult<()> {
        let Some(me) = self.me.upgrade() else { return Ok(()) };
        let counters = &self.shared.counters;
        counters.requests.add(1);
        let carrier = Rc::new(Http2Stream::new(me, id, &head));
        let mount = dispatch::mount(&self.shared, &head);
        if head.is_websocket_upgrade() {
            return self.on_socket(py, id, carrier, head, mount);
        }
        if self.shared.is_overloaded() {
            counters.rejected.add(1);
            counters.count_status(503);
            return carrier
                .respond(503, &mut dispatch::OVERLOADED.into_iter(), b"Too many requests\n")
                .map_err(super::super::message::response_error);
        }
        counters.in_flight.add(1);
        let request = Rc::new(Request::new(carrier, head, mount));
        self.work.borrow_mut().insert(id, Work::Request(request.clone()));
        if dispatch::begin(py, &request)? {
            self.engine.borrow_mut().collect_body(self.shared.now(), id);
            return self.on_body(py, id);
        }
        Ok(())
    }

    fn on_socket(
        &self,
        py: Python<'_>,
        id: StreamId,
        carrier: Rc<Http2Stream>,
        head: Head,
        mount: Option<usize>,
    ) -> PyResult<()> {
        match Handshake::check_extended(&head) {
            Ok(handshake) => {
                let session = Session::new(carrier, head, handshake, mount);
                self.work.borrow_mut().insert(id, Work::Socket(session.clone()));
                websocket::start(py, &session)
            }
            Err(error) => {
                self.shared.counters.count_status(error.status());
                let headers = [
                    (&b"content-type"[..], &b"text/plain; charset=utf-8"[..]),
                    (b"sec-websocket-version", b"13"),
                ];
                let text = error.to_string();
                let answered =
                    carrier.respond(error.status(), &mut headers.into_iter(), text.as_bytes());
                answered.map_err(super::super::message::response_error)
            }
        }
    }

    fn on_body(&self, py: Python<'_>, id: StreamId) -> PyResult<()> {
        let work = self.work.borrow().get(&id).cloned();
        match work {
            None => Ok(()),
            Some(Work::Socket(_)) => {
                self.pump_socket(py, id);
                Ok(())
            }
            Some(Work::Request(request)) if request.plan.borrow().is_none() => {
                request.receivers.wake(py)
            }
            Some(Work::Request(request)) => {
                let body = {
                    let mut engine = self.engine.borrow_mut();
                    if !engine.is_body_complete(id) {
                        return Ok(());
                    }
                    let body = PyBytes::new(py, engine.body(id)).unbind();
                    engine.clear_body(id);
                    body
                };
                dispatch::resume(py, &request, body)
            }
        }
    }

    fn on_writable(&self, py: Python<'_>, id: StreamId) -> PyResult<()> {
        let work = self.work.borrow().get(&id).cloned();
        match work {
            Some(Work::Request(request)) => request.carrier.writers().wake(py),
            Some(Work::Socket(session)) => session.wake_writers(py),
            None => Ok(()),
        }
    }

    /// The engine answered for us.
    fn on_refused(&self, py: Python<'_>, id: StreamId, error: RequestError) {
        self.shared.note_refused(py, &self.link.client_text(), error);
        self.lose(py, id);
    }

    /// Gives the transport what the engine has for it; whether that was anything.
    fn write_output(&self, py: Python<'_>) -> bool {
        let Some(transport) = self.link.transport() else { return false };
        if self.link.writing_paused.get() {
            return false;
        }
        let mut engine = self.engine.borrow_mut();
        let output = engine.poll_output(self.shared.now());
        if output.is_empty() {
            return false;
        }
        self.shared.counters.bytes_out.add(output.len());
        transport.write(py, output);
        engine.clear_output();
        true
    }

    fn apply_fate(&self, py: Python<'_>) {
        let Some(transport) = self.link.transport() else { return };
        let (fate, wants_read, fault) = {
            let engine = self.engine.borrow();
            (engine.poll_fate(), engine.wants_read(), engine.fault())
        };
        if self.link.closing.get() {
            if fate == Fate::Abort {
                // The client does not take what is left.
                transport.abort(py);
            }
            return;
        }
        match fate {
            Fate::Open => self.link.set_reading(transport.as_ref(), wants_read),
            Fate::Linger => self.link.set_reading(transport.as_ref(), true),
            Fate::Close | Fate::Abort => {
                self.link.closing.set(true);
                if let Some(fault) = fault {
                    self.shared.log_message(
                        py,
                        "debug",
                        &format!(
                            "ended a connection of {}: {}",
                            self.link.client_text(),
                            fault.reason
                        ),
                    );
                }
                self.lose_all(py);
                if fate == Fate::Close {
                    transport.close(py);
                } else {
                    transport.abort(py);
                }
            }
        }
    }

    fn lose_all(&self, py: Python<'_>) {
        let under_way: Vec<_> = self.work.borrow().keys().copied().collect();
        for id in under_way {
            self.lose(py, id);
        }
    }

    fn sockets(&self) -> Vec<(StreamId, Rc<Session>)> {
        let work = self.work.borrow();
        let sockets = work.iter().filter_map(|(id, work)| match work {
            Work::Socket(session) if session.is_open() => Some((*id, session.clone())),
            _ => None,
        });
        sockets.collect()
    }
}

impl Served for Http2Connection {
    fn tick(&self, py: Python<'_>) {
        let now = self.shared.now();
        let queued = self.link.queued();
        for (id, session) in self.sockets() {
            let waiting = queued + self.engine.borrow().backlog(id);
            session.tick(py, now, waiting);
            self.pump_socket(py, id);
        }
        self.engine.borrow_mut().handle_timeout(now, queued);
        self.advance(py);
    }

    fn shutdown(&self, py: Python<'_>) {
        self.engine.borrow_mut().shutdown(self.shared.now());
        for (id, session) in self.sockets() {
            session.shutdown();
            self.pump_socket(py, id);
        }
        self.advance(py);
    }

    fn abort(&self, py: Python<'_>) {
        self.engine.borrow_mut().abort();
        self.link.abort(py);
    }
}

impl NativeProtocol for Http2Connection {
    fn name(&self) -> &'static str {
        "HTTP/2 connection"
    }

    fn connection_made(&self, py: Python<'_>, transport: Rc<dyn NativeTransport>) {
        self.link.connect(transport);
        self.advance(py);
    }

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        self.shared.counters.bytes_in.add(data.len());
        self.engine.borrow_mut().handle_data(self.shared.now(), data);
        self.advance(py);
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.engine.borrow_mut().handle_eof();
        self.advance(py);
        false
    }

    fn pause_writing(&self, _py: Python<'_>) {
        self.link.writing_paused.set(true);
    }

    fn resume_writing(&self, py: Python<'_>) {
        self.link.writing_paused.set(false);
        let waiting: Vec<_> = self.work.borrow().keys().copied().collect();
        for id in waiting {
            if let Err(error) = self.on_writable(py, id) {
                self.shared.log_error(py, "Error in the server", &error);
            }
        }
        self.advance(py);
    }

    fn connection_lost(&self, py: Python<'_>, _error: Option<io::Error>) {
        self.link.lose();
        self.engine.borrow_mut().handle_eof();
        self.lose_all(py);
        self.link.release();
    }
}
