//! `shield`: a wait that can be cancelled without what is waited for.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;

use super::callback::{self, Callback, callback};
use super::coroutine::Visitor;
use super::future::{Future, call_method};
use super::raw_class::{Field, RawClass, RawType, Spec};
use super::task::{Outcome, ensure_future, exception, loop_of, outcome};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    Inner::class().register(module.py())?;
    Outer::class().register(module.py())?;
    module.add_function(wrap_pyfunction!(shield, module)?)
}

/// Wait for an awaitable, which goes on if this wait is cancelled.
#[pyfunction]
fn shield(arg: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let py = arg.py();
    let inner = ensure_future(py, arg.as_ptr(), None)?;
    if inner.done(py)? {
        return Ok(inner.into_owned().as_py().clone_ref(py));
    }
    let outer = Future::new(py, loop_of(py, &inner)?.as_ptr())?;
    let inner_done = callback(py, Inner { outer: Field::shared(outer.as_owned()) })?;
    let outer_done =
        Outer { inner: Field::shared(inner.as_owned()), callback: Field::shared(&inner_done) };
    let outer_done = callback(py, outer_done)?;
    let name = intern!(py, "add_done_callback");
    call_method(name, inner.as_ptr(), &[inner_done.as_ptr()])?;
    call_method(name, outer.as_ptr(), &[outer_done.as_ptr()])?;
    Ok(outer.into_owned().as_py().clone_ref(py))
}

/// What is waited for is done.
struct Inner {
    outer: Field,
}

impl RawClass for Inner {
    const NAME: &'static CStr = c"pelton._core.shield_inner_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Inner> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.outer.as_ptr());
    }

    fn clear(&self) {
        drop(self.outer.take());
    }
}

impl Callback for Inner {
    const QUALNAME: &'static CStr = c"shield.<locals>._inner_done_callback";

    fn call(&self, py: Python<'_>, inner: Option<Future>) -> PyResult<()> {
        let (Some(outer), Some(inner)) = (self.outer.share().map(Future::from_object), inner)
        else {
            return Ok(());
        };
        if outer.cancelled(py)? {
            if !inner.cancelled(py)? {
                exception(py, &inner)?; // counts as retrieved then
            }
            return Ok(());
        }
        match outcome(py, &inner)? {
            Outcome::Cancelled => outer.cancel(py).map(drop),
            Outcome::Exception(error) => {
                let name = intern!(py, "set_exception");
                call_method(name, outer.as_ptr(), &[error.as_ptr()]).map(drop)
            }
            Outcome::Result(value) => outer.set_result(py, value.as_ptr()),
        }
    }
}

/// The wait is over, cancelled perhaps: then what is waited for need not report.
struct Outer {
    inner: Field,
    callback: Field,
}

impl RawClass for Outer {
    const NAME: &'static CStr = c"pelton._core.shield_outer_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Outer> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.inner.as_ptr());
        visitor.see_ptr(self.callback.as_ptr());
    }

    fn clear(&self) {
        drop(self.inner.take());
        drop(self.callback.take());
    }
}

impl Callback for Outer {
    const QUALNAME: &'static CStr = c"shield.<locals>._outer_done_callback";

    fn call(&self, py: Python<'_>, _outer: Option<Future>) -> PyResult<()> {
        let inner = self.inner.share().map(Future::from_object);
        if let (Some(inner), Some(callback)) = (inner, self.callback.share())
            && !inner.done(py)?
        {
            let name = intern!(py, "remove_done_callback");
            call_method(name, inner.as_ptr(), &[callback.as_ptr()])?;
        }
        Ok(())
    }
}
