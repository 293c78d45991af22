//! Who waits, first come first served.

use std::cell::RefCell;

use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;

use super::awaited::Awaited;
use super::coroutine::{Input, Step, Visitor};
use super::future::{Future, call_method, owned};
use crate::event_loop::Owned;

/// Futures in the order in which they came: a `collections.deque`, made when the first one waits,
/// so that whoever looks at asyncio's `_waiters` finds what is there.
#[derive(Debug, Default)]
pub(super) struct Waiters(RefCell<Option<Owned>>);

impl Waiters {
    /// The deque itself.
    pub(super) fn deque(&self, py: Python<'_>) -> PyResult<Owned> {
        static DEQUE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        if let Some(deque) = self.existing() {
            return Ok(deque);
        }
        let class = DEQUE.import(py, "collections", "deque")?;
        // SAFETY: a call of a live object; and we hold what is shared.
        unsafe {
            let deque = owned(py, ffi::PyObject_CallNoArgs(class.as_ptr()))?;
            *self.0.borrow_mut() = Some(Owned::share(deque.as_ptr()));
            Ok(deque)
        }
    }

    pub(super) fn len(&self, py: Python<'_>) -> PyResult<usize> {
        let Some(deque) = &*self.0.borrow() else {
            return Ok(0);
        };
        // SAFETY: a live deque, whose length is a field.
        match unsafe { ffi::PySequence_Size(deque.as_ptr()) } {
            -1 => Err(PyErr::fetch(py)),
            len => Ok(len as usize),
        }
    }

    /// The last in the line.
    pub(super) fn push(&self, py: Python<'_>, future: &Future) -> PyResult<()> {
        let deque = self.deque(py)?;
        call_method(intern!(py, "append"), deque.as_ptr(), &[future.as_ptr()]).map(drop)
    }

    /// Takes `future` out; ValueError if it is not there.
    pub(super) fn remove(&self, py: Python<'_>, future: &Future) -> PyResult<()> {
        let deque = self.deque(py)?;
        call_method(intern!(py, "remove"), deque.as_ptr(), &[future.as_ptr()]).map(drop)
    }

    /// Takes out and returns the first, if there is one.
    pub(super) fn pop(&self, py: Python<'_>) -> PyResult<Option<Future>> {
        if self.len(py)? == 0 {
            return Ok(None);
        }
        let deque = self.deque(py)?;
        let first = call_method(intern!(py, "popleft"), deque.as_ptr(), &[])?;
        Ok(Some(Future::from_object(first)))
    }

    /// The first, left where it is.
    pub(super) fn first(&self, py: Python<'_>) -> PyResult<Option<Future>> {
        if self.len(py)? == 0 {
            return Ok(None);
        }
        let deque = self.deque(py)?;
        // SAFETY: a live deque; the result is a new reference.
        let first = unsafe { owned(py, ffi::PySequence_GetItem(deque.as_ptr(), 0))? };
        Ok(Some(Future::from_object(first)))
    }

    /// The first that is not done.
    pub(super) fn first_pending(&self, py: Python<'_>) -> PyResult<Option<Future>> {
        self.find(py, |future| Ok(!future.done(py)?))
    }

    /// Nobody waits but those who were cancelled and have not left yet.
    pub(super) fn all_cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.find(py, |future| Ok(!future.cancelled(py)?))?.is_none())
    }

    /// Wakes the first `count` that are not done.
    pub(super) fn wake(&self, py: Python<'_>, count: usize, value: bool) -> PyResult<()> {
        let mut left = count;
        // SAFETY: the two are immortal in effect.
        let value = unsafe { if value { ffi::Py_True() } else { ffi::Py_False() } };
        if left == 0 {
            return Ok(());
        }
        self.find(py, |future| {
            left -= usize::from(future.wake(py, value)?);
            Ok(left == 0)
        })
        .map(drop)
    }

    /// Takes out the first that is not done, and those before it, and wakes it.
    pub(super) fn pop_and_wake(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(future) = self.pop(py)? {
            if future.wake(py, none())? {
                break;
            }
        }
        Ok(())
    }

    /// Takes out and wakes everybody.
    pub(super) fn pop_and_wake_all(&self, py: Python<'_>) -> PyResult<()> {
        while let Some(future) = self.pop(py)? {
            future.wake(py, none())?;
        }
        Ok(())
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow().as_deref() {
            Ok(Some(deque)) => visit.call(deque.as_py()),
            _ => Ok(()),
        }
    }

    /// For `tp_clear`: forgets everybody.
    pub(super) fn clear(&self) {
        // A `let` of its own: the borrow ends before anything is dropped.
        let deque = self.0.take();
        drop(deque);
    }

    fn existing(&self) -> Option<Owned> {
        // SAFETY: we hold it.
        self.0.borrow().as_ref().map(|deque| unsafe { Owned::share(deque.as_ptr()) })
    }

    fn find(
        &self,
        py: Python<'_>,
        mut wanted: impl FnMut(&Future) -> PyResult<bool>,
    ) -> PyResult<Option<Future>> {
        if self.len(py)? == 0 {
            return Ok(None);
        }
        let deque = self.deque(py)?;
        // SAFETY: a live deque and its iterator; what it gives are new references.
        unsafe {
            let iterator = owned(py, ffi::PyObject_GetIter(deque.as_ptr()))?;
            loop {
                let next = ffi::PyIter_Next(iterator.as_ptr());
                if next.is_null() {
                    return PyErr::take(py).map_or(Ok(None), Err);
                }
                let future = Future::from_object(Owned::steal(next));
                if wanted(&future)? {
                    return Ok(Some(future));
                }
            }
        }
    }
}

fn none() -> *mut PyObject {
    // SAFETY: a static object.
    unsafe { ffi::Py_None() }
}

/// A place in the line, and the wait there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) future: Future,
    awaited: Awaited,
}

impl Place {
    /// The last place among `waiters`.
    pub(super) fn take(py: Python<'_>, event_loop: &Owned, waiters: &Waiters) -> PyResult<Self> {
        let future = Future::new(py, event_loop.as_ptr())?;
        waiters.push(py, &future)?;
        Self::with(py, future)
    }

    /// The wait for a future that has its place already, or gets it later.
    pub(super) fn with(py: Python<'_>, future: Future) -> PyResult<Self> {
        let awaited = Awaited::future(py, &future)?;
        Ok(Self { future, awaited })
    }

    /// Waits on. Unless it yields, the place is to be left.
    pub(super) fn step(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        self.awaited.step(py, input)
    }

    pub(super) fn awaiting(&self) -> &Owned {
        self.awaited.awaiting()
    }

    pub(super) fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.future.as_owned());
        self.awaited.traverse(visitor);
    }
}
