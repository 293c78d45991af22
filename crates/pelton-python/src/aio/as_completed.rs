//! `as_completed`: futures in the order in which they end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::{PyStopAsyncIteration, PyTimeoutError, PyTypeError};
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::arguments::Arguments;
use super::awaited::Awaited;
use super::callback::{self, Callback, callback};
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::future::{Future, call_method};
use super::raw_class::{Field, MethodFunction, RawClass, RawType, Spec, add_function, value_of};
use super::task::{ensure_future, event_loop, is_awaitable, is_none};
use crate::event_loop::{Owned, entry};

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    AsCompleted::class().register(py)?;
    Completion::class().register(py)?;
    Next::class().register(py)?;
    add_function(
        module,
        c"as_completed",
        MethodFunction::FastWithKeywords(as_completed),
        c"as_completed(fs, *, timeout=None)\n--\n\nIterate over awaitables in the order in which \
          they end.",
    )
}

unsafe extern "C" fn as_completed(
    _module: *mut PyObject,
    args: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        let args = unsafe { Arguments::new(args, count, names) };
        let [fs, timeout] = args.parse("as_completed", 1, ["fs", "timeout"])?;
        let Some(fs) = fs else {
            return Err(PyTypeError::new_err("as_completed() missing required argument: 'fs'"));
        };
        // SAFETY: arguments of the call, alive.
        let given = unsafe { (Owned::share(fs), Owned::share(timeout.unwrap_or(ffi::Py_None()))) };
        let object = AsCompleted::class().object(py, AsCompleted::new(given))?;
        if py.version_info() >= (3, 13) {
            // SAFETY: made above, and held.
            unsafe { value_of::<AsCompleted>(object.as_ptr()) }.start(py, &object)?;
        }
        Ok(object.into_ptr())
    })
}

/// What `as_completed` returns: an iterator of awaitables, and an asynchronous one of futures.
///
/// From Python 3.13 on, it starts what it was given at once; before, when it is first asked, as the
/// generator that it is there.
struct AsCompleted {
    /// The awaitables and the timeout, until it starts.
    given: [Field; 2],
    /// A set of the futures that are not done.
    pending: Field,
    /// Futures that were not asked for.
    left: Cell<usize>,
    /// Futures that are done and not taken; None for each that the timeout ended. Bounded by the
    /// number of futures given.
    done: RefCell<VecDeque<Option<Future>>>,
    waiters: RefCell<VecDeque<Future>>,
    /// The futures' callback, as long as there are pending ones.
    completion: Field,
    handle: Field,
}

impl RawClass for AsCompleted {
    const NAME: &'static CStr = c"pelton._core.as_completed_iterator";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<AsCompleted> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        spec.internal()
            .slot(ffi::Py_tp_iter, itself as *mut _)
            .slot(ffi::Py_tp_iternext, next as *mut _)
            .slot(ffi::Py_am_aiter, itself as *mut _)
            .slot(ffi::Py_am_anext, anext as *mut _)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        let [fs, timeout] = &self.given;
        for field in [fs, timeout, &self.pending, &self.completion, &self.handle] {
            visitor.see_ptr(field.as_ptr());
        }
        // What is borrowed right now is used right now, and so no garbage.
        if let (Ok(done), Ok(waiters)) = (self.done.try_borrow(), self.waiters.try_borrow()) {
            done.iter().flatten().chain(waiters.iter()).for_each(|future| {
                visitor.see(future.as_owned());
            });
        }
    }

    fn clear(&self) {
        drop(self.given.each_ref().map(Field::take));
        drop((self.pending.take(), self.completion.take(), self.handle.take()));
        drop((self.done.take(), self.waiters.take()));
    }
}

impl AsCompleted {
    fn new((fs, timeout): (Owned, Owned)) -> Self {
        Self {
            given: [Field::of(fs), Field::of(timeout)],
            pending: Field::empty(),
            left: Cell::new(0),
            done: RefCell::default(),
            waiters: RefCell::default(),
            completion: Field::empty(),
            handle: Field::empty(),
        }
    }

