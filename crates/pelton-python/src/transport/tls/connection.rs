//! A TLS connection: the native protocol of a stream. Handshake, shutdown, errors.
//!
//! The states and the order of the protocol's callbacks are those of `asyncio.sslproto`:
//!
//! ```text
//! Unwrapped -> Handshake -> Wrapped -> Flushing -> Shutdown -> Unwrapped
//! ```

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::{Rc, Weak};

use pyo3::exceptions::{PyConnectionAbortedError, PyConnectionResetError, PyOSError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::engine::{Engine, Step};
use super::options::TlsOptions;
use super::transport::TlsTransport;
use super::writing::Backlog;
use crate::aio::Reader;
use crate::event_loop::core::Ready;
use crate::event_loop::{LoopRef, NativeTimer, os_error};
use crate::transport::native::{NativeProtocol, NativeTransport};
use crate::transport::sink::Lost;
use crate::transport::stream::Stream;
use crate::transport::tcp::StreamTransport;

/// Default write limits, in bytes: asyncio's.
const WRITE_HIGH: usize = 512 * 1024;
/// Default read limit, in bytes: asyncio's. Nothing is measured by it here, see `reading`.
const READ_HIGH: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Unwrapped,
    Handshake,
    Wrapped,
    /// Closing: what is queued is still to leave.
    Flushing,
    /// Our close_notify is sent, the peer's awaited.
    Shutdown,
}

/// What the protocol was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Made,
    Eof,
    Lost,
}

/// The protocol, and what its callbacks need.
pub(super) struct App {
    pub(super) protocol: Py<PyAny>,
    /// It is an `asyncio.BufferedProtocol`.
    pub(super) buffered: bool,
    /// All its callbacks run in this context.
    pub(super) context: Py<PyAny>,
    pub(super) transport: Py<TlsTransport>,
}

/// One connection.
pub(crate) struct Connection {
    pub(super) me: Weak<Self>,
    pub(super) stream: Rc<Stream>,
    /// The stream's own transport: it answers `get_extra_info`, and is the one a server counts.
    pub(super) raw: Py<StreamTransport>,
    pub(super) options: Py<TlsOptions>,
    pub(super) engine: Engine,
    pub(super) state: Cell<State>,
    pub(super) told: Cell<Told>,
    /// `None` after `connection_lost`.
    pub(super) app: RefCell<Option<App>>,
    /// The `StreamReader` that gets the bytes in the protocol's place.
    pub(super) feeds: RefCell<Option<Rc<Reader>>>,
    waiter: RefCell<Option<Py<PyAny>>>,
    /// The handshake's timeout, then the shutdown's.
    timer: RefCell<Option<NativeTimer>>,
    /// Why the connection is being closed, where an exception says it.
    cause: RefCell<Option<PyErr>>,
    pub(super) peercert: RefCell<Option<Py<PyAny>>>,
    /// The transport was closed, by whoever.
    pub(super) closed: Cell<bool>,
    /// The peer's end of the TCP stream was read.
    read_eof: Cell<bool>,
    pub(super) paused_reading: Cell<bool>,
    pub(super) paused_writing: Cell<bool>,
    pub(super) backlog: RefCell<Backlog>,
    pub(super) write_limits: Cell<(usize, usize)>,
    pub(super) read_limits: Cell<(usize, usize)>,
    /// Writes after the end.
    pub(super) lost_writes: Cell<u32>,
    /// OpenSSL keeps its buffers; and it was used since that was last looked at.
    warm: Cell<bool>,
    used: Cell<bool>,
}

