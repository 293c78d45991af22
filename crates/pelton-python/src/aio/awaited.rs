//! What a machine waits in.

use std::ffi::c_int;

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::coroutine::{Input, Step, Visitor};
use super::future::{Future, call_method, owned};
use crate::event_loop::Owned;

/// The `await` of something, under way.
///
/// Make it, take a first step with `Input::Go`, pass on what the steps yield and pass in what the
/// machine is resumed with, until a step returns a value or an error. After that, drop it.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// A stock future, which has been yielded or will be.
    Future { future: Future, yielded: bool },
    /// Any other awaitable, by the iterator that its `__await__` gave.
    Iterator(Owned),
}

impl Awaited {
    /// `await future`.
    pub(crate) fn future(py: Python<'_>, future: &Future) -> PyResult<Self> {
        if future.is_stock(py)? {
            return Ok(Self::Future { future: future.share(), yielded: false });
        }
        Self::object(py, future.as_ptr())
    }

    /// `await object`, for any awaitable.
    pub(crate) fn object(py: Python<'_>, object: *mut ffi::PyObject) -> PyResult<Self> {
        // SAFETY: a live object and its type; a coroutine is its own iterator.
        unsafe {
            let kind = ffi::Py_TYPE(object);
            if kind == &raw mut ffi::PyCoro_Type {
                return Ok(Self::Iterator(Owned::share(object)));
            }
            let slot = (*kind).tp_as_async.as_ref().and_then(|slots| slots.am_await);
            let iterator = match slot {
                Some(am_await) => owned(py, am_await(object))?,
                None => Owned::share(object),
            };
            if slot.is_none() && !is_iterable_coroutine(object) {
                let name = Bound::from_borrowed_ptr(py, object).get_type().name()?;
                return Err(PyTypeError::new_err(format!(
                    "object {name} can't be used in 'await' expression"
                )));
            }
            Ok(Self::Iterator(iterator))
        }
    }

    /// Takes a step.
    pub(crate) fn step(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        match self {
            Self::Future { future, yielded } => match input {
                Input::Error(error) => Err(error),
                Input::Go if future.has_none(py)? => Ok(Step::done()),
                Input::Go if future.done(py)? => Ok(Step::Return(future.result(py)?)),
                Input::Go if *yielded => {
                    Err(PyRuntimeError::new_err("await wasn't used with future"))
                }
                Input::Go => {
                    future.begin_await(py)?;
                    *yielded = true;
                    Ok(Step::Yield(future.share().into_owned()))
                }
            },
            Self::Iterator(iterator) => match input {
                Input::Go => send(py, iterator),
                Input::Error(error) => throw(py, iterator, error),
            },
        }
    }

    /// What is waited in, for `cr_await`.
    pub(crate) fn awaiting(&self) -> &Owned {
        match self {
            Self::Future { future, .. } => future.as_owned(),
            Self::Iterator(iterator) => iterator,
        }
    }

    /// Shows the collector what it holds.
    pub(crate) fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.awaiting());
    }
}

/// A generator made awaitable by `types.coroutine`.
unsafe fn is_iterable_coroutine(object: *mut ffi::PyObject) -> bool {
    // SAFETY: the caller passes a live object; the code of a generator is a code object.
    unsafe {
        if ffi::PyGen_CheckExact(object) == 0 {
            return false;
        }
        let py = Python::assume_attached();
        let code = Bound::from_borrowed_ptr(py, object).getattr(intern!(py, "gi_code"));
        let flags = code.and_then(|code| code.getattr(intern!(py, "co_flags"))?.extract::<c_int>());
        flags.is_ok_and(|flags| flags & ffi::CO_ITERABLE_COROUTINE != 0)
    }
}

fn send(py: Python<'_>, iterator: &Owned) -> PyResult<Step> {
    let mut value = std::ptr::null_mut();
    // SAFETY: a live iterator; the result is a new reference unless it failed.
    unsafe {
        match ffi::PyIter_Send(iterator.as_ptr(), ffi::Py_None(), &raw mut value) {
            ffi::PySendResult::PYGEN_RETURN => Ok(Step::Return(Owned::steal(value))),
            ffi::PySendResult::PYGEN_NEXT => Ok(Step::Yield(Owned::steal(value))),
            ffi::PySendResult::PYGEN_ERROR => Err(PyErr::fetch(py)),
        }
    }
}

fn throw(py: Python<'_>, iterator: &Owned, error: PyErr) -> PyResult<Step> {
    // SAFETY: the iterator is alive.
    let bound = unsafe { Bound::from_borrowed_ptr(py, iterator.as_ptr()) };
    if error.is_instance_of::<PyGeneratorExit>(py) {
        if let Some(close) = bound.getattr_opt(intern!(py, "close"))? {
            close.call0()?;
        }
        return Err(error);
    }
    if bound.getattr_opt(intern!(py, "throw"))?.is_none() {
        return Err(error);
    }
    let value = error.into_value(py);
    match call_method(intern!(py, "throw"), iterator.as_ptr(), &[value.as_ptr()]) {
        Ok(value) => Ok(Step::Yield(value)),
        Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => {
            let value = stop.value(py).getattr(intern!(py, "value"))?;
            // SAFETY: the reference is given away.
            Ok(Step::Return(unsafe { Owned::steal(value.into_ptr()) }))
        }
        Err(error) => Err(error),
    }
}
