//! Callbacks of futures, made without a closure of Python's.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::coroutine::Visitor;
use super::future::Future;
use super::raw_class::{Field, RawClass, RawType, Spec, value_of};
use crate::event_loop::{Owned, entry};

/// Something that futures call when they are done.
pub(super) trait Callback: RawClass {
    /// `__qualname__`, as a task's repr shows it.
    const QUALNAME: &'static CStr;

    /// It is called: with a future that is done, or by a timer with None.
    fn call(&self, py: Python<'_>, future: Option<Future>) -> PyResult<()>;
}

/// Declares what every callback has.
pub(super) fn declare<C: Callback>(spec: Spec<C>) -> Spec<C> {
    spec.internal()
        .callable()
        .attribute(c"__qualname__", qualname::<C>)
        .attribute(c"__name__", qualname::<C>)
}

/// A new callback.
#[inline]
pub(super) fn callback<C: Callback>(py: Python<'_>, value: C) -> PyResult<Owned> {
    C::class().callable(py, value, Some(vectorcall::<C>))
}

unsafe extern "C" fn vectorcall<C: Callback>(
    callback: *mut PyObject,
    args: *const *mut PyObject,
    count: usize,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: the callback, and `count` live objects.
        unsafe {
            let future = match ffi::PyVectorcall_NARGS(count) {
                _ if !names.is_null() => None,
                0 => Some(None),
                1 => Some(Some(Future::from_object(Owned::share(*args)))),
                _ => None,
            };
            let Some(future) = future else {
                return Err(PyTypeError::new_err("a callback of futures takes one future"));
            };
            value_of::<C>(callback).call(py, future)?;
        }
        Ok(py.None().into_ptr())
    })
}

extern "C" fn qualname<C: Callback>(
    _callback: *mut PyObject,
    _closure: *mut std::ffi::c_void,
) -> *mut PyObject {
    // SAFETY: a C string.
    unsafe { ffi::PyUnicode_FromString(C::QUALNAME.as_ptr()) }
}

/// Wakes who waits in a future, whatever happened to the future that calls.
pub(super) struct Wake {
    waiter: Field,
}

impl Wake {
    /// A callback that sets `waiter`'s result to None.
    pub(super) fn callback(py: Python<'_>, waiter: &Future) -> PyResult<Owned> {
        callback(py, Self { waiter: Field::shared(waiter.as_owned()) })
    }
}

impl RawClass for Wake {
    const NAME: &'static CStr = c"pelton._core.wake_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Wake> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.waiter.as_ptr());
    }

    fn clear(&self) {
        drop(self.waiter.take());
    }
}

impl Callback for Wake {
    const QUALNAME: &'static CStr = c"wait_for.<locals>.wake";

    fn call(&self, py: Python<'_>, _future: Option<Future>) -> PyResult<()> {
        if let Some(waiter) = self.waiter.share() {
            Future::from_object(waiter).wake(py, py.None().as_ptr())?;
        }
        Ok(())
    }
}