impl Connection {
    pub(super) fn new(
        raw: &Bound<'_, StreamTransport>,
        stream: Rc<Stream>,
        options: &Bound<'_, TlsOptions>,
        engine: Engine,
        waiter: Option<Py<PyAny>>,
        told: Told,
    ) -> Rc<Self> {
        Rc::new_cyclic(|me| Self {
            me: me.clone(),
            stream,
            raw: raw.clone().unbind(),
            options: options.clone().unbind(),
            engine,
            state: Cell::new(State::Unwrapped),
            told: Cell::new(told),
            app: RefCell::new(None),
            feeds: RefCell::new(None),
            waiter: RefCell::new(waiter),
            timer: RefCell::new(None),
            cause: RefCell::new(None),
            peercert: RefCell::new(None),
            closed: Cell::new(false),
            read_eof: Cell::new(false),
            paused_reading: Cell::new(false),
            paused_writing: Cell::new(false),
            backlog: RefCell::default(),
            write_limits: Cell::new((WRITE_HIGH, WRITE_HIGH / 4)),
            read_limits: Cell::new((READ_HIGH, READ_HIGH / 4)),
            lost_writes: Cell::new(0),
            warm: Cell::new(false),
            used: Cell::new(false),
        })
    }

    /// Runs `call` on the protocol, in its context. `None` after `connection_lost`.
    pub(super) fn with_app<'py, R>(
        &self,
        py: Python<'py>,
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<R>,
    ) -> PyResult<Option<R>> {
        let (protocol, context) = match &*self.app.borrow() {
            Some(app) => (app.protocol.bind(py).clone(), app.context.bind(py).clone()),
            None => return Ok(None),
        };
        // SAFETY: a live context object.
        let entered = unsafe { ffi::PyContext_Enter(context.as_ptr()) } == 0;
        let nested = if entered { None } else { Some(PyErr::fetch(py)) };
        if let Some(error) = nested
            && !error.is_instance_of::<pyo3::exceptions::PyRuntimeError>(py)
        {
            return Err(error);
        }
        // Not entered: it is current already, as a callback of this protocol called us.
        let result = call(&protocol);
        // SAFETY: entered above; what ran in between left as it entered.
        if entered && unsafe { ffi::PyContext_Exit(context.as_ptr()) } < 0 && result.is_ok() {
            return Err(PyErr::fetch(py));
        }
        result.map(Some)
    }

    /// An error that no callback of the stream can return: it is raised in the loop's next turn.
    fn surface(&self, result: PyResult<()>) {
        if let Err(error) = result {
            self.stream.core.push_ready(Ready::Native(Box::new(move |_| Err(error))));
        }
    }

    // --- handshake -------------------------------------------------------------------------------

    /// Starts the handshake; what follows is driven by the socket.
    pub(super) fn start_handshake(&self, py: Python<'_>) -> PyResult<()> {
        if self.state.get() != State::Unwrapped || self.stream.lost.get() {
            return Ok(());
        }
        self.state.set(State::Handshake);
        let options = self.options.get();
        self.set_timer(options.handshake, |connection, py| {
            if connection.state.get() != State::Handshake {
                return Ok(());
            }
            let seconds = connection.options.get().handshake_timeout.bind(py).str()?;
            let error = PyConnectionAbortedError::new_err(format!(
                "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
            ));
            connection.fatal_error(py, error, "Fatal error on transport")
        });
        if options.server_side { Ok(()) } else { self.do_handshake(py) }
    }

    pub(super) fn do_handshake(&self, py: Python<'_>) -> PyResult<()> {
        let step = self.engine.handshake(py);
        if self.state.get() != State::Handshake {
            return Ok(()); // a callback of the context ended it
        }
        match step {
            Ok(Step::Done(_)) => self.finish_handshake(py),
            Ok(Step::Wants | Step::Closed) => self.send_output(py),
            Err(error) => self.fail_handshake(py, error),
        }
    }

    fn finish_handshake(&self, py: Python<'_>) -> PyResult<()> {
        self.cancel_timer();
        let peercert = self.engine.object(py).call_method0(intern!(py, "getpeercert"));
        match peercert {
            Ok(peercert) => drop(self.peercert.replace(Some(peercert.unbind()))),
            Err(error) => return self.fail_handshake(py, error),
        }
        self.state.set(State::Wrapped);
        if self.told.get() == Told::Nothing {
            self.told.set(Told::Made);
            let transport = self.app.borrow().as_ref().map(|app| app.transport.clone_ref(py));
            self.with_app(py, |protocol| {
                protocol.call_method1(intern!(py, "connection_made"), (transport,)).map(drop)
            })
            .map(drop)
            .or_else(|error| {
                let message = "Fatal error: protocol.connection_made() call failed.";
                self.fatal_error(py, error, message)
            })?;
            if self.stream.lost.get() {
                return Ok(()); // `connection_lost` tells who waits
            }
        }
        if self.waiter.borrow().is_none() {
            return self.do_read(py);
        }
        // Who waits gets the transport before the protocol gets data.
        self.wake_waiter(py, None)?;
        let me = self.me.clone();
        self.stream.core.push_ready(Ready::Native(Box::new(move |py| {
            me.upgrade().map_or(Ok(()), |connection| connection.go_on(py))
        })));
        self.send_output(py)
    }

    fn fail_handshake(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        self.cancel_timer();
        // The peer learns why: OpenSSL wrote an alert.
        self.send_output(py)?;
        self.state.set(State::Unwrapped);
        let is_certificate = py
            .import("ssl")?
            .getattr("CertificateError")
            .and_then(|class| error.value(py).is_instance(&class))?;
        let message = if is_certificate {
            "SSL handshake failed on verifying the certificate"
        } else {
            "SSL handshake failed"
        };
        let cause = error.clone_ref(py);
        self.fatal_error(py, error, message)?;
        self.wake_waiter(py, Some(cause))
    }

    fn wake_waiter(&self, py: Python<'_>, error: Option<PyErr>) -> PyResult<()> {
        let Some(waiter) = self.waiter.borrow_mut().take() else {
            return Ok(());
        };
        if waiter.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            return Ok(());
        }
        match error {
            None => waiter.call_method1(py, intern!(py, "set_result"), (py.None(),)),
            Some(error) => {
                waiter.call_method1(py, intern!(py, "set_exception"), (error.into_value(py),))
            }
        }
        .map(drop)
    }

    fn set_timer(
        &self,
        delay: std::time::Duration,
        work: impl FnOnce(&Rc<Self>, Python<'_>) -> PyResult<()> + 'static,
    ) {
        let me = self.me.clone();
        let timer = LoopRef::new(self.stream.core.clone())
            .call_later_native(delay, move |py| me.upgrade().map_or(Ok(()), |me| work(&me, py)));
        let before = self.timer.borrow_mut().replace(timer);
        if let Some(before) = before {
            before.cancel();
        }
    }

    fn cancel_timer(&self) {
        let timer = self.timer.borrow_mut().take();
        if let Some(timer) = timer {
            timer.cancel();
        }
    }

    // --- shutdown --------------------------------------------------------------------------------

    /// The transport's `close`, or the peer's close_notify: what is queued leaves, then we say
    /// goodbye and wait for the peer to say it.
    pub(super) fn start_shutdown(&self, py: Python<'_>) -> PyResult<()> {
        self.closed.set(true);
        match self.state.get() {
            State::Flushing | State::Shutdown | State::Unwrapped => Ok(()),
            State::Handshake => {
                self.abort(py, None);
                Ok(())
            }
            State::Wrapped => {
                self.state.set(State::Flushing);
                self.set_timer(self.options.get().shutdown, |connection, py| {
                    if matches!(connection.state.get(), State::Flushing | State::Shutdown) {
                        let error = py
                            .import("asyncio.exceptions")?
                            .getattr("TimeoutError")?
                            .call1(("SSL shutdown timed out",))?;
                        connection.force_close(Some(PyErr::from_value(error)));
                    }
                    Ok(())
                });
                self.do_flush(py)
            }
        }
    }

    /// While closing: what came is still given to the protocol, what is queued still leaves.
    pub(super) fn do_flush(&self, py: Python<'_>) -> PyResult<()> {
        self.do_read(py)?;
        if self.state.get() == State::Flushing && self.backlog.borrow().is_empty() {
            self.state.set(State::Shutdown);
            // A paused protocol gets nothing any more; the peer's close_notify must come through.
            self.stream.set_paused_reading(false);
            return self.do_shutdown(py);
        }
        Ok(())
    }

    fn do_shutdown(&self, py: Python<'_>) -> PyResult<()> {
        // After the end of the TCP stream nobody answers: as asyncio, we close without a goodbye.
        if !self.read_eof.get() {
            let step = self.discard(py).and_then(|()| self.engine.shutdown(py));
            self.send_output(py)?;
            match step {
                Ok(Step::Wants) => return Ok(()),
                Ok(_) => {}
                Err(error) => return self.fatal_error(py, error, "Fatal error on transport"),
            }
        }
        self.call_eof_received(py)?;
        self.stream.close();
        Ok(())
    }

    /// Tells the protocol that the peer will send no more.
    pub(super) fn call_eof_received(&self, py: Python<'_>) -> PyResult<()> {
        if self.told.get() != Told::Made {
            return Ok(());
        }
        self.told.set(Told::Eof);
        let kept = self.with_app(py, |protocol| {
            protocol.call_method0(intern!(py, "eof_received"))?.is_truthy()
        });
        match kept {
            Ok(Some(true)) => log(py, "warning", |_| {
                Ok("returning true from eof_received() has no effect when using ssl".to_owned())
            }),
            Ok(_) => Ok(()),
            Err(error) => self.fatal_error(py, error, "Error calling eof_received()"),
        }
    }

    // --- ends ------------------------------------------------------------------------------------

    /// Closes at once.
    pub(super) fn abort(&self, _py: Python<'_>, cause: Option<PyErr>) {
        self.closed.set(true);
        self.state.set(State::Unwrapped);
        self.force_close(cause);
    }

    fn force_close(&self, cause: Option<PyErr>) {
        if !self.stream.lost.get() {
            let before = self.cause.replace(cause);
            self.stream.force_close(Lost::Closed);
            drop(before);
        }
    }

    /// Closes at once because of `error`. What is no fault of the network's is reported.
    pub(super) fn fatal_error(&self, py: Python<'_>, error: PyErr, message: &str) -> PyResult<()> {
        // An alert, where OpenSSL has one for the peer.
        let sent = self.send_output(py);
        self.force_close(Some(error.clone_ref(py)));
        sent?;
        if error.is_instance_of::<PyOSError>(py) {
            return self.debug(py, message);
        }
        self.report(py, error, message)
    }

    pub(super) fn report(&self, py: Python<'_>, error: PyErr, message: &str) -> PyResult<()> {
        let details = PyDict::new(py);
        if let Some(app) = &*self.app.borrow() {
            details.set_item("transport", app.transport.clone_ref(py))?;
            details.set_item("protocol", app.protocol.clone_ref(py))?;
        }
        self.stream.core.report(py, error, message, Some(&details))
    }

    fn debug(&self, py: Python<'_>, message: &str) -> PyResult<()> {
        if self.stream.core.is_debug() {
            return log(py, "debug", |_| Ok(format!("{:?}: {message}", self.raw.bind(py))));
        }
        Ok(())
    }

    /// It is in use: OpenSSL's buffers stay, if there is room for one more.
    fn keep_warm(&self) {
        self.used.set(true);
        if !self.warm.get()
            && self.engine.can_keep_buffers()
            && let Some(me) = self.me.upgrade()
            && self.stream.core.warm_tls.add(&me)
        {
            self.engine.keep_buffers(true);
            self.warm.set(true);
        }
    }

    /// Gives OpenSSL's buffers back if it was not used since the last call. `true`: it did.
    pub(super) fn cool(&self) -> bool {
        if self.used.replace(false) {
            return false;
        }
        self.engine.keep_buffers(false);
        self.warm.set(false);
        true
    }

    fn on_data(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.get() {
            State::Handshake => self.do_handshake(py),
            State::Wrapped => {
                self.keep_warm();
                self.do_read(py)
            }
            State::Flushing => self.do_flush(py),
            State::Shutdown => self.do_shutdown(py),
            State::Unwrapped => self.engine.clear(py),
        }
    }

    fn on_eof(&self, py: Python<'_>) -> PyResult<()> {
        self.read_eof.set(true);
        match self.state.get() {
            State::Handshake => self.fail_handshake(py, PyConnectionResetError::new_err(())),
            State::Wrapped => self.start_shutdown(py),
            State::Flushing => self.do_flush(py),
            State::Shutdown => self.do_shutdown(py),
            State::Unwrapped => Ok(()),
        }
    }

    /// What waited for the stream, or for the protocol to read again, goes on.
    pub(super) fn go_on(&self, py: Python<'_>) -> PyResult<()> {
        match self.state.get() {
            State::Wrapped => self.do_read(py),
            State::Flushing => self.do_flush(py),
            State::Shutdown => self.do_shutdown(py),
            State::Handshake | State::Unwrapped => Ok(()),
        }
    }

    fn on_lost(&self, py: Python<'_>, error: Option<io::Error>) -> PyResult<()> {
        self.cancel_timer();
        self.closed.set(true);
        let backlog = self.backlog.take();
        let in_handshake = self.state.replace(State::Unwrapped) == State::Handshake;
        let cause = self.cause.take().or_else(|| error.as_ref().map(os_error));
        let mut told = Ok(None);
        if !in_handshake && matches!(self.told.get(), Told::Made | Told::Eof) {
            self.told.set(Told::Lost);
            let object = match &cause {
                Some(error) => error.value(py).clone().into_any(),
                None => py.None().into_bound(py),
            };
            told = self.with_app(py, |protocol| {
                protocol.call_method1(intern!(py, "connection_lost"), (object,)).map(drop)
            });
        }
        let app = self.app.take();
        self.stop_feeding();
        let woken = self.wake_waiter(py, cause);
        let cleared = self.engine.clear(py);
        let detached = StreamTransport::detach_server(self.raw.bind(py));
        drop((backlog, app));
        told.map(drop).and(woken).and(cleared).and(detached)
    }
}

