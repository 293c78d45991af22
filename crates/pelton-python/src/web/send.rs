//! An ASGI `send` that remembers whether a response was begun.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// `send(message)`, passed on.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct TrackedSend {
    send: Py<PyAny>,
    started: AtomicBool,
}

impl TrackedSend {
    /// Passes on to `send`; `started`: a response has been begun already.
    pub(crate) fn new(send: Bound<'_, PyAny>, started: bool) -> Self {
        Self { send: send.unbind(), started: AtomicBool::new(started) }
    }
}

#[pymethods]
impl TrackedSend {
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        message: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(message) = message.cast::<PyDict>() {
            let kind = message.get_item(intern!(py, "type"))?;
            let kind = kind.as_ref().and_then(|kind| kind.cast::<PyString>().ok());
            if kind.is_some_and(|kind| kind == "http.response.start") {
                self.started.store(true, Ordering::Relaxed);
            }
        }
        self.send.bind(py).call1((message,))
    }

    /// Whether a response has been begun.
    #[getter]
    fn started(&self) -> bool {
        self.started.load(Ordering::Relaxed)
    }
}
