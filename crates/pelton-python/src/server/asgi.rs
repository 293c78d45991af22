//! A request as an ASGI application sees it: `receive`, `send`, and the end of its run.

use std::rc::Rc;

use pyo3::exceptions::{PyException, PyOSError};
use pyo3::intern;
use pyo3::prelude::*;

use crate::event_loop::GilBound;

use crate::transport::native::FilePart;

use super::awaitable::{Done, Source, Waiting};
use super::drain;
use super::files::{self, Sending};
use super::message::{self, Message};
use super::request::Request;
use super::runner::{Run, Runner};

/// Calls the application and runs what it returns, at once if the loop allows.
pub(super) fn start(py: Python<'_>, request: &Rc<Request>) -> PyResult<()> {
    let scope = request.scope(py)?;
    let receive = Py::new(py, Receive::new(request.clone()))?;
    let send = Py::new(py, Send::new(request.clone()))?;
    let coroutine = request.app(py).call1((scope, receive, send))?;
    let runner = Runner::wrap(&coroutine, request.clone())?;
    spawn(py, request, &runner)
}

/// Runs a request's coroutine as a task that the server keeps until it ends.
pub(super) fn spawn(
    py: Python<'_>,
    request: &Rc<Request>,
    coroutine: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let shared = &request.shared;
    let name = intern!(py, "pelton request");
    let context = shared.new_context(py)?;
    let task =
        shared.event_loop.spawn_inline(py, coroutine, Some(&context), Some(name.as_any()))?;
    if !task.call_method0(intern!(py, "done"))?.is_truthy()? {
        shared.keep_task(request.id, task);
    }
    Ok(())
}

/// The ASGI callable `receive`.
#[pyclass(frozen, module = "pelton._core", name = "RequestReceive")]
pub(super) struct Receive(GilBound<Rc<Request>>);

impl Receive {
    pub(super) fn new(request: Rc<Request>) -> Self {
        Self(GilBound::new(request))
    }
}

#[pymethods]
impl Receive {
    fn __call__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.0.poll_receive(py)? {
            Some(event) => Done::value(py, event),
            None => Waiting::on(py, Rc::new(Receiving((*self.0).clone()))),
        }
    }

    /// Reads all of the body into a `FormReader` or a `BodyFile`, instead of calls: an awaitable
    /// of whether the body came to its end, rather than the client having left.
    fn drain(&self, py: Python<'_>, consumer: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        drain::start(py, (*self.0).clone(), consumer)
    }
}

/// The ASGI callable `send`.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Send(GilBound<Rc<Request>>);

impl Send {
    pub(super) fn new(request: Rc<Request>) -> Self {
        Self(GilBound::new(request))
    }
}

#[pymethods]
impl Send {
    fn __call__(&self, py: Python<'_>, message: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if let Some(sending) = self.0.send(message)? {
            return Waiting::on(py, Rc::new(sending));
        }
        if self.0.carrier.is_writing_paused() && self.0.is_open() {
            return Waiting::on(py, Rc::new(Draining((*self.0).clone())));
        }
        Done::none(py)
    }
}

/// Waits for a message to `receive`.
struct Receiving(Rc<Request>);

impl Source for Receiving {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.0.poll_receive(py)
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.receivers.park(&self.0.shared.event_loop.object(py)?)
    }
}

/// Waits for room in the transport's queue.
struct Draining(Rc<Request>);

impl Source for Draining {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        if self.0.is_gone() {
            return Err(message::disconnected());
        }
        Ok((!self.0.carrier.is_writing_paused()).then(|| py.None()))
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.0.carrier.writers().park(&self.0.shared.event_loop.object(py)?)
    }
}

