//! `wait`: several futures, until the first of them, the first failure, or the last.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PySet, PyTuple};

use super::arguments::Arguments;
use super::awaited::Awaited;
use super::callback::{self, Callback, callback};
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::future::{Future, call_method, running_loop};
use super::raw_class::{Field, MethodFunction, RawClass, RawType, Spec, add_function};
use super::task::{exception, is_coroutine, is_future, is_none};
use crate::event_loop::{Owned, entry};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    Wait::class().register(module.py())?;
    Completion::class().register(module.py())?;
    add_function(
        module,
        c"wait",
        MethodFunction::FastWithKeywords(wait),
        c"wait(fs, *, timeout=None, return_when='ALL_COMPLETED')\n--\n\nWait for futures: (done, \
          pending).",
    )
}

unsafe extern "C" fn wait(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let args = unsafe { Arguments::new(args, count, names) };
        let [fs, timeout, when] = args.parse("wait", 1, ["fs", "timeout", "return_when"])?;
        let Some(fs) = fs else {
            return Err(PyTypeError::new_err("wait() missing required argument: 'fs'"));
        };
        // SAFETY: arguments of the call, alive.
        let share = |object: *mut PyObject| unsafe { Owned::share(object) };
        let machine = Wait {
            fs: share(fs),
            timeout: share(timeout.unwrap_or(py.None().as_ptr())),
            when: when.map(share),
            waiting: None,
        };
        coroutine(py, machine)
    })
}

/// What `return_when` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    FirstCompleted,
    FirstException,
    AllCompleted,
}

struct Wait {
    fs: Owned,
    timeout: Owned,
    when: Option<Owned>,
    waiting: Option<Waiting>,
}

/// Callbacks are set.
struct Waiting {
    /// The futures, each once.
    futures: Owned,
    completion: Owned,
    /// The timer, or None.
    handle: Option<Owned>,
    waiter: Awaited,
}

impl Machine for Wait {
    const NAME: &'static CStr = c"pelton._core.wait_coroutine";
    const QUALNAME: &'static CStr = c"wait";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Wait> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            None => {
                let waiting = self.start(py)?;
                self.waiting.insert(waiting)
            }
        };
        let step = waiting.waiter.step(py, input);
        if matches!(step, Ok(Step::Yield(_))) {
            return step;
        }
        waiting.forget(py)?;
        step?;
        waiting.sets(py)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.fs);
        visitor.see(&self.timeout);
        if let Some(when) = &self.when {
            visitor.see(when);
        }
        if let Some(waiting) = &self.waiting {
            visitor.see(&waiting.futures);
            visitor.see(&waiting.completion);
            if let Some(handle) = &waiting.handle {
                visitor.see(handle);
            }
            waiting.waiter.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.as_ref().map(|waiting| waiting.waiter.awaiting())
    }
}

impl Wait {
    fn start(&self, py: Python<'_>) -> PyResult<Waiting> {
        let fs = self.fs.as_py().bind(py);
        if is_future(py, fs.as_ptr())? || is_coroutine(py, fs.as_ptr())? {
            let name = fs.get_type().name()?;
            return Err(PyTypeError::new_err(format!("expect a list of futures, not {name}")));
        }
        if !fs.is_truthy()? {
            return Err(PyValueError::new_err("Set of Tasks/Futures is empty."));
        }
        let when = self.when(py)?;
        let futures = PySet::empty(py)?;
        for future in fs.try_iter()? {
            futures.add(future?)?;
        }
        let futures = PyTuple::new(py, futures.iter().collect::<Vec<_>>())?;
        for future in &futures {
            if is_coroutine(py, future.as_ptr())? {
                let text = "Passing coroutines is forbidden, use tasks explicitly.";
                return Err(PyTypeError::new_err(text));
            }
        }
        let event_loop = running_loop(py)?;
        let waiter = Future::new(py, event_loop.as_ptr())?;
        let completion = Completion {
            left: Cell::new(futures.len()),
            when,
            waiter: Field::shared(waiter.as_owned()),
        };
        let completion = callback(py, completion)?;
        let mut handle = None;
        if !is_none(&self.timeout) {
            let args = [self.timeout.as_ptr(), completion.as_ptr()];
            handle = Some(call_method(intern!(py, "call_later"), event_loop.as_ptr(), &args)?);
        }
        for future in &futures {
            let name = intern!(py, "add_done_callback");
            call_method(name, future.as_ptr(), &[completion.as_ptr()])?;
        }
        let waiter = Awaited::future(py, &waiter)?;
        // SAFETY: the reference is given away.
        let futures = unsafe { Owned::steal(futures.into_ptr()) };
        Ok(Waiting { futures, completion, handle, waiter })
    }

    fn when(&self, py: Python<'_>) -> PyResult<When> {
        let Some(when) = &self.when else {
            return Ok(When::AllCompleted);
        };
        let given = when.as_py().bind(py);
        for (name, when) in [
            ("FIRST_COMPLETED", When::FirstCompleted),
            ("FIRST_EXCEPTION", When::FirstException),
            ("ALL_COMPLETED", When::AllCompleted),
        ] {
            if given.eq(name)? {
                return Ok(when);
            }
        }
        Err(PyValueError::new_err(format!("Invalid return_when value: {given}")))
    }
}

impl Waiting {
    /// Takes the timer and the callbacks back.
    fn forget(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(handle) = &self.handle {
            call_method(intern!(py, "cancel"), handle.as_ptr(), &[])?;
        }
        let name = intern!(py, "remove_done_callback");
        for future in self.futures(py)? {
            call_method(name, future.as_ptr(), &[self.completion.as_ptr()])?;
        }
        Ok(())
    }

    fn sets(&self, py: Python<'_>) -> PyResult<Step> {
        let (done, pending) = (PySet::empty(py)?, PySet::empty(py)?);
        for future in self.futures(py)? {
            // SAFETY: the tuple holds it.
            let is_done = Future::from_object(unsafe { Owned::share(future.as_ptr()) }).done(py)?;
            if is_done { done.add(future)? } else { pending.add(future)? }
        }
        let sets = PyTuple::new(py, [done, pending])?;
        // SAFETY: the reference is given away.
        Ok(Step::Return(unsafe { Owned::steal(sets.into_ptr()) }))
    }

    fn futures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        Ok(self.futures.as_py().bind(py).cast::<PyTuple>()?.clone())
    }
}

/// Counts the futures that are done; the timer calls it too.
struct Completion {
    left: Cell<usize>,
    when: When,
    waiter: Field,
}

impl RawClass for Completion {
    const NAME: &'static CStr = c"pelton._core.wait_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Completion> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.waiter.as_ptr());
    }

    fn clear(&self) {
        drop(self.waiter.take());
    }
}

impl Callback for Completion {
    const QUALNAME: &'static CStr = c"wait.<locals>._on_completion";

    fn call(&self, py: Python<'_>, future: Option<Future>) -> PyResult<()> {
        let over = match future {
            None => true,
            Some(future) => {
                self.left.set(self.left.get().saturating_sub(1));
                self.left.get() == 0
                    || self.when == When::FirstCompleted
                    || self.when == When::FirstException
                        && !future.cancelled(py)?
                        && exception(py, &future)?.is_some()
            }
        };
        match self.waiter.share() {
            Some(waiter) if over => {
                Future::from_object(waiter).wake(py, py.None().as_ptr()).map(drop)
            }
            _ => Ok(()),
        }
    }
}
