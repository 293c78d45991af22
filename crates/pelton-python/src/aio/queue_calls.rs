//! The methods of a queue that are called per item, as C entry points, and what they await.

use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::PyValueError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;

use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::event;
use super::future::Future;
use super::held::{Held, fast_methods, methods, one_argument};
use super::queue::{Queue, shut_down};
use super::waiters::{Place, Waiters};
use crate::event_loop::{Owned, entry};

/// Adds the methods to `Queue`.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Put::class().register(py)?;
    Get::class().register(py)?;
    Join::class().register(py)?;
    methods::<Queue>(
        py,
        &[
            (c"get", get, c"Wait for an item, and take it."),
            (c"get_nowait", get_nowait, c"Take an item; QueueEmpty if there is none."),
            (c"qsize", qsize, c"How many items there are."),
            (c"empty", empty, c"Whether there is no item."),
            (c"full", full, c"Whether there are as many items as may be."),
            (c"task_done", task_done, c"Say that an item that was taken is worked off."),
            (c"join", join, c"Wait until every item that was put is worked off."),
        ],
    )?;
    fast_methods::<Queue>(
        py,
        &[
            (c"put", put, c"Wait for room, and put an item in."),
            (c"put_nowait", put_nowait, c"Put an item in; QueueFull if there is no room."),
        ],
    )
}

unsafe extern "C" fn put(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes to a method of Queue.
        let (queue, item) =
            unsafe { (Held::share(object), one_argument("put", "item", args, count, names)?) };
        coroutine(py, Put { queue, item: Some(item), place: None })
    })
}

unsafe extern "C" fn put_nowait(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes to a method of Queue.
        unsafe {
            let item = one_argument("put_nowait", "item", args, count, names)?;
            Ok(Held::<Queue>::borrow(&object).put_plainly(py, item)?.into_ptr())
        }
    })
}

extern "C" fn get(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Queue.
    let queue = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Get { queue, place: None }))
}

extern "C" fn get_nowait(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Queue.
        Ok(unsafe { Held::<Queue>::borrow(&object) }.get_plainly(py)?.into_ptr())
    })
}

extern "C" fn qsize(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Queue; the result is a new reference.
        unsafe {
            let len = Held::<Queue>::borrow(&object).state().len(py)?;
            Ok(ffi::PyLong_FromSsize_t(len as Py_ssize_t))
        }
    })
}

extern "C" fn empty(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Queue.
        unsafe {
            let len = Held::<Queue>::borrow(&object).state().len(py)?;
            Ok(ffi::PyBool_FromLong((len == 0).into()))
        }
    })
}

extern "C" fn full(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Queue.
        unsafe {
            let full = Held::<Queue>::borrow(&object).is_plainly_full(py)?;
            Ok(ffi::PyBool_FromLong(full.into()))
        }
    })
}

extern "C" fn task_done(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Queue.
        unsafe { Held::<Queue>::borrow(&object) }.end_task(py)?;
        Ok(py.None().into_ptr())
    })
}

extern "C" fn join(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Queue.
    let queue = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Join { queue, wait: None }))
}

/// Leaves a line without having got what was waited for: if it was there, the next one is woken.
fn leave(py: Python<'_>, line: &Waiters, future: &Future, is_there: bool) -> PyResult<()> {
    if is_there && !future.cancelled(py)? { line.pop_and_wake(py) } else { Ok(()) }
}

/// Takes a future out of a line, from which a wakeup may have taken it already.
fn take_out(py: Python<'_>, line: &Waiters, future: &Future) -> PyResult<()> {
    future.cancel(py)?;
    match line.remove(py, future) {
        Err(error) if error.is_instance_of::<PyValueError>(py) => Ok(()),
        removed => removed,
    }
}

/// `Queue.put`.
struct Put {
    queue: Held<Queue>,
    /// Until it was put.
    item: Option<Owned>,
    place: Option<Place>,
}

impl Machine for Put {
    const NAME: &'static CStr = c"pelton._core.queue_put_coroutine";
    const QUALNAME: &'static CStr = c"Queue.put";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Put> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, mut input: Input) -> PyResult<Step> {
        let (queue, line) = (&self.queue, &self.queue.state().putters);
        loop {
            if let Some(place) = &mut self.place {
                match place.step(py, input) {
                    Ok(Step::Return(_)) => {}
                    Err(error) => {
                        take_out(py, line, &place.future)?;
                        leave(py, line, &place.future, !queue.is_full(py)?)?;
                        return Err(error);
                    }
                    waits => return waits,
                }
            }
            if !queue.is_full(py)? {
                // It is put once: what raises or returns here is not asked again.
                return match self.item.take() {
                    Some(item) => queue.put_now(py, item).map(Step::Return),
                    None => Ok(Step::done()),
                };
            }
            if queue.state().shut_down.get() {
                return Err(shut_down(py));
            }
            let event_loop = queue.state().bound.get(queue.bind(py))?;
            self.place = Some(Place::take(py, &event_loop, line)?);
            input = Input::Go;
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.queue.as_owned());
        if let Some(item) = &self.item {
            visitor.see(item);
        }
        if let Some(place) = &self.place {
            place.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.place.as_ref().map(Place::awaiting)
    }
}

/// `Queue.get`.
struct Get {
    queue: Held<Queue>,
    place: Option<Place>,
}

impl Machine for Get {
    const NAME: &'static CStr = c"pelton._core.queue_get_coroutine";
    const QUALNAME: &'static CStr = c"Queue.get";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Get> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, mut input: Input) -> PyResult<Step> {
        let (queue, line) = (&self.queue, &self.queue.state().getters);
        loop {
            if let Some(place) = &mut self.place {
                match place.step(py, input) {
                    Ok(Step::Return(_)) => {}
                    Err(error) => {
                        take_out(py, line, &place.future)?;
                        leave(py, line, &place.future, !queue.is_empty(py)?)?;
                        return Err(error);
                    }
                    waits => return waits,
                }
            }
            if !queue.is_empty(py)? {
                return queue.get_now(py).map(Step::Return);
            }
            if queue.state().shut_down.get() {
                return Err(shut_down(py));
            }
            let event_loop = queue.state().bound.get(queue.bind(py))?;
            self.place = Some(Place::take(py, &event_loop, line)?);
            input = Input::Go;
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.queue.as_owned());
        if let Some(place) = &self.place {
            place.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.place.as_ref().map(Place::awaiting)
    }
}

/// `Queue.join`.
struct Join {
    queue: Held<Queue>,
    wait: Option<event::Wait>,
}

impl Machine for Join {
    const NAME: &'static CStr = c"pelton._core.queue_join_coroutine";
    const QUALNAME: &'static CStr = c"Queue.join";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Join> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let state = self.queue.state();
        let wait = match &mut self.wait {
            Some(wait) => wait,
            _ if state.unfinished.get() <= 0 => return Ok(Step::done()),
            empty => empty.insert(event::Wait::new(state.finished(py)?)),
        };
        Ok(match wait.resume(py, input)? {
            Step::Return(_) => Step::done(),
            waits => waits,
        })
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.queue.as_owned());
        if let Some(wait) = &self.wait {
            wait.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.wait.as_ref().and_then(Machine::awaiting)
    }
}
