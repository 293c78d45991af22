//! Forms and raw uploads: from a request's bytes to fields, and to files that Python never held.
//!
//! [`parse`] is for a body that is there; [`reader`] and [`body_file`] take bodies piece by piece,
//! from Python or (`Receive.drain`) from a connection's own buffer.

mod body_file;
mod reader;
mod spool;

use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

pub(crate) use body_file::{BodyFile, BodyTooLarge};
pub(crate) use reader::FormReader;

/// A form's fields and files in their order; files are Starlette's `UploadFile`.
pub(crate) type Items<'py> = Vec<(Bound<'py, PyString>, Bound<'py, PyAny>)>;

/// What takes a body's bytes as they come.
pub(crate) trait Consumer {
    /// Takes the next bytes; an error ends the reading.
    fn take(&self, py: Python<'_>, data: &[u8]) -> PyResult<()>;
}

/// Reads a whole form with Starlette's limits; `None` if `content_type` is no form's.
///
/// # Errors
/// `HTTPException` with status 400 and the text that FastAPI's clients know; `OSError` if a file
/// could not be written.
pub(crate) fn parse<'py>(
    py: Python<'py>,
    content_type: &[u8],
    body: &[u8],
) -> PyResult<Option<Items<'py>>> {
    let read = || {
        let Some(reader) = FormReader::with_defaults(py, content_type)? else { return Ok(None) };
        let fed = reader.take(py, body).and_then(|()| reader.items(py));
        if fed.is_err() {
            reader.discard();
        }
        fed.map(Some)
    };
    read().map_err(|error| reader::as_http_error(py, error))
}

/// Reads a whole form with Starlette's limits: its `(name, value)` pairs; None if `content_type` is
/// no form's. Raises `HTTPException` with status 400 if the form is wrong.
#[pyfunction]
fn parse_form<'py>(
    py: Python<'py>,
    content_type: &[u8],
    body: &[u8],
) -> PyResult<Option<Bound<'py, PyList>>> {
    parse(py, content_type, body)?.map(|items| PyList::new(py, items)).transpose()
}

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FormReader>()?;
    module.add_class::<BodyFile>()?;
    module.add_function(wrap_pyfunction!(parse_form, module)?)?;
    module.add("BodyTooLarge", module.py().get_type::<BodyTooLarge>())
}
