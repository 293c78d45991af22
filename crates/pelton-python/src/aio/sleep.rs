//! `sleep`.

use std::ffi::CStr;

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::awaited::Awaited;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::future::{Future, call_method, running_loop};
use crate::event_loop::Owned;

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    Sleep::class().register(module.py())?;
    module.add_function(wrap_pyfunction!(sleep, module)?)
}

/// Give way for `delay` seconds; then return `result`.
///
/// With a delay of zero or less, it is one turn of the loop. As `asyncio.sleep`.
#[pyfunction]
#[pyo3(signature = (delay, result=None))]
fn sleep(delay: &Bound<'_, PyAny>, result: Option<&Bound<'_, PyAny>>) -> PyResult<Py<PyAny>> {
    let py = delay.py();
    let none = py.None();
    let result = result.map_or(none.as_ptr(), Bound::as_ptr);
    // SAFETY: arguments of the call, alive; the new coroutine's reference is given away.
    unsafe {
        let machine = Sleep {
            delay: Owned::share(delay.as_ptr()),
            result: Owned::share(result),
            stage: Stage::Start,
        };
        Bound::from_owned_ptr_or_err(py, coroutine(py, machine)?).map(Bound::unbind)
    }
}

struct Sleep {
    delay: Owned,
    result: Owned,
    stage: Stage,
}

enum Stage {
    Start,
    /// It waits for the next turn.
    Turn,
    Timer {
        waiting: Awaited,
        handle: Owned,
    },
}

impl Machine for Sleep {
    const NAME: &'static CStr = c"pelton._core.sleep_coroutine";
    const QUALNAME: &'static CStr = c"sleep";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Sleep> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let input = match self.stage {
            Stage::Start => {
                if not_positive(py, &self.delay)? {
                    self.stage = Stage::Turn;
                    // SAFETY: None is alive.
                    return Ok(Step::Yield(unsafe { Owned::share(ffi::Py_None()) }));
                }
                self.stage = self.set_timer(py)?;
                Input::Go
            }
            _ => input,
        };
        match &mut self.stage {
            Stage::Timer { waiting, handle } => {
                let step = waiting.step(py, input);
                if !matches!(step, Ok(Step::Yield(_))) {
                    call_method(intern!(py, "cancel"), handle.as_ptr(), &[])?;
                }
                step
            }
            Stage::Start | Stage::Turn => match input {
                // SAFETY: we hold the result.
                Input::Go => Ok(Step::Return(unsafe { Owned::share(self.result.as_ptr()) })),
                Input::Error(error) => Err(error),
            },
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.delay);
        visitor.see(&self.result);
        if let Stage::Timer { waiting, handle } = &self.stage {
            waiting.traverse(visitor);
            visitor.see(handle);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        match &self.stage {
            Stage::Timer { waiting, .. } => Some(waiting.awaiting()),
            Stage::Start | Stage::Turn => None,
        }
    }
}

impl Sleep {
    fn set_timer(&self, py: Python<'_>) -> PyResult<Stage> {
        static SET: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let set = SET.get_or_try_init(py, || {
            let futures = py.import("asyncio.futures")?;
            Ok::<_, PyErr>(futures.getattr("_set_result_unless_cancelled")?.unbind())
        })?;
        // SAFETY: we hold the delay.
        let delay = unsafe { ffi::PyFloat_AsDouble(self.delay.as_ptr()) };
        if delay == -1.0 && PyErr::occurred(py) {
            return Err(PyErr::fetch(py));
        }
        if delay.is_nan() {
            return Err(PyValueError::new_err("Invalid delay: NaN (not a number)"));
        }
        let event_loop = running_loop(py)?;
        let future = Future::new(py, event_loop.as_ptr())?;
        let args = [self.delay.as_ptr(), set.as_ptr(), future.as_ptr(), self.result.as_ptr()];
        let handle = call_method(intern!(py, "call_later"), event_loop.as_ptr(), &args)?;
        Ok(Stage::Timer { waiting: Awaited::future(py, &future)?, handle })
    }
}

/// `delay <= 0`.
fn not_positive(py: Python<'_>, delay: &Owned) -> PyResult<bool> {
    let delay = delay.as_ptr();
    // SAFETY: a live object, read as a float only if it is one.
    unsafe {
        if ffi::PyFloat_CheckExact(delay) != 0 {
            return Ok(ffi::PyFloat_AS_DOUBLE(delay) <= 0.0);
        }
        let zero = ffi::PyLong_FromLong(0);
        let answer = ffi::PyObject_RichCompareBool(delay, zero, ffi::Py_LE);
        ffi::Py_DECREF(zero);
        if answer < 0 { Err(PyErr::fetch(py)) } else { Ok(answer == 1) }
    }
}
