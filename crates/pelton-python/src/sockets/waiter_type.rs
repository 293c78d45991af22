//! The Python face of waiters: the methods of a future that a task asks for.

use std::ffi::{CStr, c_int, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyTypeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;

use super::waiter::{self, State, WaiterObject};
use crate::event_loop::{BaseLoop, entry, rawtype};

static WAITER: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());

/// The type; `register` has made it.
pub(super) fn get() -> *mut ffi::PyTypeObject {
    WAITER.load(Ordering::Relaxed)
}

/// Makes the type.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    let slots = vec![
        rawtype::slot(ffi::Py_tp_dealloc, dealloc as *mut c_void),
        rawtype::slot(ffi::Py_tp_traverse, traverse as *mut c_void),
        rawtype::slot(ffi::Py_tp_clear, clear as *mut c_void),
        rawtype::slot(ffi::Py_tp_repr, repr as *mut c_void),
        rawtype::slot(ffi::Py_tp_methods, rawtype::leak(methods()).cast()),
        rawtype::slot(ffi::Py_tp_getset, rawtype::leak(attributes()).cast()),
    ];
    let kind = rawtype::create::<WaiterObject>(py, c"pelton._core.SocketWaiter", slots)?;
    WAITER.store(kind.into_ptr().cast(), Ordering::Relaxed);
    Ok(())
}

fn methods() -> Vec<ffi::PyMethodDef> {
    let plain: [(&'static CStr, ffi::PyCFunction); 5] = [
        (c"get_loop", get_loop),
        (c"done", done),
        (c"cancelled", cancelled),
        (c"result", result),
        (c"exception", exception),
    ];
    let mut table: Vec<_> =
        plain.into_iter().map(|(name, function)| rawtype::method(name, function)).collect();
    table.push(rawtype::method_o(c"remove_done_callback", remove_done_callback));
    table.push(rawtype::method_fast(c"add_done_callback", add_done_callback));
    table.push(rawtype::method_fast(c"cancel", cancel));
    table.push(ffi::PyMethodDef::zeroed());
    table
}

fn attributes() -> Vec<ffi::PyGetSetDef> {
    vec![
        rawtype::attribute(c"_asyncio_future_blocking", blocking, Some(set_blocking)),
        rawtype::attribute(c"_loop", loop_attribute, None),
        rawtype::attributes_end(),
    ]
}

/// # Safety
/// `object` is a live waiter.
unsafe fn of<'a>(object: *mut PyObject) -> &'a mut WaiterObject {
    // SAFETY: the caller's; the GIL makes the access exclusive, and no two are held at a time.
    unsafe { &mut *object.cast() }
}

unsafe extern "C" fn get_loop(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of a live waiter.
    unsafe { ffi::Py_NewRef(of(object).event_loop) }
}

unsafe extern "C" fn loop_attribute(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: an attribute of a live waiter.
    unsafe { ffi::Py_NewRef(of(object).event_loop) }
}

unsafe extern "C" fn done(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of a live waiter.
    unsafe { ffi::PyBool_FromLong((of(object).state != State::Pending).into()) }
}

unsafe extern "C" fn cancelled(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of a live waiter.
    unsafe { ffi::PyBool_FromLong((of(object).state == State::Cancelled).into()) }
}

unsafe extern "C" fn result(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method of a live waiter; None is given as a new reference.
    unsafe {
        if of(object).state == State::Woken {
            return ffi::Py_NewRef(ffi::Py_None());
        }
        entry(null_mut(), |py| Err(not_woken(py, object)))
    }
}

unsafe extern "C" fn exception(object: *mut PyObject, unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: as `result`: a waiter has no exception but that of its cancellation.
    unsafe { result(object, unused) }
}

/// What a waiter that was not woken raises for its result.
#[cold]
unsafe fn not_woken(py: Python<'_>, object: *mut PyObject) -> PyErr {
    // SAFETY: a live waiter; its message is live or null.
    let (state, message) = unsafe {
        let waiter = of(object);
        (waiter.state, Bound::from_borrowed_ptr_or_opt(py, waiter.message))
    };
    let made = py.import("asyncio.exceptions").and_then(|module| {
        if state == State::Pending {
            return module.getattr("InvalidStateError")?.call1(("Result is not set.",));
        }
        let class = module.getattr("CancelledError")?;
        match message {
            Some(message) if !message.is_none() => class.call1((message,)),
            _ => class.call0(),
        }
    });
    made.map_or_else(|error| error, PyErr::from_value)
}

/// `add_done_callback(callback, *, context=None)`.
unsafe extern "C" fn add_done_callback(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: live objects, of which the last ones are named.
        unsafe {
            let given = rawtype::Arguments::new(args, count, names);
            let [callback, context] =
                given.parse(py, "add_done_callback", &["callback", "context"], 1)?;
            let context = if context.is_null() || context == ffi::Py_None() {
                Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())?
            } else {
                Bound::from_borrowed_ptr(py, context)
            };
            let waiter = of(object);
            if waiter.state != State::Pending {
                let core = BaseLoop::core_of(waiter.event_loop);
                waiter::queue(py, core, waiter, callback, context.as_ptr());
            } else if waiter.callback.is_null() {
                waiter.callback = ffi::Py_NewRef(callback);
                waiter.context = context.into_ptr();
            } else {
                if waiter.others.is_null() {
                    waiter.others = ffi::PyList_New(0);
                }
                let pair =
                    Bound::from_owned_ptr_or_err(py, waiter::pair(callback, context.as_ptr()))?;
                if waiter.others.is_null() || ffi::PyList_Append(waiter.others, pair.as_ptr()) < 0 {
                    return Err(PyErr::fetch(py));
                }
            }
            Ok(ffi::Py_NewRef(ffi::Py_None()))
        }
    })
}