    /// Makes futures of what was given, unless that was done before. `object` is the Python object
    /// around this.
    fn start(&self, py: Python<'_>, object: &Owned) -> PyResult<()> {
        let [fs, timeout] = self.given.each_ref().map(Field::take);
        let (Some(fs), Some(timeout)) = (fs, timeout) else {
            return Ok(());
        };
        let fs = fs.as_py().bind(py);
        if is_awaitable(py, fs.as_ptr())? {
            let text = format!("expects an iterable of awaitables, not {}", fs.get_type().name()?);
            return Err(PyTypeError::new_err(text));
        }
        let event_loop = event_loop(py)?;
        let distinct = PySet::empty(py)?;
        for awaitable in fs.try_iter()? {
            distinct.add(awaitable?)?;
        }
        let pending = PySet::empty(py)?;
        for awaitable in &distinct {
            let future = ensure_future(py, awaitable.as_ptr(), Some(&event_loop))?;
            pending.add(future.as_owned().as_py())?;
        }
        if pending.is_empty() {
            return Ok(());
        }
        let futures: Vec<_> = pending.iter().collect();
        self.left.set(futures.len());
        // SAFETY: the reference is given away.
        self.pending.set(unsafe { Owned::steal(pending.into_ptr()) });
        let completion = callback(py, Completion { completed: Field::shared(object) })?;
        self.completion.set(completion.share_again());
        for future in &futures {
            let name = intern!(py, "add_done_callback");
            call_method(name, future.as_ptr(), &[completion.as_ptr()])?;
        }
        if !is_none(&timeout) {
            let args = [timeout.as_ptr(), completion.as_ptr()];
            let name = intern!(py, "call_later");
            self.handle.set(call_method(name, event_loop.as_ptr(), &args)?);
        }
        Ok(())
    }

    /// A future is done; None: the time is over.
    fn completed(&self, py: Python<'_>, future: Option<Future>) -> PyResult<()> {
        let Some(pending) = self.pending.share() else {
            return Ok(());
        };
        let pending = pending.as_py().bind(py).cast::<PySet>()?.clone();
        if pending.is_empty() {
            return Ok(());
        }
        let Some(future) = future else {
            return self.time_out(py, &pending);
        };
        pending.discard(future.as_owned().as_py())?;
        if pending.is_empty() {
            drop(self.completion.take());
            if let Some(handle) = self.handle.take() {
                call_method(intern!(py, "cancel"), handle.as_ptr(), &[])?;
            }
        }
        self.put(py, Some(future))
    }

    fn time_out(&self, py: Python<'_>, pending: &Bound<'_, PySet>) -> PyResult<()> {
        let completion = self.completion.take();
        let futures: Vec<_> = pending.iter().collect();
        pending.clear();
        for future in futures {
            if let Some(completion) = &completion {
                let name = intern!(py, "remove_done_callback");
                call_method(name, future.as_ptr(), &[completion.as_ptr()])?;
            }
            self.put(py, None)?;
        }
        Ok(())
    }

    fn put(&self, py: Python<'_>, future: Option<Future>) -> PyResult<()> {
        self.done.borrow_mut().push_back(future);
        self.wake_next(py)
    }

    fn wake_next(&self, py: Python<'_>) -> PyResult<()> {
        loop {
            // A `let` of its own: the borrow ends before Python runs.
            let waiter = self.waiters.borrow_mut().pop_front();
            match waiter {
                Some(waiter) if !waiter.wake(py, py.None().as_ptr())? => {}
                _ => return Ok(()),
            }
        }
    }

    /// A wait for the next one ended by an error: whoever waits behind gets its turn.
    fn leave(&self, py: Python<'_>, waiter: &Future) -> PyResult<()> {
        waiter.cancel(py)?;
        let place = self.waiters.borrow().iter().position(|other| other.is(waiter));
        let removed = place.and_then(|place| self.waiters.borrow_mut().remove(place));
        drop(removed);
        if !self.done.borrow().is_empty() && !waiter.cancelled(py)? {
            self.wake_next(py)?;
        }
        Ok(())
    }

