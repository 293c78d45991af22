//! The Python face of calls: a coroutine's methods, and the C slots that `await` uses.

use std::ffi::{c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PyRuntimeError, PyStopIteration, PyTypeError};
use pyo3::ffi::{self, Py_ssize_t, PyObject, PySendResult};
use pyo3::prelude::*;

use super::call::{self, CallObject, Stage, Step};
use crate::event_loop::{entry, rawtype};

static CALL: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// The type; `register` has made it.
pub(super) fn get() -> *mut ffi::PyTypeObject {
    CALL.load(Ordering::Relaxed)
}

/// Makes the type.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let methods = vec![
        rawtype::method_o(c"send", send),
        rawtype::method_fast(c"throw", throw),
        rawtype::method(c"close", close),
        ffi::PyMethodDef::zeroed(),
    ];
    let attributes = vec![
        rawtype::attribute(c"__name__", name, None),
        rawtype::attribute(c"__qualname__", qualname, None),
        rawtype::attribute(c"cr_running", running, None),
        rawtype::attribute(c"cr_await", awaited, None),
        rawtype::attributes_end(),
    ];
    let slots = vec![
        rawtype::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        rawtype::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        rawtype::slot(ffi::Py_tp_clear, clear as *mut c_void),
        rawtype::slot(ffi::Py_tp_repr, repr as *mut c_void),
        rawtype::slot(ffi::Py_tp_iter, itself as *mut c_void),
        rawtype::slot(ffi::Py_tp_iternext, next as *mut c_void),
        rawtype::slot(ffi::Py_am_await, itself as *mut c_void),
        rawtype::slot(ffi::Py_am_send, am_send as *mut c_void),
        rawtype::slot(ffi::Py_tp_methods, rawtype::leak(methods).cast()),
        rawtype::slot(ffi::Py_tp_getset, rawtype::leak(attributes).cast()),
    ];
    let kind = rawtype::create::<CallObject>(py, c"pelton._core.SocketCall", slots)?;
    CALL.store(kind.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

unsafe extern "C" fn itself(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: a live object.
    unsafe { ffi::Py_NewRef(object) }
}

unsafe extern "C" fn am_send(
    object: *mut PyObject,
    value: *mut PyObject,
    result: *mut *mut PyObject,
) -> PySendResult {
    let step = entry(None, |py| {
        check_sent(object, value)?;
        // SAFETY: the caller holds the call.
        unsafe { call::resume(py, object.cast()).map(Some) }
    });
    let (kind, value) = match step {
        Some(Step::Return(value)) => (PySendResult::PYGEN_RETURN, value),
        Some(Step::Yield(value)) => (PySendResult::PYGEN_NEXT, value),
        None => (PySendResult::PYGEN_ERROR, null_mut()),
    };
    // SAFETY: where the caller wants the value.
    unsafe { *result = value };
    kind
}

/// As a coroutine: what is sent before it has begun has no place to go.
fn check_sent(object: *mut PyObject, value: *mut PyObject) -> PyResult<()> {
    // SAFETY: a live call; None is compared by identity.
    let early = unsafe {
        (*object.cast::<CallObject>()).stage == Stage::Created && value != ffi::Py_None()
    };
    if early {
        let text = "can't send non-None value to a just-started coroutine";
        return Err(PyTypeError::new_err(text));
    }
    Ok(())
}

unsafe extern "C" fn next(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the caller holds the call.
        match unsafe { call::resume(py, object.cast())? } {
            Step::Yield(value) => Ok(value),
            Step::Return(value) => {
                // SAFETY: a new reference, which is ours.
                unsafe { stop(py, Bound::from_owned_ptr(py, value)) };
                Ok(null_mut())
            }
        }
    })
}

/// Raises `StopIteration(value)`; for None, null alone says as much.
unsafe fn stop(py: Python<'_>, value: Bound<'_, PyAny>) {
    if value.is_none() {
        return;
    }
    // A tuple would be taken for the exception's arguments.
    if value.is_instance_of::<pyo3::types::PyTuple>() {
        PyStopIteration::new_err((value.unbind(),)).restore(py);
        return;
    }
    // SAFETY: live objects; the exception is set for the interpreter.
    unsafe { ffi::PyErr_SetObject(ffi::PyExc_StopIteration, value.as_ptr()) };
}

