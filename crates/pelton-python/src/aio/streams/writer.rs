//! `StreamWriter`.

use std::cell::{Cell, RefCell};
use std::ffi::CString;
use std::ptr::null_mut;

use pyo3::exceptions::{PyAssertionError, PyResourceWarning};
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::draining::{Closed, Draining};
use super::reader_type::StreamReader;
use crate::aio::coroutine::coroutine;
use crate::event_loop::{GilBound, Owned, entry};
use crate::methods::add_method;
use crate::transport::outlet;

/// The writing half of a connection. See `pelton.aio.StreamWriter`.
// No `dict` here: the interpreter makes it while the object's contents are not there yet, and the
// collector may run then. The class in Python has it.
#[pyclass(frozen, subclass, weakref, module = "pelton._core")]
pub(crate) struct StreamWriter {
    /// It changes with `start_tls`.
    transport: GilBound<RefCell<Py<PyAny>>>,
    pub(super) protocol: Py<PyAny>,
    pub(super) reader: Option<Py<StreamReader>>,
    event_loop: Py<PyAny>,
    /// `finalize` was done.
    finalized: GilBound<Cell<bool>>,
}

impl StreamWriter {
    pub(super) fn bound_transport<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.transport.borrow().bind(py).clone()
    }

    fn write_data(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let transport = self.bound_transport(data.py());
        match outlet(&transport) {
            Some(ours) => ours.write(data),
            None => transport.call_method1(intern!(data.py(), "write"), (data,)).map(drop),
        }
    }

    pub(super) fn is_transport_closing(&self, py: Python<'_>) -> PyResult<bool> {
        let transport = self.bound_transport(py);
        match outlet(&transport) {
            Some(ours) => Ok(ours.is_closing()),
            None => transport.call_method0(intern!(py, "is_closing"))?.is_truthy(),
        }
    }

    /// Whether all is well with one of our own connections: it is open, and takes more.
    pub(super) fn is_drained(&self, py: Python<'_>) -> bool {
        let transport = self.bound_transport(py);
        let Some(ours) = outlet(&transport) else {
            return false;
        };
        let failed = match &self.reader {
            Some(reader) => reader.get().inner().exception.borrow().is_some(),
            None => false,
        };
        !failed && ours.takes_more()
    }

    /// What asyncio's `__del__` does.
    fn warn_if_open(&self, py: Python<'_>) -> PyResult<()> {
        if self.is_transport_closing(py)? {
            return Ok(());
        }
        let category = py.get_type::<PyResourceWarning>();
        if self.event_loop.call_method0(py, intern!(py, "is_closed"))?.is_truthy(py)? {
            return PyErr::warn(py, &category, c"loop is closed", 1);
        }
        let text = format!("unclosed {}", self.describe(py, "StreamWriter")?);
        self.bound_transport(py).call_method0(intern!(py, "close"))?;
        PyErr::warn(py, &category, &CString::new(text).unwrap_or_default(), 1)
    }

    /// Closes the connection of a writer that nobody holds any more.
    fn finalize(&self, py: Python<'_>) {
        if self.finalized.replace(true) {
            return;
        }
        // An exception that is on its way goes on.
        let raised = PyErr::take(py);
        if let Err(error) = self.warn_if_open(py) {
            error.write_unraisable(py, None);
        }
        if let Some(raised) = raised {
            raised.restore(py);
        }
    }

    fn describe(&self, py: Python<'_>, class: &str) -> PyResult<String> {
        let transport = self.bound_transport(py).repr()?;
        match &self.reader {
            Some(reader) => {
                Ok(format!("<{class} transport={transport} reader={}>", reader.bind(py).repr()?))
            }
            None => Ok(format!("<{class} transport={transport}>")),
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        // SAFETY: Python objects die with the GIL held.
        self.finalize(unsafe { Python::assume_attached() });
    }
}