/// `remove_done_callback(callback)`: how many were removed.
unsafe extern "C" fn remove_done_callback(
    object: *mut PyObject,
    callback: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: a method of a live waiter, and its argument. Comparing runs Python, so what is
        // compared is held meanwhile.
        unsafe {
            let wanted = Bound::from_borrowed_ptr(py, callback);
            let mut removed = 0_usize;
            if let Some(first) = Bound::from_borrowed_ptr_or_opt(py, of(object).callback)
                && first.eq(&wanted)?
            {
                ffi::Py_CLEAR(&raw mut of(object).callback);
                ffi::Py_CLEAR(&raw mut of(object).context);
                removed += 1;
            }
            if let Some(others) = Bound::from_borrowed_ptr_or_opt(py, of(object).others) {
                for pair in others.try_iter()?.collect::<PyResult<Vec<_>>>()? {
                    if pair.get_item(0)?.eq(&wanted)? {
                        others.call_method1("remove", (pair,))?;
                        removed += 1;
                    }
                }
            }
            Ok(removed.into_pyobject(py)?.into_any().into_ptr())
        }
    })
}

/// `cancel(msg=None)`.
unsafe extern "C" fn cancel(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes.
        unsafe {
            let given = rawtype::Arguments::new(args, count, names);
            let [message] = given.parse(py, "cancel", &["msg"], 0)?;
            let held = ffi::Py_NewRef(object); // the watch may hold the only other reference
            let cancelled = waiter::cancel(object.cast(), message);
            ffi::Py_DECREF(held);
            Ok(ffi::PyBool_FromLong(cancelled.into()))
        }
    })
}

unsafe extern "C" fn blocking(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: an attribute of a live waiter.
    unsafe { ffi::PyBool_FromLong(of(object).blocking.into()) }
}

unsafe extern "C" fn set_blocking(
    object: *mut PyObject,
    value: *mut PyObject,
    _closure: *mut c_void,
) -> c_int {
    entry(-1, |py| {
        if value.is_null() {
            return Err(PyTypeError::new_err("cannot delete attribute"));
        }
        // SAFETY: an attribute of a live waiter, and the value it gets.
        match unsafe { ffi::PyObject_IsTrue(value) } {
            -1 => Err(PyErr::fetch(py)),
            truth => {
                // SAFETY: as above.
                unsafe { of(object).blocking = truth == 1 };
                Ok(0)
            }
        }
    })
}

unsafe extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: a live waiter.
        let waiter = unsafe { of(object) };
        let state = match waiter.state {
            State::Pending => "pending",
            State::Woken => "finished",
            State::Cancelled => "cancelled",
        };
        let text = format!("<SocketWaiter {state} fd={}>", waiter.fd);
        Ok(text.into_pyobject(py)?.into_any().into_ptr())
    })
}

unsafe extern "C" fn traverse(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: the collector passes a live waiter and its own visitor.
    unsafe {
        let waiter = of(object);
        rawtype::visit_all(
            &[
                ffi::Py_TYPE(object).cast(),
                waiter.event_loop,
                waiter.callback,
                waiter.context,
                waiter.others,
                waiter.message,
            ],
            visit,
            arg,
        )
    }
}

/// The loop stays: a waiter that is cleared but still reached must be able to answer.
unsafe extern "C" fn clear(object: *mut PyObject) -> c_int {
    // SAFETY: the collector passes a live waiter; fields are emptied before they are dropped.
    unsafe {
        let waiter: *mut WaiterObject = object.cast();
        ffi::Py_CLEAR(&raw mut (*waiter).callback);
        ffi::Py_CLEAR(&raw mut (*waiter).context);
        ffi::Py_CLEAR(&raw mut (*waiter).others);
        ffi::Py_CLEAR(&raw mut (*waiter).message);
    }
    0
}

unsafe extern "C" fn dealloc(object: *mut PyObject) {
    // SAFETY: the last reference is gone, so the memory is ours; the type, which each instance
    // holds, goes last.
    unsafe {
        ffi::PyObject_GC_UnTrack(object.cast());
        clear(object);
        ffi::Py_CLEAR(&raw mut (*object.cast::<WaiterObject>()).event_loop);
        let kind = ffi::Py_TYPE(object);
        ffi::PyObject_GC_Del(object.cast());
        ffi::Py_DECREF(kind.cast());
    }
}
