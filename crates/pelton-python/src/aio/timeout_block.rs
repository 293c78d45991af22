//! The block of a timeout: what `async with` runs on the way in and on the way out, and what becomes
//! of the exception that left it.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::{PyBaseExceptionGroup, PyTimeoutError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::coroutine::{Class, Input, Machine, Step, Visitor};
use super::future::cancelled_error;
use super::raw_class::value_of;
use super::timeout::Timeout;
use crate::event_loop::Owned;

/// Makes the types of this file.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Enter::class().register(py)?;
    Exit::class().register(py)
}

/// `async with`, on the way in.
pub(super) struct Enter(Owned);

impl Enter {
    pub(super) fn new(timeout: Owned) -> Self {
        Self(timeout)
    }
}

impl Machine for Enter {
    const NAME: &'static CStr = c"pelton._core.Timeout_enter";
    const QUALNAME: &'static CStr = c"Timeout.__aenter__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Enter> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, _input: Input) -> PyResult<Step> {
        // SAFETY: made with a timeout, in `aenter`.
        unsafe {
            value_of::<Timeout>(self.0.as_ptr()).enter(py, &self.0)?;
            Ok(Step::Return(Owned::share(self.0.as_ptr())))
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.0);
    }
}

/// `async with`, on the way out.
pub(super) struct Exit {
    timeout: Owned,
    /// Type and value of the exception that left the block.
    error: Option<[Owned; 2]>,
}

impl Exit {
    pub(super) fn new(timeout: Owned, error: Option<[Owned; 2]>) -> Self {
        Self { timeout, error }
    }
}

impl Machine for Exit {
    const NAME: &'static CStr = c"pelton._core.Timeout_exit";
    const QUALNAME: &'static CStr = c"Timeout.__aexit__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Exit> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, _input: Input) -> PyResult<Step> {
        let [kind, error] = match &self.error {
            Some([kind, error]) => [kind.as_ptr(), error.as_ptr()],
            None => [null_mut(), null_mut()],
        };
        // SAFETY: made with a timeout, in `aexit`; the machine holds the rest.
        unsafe { value_of::<Timeout>(self.timeout.as_ptr()).exit(py, kind, error)? };
        Ok(Step::done())
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.timeout);
        for object in self.error.iter().flatten() {
            visitor.see(object);
        }
    }
}

/// What an exceeded timeout makes of the exception that left its block: a cancellation becomes
/// `TimeoutError`, and so it does where it is the context of another exception.
///
/// # Safety
/// `kind` is alive, `error` too or null.
pub(super) unsafe fn expire(
    py: Python<'_>,
    kind: *mut PyObject,
    error: *mut PyObject,
) -> PyResult<()> {
    // SAFETY: the caller's.
    unsafe {
        let cancelled = cancelled_error(py)?.as_ptr();
        match ffi::PyObject_IsSubclass(kind, cancelled) {
            0 => {}
            1 => return Err(PyErr::from_value(timeout_error(py, error)?)),
            _ => return Err(PyErr::fetch(py)),
        }
        if error.is_null() || error == ffi::Py_None() {
            return Ok(());
        }
        let error = Bound::from_borrowed_ptr(py, error);
        insert_timeout_error(&error)?;
        let is_group = error.is_instance_of::<PyBaseExceptionGroup>()
            && error.is_instance(&py.import("builtins")?.getattr("ExceptionGroup")?)?;
        if is_group {
            for inner in error.getattr("exceptions")?.try_iter()? {
                insert_timeout_error(&inner?)?;
            }
        }
    }
    Ok(())
}

/// A new `TimeoutError` whose cause and context is `cause`.
///
/// # Safety
/// `cause` is a live exception, None or null.
pub(super) unsafe fn timeout_error(
    py: Python<'_>,
    cause: *mut PyObject,
) -> PyResult<Bound<'_, PyAny>> {
    let error = py.get_type::<PyTimeoutError>().call0()?;
    // SAFETY: the caller's; the setters take over a reference each.
    unsafe {
        if cause.is_null() || cause == ffi::Py_None() {
            ffi::PyException_SetCause(error.as_ptr(), null_mut());
        } else {
            ffi::PyException_SetContext(error.as_ptr(), ffi::Py_NewRef(cause));
            ffi::PyException_SetCause(error.as_ptr(), ffi::Py_NewRef(cause));
        }
    }
    Ok(error)
}

/// Puts a `TimeoutError` between an exception and the cancellation in the chain of its contexts.
fn insert_timeout_error(error: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = error.py();
    let cancelled = cancelled_error(py)?;
    let mut error = error.clone();
    // SAFETY: live exceptions; the getter gives a new reference, the setter takes one over.
    unsafe {
        while let Some(context) =
            Bound::from_owned_ptr_or_opt(py, ffi::PyException_GetContext(error.as_ptr()))
        {
            if context.is_instance(cancelled)? {
                let inserted = timeout_error(py, context.as_ptr())?;
                ffi::PyException_SetContext(error.as_ptr(), inserted.into_ptr());
                return Ok(());
            }
            error = context;
        }
    }
    Ok(())
}