impl Request {
    /// Takes a message from the application.
    ///
    /// Returns what is to be waited for, if anything but room.
    fn send(self: &Rc<Self>, message: &Bound<'_, PyAny>) -> PyResult<Option<Sending>> {
        let py = message.py();
        let (message, kind) = Message::new(message)?;
        if self.is_gone() {
            return Err(message::disconnected());
        }
        let kind = kind.to_str()?;
        if !self.is_open() {
            return Err(message::unexpected(kind, "none, the response is complete"));
        }
        match kind {
            "http.response.start" => {
                let status = message.status()?;
                let fields = message.fields()?;
                self.carrier
                    .start_response(status, &mut fields.iter())
                    .map_err(message::response_error)?;
                if message.flag(intern!(py, "trailers"))? {
                    self.carrier.announce_trailers().map_err(message::response_error)?;
                    self.trailers.set(true);
                }
                self.status.set(status);
                Ok(None)
            }
            "http.response.body" => {
                let body = message.body()?;
                let more = message.more_body()?;
                self.carrier.send_body(body.as_slice(), more).map_err(message::response_error)?;
                self.note_sent(body.as_slice().len());
                self.sent_piece(py, more)?;
                Ok(None)
            }
            "http.response.pathsend" => {
                let mut part = files::by_path(&message, py)?;
                if let Some(room) = self.carrier.room() {
                    // It may have grown since the application looked at it.
                    part.length = part.length.min(usize::try_from(room)?);
                }
                self.send_file(py, part, false)
            }
            "http.response.zerocopysend" => {
                let part = files::by_descriptor(&message, py)?;
                self.send_file(py, part, message.more_body()?)
            }
            "http.response.early_hint" => {
                let fields = message.links()?;
                self.carrier.inform(103, &mut fields.iter()).map_err(message::response_error)?;
                self.carrier.advance(py);
                Ok(None)
            }
            "http.response.trailers" => {
                let fields = message.fields()?;
                let more = message.flag(intern!(py, "more_trailers"))?;
                self.carrier
                    .send_trailers(&mut fields.iter(), more)
                    .map_err(message::response_error)?;
                self.trailers.set(more);
                self.sent_piece(py, more)?;
                Ok(None)
            }
            _ => Err(message::unexpected(kind, "a message of an HTTP response")),
        }
    }

    fn send_file(
        self: &Rc<Self>,
        py: Python<'_>,
        part: FilePart,
        more: bool,
    ) -> PyResult<Option<Sending>> {
        let length = part.length;
        match self.carrier.send_file(py, part, more).map_err(message::response_error)? {
            Some(part) => Ok(Some(Sending::new(self.clone(), part, more))),
            None => {
                self.note_sent(length);
                self.sent_piece(py, more)?;
                Ok(None)
            }
        }
    }

    /// The run is over and this is what is wrong with it: the client gets 500, or the end of its
    /// connection where the response had begun.
    pub(super) fn fail(&self, py: Python<'_>) -> PyResult<()> {
        self.shared.counters.failed.add(1);
        if !self.is_open() {
            return Ok(());
        }
        self.carrier.fail();
        self.status.set(500);
        self.carrier.finish_request(py, self)?;
        self.carrier.advance(py);
        Ok(())
    }

    /// An exception that nobody handled. A client that left is no error of the application.
    pub(super) fn report(&self, py: Python<'_>, error: &PyErr) {
        let expected = self.is_gone()
            && (error.is_instance_of::<PyOSError>(py) || is_client_disconnect(py, error));
        if !expected {
            self.shared.log_error(py, "Exception in ASGI application", error);
        }
    }
}

/// Whether it is what Starlette makes of the `OSError` by which `send` says that the client left.
fn is_client_disconnect(py: Python<'_>, error: &PyErr) -> bool {
    error.get_type(py).name().is_ok_and(|name| name == "ClientDisconnect")
}

impl Run for Request {
    fn ended(&self, py: Python<'_>, result: PyResult<()>) -> PyResult<()> {
        self.shared.remove_task(py, self.id);
        match result {
            Ok(()) if self.is_open() => {
                let started = self.carrier.is_response_started();
                let problem = if started {
                    "ASGI application returned without completing its response"
                } else {
                    "ASGI application returned without a response"
                };
                self.shared.log_message(py, "error", problem);
                self.fail(py)
            }
            Ok(()) => Ok(()),
            Err(error) if error.is_instance_of::<PyException>(py) => {
                self.report(py, &error);
                self.fail(py)
            }
            // Cancelled, or on the way out of the loop.
            Err(error) => {
                self.fail(py)?;
                Err(error)
            }
        }
    }
}
