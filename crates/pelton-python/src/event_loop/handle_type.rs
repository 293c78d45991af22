//! The Python face of handles: their type objects, methods and attributes.

use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ptr::null_mut;

use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyType;

use super::gil::entry;
use super::handle::{self, HandleObject};

/// Makes `pelton._core.Handle`, or `TimerHandle`.
pub(super) fn create<'py>(py: Python<'py>, timer: bool) -> PyResult<Bound<'py, PyType>> {
    let methods = leak(methods(timer));
    let members = leak(vec![
        ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(HandleObject, weakrefs) as ffi::Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: std::ptr::null(),
        },
        // SAFETY: all zeroes is the end mark of a member table.
        unsafe { std::mem::zeroed() },
    ]);
    let attributes = leak(attributes(timer));
    let compare: *mut c_void = compare as *mut c_void;
    let mut slots = vec![
        slot(ffi::Py_tp_dealloc, handle::dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, handle::traverse as *mut c_void),
        slot(ffi::Py_tp_clear, handle::clear as *mut c_void),
        slot(ffi::Py_tp_repr, repr as *mut c_void),
        slot(ffi::Py_tp_methods, methods.cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(ffi::Py_tp_getset, attributes.cast()),
    ];
    if timer {
        slots.push(slot(ffi::Py_tp_richcompare, compare));
        slots.push(slot(ffi::Py_tp_hash, hash as *mut c_void));
    }
    slots.push(slot(0, null_mut()));
    let name: &CStr = if timer { c"pelton._core.TimerHandle" } else { c"pelton._core.Handle" };
    let mut spec = ffi::PyType_Spec {
        name: name.as_ptr(),
        basicsize: size_of::<HandleObject>() as c_int,
        itemsize: 0,
        flags: (ffi::Py_TPFLAGS_DEFAULT
            | ffi::Py_TPFLAGS_HAVE_GC
            | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the spec and its tables are complete and end with their marks; the tables that the
    // type keeps pointing to are leaked, once per type and process.
    unsafe {
        let kind = ffi::PyType_FromSpec(&raw mut spec);
        Ok(Bound::from_owned_ptr_or_err(py, kind)?.cast_into_unchecked())
    }
}

fn leak<T>(table: Vec<T>) -> *mut T {
    Box::leak(table.into_boxed_slice()).as_mut_ptr()
}

fn slot(slot: c_int, pfunc: *mut c_void) -> ffi::PyType_Slot {
    ffi::PyType_Slot { slot, pfunc }
}

fn methods(timer: bool) -> Vec<ffi::PyMethodDef> {
    let method =
        |name: &'static CStr, function: ffi::PyCFunction, doc: &'static CStr| ffi::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
            ml_flags: ffi::METH_NOARGS,
            ml_doc: doc.as_ptr(),
        };
    let mut table = vec![
        method(c"cancel", cancel, c"Cancel the callback; cancelling again does nothing."),
        method(c"cancelled", cancelled, c"Whether the callback was cancelled."),
        method(c"get_context", get_context, c"The context the callback runs in."),
        method(c"_run", handle::run_method, c"Run the callback now."),
        method(c"_repr_info", repr_info, c"The parts of repr()."),
    ];
    if timer {
        table.push(method(c"when", when, c"The loop's time at which the callback is due."));
    }
    table.push(ffi::PyMethodDef::zeroed());
    table
}

fn attributes(timer: bool) -> Vec<ffi::PyGetSetDef> {
    let attribute = |name: &'static CStr, get: ffi::getter| ffi::PyGetSetDef {
        name: name.as_ptr(),
        get: Some(get),
        set: None,
        doc: std::ptr::null(),
        closure: null_mut(),
    };
    let mut table = vec![
        attribute(c"__class__", if timer { timer_class } else { class }),
        attribute(c"_callback", callback),
        attribute(c"_context", context),
        attribute(c"_loop", event_loop),
        attribute(c"_source_traceback", traceback),
        attribute(c"_args", args),
        attribute(c"_cancelled", is_cancelled),
    ];
    if timer {
        table.push(attribute(c"_when", when_attribute));
        table.push(attribute(c"_scheduled", is_scheduled));
    }
    table.push(ffi::PyGetSetDef {
        name: std::ptr::null(),
        get: None,
        set: None,
        doc: std::ptr::null(),
        closure: null_mut(),
    });
    table
}