impl NativeProtocol for Connection {
    fn name(&self) -> &'static str {
        "TLS connection"
    }

    fn connection_made(&self, _py: Python<'_>, _transport: Rc<dyn NativeTransport>) {}

    fn data_received(&self, py: Python<'_>, data: &[u8]) {
        self.surface(self.engine.with_input(py, data, || self.on_data(py)));
    }

    fn eof_received(&self, py: Python<'_>) -> bool {
        self.surface(self.on_eof(py));
        true // the stream stays open until we close it
    }

    fn pause_writing(&self, _py: Python<'_>) {}

    fn resume_writing(&self, py: Python<'_>) {
        self.surface(self.on_drain(py));
    }

    fn connection_lost(&self, py: Python<'_>, error: Option<io::Error>) {
        self.surface(self.on_lost(py, error));
    }

    fn abandoned(&self, py: Python<'_>) {
        let app = self.app.take();
        self.stop_feeding();
        self.state.set(State::Unwrapped);
        if let Some(app) = &app
            && !self.closed.replace(true)
        {
            self.surface(super::transport::warn_unclosed(app.transport.bind(py)));
        }
    }
}

/// Writes to asyncio's log.
pub(super) fn log(
    py: Python<'_>,
    level: &str,
    message: impl FnOnce(Python<'_>) -> PyResult<String>,
) -> PyResult<()> {
    let logger = py.import("asyncio.log")?.getattr("logger")?;
    logger.call_method1(level, (message(py)?,)).map(drop)
}
