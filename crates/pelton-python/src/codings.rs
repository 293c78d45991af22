//! Compressed bodies for Python: the codings of `pelton-http`, piece by piece.

use std::cell::RefCell;

use pelton_http::coding::{Coding, DecodeError, Decoder, Encoder, negotiate};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::event_loop::GilBound;
use crate::forms::BodyTooLarge;

/// Compresses one body.
#[pyclass(frozen, module = "pelton._core")]
struct BodyEncoder(GilBound<RefCell<Encoder>>);

#[pymethods]
impl BodyEncoder {
    /// An encoder for `gzip` (levels 1 to 9), `br` (0 to 11) or `zstd` (1 to 19).
    #[new]
    fn new(coding: &str, level: u32) -> PyResult<Self> {
        let encoder = Encoder::new(named(coding)?, level)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self(GilBound::new(RefCell::new(encoder))))
    }

    /// Takes bytes and gives what is ready of their compressed form.
    fn encode<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        self.step(py, |encoder| encoder.encode(data))
    }

    /// Gives all that is still inside.
    fn flush<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.step(py, Encoder::flush)
    }

    /// The end: what is left, and the coding's own ending.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.step(py, Encoder::finish)
    }
}

impl BodyEncoder {
    fn step<'py>(
        &self,
        py: Python<'py>,
        step: impl FnOnce(&mut Encoder) -> std::io::Result<Vec<u8>>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let out = step(&mut self.0.borrow_mut())
            .map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        Ok(PyBytes::new(py, &out))
    }
}

/// Decompresses one body, up to a limit.
#[pyclass(frozen, module = "pelton._core")]
struct BodyDecoder(GilBound<RefCell<Decoder>>);

#[pymethods]
impl BodyDecoder {
    /// A decoder for `gzip`, `br`, `zstd` or `deflate` that lets `max_size` bytes out.
    #[new]
    fn new(coding: &str, max_size: u64) -> PyResult<Self> {
        let decoder = Decoder::new(named(coding)?, max_size)?;
        Ok(Self(GilBound::new(RefCell::new(decoder))))
    }

    /// Takes bytes and gives what they hold.
    fn decode<'py>(&self, py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let out = self.0.borrow_mut().decode(data).map_err(decode_error)?;
        Ok(PyBytes::new(py, &out))
    }

    /// The end of the body: what is left.
    fn finish<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let out = self.0.borrow_mut().finish().map_err(decode_error)?;
        Ok(PyBytes::new(py, &out))
    }
}

/// The coding for a client with these values of `accept-encoding`, of those offered; None where it
/// is to have the content as it is.
#[pyfunction]
fn negotiate_coding(accept: Vec<Vec<u8>>, offered: Vec<String>) -> PyResult<Option<&'static str>> {
    let offered: Vec<Coding> = offered.iter().map(|name| named(name)).collect::<PyResult<_>>()?;
    Ok(negotiate(accept.iter().map(Vec::as_slice), &offered).map(Coding::name))
}

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<BodyEncoder>()?;
    module.add_class::<BodyDecoder>()?;
    module.add_function(wrap_pyfunction!(negotiate_coding, module)?)
}

fn named(coding: &str) -> PyResult<Coding> {
    Coding::named(coding.as_bytes()).ok_or_else(|| {
        PyValueError::new_err(format!(
            "{coding:?} is no coding that is known: gzip, br, zstd and deflate are"
        ))
    })
}

fn decode_error(error: DecodeError) -> PyErr {
    match error {
        DecodeError::TooLarge(_) => BodyTooLarge::new_err(error.to_string()),
        DecodeError::Invalid(_) => PyValueError::new_err(error.to_string()),
    }
}
