//! What a task waits for while a call would block: a future with one use.
//!
//! An `asyncio.Future` would do; this is what a task needs of one, without a result, made for each
//! wait at a third of the price.

use std::os::fd::RawFd;
use std::ptr::{null_mut, replace};

use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;

use super::waiter_type;
use crate::event_loop::core::LoopCore;
use crate::event_loop::{BaseLoop, Owned};

/// The object behind the Python type.
#[repr(C)]
pub(super) struct WaiterObject {
    ob_base: PyObject,
    pub(super) event_loop: *mut PyObject,
    /// Who is called when it is done; null if nobody is.
    pub(super) callback: *mut PyObject,
    pub(super) context: *mut PyObject,
    /// A list of further `(callback, context)`, or null.
    pub(super) others: *mut PyObject,
    /// What `cancel` was given, or null.
    pub(super) message: *mut PyObject,
    pub(super) fd: RawFd,
    pub(super) state: State,
    /// It was yielded by an await, so a task may take it.
    pub(super) blocking: bool,
}

/// Where a waiter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    Pending,
    Woken,
    Cancelled,
}

/// A strong reference to a waiter.
pub(crate) struct WaiterRef(Owned);

impl WaiterRef {
    /// A waiter for an event of `fd`.
    ///
    /// # Safety
    /// `event_loop` is a live `BaseLoop`; the GIL is held.
    pub(super) unsafe fn new(
        py: Python<'_>,
        event_loop: *mut PyObject,
        fd: RawFd,
    ) -> PyResult<Self> {
        // SAFETY: the caller's; all fields are filled before the collector sees the object.
        unsafe {
            let waiter: *mut WaiterObject = ffi::PyObject_GC_New(waiter_type::get());
            if waiter.is_null() {
                return Err(PyErr::fetch(py));
            }
            (*waiter).event_loop = ffi::Py_NewRef(event_loop);
            (*waiter).callback = null_mut();
            (*waiter).context = null_mut();
            (*waiter).others = null_mut();
            (*waiter).message = null_mut();
            (*waiter).fd = fd;
            (*waiter).state = State::Pending;
            (*waiter).blocking = true;
            ffi::PyObject_GC_Track(waiter.cast());
            Ok(Self(Owned::steal(waiter.cast())))
        }
    }

    /// Another reference to the same waiter.
    pub(super) fn share(&self) -> Self {
        // SAFETY: live, as we hold it; the GIL is held wherever waiters are reached.
        Self(unsafe { Owned::share(self.as_ptr()) })
    }

    /// The object, borrowed.
    pub(crate) fn as_ptr(&self) -> *mut PyObject {
        self.0.as_ptr()
    }

    /// The object, for the collector.
    pub(crate) fn as_py(&self) -> &Py<PyAny> {
        self.0.as_py()
    }

    /// An event came: the callbacks run in the loop's order.
    pub(crate) fn wake(&self, core: &LoopCore) {
        // SAFETY: a live waiter.
        unsafe {
            let waiter = self.as_ptr().cast::<WaiterObject>();
            if (*waiter).state == State::Pending {
                (*waiter).state = State::Woken;
                schedule_callbacks(core, waiter);
            }
        }
    }
}

/// Queues the callbacks.
///
/// # Safety
/// A live waiter of the loop that `core` belongs to; the GIL is held.
unsafe fn schedule_callbacks(core: &LoopCore, waiter: *mut WaiterObject) {
    // SAFETY: the caller's; each field is taken out before it is dropped.
    unsafe {
        let py = Python::assume_attached();
        let callback = replace(&raw mut (*waiter).callback, null_mut());
        let context = replace(&raw mut (*waiter).context, null_mut());
        if !callback.is_null() {
            queue(py, core, waiter, callback, context);
            ffi::Py_DECREF(callback);
            ffi::Py_XDECREF(context);
        }
        let others = replace(&raw mut (*waiter).others, null_mut());
        if !others.is_null() {
            for n in 0..ffi::PyList_Size(others) {
                let pair = ffi::PyList_GetItem(others, n);
                let callback = ffi::PyTuple_GetItem(pair, 0);
                queue(py, core, waiter, callback, ffi::PyTuple_GetItem(pair, 1));
            }
            ffi::Py_DECREF(others);
        }
    }
}

/// Queues one callback.
///
/// # Safety
/// As `schedule_callbacks`; live objects, `context` may be null.
pub(super) unsafe fn queue(
    py: Python<'_>,
    core: &LoopCore,
    waiter: *mut WaiterObject,
    callback: *mut PyObject,
    context: *mut PyObject,
) {
    if core.is_closed() {
        return; // nobody would run it
    }
    // SAFETY: the caller's.
    let queued =
        unsafe { core.call_soon((*waiter).event_loop, callback, &[waiter.cast()], context) };
    if let Err(error) = queued {
        error.write_unraisable(py, None); // out of memory
    }
}

/// `cancel(msg)`. `false`: it was done.
///
/// # Safety
/// A live waiter; `message` is a live object or null; the GIL is held.
pub(super) unsafe fn cancel(waiter: *mut WaiterObject, message: *mut PyObject) -> bool {
    // SAFETY: the caller's; a waiter holds its loop.
    unsafe {
        if (*waiter).state != State::Pending {
            return false;
        }
        (*waiter).state = State::Cancelled;
        (*waiter).message = message;
        ffi::Py_XINCREF(message);
        let core = BaseLoop::core_of((*waiter).event_loop);
        forget(core, waiter);
        schedule_callbacks(core, waiter);
        true
    }
}

/// Nobody waits by this waiter any more.
///
/// # Safety
/// A live waiter that its caller holds; the GIL is held.
pub(super) unsafe fn forget_pending(waiter: *mut WaiterObject) {
    // SAFETY: the caller's; a waiter holds its loop.
    unsafe {
        if (*waiter).state == State::Pending {
            forget(BaseLoop::core_of((*waiter).event_loop), waiter);
        }
    }
}

/// Takes a waiter out of its descriptor's watch.
///
/// # Safety
/// A live waiter that its caller holds; the GIL is held.
unsafe fn forget(core: &LoopCore, waiter: *mut WaiterObject) {
    // SAFETY: the caller's.
    if let Some(watch) = core.watch_of(unsafe { (*waiter).fd }) {
        watch.calls.forget(waiter.cast());
    }
}

/// `(callback, context)` as a new tuple.
///
/// # Safety
/// Live objects; the GIL is held.
pub(super) unsafe fn pair(callback: *mut PyObject, context: *mut PyObject) -> *mut PyObject {
    // SAFETY: the caller's.
    unsafe { ffi::PyTuple_Pack(2 as Py_ssize_t, callback, context) }
}