fn field(object: *mut PyObject, get: impl FnOnce(&HandleObject) -> *mut PyObject) -> *mut PyObject {
    // SAFETY: Python calls attributes on live objects of the type; null stands for None.
    unsafe {
        let value = get(&*object.cast());
        ffi::Py_NewRef(if value.is_null() { ffi::Py_None() } else { value })
    }
}

fn boolean(object: *mut PyObject, get: impl FnOnce(&HandleObject) -> bool) -> *mut PyObject {
    // SAFETY: as in `field`.
    unsafe { ffi::PyBool_FromLong(get(&*object.cast()).into()) }
}

extern "C" fn callback(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    field(object, |handle| handle.callback)
}

extern "C" fn context(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    get_context(object, null_mut())
}

extern "C" fn event_loop(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    field(object, |handle| handle.event_loop)
}

extern "C" fn traceback(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    field(object, |handle| handle.traceback)
}

extern "C" fn is_cancelled(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    boolean(object, |handle| handle.cancelled)
}

extern "C" fn is_scheduled(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    boolean(object, |handle| handle.scheduled)
}

extern "C" fn when_attribute(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    when(object, null_mut())
}

extern "C" fn args(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: as in `field`.
    unsafe {
        if (*object.cast::<HandleObject>()).callback.is_null() {
            return ffi::Py_NewRef(ffi::Py_None());
        }
        handle::args_tuple(object.cast())
    }
}

extern "C" fn cancel(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: as in `field`.
        unsafe { handle::cancel(object.cast()) };
        Ok(py.None().into_ptr())
    })
}

extern "C" fn cancelled(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    boolean(object, |handle| handle.cancelled)
}

extern "C" fn get_context(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: as in `field`; null comes with its exception.
    unsafe { ffi::Py_XNewRef(handle::context_of(object.cast())) }
}

extern "C" fn when(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: a method gets a live `self` of its own type.
    unsafe {
        let handle = &*object.cast::<HandleObject>();
        if handle.whole {
            ffi::PyLong_FromDouble(handle.when)
        } else {
            ffi::PyFloat_FromDouble(handle.when)
        }
    }
}

extern "C" fn class(_object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    entry(null_mut(), |py| Ok(asyncio_class(py, false)?.into_ptr()))
}

extern "C" fn timer_class(_object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    entry(null_mut(), |py| Ok(asyncio_class(py, true)?.into_ptr()))
}

fn asyncio_class(py: Python<'_>, timer: bool) -> PyResult<Bound<'_, PyAny>> {
    py.import("asyncio.events")?.getattr(if timer { "TimerHandle" } else { "Handle" })
}

/// asyncio's own text: it only reads the attributes above.
extern "C" fn repr_info(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: as in `field`.
        let handle = unsafe { Bound::from_borrowed_ptr(py, object) };
        let class = handle.getattr("__class__")?;
        Ok(class.call_method1("_repr_info", (handle,))?.into_ptr())
    })
}

extern "C" fn repr(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: as in `field`.
        let handle = unsafe { Bound::from_borrowed_ptr(py, object) };
        let info = handle.call_method0("_repr_info")?;
        let text = pyo3::types::PyString::new(py, " ").call_method1("join", (info,))?;
        Ok(pyo3::types::PyString::new(py, &format!("<{text}>")).into_any().into_ptr())
    })
}

extern "C" fn hash(object: *mut PyObject) -> ffi::Py_hash_t {
    // SAFETY: as in `field`; the temporary float is dropped.
    unsafe {
        let when = ffi::PyFloat_FromDouble((*object.cast::<HandleObject>()).when);
        if when.is_null() {
            return -1;
        }
        let hash = ffi::PyObject_Hash(when);
        ffi::Py_DECREF(when);
        hash
    }
}

/// Timers compare by their time; two are equal only if they are the same.
extern "C" fn compare(left: *mut PyObject, right: *mut PyObject, op: c_int) -> *mut PyObject {
    // SAFETY: Python passes live objects, `left` of our type; `right` is read as a handle only if
    // it has the same type.
    unsafe {
        if ffi::Py_TYPE(left) != ffi::Py_TYPE(right) {
            return ffi::Py_NewRef(ffi::Py_NotImplemented());
        }
        let (a, b) = ((*left.cast::<HandleObject>()).when, (*right.cast::<HandleObject>()).when);
        let holds = match op {
            ffi::Py_LT => a < b,
            ffi::Py_LE => a <= b,
            ffi::Py_GT => a > b,
            ffi::Py_GE => a >= b,
            ffi::Py_EQ => left == right,
            _ => left != right,
        };
        ffi::PyBool_FromLong(holds.into())
    }
}
