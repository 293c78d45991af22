//! A request's body given to a consumer in Rust: a form, or a file. No piece of it becomes a
//! Python object.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBool;

use crate::forms::{BodyFile, Consumer, FormReader};

use super::awaitable::{Source, Waiting};
use super::request::Request;

/// Reads the body of a request to its end.
struct Drain {
    request: Rc<Request>,
    target: Target,
    /// Trades places with the connection's buffer.
    buffer: RefCell<Vec<u8>>,
}

enum Target {
    Form(Py<FormReader>),
    File(Py<BodyFile>),
}

/// An awaitable that reads all of the body into `consumer`: whether it came to its end.
pub(super) fn start(
    py: Python<'_>,
    request: Rc<Request>,
    consumer: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let target = if let Ok(form) = consumer.cast::<FormReader>() {
        Target::Form(form.clone().unbind())
    } else if let Ok(file) = consumer.cast::<BodyFile>() {
        Target::File(file.clone().unbind())
    } else {
        return Err(PyTypeError::new_err("a body is drained into a FormReader or a BodyFile"));
    };
    Waiting::on(py, Rc::new(Drain { request, target, buffer: RefCell::default() }))
}

impl Source for Drain {
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        // Taken out, so that nothing is borrowed while the consumer makes Python objects.
        let mut buffer = self.buffer.take();
        let read = loop {
            match self.request.read_body(py, &mut buffer) {
                Ok(Some(more)) => {
                    if let Err(error) = self.target.take(py, &buffer) {
                        break Err(error);
                    }
                    if !more {
                        break Ok(Some(self.request.is_body_given()));
                    }
                }
                Ok(None) => break Ok(None),
                Err(error) => break Err(error),
            }
        };
        buffer.clear();
        self.buffer.replace(buffer);
        Ok(read?.map(|complete| PyBool::new(py, complete).to_owned().into_any().unbind()))
    }

    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.request.receivers.park(&self.request.shared.event_loop.object(py)?)
    }
}

impl Target {
    fn take(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        match self {
            Self::Form(form) => form.get().take(py, data),
            Self::File(file) => file.get().take(py, data),
        }
    }
}