#[pymethods]
impl StreamWriter {
    #[new]
    fn new(
        transport: Py<PyAny>,
        protocol: Py<PyAny>,
        reader: Option<&Bound<'_, PyAny>>,
        r#loop: Py<PyAny>,
    ) -> PyResult<Self> {
        let reader = match reader.map(|reader| reader.cast::<StreamReader>()) {
            None => None,
            Some(Ok(reader)) => Some(reader.clone().unbind()),
            Some(Err(_)) => {
                return Err(PyAssertionError::new_err("reader must be a pelton.aio.StreamReader"));
            }
        };
        let transport = GilBound::new(RefCell::new(transport));
        let finalized = GilBound::new(Cell::new(false));
        Ok(Self { transport, protocol, reader, event_loop: r#loop, finalized })
    }

    /// The transport.
    #[getter]
    fn transport(&self, py: Python<'_>) -> Py<PyAny> {
        self.bound_transport(py).unbind()
    }

    #[getter]
    fn _transport(&self, py: Python<'_>) -> Py<PyAny> {
        self.bound_transport(py).unbind()
    }

    #[setter(_transport)]
    fn set_transport(&self, transport: Py<PyAny>) {
        let old = self.transport.replace(transport);
        drop(old);
    }

    #[getter]
    fn _protocol(&self, py: Python<'_>) -> Py<PyAny> {
        self.protocol.clone_ref(py)
    }

    #[getter]
    fn _reader(&self, py: Python<'_>) -> Option<Py<StreamReader>> {
        self.reader.as_ref().map(|reader| reader.clone_ref(py))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.event_loop.clone_ref(py)
    }

    /// Sends chunks, in one system call where it can.
    fn writelines(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        self.bound_transport(py).call_method1(intern!(py, "writelines"), (data,)).map(drop)
    }

    /// Ends our side once everything is sent; reading goes on.
    fn write_eof(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound_transport(py).call_method0(intern!(py, "write_eof")).map(Bound::unbind)
    }

    /// Whether the transport knows `write_eof`.
    fn can_write_eof(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound_transport(py).call_method0(intern!(py, "can_write_eof")).map(Bound::unbind)
    }

    /// Closes once everything is sent.
    fn close(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.bound_transport(py).call_method0(intern!(py, "close")).map(Bound::unbind)
    }

    /// Whether it is closed, or about to be.
    fn is_closing(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_transport_closing(py)
    }

    /// What the transport knows by that name.
    #[pyo3(signature = (name, default=None))]
    fn get_extra_info(
        &self,
        py: Python<'_>,
        name: &Bound<'_, PyAny>,
        default: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let args = (name, default);
        let info = self.bound_transport(py).call_method1(intern!(py, "get_extra_info"), args)?;
        Ok(info.unbind())
    }

    /// Goes on with TLS on this connection.
    #[pyo3(signature = (*args, **kwargs))]
    fn start_tls<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let start = py.import("pelton.aio._streams")?.getattr("start_tls")?;
        let first = PyTuple::new(py, [slf])?;
        start.call(first.as_sequence().concat(args.as_sequence())?.to_tuple()?, kwargs)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        slf.get().describe(slf.py(), &slf.get_type().name()?.to_string())
    }

    /// The `__del__` of the class in Python: the collector calls it while everything that the
    /// writer reaches is still whole. (Python classes do not inherit `tp_finalize` before 3.12.)
    fn _finalize(&self, py: Python<'_>) {
        self.finalize(py);
    }

    // All but the transport never change, so other members of a cycle are those that are cleared.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(transport) = self.transport.try_borrow() {
            visit.call(&*transport)?;
        }
        visit.call(&self.protocol)?;
        visit.call(&self.reader)?;
        visit.call(&self.event_loop)
    }
}

/// Adds the methods that are called per message, as C functions.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let kind = py.get_type::<StreamWriter>();
    let methods: [(_, ffi::PyCFunction, _, _); 3] = [
        (
            c"write",
            write,
            ffi::METH_O,
            c"write($self, data)\n--\n\nSend bytes: now if nothing waits, and else after what does.",
        ),
        (
            c"drain",
            drain,
            ffi::METH_NOARGS,
            c"drain($self)\n--\n\nWait until the connection takes more.",
        ),
        (
            c"wait_closed",
            wait_closed,
            ffi::METH_NOARGS,
            c"wait_closed($self)\n--\n\nWait until the connection is closed.",
        ),
    ];
    for (name, function, flags, doc) in methods {
        let function = ffi::PyMethodDefPointer { PyCFunction: function };
        add_method(&kind, name, function, flags, doc)?;
    }
    Ok(())
}

unsafe extern "C" fn write(object: *mut PyObject, data: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: `self` of a method and its argument, alive for the call.
        unsafe {
            let writer = Borrowed::from_ptr(py, object).cast_unchecked::<StreamWriter>();
            writer.get().write_data(&Bound::from_borrowed_ptr(py, data))?;
        }
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn drain(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method, alive for the call.
    entry(null_mut(), |py| coroutine(py, Draining::new(unsafe { Owned::share(object) })))
}

unsafe extern "C" fn wait_closed(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: `self` of a method, alive for the call.
    entry(null_mut(), |py| coroutine(py, Closed::new(unsafe { Owned::share(object) })))
}
