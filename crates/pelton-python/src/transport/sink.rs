//! Who gets a connection's bytes: a Python protocol, a buffered one, or one in Rust.

use std::io;
use std::rc::Rc;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::native::NativeProtocol;
use super::tcp::StreamTransport;

/// A connection's protocol.
pub(crate) enum Sink {
    Python(PythonSink),
    Native(Rc<dyn NativeProtocol>),
    /// After `connection_lost`.
    Gone,
}

/// A Python protocol and what it needs.
pub(crate) struct PythonSink {
    pub(crate) protocol: Py<PyAny>,
    /// It is an `asyncio.BufferedProtocol`.
    pub(crate) buffered: bool,
    pub(crate) transport: Py<StreamTransport>,
    /// All its callbacks run in this context.
    pub(crate) context: Py<PyAny>,
}

/// Why a connection is gone.
pub(crate) enum Lost {
    /// It was closed in order, by either side.
    Closed,
    /// The socket failed.
    Io(io::Error),
    /// The protocol failed.
    Python(PyErr),
}

impl Lost {
    /// For a Python protocol.
    pub(crate) fn into_object(self, py: Python<'_>) -> Py<PyAny> {
        match self {
            Self::Closed => py.None(),
            Self::Io(error) => crate::event_loop::os_error(&error).into_value(py).into_any(),
            Self::Python(error) => error.into_value(py).into_any(),
        }
    }

    /// For a native protocol.
    pub(crate) fn into_io(self) -> Option<io::Error> {
        match self {
            Self::Closed => None,
            Self::Io(error) => Some(error),
            Self::Python(error) => Some(io::Error::other(error.to_string())),
        }
    }
}

impl Sink {
    pub(crate) fn share(&self, py: Python<'_>) -> Self {
        match self {
            Self::Python(sink) => Self::Python(sink.share(py)),
            Self::Native(protocol) => Self::Native(Rc::clone(protocol)),
            Self::Gone => Self::Gone,
        }
    }
}

impl PythonSink {
    fn share(&self, py: Python<'_>) -> Self {
        Self {
            protocol: self.protocol.clone_ref(py),
            buffered: self.buffered,
            transport: self.transport.clone_ref(py),
            context: self.context.clone_ref(py),
        }
    }

    /// What the loop's exception handler is told of a failure here.
    pub(crate) fn details<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let details = PyDict::new(py);
        details.set_item("transport", &self.transport)?;
        details.set_item("protocol", &self.protocol)?;
        Ok(details)
    }

    /// `protocol.connection_made(transport)`, in a context of its own: what it sets there is not
    /// seen by the callbacks that follow, as with asyncio.
    pub(crate) fn connection_made(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: a live context; the copy is a new object, or null on failure.
        let context = unsafe {
            let copy = ffi::PyContext_Copy(self.context.as_ptr());
            Bound::from_owned_ptr_or_err(py, copy)?
        };
        self.within_context(py, context.as_ptr(), |protocol| {
            let transport = self.transport.bind(py);
            protocol.call_method1(intern!(py, "connection_made"), (transport,)).map(drop)
        })
    }

    /// Runs `call` in the protocol's context.
    pub(crate) fn within<R>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        self.within_context(py, self.context.as_ptr(), call)
    }

    fn within_context<R>(
        &self,
        py: Python<'_>,
        context: *mut ffi::PyObject,
        call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<R>,
    ) -> PyResult<R> {
        // SAFETY: a live context object.
        if unsafe { ffi::PyContext_Enter(context) } < 0 {
            return Err(PyErr::fetch(py));
        }
        let result = call(self.protocol.bind(py));
        // SAFETY: it was entered just above, and what ran in between left as it entered.
        if unsafe { ffi::PyContext_Exit(context) } < 0 && result.is_ok() {
            return Err(PyErr::fetch(py));
        }
        result
    }

    /// `protocol.data_received(data)`.
    pub(crate) fn data_received(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.within(py, |protocol| {
            protocol.call_method1(intern!(py, "data_received"), (data,)).map(drop)
        })
    }
}