    /// Whether there is one to ask for; it counts as asked for then.
    fn ask(&self) -> bool {
        let left = self.left.get();
        self.left.set(left.saturating_sub(1));
        left > 0
    }
}

extern "C" fn itself(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python passes a live object.
    unsafe { ffi::Py_NewRef(object) }
}

extern "C" fn next(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the class.
        let (completed, value) = unsafe { (Owned::share(object), value_of::<AsCompleted>(object)) };
        value.start(py, &completed)?;
        if !value.ask() {
            return Ok(null_mut()); // the iterator's end
        }
        coroutine(py, Next { completed, kind: Kind::Result, waiting: None })
    })
}

extern "C" fn anext(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object.
        let completed = unsafe { Owned::share(object) };
        coroutine(py, Next { completed, kind: Kind::Unasked, waiting: None })
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It will return the future, and has not asked for it yet.
    Unasked,
    /// It returns the future.
    Future,
    /// It returns the future's result.
    Result,
}

/// Waits for the next future that ends.
struct Next {
    completed: Owned,
    kind: Kind,
    waiting: Option<(Future, Awaited)>,
}

impl Machine for Next {
    const NAME: &'static CStr = c"pelton._core.as_completed_next";
    const QUALNAME: &'static CStr = c"as_completed.<locals>._wait_for_one";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Next> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, mut input: Input) -> PyResult<Step> {
        // SAFETY: made with an `AsCompleted`, which the machine holds.
        let completed = unsafe { value_of::<AsCompleted>(self.completed.as_ptr()) };
        if self.kind == Kind::Unasked {
            completed.start(py, &self.completed)?;
            if !completed.ask() {
                return Err(PyStopAsyncIteration::new_err(()));
            }
            self.kind = Kind::Future;
        }
        loop {
            if let Some((waiter, waiting)) = &mut self.waiting {
                match waiting.step(py, input) {
                    Ok(Step::Yield(value)) => return Ok(Step::Yield(value)),
                    Ok(Step::Return(_)) => self.waiting = None,
                    Err(error) => {
                        completed.leave(py, waiter)?;
                        return Err(error);
                    }
                }
            }
            // A `let` of its own: the borrow ends before Python runs.
            let next = completed.done.borrow_mut().pop_front();
            if let Some(next) = next {
                return self.take(py, next);
            }
            let waiter = Future::of_running_loop(py)?;
            completed.waiters.borrow_mut().push_back(waiter.share());
            let waiting = Awaited::future(py, &waiter)?;
            self.waiting = Some((waiter, waiting));
            input = Input::Go;
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.completed);
        if let Some((waiter, waiting)) = &self.waiting {
            visitor.see(waiter.as_owned());
            waiting.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.as_ref().map(|(_, waiting)| waiting.awaiting())
    }
}

impl Next {
    fn take(&self, py: Python<'_>, next: Option<Future>) -> PyResult<Step> {
        let Some(future) = next else {
            return Err(PyTimeoutError::new_err(()));
        };
        let value = match self.kind {
            Kind::Result => future.result(py)?,
            Kind::Future | Kind::Unasked => future.into_owned(),
        };
        Ok(Step::Return(value))
    }
}

/// The futures' callback, and the timer's.
struct Completion {
    completed: Field,
}

impl RawClass for Completion {
    const NAME: &'static CStr = c"pelton._core.as_completed_callback";

    fn class() -> &'static RawType<Self> {
        static CLASS: RawType<Completion> = RawType::new();
        &CLASS
    }

    fn declare(spec: Spec<Self>) -> Spec<Self> {
        callback::declare(spec)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see_ptr(self.completed.as_ptr());
    }

    fn clear(&self) {
        drop(self.completed.take());
    }
}

impl Callback for Completion {
    const QUALNAME: &'static CStr = c"as_completed.<locals>._on_completion";

    fn call(&self, py: Python<'_>, future: Option<Future>) -> PyResult<()> {
        match self.completed.share() {
            // SAFETY: made with an `AsCompleted`, which is held here.
            Some(completed) => unsafe {
                value_of::<AsCompleted>(completed.as_ptr()).completed(py, future)
            },
            None => Ok(()),
        }
    }
}
