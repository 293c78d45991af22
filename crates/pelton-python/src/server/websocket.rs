//! A WebSocket as an ASGI application sees it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use pelton_http::h1::{Fate, Head, Version};
use pelton_http::websocket::SendError;
use pelton_http::websocket::{Agreement, Close, CloseCode, Connection, DeflateOptions};
use pelton_http::websocket::{Handshake, Message as Received};
use pyo3::exceptions::{PyException, PyOSError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::event_loop::GilBound;

use super::access_log::Ended;
use super::awaitable::{Done, Source, Waiters, Waiting};
use super::carrier::Carrier;
use super::message::{self, Data, Fields, Message};
use super::origin::Origin;
use super::runner::{Run, Runner};
use super::scope;
use super::shared::Shared;

/// One WebSocket, from the request that asks for it to its end.
pub(super) struct Session {
    id: u64,
    shared: Rc<Shared>,
    carrier: Rc<dyn Carrier>,
    head: Head,
    handshake: Handshake,
    mount: Option<usize>,
    started: Instant,
    stage: Cell<Stage>,
    /// The frames' engine, once accepted.
    engine: RefCell<Option<Connection>>,
    connect_given: Cell<bool>,
    receivers: Waiters,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The application has not decided.
    Asked,
    /// It denies with a response of its own, whose head was given.
    Denying,
    /// Accepted.
    Open,
    /// Over: denied, closed, or the client is gone.
    Over,
}

/// Calls the application for a session and runs what it returns.
pub(super) fn start(py: Python<'_>, session: &Rc<Session>) -> PyResult<()> {
    let shared = session.shared.clone();
    shared.counters.websockets.add(1);
    shared.counters.open_websockets.add(1);
    let runner =
        session.call_app(py).and_then(|coroutine| Runner::wrap(&coroutine, session.clone()));
    let runner = match runner {
        Ok(runner) => runner,
        Err(error) => return session.ended(py, Err(error)),
    };
    let name = intern!(py, "pelton websocket");
    let context = shared.new_context(py)?;
    let task = shared.event_loop.spawn_inline(py, &runner, Some(&context), Some(name.as_any()))?;
    if !task.call_method0(intern!(py, "done"))?.is_truthy()? {
        shared.keep_task(session.id, task);
    }
    Ok(())
}

impl Session {
    pub(super) fn new(
        carrier: Rc<dyn Carrier>,
        head: Head,
        handshake: Handshake,
        mount: Option<usize>,
    ) -> Rc<Self> {
        Rc::new(Self {
            id: carrier.shared().new_id(),
            shared: carrier.shared().clone(),
            carrier,
            head,
            handshake,
            mount,
            started: Instant::now(),
            stage: Cell::new(Stage::Asked),
            engine: RefCell::default(),
            connect_given: Cell::new(false),
            receivers: Waiters::default(),
        })
    }

    /// Whether it has taken over the connection.
    pub(super) fn is_open(&self) -> bool {
        self.engine.borrow().is_some()
    }

    /// Bytes came in.
    pub(super) fn handle_data(&self, py: Python<'_>, now: Duration, data: &[u8]) {
        if let Some(engine) = self.engine.borrow_mut().as_mut() {
            engine.set_congested(self.carrier.is_writing_paused());
            engine.handle_data(now, data);
        }
        self.wake(py);
    }

    /// The client is gone, or has sent its last byte.
    pub(super) fn handle_eof(&self) {
        if let Some(engine) = self.engine.borrow_mut().as_mut() {
            engine.handle_eof();
        }
    }

    /// Time went by.
    pub(super) fn tick(&self, py: Python<'_>, now: Duration, queued: usize) {
        if let Some(engine) = self.engine.borrow_mut().as_mut() {
            engine.handle_timeout(now, queued);
        }
        self.wake(py);
    }

    /// The server stops.
    pub(super) fn shutdown(&self) {
        let now = self.shared.now();
        if let Some(engine) = self.engine.borrow_mut().as_mut()
            && engine.is_open()
        {
            // It is open and the code may be sent, so this cannot fail.
            let _ = engine.close(now, &Close::new(CloseCode::RESTART, "server restart"));
        }
    }

    /// There is room to write again.
    pub(super) fn wake_writers(&self, py: Python<'_>) -> PyResult<()> {
        self.carrier.writers().wake(py)
    }

    /// The connection is gone.
    pub(super) fn lost(&self, py: Python<'_>) -> PyResult<()> {
        self.stage.set(Stage::Over);
        self.receivers.wake(py)
    }

    /// Gives the engine's output to `write`; what is to become of the carrier, and whether to read
    /// on.
    pub(super) fn flush(&self, write: &mut dyn FnMut(&[u8])) -> (Fate, bool) {
        let mut engine = self.engine.borrow_mut();
        let Some(engine) = engine.as_mut() else { return (Fate::Open, true) };
        engine.set_congested(self.carrier.is_writing_paused());
        if !engine.poll_output().is_empty() {
            write(engine.poll_output());
            engine.clear_output();
        }
        (engine.poll_fate(), engine.wants_read())
    }

    fn wake(&self, py: Python<'_>) {
        if let Err(error) = self.receivers.wake(py) {
            self.shared.log_error(py, "Error in the server", &error);
        }
    }

    fn call_app<'py>(self: &Rc<Self>, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let shared = &self.shared;
        let (prefix, app) = match self.mount {
            Some(index) => {
                let (prefix, app) = &shared.options.mounts[index];
                (Some(prefix.as_str()), app)
            }
            None => (None, &shared.app),
        };
        let addresses = self.carrier.addresses(py)?;
        let names = Some(self.handshake.subprotocols());
        let scope = scope::build(py, shared, &self.head, addresses, prefix, names)?;
        let receive = Py::new(py, Receive(GilBound::new(self.clone())))?;
        let send = Py::new(py, Send(GilBound::new(self.clone())))?;
        app.bind(py).call1((scope, receive, send))
    }

    fn poll_receive(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if !self.connect_given.replace(true) {
            let event = message::event(py, intern!(py, "websocket.connect"))?;
            return Ok(Some(event.into_any().unbind()));
        }
        let now = self.shared.now();
        let received = match self.engine.borrow_mut().as_mut() {
            Some(engine) => engine.poll_message(now),
            None => None,
        };
        if let Some(received) = received {
            // There is room in the queue again.
            self.carrier.flush(py);
            return received_event(py, received).map(Some);
        }
        let close = self.engine.borrow().as_ref().and_then(|engine| engine.closed().cloned());
        let close = match close {
            Some(close) => close,
            None if self.stage.get() == Stage::Over => Close::new(CloseCode::ABNORMAL, ""),
            None => return Ok(None),
        };
        let event = message::event(py, intern!(py, "websocket.disconnect"))?;
        event.set_item(intern!(py, "code"), close.code.0)?;
        event.set_item(intern!(py, "reason"), close.reason)?;
        Ok(Some(event.into_any().unbind()))
    }

    /// Takes a message from the application.
    fn send(&self, message: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = message.py();
        let (message, kind) = Message::new(message)?;
        let kind = kind.to_str()?;
        match (self.stage.get(), kind) {
            (Stage::Over, _) => return Err(message::disconnected()),
            (Stage::Asked, "websocket.accept") => self.accept(py, &message)?,
            (Stage::Asked, "websocket.close") => self.deny(py, 403)?,
            (Stage::Asked, "websocket.http.response.start") => {
                let status = message.status()?;
                let fields = message.fields()?;
                self.carrier
                    .start_response(status, &mut fields.iter())
                    .map_err(message::response_error)?;
                self.stage.set(Stage::Denying);
                self.shared.counters.count_status(status);
                self.log_answer(py, status)?;
            }
            (Stage::Denying, "websocket.http.response.body") => {
                let (body, more) = (message.body()?, message.more_body()?);
                self.carrier.send_body(body.as_slice(), more).map_err(message::response_error)?;
                if !more {
                    self.stage.set(Stage::Over);
                }
                self.carrier.advance(py);
            }
            (Stage::Open, "websocket.send") => self.send_message(py, &message)?,
            (Stage::Open, "websocket.close") => self.close(py, &message)?,
            (Stage::Asked, _) => {
                return Err(message::unexpected(
                    kind,
                    "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
                ));
            }
            (Stage::Denying, _) => {
                return Err(message::unexpected(kind, "'websocket.http.response.body'"));
            }
            (Stage::Open, _) => {
                return Err(message::unexpected(kind, "'websocket.send' or 'websocket.close'"));
            }
        }
        Ok(())
    }

    fn accept(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        let shared = &self.shared;
        let subprotocol: Option<String> = match message.optional(intern!(py, "subprotocol"))? {
            Some(name) => Some(name.extract()?),
            None => None,
        };
        let fields = message.fields()?;
        let deflate = self.negotiate(&fields);
        let extensions = deflate.map(|(agreement, _)| agreement.to_string());
        let extensions =
            extensions.as_ref().map(|value| (&b"sec-websocket-extensions"[..], value.as_bytes()));
        let early = self
            .carrier
            .accept(&self.handshake, subprotocol.as_deref(), &mut fields.iter().chain(extensions))
            .map_err(message::response_error)?;
        let mut engine = Connection::new(shared.options.websocket.clone(), shared.now());
        if let Some((agreement, options)) = deflate {
            engine.use_deflate(agreement, options);
        }
        engine.handle_data(shared.now(), &early);
        *self.engine.borrow_mut() = Some(engine);
        self.stage.set(Stage::Open);
        if shared.shutting_down.get() {
            self.shutdown();
        }
        self.carrier.flush(py);
        // HTTP/2 switches no protocols.
        self.log_answer(py, if self.head.version() == Version::Http2 { 200 } else { 101 })
    }

    /// The handshake's line in the access log.
    fn log_answer(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        let Some(access_log) = &self.shared.access_log else { return Ok(()) };
        let addresses = self.carrier.addresses(py)?;
        let origin = Origin::of(&self.shared.options, addresses, self.head.headers());
        access_log.log(
            py,
            &Ended {
                client: &origin.client_text(),
                head: Some(&self.head),
                status,
                bytes: 0,
                elapsed: self.started.elapsed(),
            },
        )
    }

    /// The compression to agree to; none where the application answers extensions by itself.
    fn negotiate(&self, fields: &Fields<'_>) -> Option<(Agreement, DeflateOptions)> {
        let name = b"sec-websocket-extensions";
        if fields.iter().any(|(field, _)| field.eq_ignore_ascii_case(name)) {
            return None;
        }
        let options = self.shared.options.deflate?;
        // The header was checked with the handshake.
        let agreement = self.handshake.negotiate(&options).ok().flatten()?;
        Some((agreement, options))
    }

    /// Answers with an empty response instead of the upgrade.
    fn deny(&self, py: Python<'_>, status: u16) -> PyResult<()> {
        let shared = &self.shared;
        self.stage.set(Stage::Over);
        shared.counters.count_status(status);
        let headers = [(&b"connection"[..], &b"close"[..])];
        let answered = self.carrier.respond(status, &mut headers.into_iter(), b"");
        self.carrier.advance(py);
        answered.map_err(message::response_error)?;
        self.log_answer(py, status)
    }

    fn send_message(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        if self.carrier.queued() > self.shared.options.websocket.write_queue {
            // The application sends without waiting, and the client does not read.
            if let Some(engine) = self.engine.borrow_mut().as_mut() {
                engine.abort();
            }
            self.carrier.flush(py);
            return Err(message::disconnected());
        }
        // Before the engine is borrowed: a key's `__eq__` and a `__buffer__` may be Python code,
        // which may use this very socket.
        let data = message.optional(intern!(py, "bytes"))?.map(Data::new).transpose()?;
        let text = match &data {
            Some(_) => None,
            None => message.optional(intern!(py, "text"))?,
        };
        let text = text.as_ref().map(|text| text.cast::<PyString>()?.to_str()).transpose()?;
        let sent = {
            let mut engine = self.engine.borrow_mut();
            let Some(engine) = engine.as_mut() else { return Err(message::disconnected()) };
            match (&data, text) {
                (Some(data), _) => engine.send_binary(data.as_slice()),
                (None, Some(text)) => engine.send_text(text),
                (None, None) => {
                    return Err(PyValueError::new_err(
                        "a 'websocket.send' message needs 'bytes' or 'text'",
                    ));
                }
            }
        };
        self.carrier.flush(py);
        sent.map_err(send_error)
    }

    fn close(&self, py: Python<'_>, message: &Message<'_, '_>) -> PyResult<()> {
        let code = match message.optional(intern!(py, "code"))? {
            Some(code) => CloseCode(code.extract()?),
            None => CloseCode::NORMAL,
        };
        let reason: String = match message.optional(intern!(py, "reason"))? {
            Some(reason) => reason.extract()?,
            None => String::new(),
        };
        self.send_close(py, &Close::new(code, &reason)).map_err(send_error)?;
        self.stage.set(Stage::Over);
        Ok(())
    }

    fn send_close(&self, py: Python<'_>, close: &Close) -> Result<(), SendError> {
        let now = self.shared.now();
        let sent = match self.engine.borrow_mut().as_mut() {
            Some(engine) => engine.close(now, close),
            None => Err(SendError::Closed),
        };
        self.carrier.flush(py);
        sent
    }
}

