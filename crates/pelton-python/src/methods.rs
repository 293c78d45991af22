//! C functions as methods of a class: no argument tuple, no conversion. For what is called per
//! message.

use std::ffi::{CStr, c_int};

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};

/// Adds a C function to a class. `doc` may begin with a signature, as the interpreter's own do.
pub(crate) fn add_method(
    kind: &Bound<'_, PyType>,
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
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
