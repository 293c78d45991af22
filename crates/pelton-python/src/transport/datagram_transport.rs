//! `DatagramTransport`: what a datagram protocol gets.

use std::cell::Cell;
use std::rc::Rc;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyMemoryView};

use super::datagrams::{Datagrams, Face};
use crate::event_loop::core::Ready;
use crate::event_loop::{GilBound, LoopRef};
use crate::methods::without_dict;

/// Writes after the end, before they are logged.
const LOST_WRITES_BEFORE_WARNING: u32 = 5;

/// A datagram socket's transport. `isinstance` holds for what asyncio's own is an instance of.
#[pyclass(frozen, dict, weakref, module = "pelton._core")]
pub(crate) struct DatagramTransport(GilBound<Inner>);

struct Inner {
    datagrams: Rc<Datagrams>,
    extra: Py<PyDict>,
    /// Writes after the end.
    lost_writes: Cell<u32>,
}

#[pymethods]
impl DatagramTransport {
    /// A non-blocking socket's transport; it closes the socket. `address`: where all of it goes.
    #[new]
    #[pyo3(signature = (event_loop, socket, protocol, address=None, waiter=None, extra=None))]
    fn new<'py>(
        event_loop: &Bound<'py, PyAny>,
        socket: &Bound<'py, PyAny>,
        protocol: &Bound<'py, PyAny>,
        address: Option<Bound<'py, PyAny>>,
        waiter: Option<Py<PyAny>>,
        extra: Option<Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, Self>> {
        let py = event_loop.py();
        let core = LoopRef::from_object(event_loop)?.into_core();
        let extra = extra.unwrap_or_else(|| PyDict::new(py));
        describe(socket, &extra)?;
        let connected = match extra.get_item("peername")? {
            Some(peer) => peer.is_truthy()?,
            None => false,
        };
        let address = address.filter(|address| !address.is_none()).map(Bound::unbind);
        let fd = socket.call_method0(intern!(py, "fileno"))?.extract()?;
        let family = socket.getattr(intern!(py, "family"))?.extract()?;
        let datagrams = Datagrams::new(py, core, fd, family, address, connected);
        let inner = Inner {
            datagrams: datagrams.clone(),
            extra: extra.unbind(),
            lost_writes: Cell::new(0),
        };
        let transport = Bound::new(py, Self(GilBound::new(inner)))?;
        without_dict(&transport);
        // SAFETY: makes a new context object, or fails.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        *datagrams.face.borrow_mut() = Some(Face {
            socket: socket.clone().unbind(),
            protocol: protocol.clone().unbind(),
            transport: transport.clone().unbind(),
            context: context.unbind(),
        });
        let core = datagrams.core.clone();
        core.push_ready(Ready::Native(Box::new(move |py| datagrams.begin(py, waiter))));
        Ok(transport)
    }

    #[getter(__class__)]
    fn class<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let class = CLASS.get_or_try_init(py, || {
            let module = py.import("asyncio.selector_events")?;
            Ok::<_, PyErr>(module.getattr("_SelectorDatagramTransport")?.unbind())
        })?;
        Ok(class.bind(py).clone())
    }

    /// Sends a datagram to `addr`, or to where the transport's datagrams all go.
    #[pyo3(signature = (data, addr=None))]
    fn sendto(&self, data: &Bound<'_, PyAny>, addr: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let py = data.py();
        let bytes_like = data.is_instance_of::<PyBytes>()
            || data.is_instance_of::<PyByteArray>()
            || data.is_instance_of::<PyMemoryView>();
        if !bytes_like {
            return Err(PyTypeError::new_err(format!(
                "data argument must be a bytes-like object, not '{}'",
                data.get_type().name()?
            )));
        }
        // Up to 3.12, asyncio sends no empty datagrams.
        if data.len()? == 0 && py.version_info() < (3, 13) {
            return Ok(());
        }
        let datagrams = self.datagrams();
        let mut to = addr.filter(|addr| !addr.is_none());
        if let Some(only) = &datagrams.address {
            let only = only.bind(py);
            if let Some(to) = &to
                && !to.eq(only)?
            {
                return Err(PyValueError::new_err(format!(
                    "Invalid address: must be None or {only}"
                )));
            }
            to = Some(only.clone());
        }
        if datagrams.lost.get() {
            return self.note_lost_write(py);
        }
        datagrams.send(py, data, to.as_ref())
    }

    /// Closes once everything is sent.
    fn close(&self) {
        self.datagrams().close();
    }

    /// Closes at once; what waits is dropped.
    fn abort(&self) {
        self.datagrams().force_close(None);
    }

    fn is_closing(&self) -> bool {
        self.datagrams().closing.get()
    }

    fn pause_reading(&self) {
        if self.datagrams().is_reading() {
            self.datagrams().paused_reading.set(true);
        }
    }

    fn resume_reading(&self) {
        if !self.datagrams().closing.get() && self.datagrams().paused_reading.replace(false) {
            self.datagrams().read_more_later();
        }
    }

    fn is_reading(&self) -> bool {
        self.datagrams().is_reading()
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
        let high = high.unwrap_or_else(|| low.map_or(64 * 1024, |low| 4 * low));
        let low = low.unwrap_or(high / 4);
        if !(high >= low && low >= 0) {
            return Err(PyValueError::new_err(format!(
                "high ({high}) must be >= low ({low}) must be >= 0"
            )));
        }
        self.datagrams().high.set(high as usize);
        self.datagrams().low.set(low as usize);
        self.datagrams().pause_if_full(py)
    }

    /// `(low, high)`, in bytes.
    fn get_write_buffer_limits(&self) -> (usize, usize) {
        (self.datagrams().low.get(), self.datagrams().high.get())
    }

    /// Bytes queued.
    fn get_write_buffer_size(&self) -> usize {
        self.datagrams().queued_bytes.get()
    }

    /// The longest datagram that is received whole, in bytes; 256 KiB at most.
    #[getter]
    fn max_size(&self) -> usize {
        self.datagrams().max_size.get()
    }

    #[setter]
    fn set_max_size(&self, bytes: usize) {
        self.datagrams().max_size.set(bytes);
    }

    /// `socket`, `sockname`, `peername`, or what the transport was made with.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.extra.bind(py).get_item(name)?.or(default))
    }

    fn set_protocol(&self, protocol: Py<PyAny>) {
        let mut replaced = protocol;
        if let Some(face) = &mut *self.datagrams().face.borrow_mut() {
            std::mem::swap(&mut face.protocol, &mut replaced);
        }
        drop(replaced); // behind the borrow: this may run Python
    }

    fn get_protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.datagrams().face(py).map(|face| face.protocol)
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.get_protocol(py)
    }

    #[getter]
    fn _loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.datagrams().core.object(py)
    }

    #[getter]
    fn _sock_fd(&self) -> i32 {
        self.datagrams().fd
    }

    #[getter]
    fn _sock(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.datagrams().face(py).map(|face| face.socket)
    }

    fn __repr__(&self) -> String {
        let datagrams = self.datagrams();
        let state = if datagrams.lost.get() {
            "closed"
        } else if datagrams.closing.get() {
            "closing"
        } else if datagrams.paused_reading.get() {
            "read=paused"
        } else {
            "read=polling"
        };
        let queued = datagrams.queued_bytes.get();
        format!("<DatagramTransport {state} fd={} write=<bufsize={queued}>>", datagrams.fd)
    }
}

impl DatagramTransport {
    fn datagrams(&self) -> &Rc<Datagrams> {
        &self.0.datagrams
    }

    fn note_lost_write(&self, py: Python<'_>) -> PyResult<()> {
        let count = self.0.lost_writes.get() + 1;
        self.0.lost_writes.set(count);
        if count > LOST_WRITES_BEFORE_WARNING {
            py.import("asyncio.log")?
                .getattr("logger")?
                .call_method1("warning", ("socket.send() raised exception.",))?;
        }
        Ok(())
    }
}

/// Puts what asyncio tells of a socket into `extra`.
fn describe(socket: &Bound<'_, PyAny>, extra: &Bound<'_, PyDict>) -> PyResult<()> {
    let py = socket.py();
    let wrapped = py.import("asyncio.trsock")?.call_method1("TransportSocket", (socket,))?;
    extra.set_item("socket", wrapped)?;
    let name = socket.call_method0("getsockname").unwrap_or_else(|_| py.None().into_bound(py));
    extra.set_item("sockname", name)?;
    if !extra.contains("peername")? {
        let peer = socket.call_method0("getpeername").unwrap_or_else(|_| py.None().into_bound(py));
        extra.set_item("peername", peer)?;
    }
    Ok(())
}
