//! Streams: `StreamReader` and `StreamWriter`.
//!
//! - `reader`: the bytes that came, and who waits for them; `reader_type`: its Python face
//! - `reading`: the coroutines `read`, `readexactly`, `readuntil`, `readline`
//! - `separator`: where a line or message ends
//! - `writer`: `StreamWriter`; `draining`: its coroutines
//!
//! On our loop, a connection gives its bytes to its reader with no Python in between
//! (`transport/stream_feed.rs`). On other loops, the protocol in `pelton/aio/_streams.py` feeds it.

mod draining;
pub(crate) mod reader;
mod reader_type;
mod reading;
mod separator;
mod writer;

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// Adds this area's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<reader_type::StreamReader>()?;
    module.add_class::<writer::StreamWriter>()?;
    reader_type::register(module.py())?;
    writer::register(module.py())?;
    reading::register(module.py())?;
    draining::register(module.py())
}

/// Adds a C function to a class as a method.
fn add_method(
    kind: &Bound<'_, PyType>,
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: std::ffi::c_int,
    doc: &'static CStr,
) -> PyResult<()> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: doc.as_ptr(),
    }));
    // SAFETY: the definition lives as long as the process; the descriptor checks that `self` is of
    // `kind` before it calls.
    let descriptor = unsafe {
        let descriptor = ffi::PyDescr_NewMethod(kind.as_type_ptr(), definition);
        Bound::from_owned_ptr_or_err(kind.py(), descriptor)?
    };
    kind.setattr(PyString::new(kind.py(), &name.to_string_lossy()), descriptor)
}
