//! What the GIL guards: loop state that only one thread touches at a time, and raw entry points.

use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::ffi;
use pyo3::panic::PanicException;
use pyo3::prelude::*;

/// A value that is reached only with the GIL held, so that it can live in a Python object.
///
/// The loop's state is `Rc`, `Cell` and `RefCell`: no lock beside the one that is held anyway. The
/// module does not declare support for free-threaded builds, so importing it there turns the GIL on.
pub(crate) struct GilBound<T>(T);

// SAFETY: everything that reaches a GilBound is a method of a Python object or the drop of one;
// both happen with the GIL held, so never in two threads at once.
unsafe impl<T> Send for GilBound<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for GilBound<T> {}

impl<T> GilBound<T> {
    /// Wraps `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for who holds the GIL.
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for GilBound<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Runs the body of a C entry point: an `Err` or a panic becomes the Python exception.
#[inline]
pub(crate) fn entry<T>(failed: T, body: impl FnOnce(Python<'_>) -> PyResult<T>) -> T {
    // SAFETY: Python calls its C entry points with the GIL held.
    let py = unsafe { Python::assume_attached() };
    match catch_unwind(AssertUnwindSafe(|| body(py))) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => {
            error.restore(py);
            failed
        }
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "panic in pelton's event loop".to_owned());
            PanicException::new_err((text,)).restore(py);
            failed
        }
    }
}

/// A strong reference to a Python object in loop state; cheaper to drop than `Py`, which must first
/// find out whether the GIL is held.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Owned(std::ptr::NonNull<ffi::PyObject>);

impl Owned {
    /// Takes over one reference.
    ///
    /// # Safety
    /// `pointer` is a live object, and the caller owns a reference to it.
    pub(crate) unsafe fn steal(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's: a live object is not null.
        Self(unsafe { std::ptr::NonNull::new_unchecked(pointer) })
    }

    /// Makes a new reference.
    ///
    /// # Safety
    /// `pointer` is a live object, and the GIL is held.
    pub(crate) unsafe fn share(pointer: *mut ffi::PyObject) -> Self {
        // SAFETY: the caller's.
        unsafe {
            ffi::Py_INCREF(pointer);
            Self::steal(pointer)
        }
    }

    /// The object.
    pub(crate) fn as_ptr(&self) -> *mut ffi::PyObject {
        self.0.as_ptr()
    }

    /// Another reference to the same object.
    pub(crate) fn share_again(&self) -> Self {
        // SAFETY: it is live, as we hold it; the GIL is held wherever an `Owned` is reached.
        unsafe { Self::share(self.as_ptr()) }
    }

    /// The reference itself, given away.
    pub(crate) fn into_ptr(self) -> *mut ffi::PyObject {
        let pointer = self.0.as_ptr();
        std::mem::forget(self);
        pointer
    }

    /// As the type that PyO3's visitor of garbage collection takes.
    pub(crate) fn as_py(&self) -> &Py<PyAny> {
        // SAFETY: both are transparent over a non-null object pointer that owns a reference.
        unsafe { &*std::ptr::from_ref(self).cast() }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: loop state is dropped with the GIL held (see GilBound), and the reference is ours.
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) }
    }
}
