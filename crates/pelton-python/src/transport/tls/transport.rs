//! `TlsTransport`: the transport that a Python protocol gets of a TLS connection.

use std::ffi::CString;
use std::rc::Rc;

use pyo3::exceptions::{
    PyConnectionResetError, PyNotImplementedError, PyResourceWarning, PyTypeError,
};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};

use super::connection::{App, Connection, State, Told, log};
use super::engine::Engine;
use super::options::TlsOptions;
use crate::aio::Reader;
use crate::event_loop::GilBound;
use crate::event_loop::core::Ready;
use crate::methods::without_dict;
use crate::transport::outlet::Outlet;
use crate::transport::sink::Sink;
use crate::transport::stream::{Stream, share_bytes};
use crate::transport::stream_write::Chunk;
use crate::transport::tcp::{StreamTransport, bytes_of, is_buffered, limits, view_of};

/// Writes after the end, before they are logged: asyncio's number.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

/// A TLS connection's transport. `isinstance(t, asyncio.Transport)` holds.
#[pyclass(frozen, dict, weakref, module = "pelton._core")]
pub(crate) struct TlsTransport {
    connection: GilBound<Rc<Connection>>,
}

impl TlsTransport {
    /// A server's side of a connection just accepted.
    pub(in crate::transport) fn accept<'py>(
        py: Python<'py>,
        make: impl FnOnce() -> Rc<Stream>,
        protocol: &Bound<'py, PyAny>,
        options: &Bound<'py, TlsOptions>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let engine = options.get().engine(py)?; // before there is a stream: this may fail
        let raw = StreamTransport::face(py, make(), server)?;
        let transport = Self::over(&raw, protocol, options, engine, None, Told::Nothing)?;
        let connection = &transport.get().connection;
        connection.start_handshake(py)?;
        connection.stream.watch(py)
    }

    /// Puts TLS between `raw`'s stream and `protocol`.
    fn over<'py>(
        raw: &Bound<'py, StreamTransport>,
        protocol: &Bound<'py, PyAny>,
        options: &Bound<'py, TlsOptions>,
        engine: Engine,
        waiter: Option<Py<PyAny>>,
        told: Told,
    ) -> PyResult<Bound<'py, Self>> {
        let py = raw.py();
        let stream = Rc::clone(raw.get().stream());
        let connection = Connection::new(raw, stream.clone(), options, engine, waiter, told);
        let transport = Bound::new(py, Self { connection: GilBound::new(connection.clone()) })?;
        without_dict(&transport);
        // SAFETY: makes a new context object, or fails.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        *connection.app.borrow_mut() = Some(App {
            protocol: protocol.clone().unbind(),
            buffered: is_buffered(protocol)?,
            context: context.unbind(),
            transport: transport.clone().unbind(),
        });
        // The stream tells when its queue is empty: then the next batch is encrypted.
        stream.high.set(0);
        stream.low.set(0);
        connection.paused_writing.set(stream.paused_writing.get());
        let before = stream.sink.replace(Sink::Native(connection));
        drop(before);
        Ok(transport)
    }
}

impl Outlet for TlsTransport {
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            if bytes.as_bytes().is_empty() || !self.is_writable(py)? {
                return Ok(());
            }
            let keep = |done| (Chunk::Bytes(share_bytes(data)), done);
            return self.connection.write(py, bytes.as_bytes(), keep);
        }
        check_type(data)?;
        let view = view_of(data)?;
        let data = view.bytes();
        if data.is_empty() || !self.is_writable(py)? {
            return Ok(());
        }
        self.connection.write(py, data, |done| (Chunk::Copied(data[done..].to_vec()), 0))
    }

    fn is_closing(&self) -> bool {
        self.connection.closed.get()
    }

    fn takes_more(&self) -> bool {
        let connection = &self.connection;
        !connection.closed.get() && !connection.paused_writing.get() && connection.is_feeding()
    }
}

