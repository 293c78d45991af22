//! C functions as methods of a class: no argument tuple, no conversion. For what is called per
//! message. And whether an object has methods of its own.

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

unsafe extern "C" {
    fn _PyObject_GetDictPtr(object: *mut ffi::PyObject) -> *mut *mut ffi::PyObject;
}

/// Whether attributes were set on this very object (a test that replaces `write`, say): then its
/// methods must be looked up, as Python would.
#[inline]
pub(crate) fn has_own_attributes(object: &Bound<'_, PyAny>) -> bool {
    // SAFETY: a live object. The pointer is null, or that of the field that holds its dict or null.
    unsafe {
        let field = _PyObject_GetDictPtr(object.as_ptr());
        !field.is_null() && !(*field).is_null() && ffi::PyDict_Size(*field) > 0
    }
}

/// Takes the dict from a new object, if it has one already: Python 3.11 and 3.12 make one for each,
/// also where nobody ever sets an attribute. The first that is set makes it anew.
pub(crate) fn without_dict(object: &Bound<'_, PyAny>) {
    // SAFETY: as above; a dict that is empty, and that nobody else has, may go. The field owns it.
    unsafe {
        let field = _PyObject_GetDictPtr(object.as_ptr());
        if field.is_null() || (*field).is_null() {
            return;
        }
        if ffi::PyDict_Size(*field) == 0 && ffi::Py_REFCNT(*field) == 1 {
            let dict = std::mem::replace(&mut *field, std::ptr::null_mut());
            ffi::Py_DECREF(dict);
        }
    }
}