impl Run for Session {
    fn ended(&self, py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
        let shared = &self.shared;
        shared.counters.open_websockets.subtract_one();
        shared.remove_task(py, self.id);
        let stage = self.stage.get();
        let (code, passed_on) = match result {
            Ok(()) => (CloseCode::NORMAL, Ok(())),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                if stage != Stage::Over || !error.is_instance_of::<PyOSError>(py) {
                    shared.counters.failed.add(1);
                    shared.log_error(py, "Exception in ASGI application", &error);
                }
                (CloseCode::INTERNAL, Ok(()))
            }
            Err(error) => (CloseCode::INTERNAL, Err(error)),
        };
        match stage {
            Stage::Asked => self.deny(py, 500)?,
            Stage::Denying => {
                self.stage.set(Stage::Over);
                self.carrier.fail();
                self.carrier.advance(py);
            }
            // Closed by the other side meanwhile: then there is nothing to close.
            Stage::Open => drop(self.send_close(py, &Close::new(code, ""))),
            Stage::Over => {}
        }
        passed_on
    }
}

/// The ASGI callable `receive` of a WebSocket.
#[pyclass(frozen, module = "pelton._core", name = "WebSocketReceive")]
struct Receive(GilBound<Rc<Session>>);

#[pymethods]
impl Receive {
    fn __call__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.0.poll_receive(py)? {
            Some(event) => Done::value(py, event),
            None => Waiting::on(py, Rc::new(Receiving((*self.0).clone()))),
        }
    }
}