#[pymethods]
impl TlsTransport {
    /// TLS on a connected, non-blocking socket. `waiter` gets None, or the handshake's exception.
    #[staticmethod]
    #[pyo3(signature = (event_loop, socket, protocol, options, waiter, extra, server))]
    fn connect<'py>(
        event_loop: &Bound<'py, PyAny>,
        socket: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        options: &Bound<'py, TlsOptions>,
        waiter: Option<Py<PyAny>>,
        extra: Option<Py<pyo3::types::PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let engine = options.get().engine(event_loop.py())?;
        let raw = StreamTransport::face_of_socket(event_loop, socket, extra, server)?;
        let transport = Self::over(&raw, protocol, options, engine, waiter, Told::Nothing)?;
        let connection = Rc::clone(&transport.get().connection);
        let core = connection.stream.core.clone();
        core.push_ready(Ready::Native(Box::new(move |py| {
            connection.start_handshake(py)?;
            connection.stream.watch(py)
        })));
        Ok(transport)
    }

    /// TLS from now on over an open transport, whose protocol was told of its connection already.
    #[staticmethod]
    fn upgrade<'py>(
        raw: &Bound<'py, StreamTransport>,
        protocol: &Bound<'py, PyAny>,
        options: &Bound<'py, TlsOptions>,
        waiter: Py<PyAny>,
    ) -> PyResult<Bound<'py, Self>> {
        let stream = raw.get().stream();
        if stream.closing.get() || stream.lost.get() {
            let message = "start_tls() over a transport that is closed";
            return Err(PyConnectionResetError::new_err(message));
        }
        let engine = options.get().engine(raw.py())?;
        // What came for a reader until now is no part of the TLS connection.
        stream.settle_left(raw.py())?;
        stream.stop_feeding();
        let transport = Self::over(raw, protocol, options, engine, Some(waiter), Told::Made)?;
        let connection = Rc::clone(&transport.get().connection);
        stream.core.push_ready(Ready::Native(Box::new(move |py| {
            connection.start_handshake(py)?;
            connection.stream.set_paused_reading(false);
            Ok(())
        })));
        // Nothing is read before the handshake has begun.
        stream.set_paused_reading(true);
        Ok(transport)
    }

    #[getter(__class__)]
    fn class<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CLASS.get_or_try_init(py, || {
            // Programs tell a TLS connection by this name.
            let module = py.import("asyncio.sslproto")?;
            Ok::<_, PyErr>(module.getattr("_SSLProtocolTransport")?.unbind())
        })?;
        Ok(class.bind(py).clone())
    }

    /// Encrypts and sends all chunks; small ones share records.
    fn writelines(&self, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = list_of_data.py();
        let mut chunks = Vec::new();
        for chunk in list_of_data.try_iter()? {
            let chunk = chunk?;
            chunks.push(if chunk.is_exact_instance_of::<PyBytes>() {
                Chunk::Bytes(share_bytes(&chunk))
            } else {
                check_type(&chunk)?;
                Chunk::Copied(bytes_of(&chunk)?)
            });
        }
        if chunks.is_empty() || !self.is_writable(py)? {
            return Ok(());
        }
        self.connection.write_many(py, chunks)
    }

    /// TLS has no half-closed connections.
    fn write_eof(&self) -> PyResult<()> {
        Err(PyNotImplementedError::new_err(()))
    }

    fn can_write_eof(&self) -> bool {
        false
    }

    /// Closes once everything is sent and the peer said goodbye, within the shutdown timeout.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if self.connection.closed.replace(true) {
            return Ok(());
        }
        self.connection.start_shutdown(py)
    }

    /// Closes at once; what is queued is dropped.
    fn abort(&self, py: Python<'_>) {
        self.connection.abort(py, None);
    }

    /// Closes at once, with `exception` for `connection_lost` (asyncio's own TLS over this calls it).
    fn _force_close(&self, py: Python<'_>, exception: Option<Bound<'_, PyAny>>) {
        self.connection.abort(py, exception.map(PyErr::from_value));
    }

    fn pause_reading(&self) {
        self.connection.pause_reading();
    }

    fn resume_reading(&self) {
        self.connection.resume_reading();
    }

    fn is_reading(&self) -> bool {
        !self.connection.paused_reading.get()
    }

    /// The protocol's `pause_writing` is called above `high` queued bytes, `resume_writing` at
    /// `low` or fewer.
    #[pyo3(signature = (high=None, low=None))]
    fn set_write_buffer_limits(
        &self,
        py: Python<'_>,
        high: Option<i64>,
        low: Option<i64>,
    ) -> PyResult<()> {
        self.connection.write_limits.set(limits(high, low, 512 * 1024)?);
        self.connection.control_writing(py)
    }

    /// `(low, high)`, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize) {
        let (high, low) = self.connection.write_limits.get();
        (low, high)
    }

    /// Bytes queued, encrypted or not.
    fn get_write_buffer_size(&self) -> usize {
        self.connection.queued()
    }

    /// Kept for programs written for asyncio's transport; reading stops at `pause_reading` itself.
    #[pyo3(signature = (high=None, low=None))]
    fn set_read_buffer_limits(&self, high: Option<i64>, low: Option<i64>) -> PyResult<()> {
        self.connection.read_limits.set(limits(high, low, 256 * 1024)?);
        Ok(())
    }

    /// `(low, high)`, in bytes.
    fn get_read_buffer_limits(&self) -> (usize, usize) {
        let (high, low) = self.connection.read_limits.get();
        (low, high)
    }

    /// Bytes that came and were not decrypted yet.
    fn get_read_buffer_size(&self, py: Python<'_>) -> PyResult<usize> {
        self.connection.engine.unread(py)
    }

    /// `sslcontext`; after the handshake `ssl_object`, `peercert`, `cipher` and `compression`; and
    /// what the socket's transport has.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let connection = &*self.connection;
        let key = name.extract::<&str>().unwrap_or_default();
        if key == "sslcontext" {
            return Ok(connection.options.get().context(py).clone());
        }
        let peercert = connection.peercert.borrow().as_ref().map(|cert| cert.bind(py).clone());
        if let Some(peercert) = peercert {
            let object = connection.engine.object(py);
            match key {
                "ssl_object" => return Ok(object.clone()),
                "peercert" => return Ok(peercert),
                "cipher" => return object.call_method0(intern!(py, "cipher")),
                "compression" => return object.call_method0(intern!(py, "compression")),
                _ => {}
            }
        }
        connection.raw.bind(py).call_method1(intern!(py, "get_extra_info"), (name, default))
    }

    /// Replaces the protocol; a `BufferedProtocol` or a plain one.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffered = is_buffered(protocol)?;
        self.connection.stop_feeding();
        let mut replaced = protocol.clone().unbind();
        if let Some(app) = &mut *self.connection.app.borrow_mut() {
            std::mem::swap(&mut app.protocol, &mut replaced);
            app.buffered = buffered;
        }
        drop(replaced); // behind the borrow: this may run Python
        Ok(())
    }

    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.connection.app.borrow().as_ref().map(|app| app.protocol.bind(py).clone())
    }

    /// Queues data and does not send it: the suites of asyncio and uvloop ask transports for this.
    #[pyo3(name = "_test__append_write_backlog")]
    fn append_to_backlog(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.connection.backlog.borrow_mut().push(Chunk::Copied(bytes_of(data)?), 0);
        Ok(())
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.connection.stream.core.object(py)
    }

    /// Under this name programs look for it on transports that are not asyncio's (aiohttp's suite).
    #[getter]
    fn _sslcontext<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.connection.options.get().context(py).clone()
    }

    #[getter]
    fn _protocol_paused(&self) -> bool {
        self.connection.paused_writing.get()
    }

    #[getter]
    fn _start_tls_compatible(&self) -> bool {
        true
    }

    #[getter]
    fn _sendfile_compatible<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("asyncio.constants")?.getattr("_SendfileMode")?.getattr("FALLBACK")
    }

    fn __repr__(&self) -> String {
        let connection = &*self.connection;
        let state = match connection.state.get() {
            State::Handshake => "handshake",
            State::Wrapped if connection.paused_reading.get() => "read=paused",
            State::Wrapped => "read=polling",
            State::Flushing | State::Shutdown => "closing",
            State::Unwrapped => "closed",
        };
        let (fd, queued) = (connection.stream.fd, connection.queued());
        format!("<TlsTransport {state} fd={fd} write=<bufsize={queued}>>")
    }
}

