//! ASGI messages, taken apart and put together.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use pelton_http::h1::ResponseError;

/// A message that an application gave to `send`.
pub(super) struct Message<'a, 'py>(&'a Bound<'py, PyDict>);

/// Header fields of a message, kept alive for as long as the engine reads them.
pub(super) struct Fields<'py>(Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>);

/// A message's bytes.
pub(super) enum Data<'py> {
    Bytes(Bound<'py, PyBytes>),
    Copied(Vec<u8>),
}

impl<'a, 'py> Message<'a, 'py> {
    /// Checks that it is a dict with a type.
    pub(super) fn new(message: &'a Bound<'py, PyAny>) -> PyResult<(Self, Bound<'py, PyString>)> {
        let py = message.py();
        let dict = message.cast::<PyDict>().map_err(|_| {
            PyTypeError::new_err(format!("an ASGI message is a dict, not {}", kind(message)))
        })?;
        let kind = dict
            .get_item(intern!(py, "type"))?
            .ok_or_else(|| PyValueError::new_err("the ASGI message has no 'type'"))?;
        Ok((Self(dict), kind.cast_into::<PyString>()?))
    }

    pub(super) fn status(&self) -> PyResult<u16> {
        let status = self.required(intern!(self.0.py(), "status"))?;
        status.extract().map_err(|_| PyValueError::new_err(format!("no HTTP status: {status}")))
    }

    pub(super) fn fields(&self) -> PyResult<Fields<'py>> {
        let Some(headers) = self.0.get_item(intern!(self.0.py(), "headers"))? else {
            return Ok(Fields(Vec::new()));
        };
        let mut fields = Vec::with_capacity(headers.len().unwrap_or(0));
        for pair in headers.try_iter()? {
            let pair = pair?;
            fields.push((field_part(&pair, 0)?, field_part(&pair, 1)?));
        }
        Ok(Fields(fields))
    }

    /// `body`, by default empty.
    pub(super) fn body(&self) -> PyResult<Data<'py>> {
        let py = self.0.py();
        match self.0.get_item(intern!(py, "body"))? {
            Some(body) => Data::new(body),
            None => Ok(Data::Copied(Vec::new())),
        }
    }

    /// The values of `links`, as header fields.
    pub(super) fn links(&self) -> PyResult<Fields<'py>> {
        let py = self.0.py();
        let name = PyBytes::new(py, b"link");
        let mut fields = Vec::new();
        for link in self.required(intern!(py, "links"))?.try_iter()? {
            fields.push((name.clone(), bytes_of(link?)?));
        }
        Ok(Fields(fields))
    }

    pub(super) fn more_body(&self) -> PyResult<bool> {
        self.flag(intern!(self.0.py(), "more_body"))
    }

    /// A truth value, by default false.
    pub(super) fn flag(&self, name: &Bound<'py, PyString>) -> PyResult<bool> {
        match self.0.get_item(name)? {
            Some(more) => more.is_truthy(),
            None => Ok(false),
        }
    }

    /// A field that may be missing or None.
    pub(super) fn optional(
        &self,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(name)?.filter(|value| !value.is_none()))
    }

    /// A field that must be there.
    pub(super) fn required(&self, name: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        self.0
            .get_item(name)?
            .ok_or_else(|| PyValueError::new_err(format!("the ASGI message has no '{name}'")))
    }
}

impl Fields<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))
    }
}

impl<'py> Data<'py> {
    pub(super) fn new(value: Bound<'py, PyAny>) -> PyResult<Self> {
        let py = value.py();
        match value.cast_into::<PyBytes>() {
            Ok(bytes) => Ok(Self::Bytes(bytes)),
            Err(error) => {
                let value = error.into_inner();
                let buffer = PyBuffer::<u8>::get(&value).map_err(|_| {
                    PyTypeError::new_err(format!("a body is bytes, not {}", kind(&value)))
                })?;
                Ok(Self::Copied(buffer.to_vec(py)?))
            }
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            Self::Copied(bytes) => bytes,
        }
    }
}

/// `{"type": kind}`
pub(super) fn event<'py>(
    py: Python<'py>,
    kind: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyDict>> {
    let event = PyDict::new(py);
    event.set_item(intern!(py, "type"), kind)?;
    Ok(event)
}

/// The error of a `send` that comes too late.
pub(super) fn disconnected() -> PyErr {
    PyOSError::new_err("the client has disconnected")
}

/// The error of a message that does not fit.
pub(super) fn unexpected(kind: &str, expected: &str) -> PyErr {
    PyRuntimeError::new_err(format!("unexpected ASGI message '{kind}': expected {expected}"))
}

/// The engine's refusal, as Python sees it.
pub(super) fn response_error(error: ResponseError) -> PyErr {
    match error {
        ResponseError::OutOfOrder(_) => PyRuntimeError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}

fn field_part<'py>(pair: &Bound<'py, PyAny>, index: usize) -> PyResult<Bound<'py, PyBytes>> {
    bytes_of(pair.get_item(index)?)
}

fn bytes_of(part: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    match part.cast_into::<PyBytes>() {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            let part = error.into_inner();
            let buffer = PyBuffer::<u8>::get(&part).map_err(|_| {
                PyTypeError::new_err(format!(
                    "header names and values are bytes, not {}: {part}",
                    kind(&part)
                ))
            })?;
            Ok(PyBytes::new(part.py(), &buffer.to_vec(part.py())?))
        }
    }
}

fn kind(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
}
