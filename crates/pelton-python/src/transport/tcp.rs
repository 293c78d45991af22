//! `StreamTransport`: the transport that a Python protocol gets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};

use super::address;
use super::outlet::Outlet;
use super::sink::{Lost, PythonSink, Sink};
use super::stream::{Owner, Stream, share_bytes};
use super::stream_write::Chunk;
use super::view::View;
use crate::aio::Reader;
use crate::event_loop::core::Ready;
use crate::event_loop::{GilBound, LoopRef, os_error};
use crate::methods::without_dict;

/// Writes after the connection was lost, before they are logged.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

/// A stream socket's transport, TCP or unix. `isinstance(t, asyncio.Transport)` holds.
#[pyclass(frozen, dict, weakref, module = "pelton._core")]
pub(crate) struct StreamTransport {
    inner: GilBound<Inner>,
}

struct Inner {
    stream: Rc<Stream>,
    extra: RefCell<Option<Py<PyDict>>>,
    /// The `asyncio.Server` that counts this connection.
    server: RefCell<Option<Py<PyAny>>>,
    warned: Cell<bool>,
}

impl StreamTransport {
    /// Makes the transport of `stream` and has `connection_made` called in the next turn; then
    /// `waiter` gets its result.
    pub(super) fn start<'py>(
        py: Python<'py>,
        stream: Rc<Stream>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<Py<PyAny>>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let transport = Self::face(py, stream, server)?;
        transport.get().serve(&transport, protocol, waiter)?;
        Ok(transport)
    }

    /// Gives the stream to a Python protocol, as `start` says.
    fn serve(
        &self,
        slf: &Bound<'_, Self>,
        protocol: &Bound<'_, PyAny>,
        waiter: Option<Py<PyAny>>,
    ) -> PyResult<()> {
        let stream = Rc::clone(self.stream());
        // SAFETY: makes a new context object, or fails.
        let context =
            unsafe { Bound::from_owned_ptr_or_err(slf.py(), ffi::PyContext_CopyCurrent())? };
        *stream.sink.borrow_mut() = Sink::Python(PythonSink {
            protocol: protocol.clone().unbind(),
            buffered: is_buffered(protocol)?,
            transport: slf.clone().unbind(),
            context: context.unbind(),
        });
        let core = stream.core.clone();
        core.push_ready(Ready::Native(Box::new(move |py| begin(py, &stream, waiter))));
        Ok(())
    }

    /// Makes the transport of `stream`, and tells the server that there is one.
    pub(super) fn face<'py>(
        py: Python<'py>,
        stream: Rc<Stream>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let inner = Inner {
            stream,
            extra: RefCell::new(None),
            server: RefCell::new(None),
            warned: Cell::new(false),
        };
        let transport = Bound::new(py, Self { inner: GilBound::new(inner) })?;
        without_dict(&transport);
        if let Some(server) = server.filter(|server| !server.is_none()) {
            if server.py().version_info() >= (3, 13) {
                server.call_method1("_attach", (&transport,))?;
            } else {
                server.call_method0("_attach")?;
            }
            *transport.get().inner.server.borrow_mut() = Some(server.clone().unbind());
        }
        Ok(transport)
    }

    /// Makes the transport of a connected, non-blocking socket, whose owner it becomes.
    pub(super) fn face_of_socket<'py>(
        event_loop: &Bound<'py, PyAny>,
        socket: &Bound<'py, PyAny>,
        extra: Option<Py<PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let core = LoopRef::from_object(event_loop)?.into_core();
        let fd = socket.call_method0("fileno")?.extract()?;
        // Only TCP has the option.
        let _ = pelton_reactor::socket::set_nodelay(fd);
        let peer = pelton_reactor::socket::peer_addr(fd);
        let owner = Owner::Socket(socket.clone().unbind());
        let stream = Stream::new(core, fd, owner, peer);
        let transport = Self::face(event_loop.py(), stream, server)?;
        *transport.get().inner.extra.borrow_mut() = extra;
        Ok(transport)
    }

    /// Tells the server that the connection is over.
    pub(super) fn detach_server(slf: &Bound<'_, Self>) -> PyResult<()> {
        let server = slf.get().inner.server.borrow_mut().take();
        let Some(server) = server else {
            return Ok(());
        };
        let server = server.bind(slf.py());
        if server.py().version_info() >= (3, 13) {
            server.call_method1("_detach", (slf,)).map(drop)
        } else {
            server.call_method0("_detach").map(drop)
        }
    }

    /// Has `reader` get the bytes in the protocol's place, until the protocol is replaced. None: the
    /// connection is gone.
    pub(crate) fn feed(&self, reader: &Rc<Reader>) -> Option<Rc<Stream>> {
        let stream = self.stream();
        if stream.lost.get() {
            return None;
        }
        stream.feed(reader);
        Some(Rc::clone(stream))
    }

    pub(super) fn stream(&self) -> &Rc<Stream> {
        &self.inner.stream
    }

    fn protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        match &*self.stream().sink.borrow() {
            Sink::Python(sink) => Some(sink.protocol.bind(py).clone()),
            _ => None,
        }
    }

    fn check_writable(&self, py: Python<'_>) -> PyResult<bool> {
        let stream = self.stream();
        if stream.write_eof.get() {
            return Err(PyRuntimeError::new_err("Cannot call write() after write_eof()"));
        }
        stream.sendfile.check_write()?;
        if !stream.lost.get() {
            return Ok(true);
        }
        stream.lost_writes.set(stream.lost_writes.get() + 1);
        if stream.lost_writes.get() >= LOST_WRITES_BEFORE_WARNING
            && !self.inner.warned.replace(true)
        {
            py.import("asyncio.log")?
                .getattr("logger")?
                .call_method1("warning", ("socket.send() raised exception.",))?;
        }
        Ok(false)
    }
}

