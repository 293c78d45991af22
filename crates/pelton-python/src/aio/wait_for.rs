//! `wait_for`: an awaitable with a deadline.
//!
//! As from Python 3.12 on, the awaitable runs in the caller's own task: no other task is made, and
//! no result is lost when the deadline and the end fall into the same turn.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;

use super::arguments::Arguments;
use super::awaited::Awaited;
use super::callback::Wake;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::future::{Future, call_method, is_cancellation};
use super::raw_class::{MethodFunction, RawClass, add_function, value_of};
use super::task::{ensure_future, is_none};
use super::timeout::Timeout;
use super::timeout_block::timeout_error;
use crate::event_loop::{Owned, entry};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    WaitFor::class().register(module.py())?;
    Wake::class().register(module.py())?;
    add_function(
        module,
        c"wait_for",
        MethodFunction::FastWithKeywords(wait_for),
        c"wait_for(fut, timeout)\n--\n\nWait for one awaitable, for `timeout` seconds at most.",
    )
}

unsafe extern "C" fn wait_for(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let [fut, timeout] =
            unsafe { Arguments::new(args, count, names).required("wait_for", ["fut", "timeout"])? };
        coroutine(py, WaitFor { fut, timeout, stage: Stage::Start })
    })
}

struct WaitFor {
    fut: Owned,
    timeout: Owned,
    stage: Stage,
}

enum Stage {
    Start,
    /// The block of a `Timeout` in which the awaitable is awaited.
    Timed {
        timeout: Owned,
        waiting: Awaited,
    },
    /// The time was over before it began: the future was cancelled, and will wake us.
    Cancelled {
        future: Future,
        wake: Owned,
        waiting: Awaited,
    },
}

impl Machine for WaitFor {
    const NAME: &'static CStr = c"pelton._core.wait_for_coroutine";
    const QUALNAME: &'static CStr = c"wait_for";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<WaitFor> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        if matches!(self.stage, Stage::Start)
            && let Some(over) = self.start(py)?
        {
            return Ok(over);
        }
        match &mut self.stage {
            Stage::Timed { timeout, waiting } => {
                let step = waiting.step(py, input);
                if matches!(step, Ok(Step::Yield(_))) {
                    return step;
                }
                leave(py, timeout, step)
            }
            Stage::Cancelled { future, wake, waiting } => {
                let step = waiting.step(py, input);
                if matches!(step, Ok(Step::Yield(_))) {
                    return step;
                }
                let name = intern!(py, "remove_done_callback");
                call_method(name, future.as_ptr(), &[wake.as_ptr()])?;
                step?;
                result_in_time(py, future).map(Step::Return)
            }
            Stage::Start => Ok(Step::done()),
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.fut);
        visitor.see(&self.timeout);
        match &self.stage {
            Stage::Start => {}
            Stage::Timed { timeout, waiting } => {
                visitor.see(timeout);
                waiting.traverse(visitor);
            }
            Stage::Cancelled { future, wake, waiting } => {
                visitor.see_ptr(future.as_ptr());
                visitor.see(wake);
                waiting.traverse(visitor);
            }
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        match &self.stage {
            Stage::Start => None,
            Stage::Timed { waiting, .. } | Stage::Cancelled { waiting, .. } => {
                Some(waiting.awaiting())
            }
        }
    }
}

impl WaitFor {
    /// Begins to wait, unless it is over at once.
    fn start(&mut self, py: Python<'_>) -> PyResult<Option<Step>> {
        if !is_none(&self.timeout) && not_positive(py, &self.timeout)? {
            return self.start_late(py);
        }
        let timeout = Timeout::after(py, self.timeout.as_ptr())?;
        // SAFETY: the class makes timeouts.
        unsafe { value_of::<Timeout>(timeout.as_ptr()) }.enter(py, &timeout)?;
        match Awaited::object(py, self.fut.as_ptr()) {
            Ok(waiting) => {
                self.stage = Stage::Timed { timeout, waiting };
                Ok(None)
            }
            Err(error) => leave(py, &timeout, Err(error)).map(Some),
        }
    }

    /// With no time at all, a coroutine does not even begin.
    fn start_late(&mut self, py: Python<'_>) -> PyResult<Option<Step>> {
        let future = ensure_future(py, self.fut.as_ptr(), None)?;
        if future.done(py)? {
            return Ok(Some(Step::Return(future.result(py)?)));
        }
        let waiter = Future::of_running_loop(py)?;
        let wake = Wake::callback(py, &waiter)?;
        call_method(intern!(py, "add_done_callback"), future.as_ptr(), &[wake.as_ptr()])?;
        call_method(intern!(py, "cancel"), future.as_ptr(), &[])?;
        let waiting = Awaited::future(py, &waiter)?;
        self.stage = Stage::Cancelled { future, wake, waiting };
        Ok(None)
    }
}

/// Leaves the block of `timeout` with what its last step came to.
fn leave(py: Python<'_>, timeout: &Owned, step: PyResult<Step>) -> PyResult<Step> {
    // SAFETY: the class makes timeouts.
    let block = unsafe { value_of::<Timeout>(timeout.as_ptr()) };
    // SAFETY: null, or parts of an error that is held.
    unsafe {
        match step {
            Ok(step) => {
                block.exit(py, null_mut(), null_mut())?;
                Ok(step)
            }
            Err(error) => {
                let value = error.value(py).as_ptr();
                block.exit(py, ffi::Py_TYPE(value).cast(), value)?;
                Err(error)
            }
        }
    }
}

/// The result of a future that was cancelled for being late: it may have come nevertheless.
fn result_in_time(py: Python<'_>, future: &Future) -> PyResult<Owned> {
    future.result(py).map_err(|error| {
        if !is_cancellation(py, &error) {
            return error;
        }
        // SAFETY: an exception that is held.
        match unsafe { timeout_error(py, error.value(py).as_ptr()) } {
            Ok(timeout) => PyErr::from_value(timeout),
            Err(error) => error,
        }
    })
}

/// `timeout <= 0`.
fn not_positive(py: Python<'_>, timeout: &Owned) -> PyResult<bool> {
    // SAFETY: a live object, read as a float only if it is one.
    unsafe {
        if ffi::PyFloat_CheckExact(timeout.as_ptr()) != 0 {
            return Ok(ffi::PyFloat_AS_DOUBLE(timeout.as_ptr()) <= 0.0);
        }
        timeout.as_py().bind(py).le(0)
    }
}
