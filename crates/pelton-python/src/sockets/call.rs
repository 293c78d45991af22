//! A `sock_*` call as an awaitable: what a coroutine of asyncio's would do, without its frame.

use std::os::fd::RawFd;
use std::ptr::{null_mut, replace};

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::call_type;
use super::operation::{Attempt, Operation};
use super::waiter::{self, WaiterRef};
use crate::event_loop::core::LoopCore;
use crate::event_loop::{BaseLoop, Owned, Side};

/// The object behind the Python type.
#[repr(C)]
pub(super) struct CallObject {
    ob_base: PyObject,
    pub(super) event_loop: *mut PyObject,
    /// These three are null once the call is done.
    pub(super) socket: *mut PyObject,
    pub(super) arguments: [*mut PyObject; 2],
    /// What it waits for, or null.
    pub(super) waiter: *mut PyObject,
    /// Memory of the first argument, lent while the call goes on; or null.
    pub(super) view: *mut ffi::Py_buffer,
    /// Bytes sent so far.
    pub(super) sent: usize,
    pub(super) operation: Operation,
    pub(super) stage: Stage,
}

/// How far an awaitable has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Created,
    Running,
    Waiting,
    Done,
}

/// What resuming led to; both are new references.
pub(super) enum Step {
    /// It is done, with this result.
    Return(*mut PyObject),
    /// It waits for this.
    Yield(*mut PyObject),
}

/// A new call, a new reference.
///
/// # Safety
/// Live objects, arguments may be null; `event_loop` is a `BaseLoop`; the GIL is held.
pub(super) unsafe fn new(
    py: Python<'_>,
    event_loop: *mut PyObject,
    operation: Operation,
    socket: *mut PyObject,
    arguments: [*mut PyObject; 2],
) -> PyResult<*mut PyObject> {
    // SAFETY: the caller's; all fields are filled before the collector sees the object.
    unsafe {
        let call: *mut CallObject = ffi::PyObject_GC_New(call_type::get());
        if call.is_null() {
            return Err(PyErr::fetch(py));
        }
        (*call).event_loop = ffi::Py_NewRef(event_loop);
        (*call).socket = ffi::Py_NewRef(socket);
        (*call).arguments = arguments;
        for argument in arguments {
            ffi::Py_XINCREF(argument);
        }
        (*call).waiter = null_mut();
        (*call).view = null_mut();
        (*call).sent = 0;
        (*call).operation = operation;
        (*call).stage = Stage::Created;
        ffi::PyObject_GC_Track(call.cast());
        Ok(call.cast())
    }
}

/// Goes on until the call is done or would block.
///
/// # Safety
/// A live call that its caller holds; the GIL is held.
pub(super) unsafe fn resume(py: Python<'_>, call: *mut CallObject) -> PyResult<Step> {
    // SAFETY: the caller's. What runs in between may run Python, so fields are read anew.
    unsafe {
        match (*call).stage {
            Stage::Created => {
                if BaseLoop::core_of((*call).event_loop).is_debug() {
                    check_nonblocking(py, call)?;
                }
            }
            Stage::Waiting => stop_waiting(call),
            Stage::Running => {
                return Err(PyValueError::new_err("coroutine already executing"));
            }
            Stage::Done => {
                let text = "cannot reuse already awaited coroutine";
                return Err(PyRuntimeError::new_err(text));
            }
        }
        (*call).stage = Stage::Running;
        let core = BaseLoop::core_of((*call).event_loop);
        let step = match Operation::attempt(py, core, call) {
            Ok(Attempt::Done(value)) => Ok(Step::Return(value)),
            Ok(Attempt::WouldBlock { fd, side }) => wait(py, core, call, fd, side),
            Err(error) => Err(error),
        };
        if let Ok(Step::Yield(_)) = step {
            (*call).stage = Stage::Waiting;
        } else {
            finish(call);
        }
        step
    }
}