impl Outlet for StreamTransport {
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        let stream = self.stream();
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            if bytes.as_bytes().is_empty() || !self.check_writable(py)? {
                return Ok(());
            }
            return stream
                .write_now(py, bytes.as_bytes(), |sent| (Chunk::Bytes(share_bytes(data)), sent));
        }
        let view = view_of(data)?;
        let data = view.bytes();
        if data.is_empty() || !self.check_writable(py)? {
            return Ok(());
        }
        stream.write_now(py, data, |sent| (Chunk::Copied(data[sent..].to_vec()), 0))
    }

    fn is_closing(&self) -> bool {
        self.stream().closing.get()
    }

    fn takes_more(&self) -> bool {
        let stream = self.stream();
        !stream.closing.get() && !stream.paused_writing.get() && stream.feeds.borrow().is_some()
    }
}

/// `connection_made`, then reading, then the waiter.
fn begin(py: Python<'_>, stream: &Rc<Stream>, waiter: Option<Py<PyAny>>) -> PyResult<()> {
    let made = match stream.sink(py) {
        Sink::Python(sink) => sink.connection_made(py).or_else(|error| {
            let message = "Fatal error: protocol.connection_made() call failed.";
            stream.core.report(py, error, message, Some(&sink.details(py)?))
        }),
        _ => Ok(()),
    };
    if let Some(waiter) = waiter {
        if !waiter.call_method0(py, "cancelled")?.is_truthy(py)? {
            waiter.call_method1(py, "set_result", (py.None(),))?;
        }
        // Who waits gets the transport before the first bytes come, as with asyncio.
        let watched = Rc::clone(stream);
        stream.core.push_ready(Ready::Native(Box::new(move |py| watched.watch(py))));
    } else {
        stream.watch(py)?;
    }
    made
}

#[pymethods]
impl StreamTransport {
    /// A connected, non-blocking socket's transport; it closes the socket.
    #[new]
    #[pyo3(signature = (event_loop, socket, protocol, waiter=None, extra=None, server=None))]
    fn new<'py>(
        event_loop: &Bound<'py, PyAny>,
        socket: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        waiter: Option<Py<PyAny>>,
        extra: Option<Py<PyDict>>,
        server: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, Self>> {
        let transport = Self::face_of_socket(event_loop, socket, extra, server)?;
        transport.get().serve(&transport, protocol, waiter)?;
        Ok(transport)
    }

