//! Dependencies that yield, on their way out.

use pyo3::exceptions::{PyRuntimeError, PyStopAsyncIteration};
use pyo3::intern;
use pyo3::prelude::*;

/// What was entered and is to be left.
pub(crate) enum Leave {
    /// An asynchronous context manager.
    Manager(Py<PyAny>),
    /// An asynchronous generator that has yielded once.
    Generator(Py<PyAny>),
    /// One that has been dealt with.
    Finished,
}

impl Leave {
    /// Begins to leave it without an error; the result is to be awaited.
    pub(crate) fn begin<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Manager(manager) => manager
                .bind(py)
                .call_method1(intern!(py, "__aexit__"), (py.None(), py.None(), py.None())),
            Self::Generator(generator) => generator.bind(py).call_method0(intern!(py, "__anext__")),
            Self::Finished => Err(PyRuntimeError::new_err("left twice")),
        }
    }

    /// The error of entering it, in the words of `contextlib`.
    pub(crate) fn not_entered(&self, py: Python<'_>, error: PyErr) -> PyErr {
        match self {
            Self::Generator(_) if error.is_instance_of::<PyStopAsyncIteration>(py) => {
                PyRuntimeError::new_err("generator didn't yield")
            }
            _ => error,
        }
    }

    /// The manager or generator.
    pub(crate) fn object(&self) -> Option<&Py<PyAny>> {
        match self {
            Self::Manager(object) | Self::Generator(object) => Some(object),
            Self::Finished => None,
        }
    }

    /// The manager or generator itself.
    pub(crate) fn into_object(self) -> Option<Py<PyAny>> {
        match self {
            Self::Manager(object) | Self::Generator(object) => Some(object),
            Self::Finished => None,
        }
    }
}