/// Ends the call wherever it stands: nothing is taken from the socket any more.
///
/// # Safety
/// A live call that its caller holds; the GIL is held.
pub(super) unsafe fn finish(call: *mut CallObject) {
    // SAFETY: the caller's; fields are emptied before they are dropped.
    unsafe {
        (*call).stage = Stage::Done;
        stop_waiting(call);
        let view = replace(&raw mut (*call).view, null_mut());
        if !view.is_null() {
            let mut view = Box::from_raw(view);
            ffi::PyBuffer_Release(&raw mut *view);
        }
        ffi::Py_CLEAR(&raw mut (*call).socket);
        let arguments = replace(&raw mut (*call).arguments, [null_mut(); 2]);
        for argument in arguments {
            ffi::Py_XDECREF(argument);
        }
    }
}

/// Leaves the descriptor's queue.
unsafe fn stop_waiting(call: *mut CallObject) {
    // SAFETY: a live call; the waiter is taken out before it is dropped.
    unsafe {
        let waiter = replace(&raw mut (*call).waiter, null_mut());
        if waiter.is_null() {
            return;
        }
        waiter::forget_pending(waiter.cast());
        ffi::Py_DECREF(waiter);
    }
}

/// Enters the descriptor's queue.
unsafe fn wait(
    py: Python<'_>,
    core: &LoopCore,
    call: *mut CallObject,
    fd: RawFd,
    side: Side,
) -> PyResult<Step> {
    if core.is_closed() {
        return Err(PyRuntimeError::new_err("Event loop is closed"));
    }
    if core.stream_fds.borrow().contains(&fd) {
        return Err(PyRuntimeError::new_err(format!(
            "File descriptor {fd} is used by transport of this loop"
        )));
    }
    // SAFETY: a live call under way holds its loop and its socket.
    unsafe {
        let socket = Bound::from_borrowed_ptr(py, (*call).socket);
        let watch = core.watch_socket(fd, &socket, side)?;
        let waiter = WaiterRef::new(py, (*call).event_loop, fd)?;
        watch.calls.push(side, waiter.share());
        (*call).waiter = ffi::Py_NewRef(waiter.as_ptr());
        Ok(Step::Yield(ffi::Py_NewRef(waiter.as_ptr())))
    }
}

/// Debug mode: `ValueError` for a socket that would block.
#[cold]
unsafe fn check_nonblocking(py: Python<'_>, call: *mut CallObject) -> PyResult<()> {
    // SAFETY: a live call that was not started holds its socket.
    let socket = unsafe { Bound::from_borrowed_ptr(py, (*call).socket) };
    let timeout = socket.call_method0("gettimeout")?;
    if timeout.is_none() || timeout.ne(0)? {
        // SAFETY: as above.
        unsafe { finish(call) };
        return Err(PyValueError::new_err("the socket must be non-blocking"));
    }
    Ok(())
}

/// The descriptor of a `socket.socket`; -1 when it is closed.
///
/// # Safety
/// A live object of exactly that class; the GIL is held.
pub(super) unsafe fn fileno(py: Python<'_>, socket: *mut PyObject) -> PyResult<RawFd> {
    static FILENO: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let method = FILENO.get_or_try_init(py, || {
        let class = py.import("_socket")?.getattr("socket")?;
        Ok::<_, PyErr>(class.getattr(intern!(py, "fileno"))?.unbind())
    })?;
    let mut args = [null_mut(), socket];
    // SAFETY: a call with one argument; the word before it is lent to the callee.
    unsafe {
        let args = (&raw mut args).cast::<*mut PyObject>().add(1);
        let count = 1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET;
        let number = ffi::PyObject_Vectorcall(method.as_ptr(), args, count, null_mut());
        if number.is_null() {
            return Err(PyErr::fetch(py));
        }
        let number = Owned::steal(number);
        Ok(ffi::PyLong_AsLong(number.as_ptr()) as RawFd)
    }
}