    #[getter(__class__)]
    fn class<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CLASS.get_or_try_init(py, || {
            let module = py.import("asyncio.transports")?;
            Ok::<_, PyErr>(module.getattr("_FlowControlMixin")?.unbind())
        })?;
        Ok(class.bind(py).clone())
    }

    /// Sends all chunks, in one system call where it can.
    fn writelines(&self, list_of_data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = list_of_data.py();
        let mut list = Vec::new();
        for chunk in list_of_data.try_iter()? {
            let chunk = chunk?;
            list.push(match chunk.cast_exact::<PyBytes>() {
                Ok(_) => Chunk::Bytes(share_bytes(&chunk)),
                Err(_) => Chunk::Copied(bytes_of(&chunk)?),
            });
        }
        if list.is_empty() || !self.check_writable(py)? {
            return Ok(());
        }
        self.stream().write_many(py, list)
    }

    /// Ends our side once everything is sent; reading goes on.
    fn write_eof(&self) -> PyResult<()> {
        self.stream().end_writing().map_err(|error| os_error(&error))
    }

    fn can_write_eof(&self) -> bool {
        true
    }

    /// Closes once everything is sent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.stream().settle_left(py)?;
        self.stream().close();
        Ok(())
    }

    /// Closes at once; what is queued is dropped.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.stream().settle_left(py)?;
        self.stream().force_close(Lost::Closed);
        Ok(())
    }

    /// Closes at once, with `exception` for `connection_lost` (asyncio's TLS calls it).
    fn _force_close(&self, py: Python<'_>, exception: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let cause = exception.map_or(Lost::Closed, |error| Lost::Python(PyErr::from_value(error)));
        self.stream().settle_left(py)?;
        self.stream().force_close(cause);
        Ok(())
    }

    fn pause_reading(&self, py: Python<'_>) -> PyResult<()> {
        if self.stream().is_reading() {
            self.stream().settle_left(py)?;
            self.stream().set_paused_reading(true);
        }
        Ok(())
    }

    fn resume_reading(&self) {
        if !self.stream().closing.get() {
            self.stream().set_paused_reading(false);
        }
    }

    fn is_reading(&self) -> bool {
        self.stream().is_reading()
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
        let (high, low) = limits(high, low, 64 * 1024)?;
        self.stream().high.set(high);
        self.stream().low.set(low);
        self.stream().pause_if_full(py)
    }

    /// `(low, high)`, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (self.stream().low.get(), self.stream().high.get())
    }

    /// Bytes queued.
    fn get_write_buffer_size(&self) -> usize {
        self.stream().queue.borrow().len()
    }

    /// `socket`, `sockname`, `peername`, or what the transport was made with.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(extra) = &*self.inner.extra.borrow()
            && let Some(value) = extra.bind(py).get_item(name)?
        {
            return Ok(value);
        }
        let stream = self.stream();
        let found = match name.extract::<&str>() {
            Ok("peername") => {
                stream.peer.as_ref().map(|addr| address::to_python(py, addr)).transpose()?
            }
            Ok("sockname") => {
                stream.local.as_ref().map(|addr| address::to_python(py, addr)).transpose()?
            }
            Ok("socket") => self.transport_socket(py)?,
            _ => None,
        };
        Ok(found.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Replaces the protocol; a `BufferedProtocol` or a plain one.
    fn set_protocol(&self, protocol: &Bound<'_, PyAny>) -> PyResult<()> {
        let buffered = is_buffered(protocol)?;
        self.stream().settle_left(protocol.py())?;
        self.stream().stop_feeding();
        let mut replaced = protocol.clone().unbind();
        if let Sink::Python(sink) = &mut *self.stream().sink.borrow_mut() {
            std::mem::swap(&mut sink.protocol, &mut replaced);
            sink.buffered = buffered;
        }
        drop(replaced); // behind the borrow: this may run Python
        Ok(())
    }

    fn get_protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    #[getter]
    fn _protocol<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyAny>> {
        self.protocol(py)
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stream().core.object(py)
    }

    #[getter]
    fn _protocol_paused(&self) -> bool {
        self.stream().paused_writing.get()
    }

    #[getter]
    fn _start_tls_compatible(&self) -> bool {
        true
    }

    #[getter]
    fn _sendfile_compatible<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        py.import("asyncio.constants")?.getattr("_SendfileMode")?.getattr("TRY_NATIVE")
    }

    /// For `sendfile`: a future that is done once the queue is empty; until `_reset_empty_waiter`,
    /// writing is refused.
    fn _make_empty_waiter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stream().make_empty_waiter(py)
    }

    fn _reset_empty_waiter(&self) {
        self.stream().sendfile.end();
    }

    /// For `sendfile`: a future that is done once the socket has room.
    fn _make_writable_waiter<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.stream().make_writable_waiter(py)
    }

    #[getter]
    fn _sock_fd(&self) -> i32 {
        self.stream().fd
    }

    #[getter]
    fn _sock(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.stream().socket_object(py)
    }

    fn __repr__(&self) -> String {
        let stream = self.stream();
        let state = if stream.lost.get() {
            "closed"
        } else if stream.closing.get() {
            "closing"
        } else if stream.paused_reading.get() {
            "read=paused"
        } else {
            "read=polling"
        };
        let queued = stream.queue.borrow().len();
        format!("<StreamTransport {state} fd={} write=<bufsize={queued}>>", stream.fd)
    }
}