/// The ASGI callable `send` of a WebSocket.
#[pyclass(frozen, module = "pelton._core", name = "WebSocketSend")]
struct Send(GilBound<Rc<Session>>);

#[pymethods]
impl Send {
    fn __call__(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.0.send(message)?;
        if self.0.carrier.is_writing_paused() {
            return Waiting::on(py, Rc::new(Draining((*self.0).clone())));
        }
        Done::none(py)
    }
}

/// Waits for a message to `receive`.
struct Receiving(Rc<Session>);

impl Source for Receiving {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.poll_receive(py)
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.receivers.park(&self.0.shared.event_loop.object(py)?)
    }
}

/// Waits for room in the transport's queue.
struct Draining(Rc<Session>);

impl Source for Draining {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        Ok((!self.0.carrier.is_writing_paused()).then(|| py.None()))
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.carrier.writers().park(&self.0.shared.event_loop.object(py)?)
    }
}

fn received_event(py: Python<'_>, received: Received) -> PyResult<Py<PyAny>> {
    let event = message::event(py, intern!(py, "websocket.receive"))?;
    match received {
        Received::Text(text) => event.set_item(intern!(py, "text"), text)?,
        Received::Binary(data) => {
            event.set_item(intern!(py, "bytes"), PyBytes::new(py, &data))?;
        }
    }
    Ok(event.into_any().unbind())
}

fn send_error(error: SendError) -> PyErr {
    match error {
        SendError::Closed => message::disconnected(),
        SendError::CloseCode(_) => PyValueError::new_err(error.to_string()),
    }
}
