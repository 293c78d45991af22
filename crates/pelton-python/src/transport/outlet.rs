//! What both kinds of stream transports have that is called per message, as C functions and, for
//! stream writers, without a look-up.

use std::ptr::null_mut;

use pyo3::PyClass;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use super::tcp::StreamTransport;
use super::tls::TlsTransport;
use crate::event_loop::entry;
use crate::methods::{add_method, has_own_attributes};

/// A stream transport of ours, whether it encrypts or not.
pub(crate) trait Outlet {
    /// Sends `data`: at once if nothing waits, and else after it. Never blocks.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<()>;
    /// Whether it is closed, or about to be.
    fn is_closing(&self) -> bool;
    /// Whether it feeds a reader, is open, and has not stopped the writing.
    fn takes_more(&self) -> bool;
}

/// `transport` as what it is; None if it is none of ours, or a program set attributes on it, which
/// may be methods.
pub(crate) fn outlet<'a>(transport: &'a Bound<'_, PyAny>) -> Option<&'a dyn Outlet> {
    if has_own_attributes(transport) {
        return None;
    }
    if let Ok(plain) = transport.cast_exact::<StreamTransport>() {
        return Some(plain.get());
    }
    transport.cast_exact::<TlsTransport>().ok().map(|encrypting| encrypting.get() as &dyn Outlet)
}

/// Adds `write` and `is_closing` to a class.
pub(super) fn add_methods<T>(py: Python<'_>) -> PyResult<()>
where
    T: Outlet + PyClass<Frozen = True> + Sync,
{
    let kind = py.get_type::<T>();
    let write_doc =
        c"write($self, data)\n--\n\nSend bytes: now if nothing waits, and else after what does.";
    let closing_doc = c"is_closing($self)\n--\n\nWhether it is closed, or about to be.";
    let function = |function| ffi::PyMethodDefPointer { PyCFunction: function };
    add_method(&kind, c"write", function(write::<T>), ffi::METH_O, write_doc)?;
    add_method(&kind, c"is_closing", function(is_closing::<T>), ffi::METH_NOARGS, closing_doc)
}

unsafe extern "C" fn write<T>(object: *mut PyObject, data: *mut PyObject) -> *mut PyObject
where
    T: Outlet + PyClass<Frozen = True> + Sync,
{
    entry(null_mut(), |py| {
        // SAFETY: `self` of a method of this class and its argument, alive for the call.
        unsafe {
            let transport = Borrowed::from_ptr(py, object).cast_unchecked::<T>();
            transport.get().write(&Bound::from_borrowed_ptr(py, data))?;
        }
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn is_closing<T>(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject
where
    T: Outlet + PyClass<Frozen = True> + Sync,
{
    entry(null_mut(), |py| {
        // SAFETY: `self` of a method of this class, alive for the call.
        let closing =
            unsafe { Borrowed::from_ptr(py, object).cast_unchecked::<T>().get().is_closing() };
        // SAFETY: the GIL is held.
        Ok(unsafe { ffi::PyBool_FromLong(closing.into()) })
    })
}