impl StreamTransport {
    fn transport_socket<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(socket) = self.stream().socket_object(py)? else {
            return Ok(None);
        };
        let wrapped = py.import("asyncio.trsock")?.call_method1("TransportSocket", (socket,))?;
        let extra = {
            let mut extra = self.inner.extra.borrow_mut();
            extra.get_or_insert_with(|| PyDict::new(py).unbind()).clone_ref(py)
        };
        extra.bind(py).set_item("socket", &wrapped)?;
        Ok(Some(wrapped))
    }
}

/// asyncio's rules for `set_write_buffer_limits`: `(high, low)`.
pub(super) fn limits(
    high: Option<i64>,
    low: Option<i64>,
    default: i64,
) -> PyResult<(usize, usize)> {
    let (high, low) = match (high, low) {
        (None, None) => (default, default / 4),
        (None, Some(low)) => (low.saturating_mul(4), low),
        (Some(high), low) => (high, low.unwrap_or(high / 4)),
    };
    match (usize::try_from(high), usize::try_from(low)) {
        (Ok(high), Ok(low)) if high >= low => Ok((high, low)),
        _ => {
            Err(PyValueError::new_err(format!("high ({high}) must be >= low ({low}) must be >= 0")))
        }
    }
}

pub(super) fn is_buffered(protocol: &Bound<'_, PyAny>) -> PyResult<bool> {
    static BUFFERED: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let py = protocol.py();
    let class = BUFFERED.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("asyncio")?.getattr("BufferedProtocol")?.unbind())
    })?;
    // Also one that has the methods and not the name.
    Ok(protocol.is_instance(class.bind(py))?
        || (!protocol.hasattr(intern!(py, "data_received"))?
            && protocol.hasattr(intern!(py, "get_buffer"))?))
}

/// The bytes of a bytes-like object, as a copy: it may change once `write` has returned.
pub(crate) fn bytes_of(data: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    Ok(view_of(data)?.bytes().to_vec())
}

/// The bytes of a bytes-like object, where they are.
pub(super) fn view_of(data: &Bound<'_, PyAny>) -> PyResult<View> {
    View::of(data).or_else(|error| {
        if error.is_instance_of::<PyTypeError>(data.py()) {
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes-like object, not '{}'",
                data.get_type().name()?
            )));
        }
        Err(error)
    })
}