impl TlsTransport {
    /// Has `reader` get the bytes in the protocol's place, until the protocol is replaced.
    pub(crate) fn feed(&self, reader: &Rc<Reader>) {
        self.connection.feed(reader);
    }

    /// Whether what is written now can still leave.
    fn is_writable(&self, py: Python<'_>) -> PyResult<bool> {
        let connection = &*self.connection;
        if matches!(connection.state.get(), State::Wrapped | State::Handshake)
            || connection.told.get() == Told::Nothing
        {
            return Ok(true);
        }
        let lost = connection.lost_writes.get();
        connection.lost_writes.set(lost + 1);
        if lost >= LOST_WRITES_BEFORE_WARNING {
            log(py, "warning", |_| Ok("SSL connection is closed".to_owned()))?;
        }
        Ok(false)
    }
}

/// The warning for a transport that its loop left open.
pub(super) fn warn_unclosed(transport: &Bound<'_, TlsTransport>) -> PyResult<()> {
    let py = transport.py();
    let text = format!("unclosed transport {transport:?}");
    let category = py.get_type::<PyResourceWarning>();
    CString::new(text).map_or(Ok(()), |text| PyErr::warn(py, &category, &text, 1))
}

fn check_type(data: &Bound<'_, PyAny>) -> PyResult<()> {
    if data.is_instance_of::<PyBytes>()
        || data.is_instance_of::<PyByteArray>()
        || data.is_instance_of::<PyMemoryView>()
    {
        return Ok(());
    }
    Err(PyTypeError::new_err(format!(
        "data: expecting a bytes-like instance, got {}",
        data.get_type().name()?
    )))
}