unsafe extern "C" fn send(object: *mut PyObject, value: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        check_sent(object, value)?;
        // SAFETY: the caller holds the call.
        match unsafe { call::resume(py, object.cast())? } {
            Step::Yield(value) => Ok(value),
            Step::Return(value) => {
                // SAFETY: a new reference, which is ours.
                let value = unsafe { Bound::from_owned_ptr(py, value) };
                Err(PyStopIteration::new_err((value.unbind(),)))
            }
        }
    })
}

/// `throw(type[, value[, traceback]])`: ends the call with that exception.
unsafe extern "C" fn throw(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes; the caller holds the call.
        unsafe {
            let given = rawtype::Arguments::new(args, count, names);
            let [kind, value, traceback] =
                given.parse(py, "throw", &["type", "value", "traceback"], 1)?;
            let stage = (*object.cast::<CallObject>()).stage;
            call::finish(object.cast());
            if stage == Stage::Done {
                let text = "cannot reuse already awaited coroutine";
                return Err(PyRuntimeError::new_err(text));
            }
            let exception = if ffi::PyExceptionInstance_Check(kind) != 0 || value.is_null() {
                Bound::from_borrowed_ptr(py, kind)
            } else {
                let value = Bound::from_borrowed_ptr(py, value);
                if ffi::PyExceptionInstance_Check(value.as_ptr()) != 0 {
                    value
                } else if value.is_none() {
                    Bound::from_borrowed_ptr(py, kind)
                } else {
                    Bound::from_borrowed_ptr(py, kind).call1((value,))?
                }
            };
            let error = PyErr::from_value(exception);
            if let Some(traceback) = Bound::from_borrowed_ptr_or_opt(py, traceback)
                && let Ok(traceback) = traceback.cast_into()
            {
                error.set_traceback(py, Some(traceback));
            }
            Err(error)
        }
    })
}

unsafe extern "C" fn close(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the caller holds the call.
        unsafe { call::finish(object.cast()) };
        Ok(py.None().into_ptr())
    })
}

unsafe extern "C" fn name(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: a live call.
    text(unsafe { (*object.cast::<CallObject>()).operation }.name())
}

unsafe extern "C" fn qualname(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: a live call.
    let operation = unsafe { (*object.cast::<CallObject>()).operation };
    text(&format!("Loop.{}", operation.name()))
}

fn text(text: &str) -> *mut PyObject {
    entry(null_mut(), |py| Ok(text.into_pyobject(py)?.into_any().into_ptr()))
}

unsafe extern "C" fn running(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: a live call.
    unsafe { ffi::PyBool_FromLong(((*object.cast::<CallObject>()).stage == Stage::Running).into()) }
}

unsafe extern "C" fn awaited(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: a live call; null stands for None.
    unsafe {
        let waiter = (*object.cast::<CallObject>()).waiter;
        ffi::Py_NewRef(if waiter.is_null() { ffi::Py_None() } else { waiter })
    }
}

unsafe extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: a live call.
    let operation = unsafe { (*object.cast::<CallObject>()).operation };
    text(&format!("<coroutine object Loop.{} at {object:p}>", operation.name()))
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a live call and its own visitor.
    unsafe {
        let call = object.cast::<CallObject>();
        let [first, second] = (*call).arguments;
        let kind = ffi::Py_TYPE(object).cast();
        let fields = [kind, (*call).event_loop, (*call).socket, first, second, (*call).waiter];
        rawtype::visit_all(&fields, visit, arg)
    }
}

/// The loop stays: a call that is cleared but still reached must be able to answer.
unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: the collector passes a live call, and holds it.
    unsafe { call::finish(object.cast()) };
    0
}

unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: the last reference is gone, so the memory is ours; the type, which each instance
    // holds, goes last.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        let call = object.cast::<CallObject>();
        if (*call).stage == Stage::Created {
            warn_unawaited(Python::assume_attached(), (*call).operation.name());
        }
        call::finish(call);
        ffi::Py_CLEAR(&raw mut (*call).event_loop);
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}

/// As for any coroutine.
#[cold]
fn warn_unawaited(py: Python<'_>, name: &str) {
    let pending = PyErr::take(py); // what is under way is not ours to lose
    let category = py.get_type::<pyo3::exceptions::PyRuntimeWarning>();
    let text = std::ffi::CString::new(format!("coroutine 'Loop.{name}' was never awaited"));
    if let Ok(text) = text
        && let Err(error) = PyErr::warn(py, &category, &text, 1)
    {
        error.write_unraisable(py, None);
    }
    if let Some(pending) = pending {
        pending.restore(py);
    }
}
