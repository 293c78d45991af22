//! An ASGI `send` that remembers whether a response was begun.

use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

use super::guard::Extra;

/// `send(message)`, passed on.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct TrackedSend {
    send: Py<PyAny>,
    started: AtomicBool,
    /// Header fields that are added to the response's.
    extra: Extra,
}

impl TrackedSend {
    /// Passes on to `send`; `started`: a response has been begun already. `extra` is added to the
    /// header of the response.
    pub(crate) fn new(send: Bound<'_, PyAny>, started: bool, extra: Extra) -> Self {
        Self { send: send.unbind(), started: AtomicBool::new(started), extra }
    }

    /// `message` with the further header fields; the original stays as it is.
    fn with_extra<'py>(&self, message: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyDict>> {
        let py = message.py();
        let headers = PyList::empty(py);
        if let Some(fields) = message.get_item(intern!(py, "headers"))? {
            for field in fields.try_iter()? {
                headers.append(field?)?;
            }
        }
        for (name, value) in &self.extra {
            headers.append((PyBytes::new(py, name), PyBytes::new(py, value)))?;
        }
        let message = message.copy()?;
        message.set_item(intern!(py, "headers"), headers)?;
        Ok(message)
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
                if !self.extra.is_empty() {
                    return self.send.bind(py).call1((self.with_extra(message)?,));
                }
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
