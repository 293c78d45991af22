//! The Python face of coroutines: the type object, methods and attributes.

use std::ffi::{CStr, c_int, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use pyo3::exceptions::{PyBaseException, PyTypeError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyTraceback, PyType};

use super::coroutine::{self, CoroutineObject, Input, Machine, Stage, Step};
use crate::event_loop::entry;

/// Makes the type of one machine's coroutines.
pub(super) fn create<M: Machine>(py: Python<'_>) -> PyResult<Bound<'_, PyType>> {
    let members = leak(vec![
        ffi::PyMemberDef {
            name: c"__weaklistoffset__".as_ptr(),
            type_code: ffi::Py_T_PYSSIZET,
            offset: offset_of!(CoroutineObject<M>, weakrefs) as Py_ssize_t,
            flags: ffi::Py_READONLY,
            doc: null(),
        },
        // SAFETY: all zeroes is the end mark of a member table.
        unsafe { std::mem::zeroed() },
    ]);
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut slots = [
        slot(ffi::Py_tp_dealloc, coroutine::dealloc::<M> as *mut c_void),
        slot(ffi::Py_tp_finalize, coroutine::finalize::<M> as *mut c_void),
        slot(ffi::Py_tp_traverse, coroutine::traverse::<M> as *mut c_void),
        slot(ffi::Py_tp_clear, coroutine::clear::<M> as *mut c_void),
        slot(ffi::Py_tp_repr, repr::<M> as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, iternext::<M> as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, am_send::<M> as *mut c_void),
        slot(ffi::Py_tp_methods, leak(methods::<M>()).cast()),
        slot(ffi::Py_tp_getset, leak(attributes::<M>()).cast()),
        slot(ffi::Py_tp_members, members.cast()),
        slot(0, null_mut()),
    ];
    let flags =
        ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_HAVE_GC | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION;
    let mut spec = ffi::PyType_Spec {
        name: M::NAME.as_ptr(),
        basicsize: size_of::<CoroutineObject<M>>() as c_int,
        itemsize: 0,
        flags: flags as _,
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

fn methods<M: Machine>() -> Vec<ffi::PyMethodDef> {
    let method = |name: &'static CStr, ml_meth, ml_flags, doc: &'static CStr| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth,
        ml_flags,
        ml_doc: doc.as_ptr(),
    };
    vec![
        method(
            c"send",
            ffi::PyMethodDefPointer { PyCFunction: send::<M> },
            ffi::METH_O,
            c"Take a step; StopIteration brings the result.",
        ),
        method(
            c"throw",
            ffi::PyMethodDefPointer { PyCFunctionFast: throw::<M> },
            ffi::METH_FASTCALL,
            c"Raise an exception where it waits.",
        ),
        method(
            c"close",
            ffi::PyMethodDefPointer { PyCFunction: close::<M> },
            ffi::METH_NOARGS,
            c"Raise GeneratorExit where it waits.",
        ),
        ffi::PyMethodDef::zeroed(),
    ]
}

fn attributes<M: Machine>() -> Vec<ffi::PyGetSetDef> {
    let attribute = |name: *const _, get| ffi::PyGetSetDef {
        name,
        get,
        set: None,
        doc: null(),
        closure: null_mut(),
    };
    vec![
        attribute(c"__name__".as_ptr(), Some(name::<M>)),
        attribute(c"__qualname__".as_ptr(), Some(qualname::<M>)),
        attribute(c"cr_await".as_ptr(), Some(cr_await::<M>)),
        attribute(c"cr_running".as_ptr(), Some(cr_running::<M>)),
        attribute(null(), None),
    ]
}

extern "C" fn itself(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: Python passes a live object.
    unsafe { ffi::Py_NewRef(object) }
}

extern "C" fn am_send<M: Machine>(
    object: *mut PyObject,
    _value: *mut PyObject,
    result: *mut *mut PyObject,
) -> ffi::PySendResult {
    let failed = (ffi::PySendResult::PYGEN_ERROR, null_mut());
    let (kind, value) = entry(failed, |py| {
        // SAFETY: Python passes a live object of the type.
        let stepped = unsafe { coroutine::step::<M>(py, object, Input::Go)? };
        Ok(match stepped {
            Step::Yield(value) => (ffi::PySendResult::PYGEN_NEXT, value.into_ptr()),
            Step::Return(value) => (ffi::PySendResult::PYGEN_RETURN, value.into_ptr()),
        })
    });
    // SAFETY: Python passes where to put the result.
    unsafe { *result = value };
    kind
}

extern "C" fn iternext<M: Machine>(object: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the type.
        match unsafe { coroutine::step::<M>(py, object, Input::Go)? } {
            Step::Yield(value) => Ok(value.into_ptr()),
            // The iterator's end without an exception: None is the result.
            // SAFETY: None is alive.
            Step::Return(value) if value.as_ptr() == unsafe { ffi::Py_None() } => Ok(null_mut()),
            Step::Return(value) => Err(stop(py, value)),
        }
    })
}

/// For Python's calls of `send` and `throw`, which end by an exception.
fn returned(py: Python<'_>, stepped: Step) -> PyResult<*mut PyObject> {
    match stepped {
        Step::Yield(value) => Ok(value.into_ptr()),
        Step::Return(value) => Err(stop(py, value)),
    }
}

/// `StopIteration(value)`. (Made whole: a tuple as the value must not become its arguments.)
fn stop(py: Python<'_>, value: crate::event_loop::Owned) -> PyErr {
    // SAFETY: a call of a live class with a live object.
    let made = unsafe {
        let made = ffi::PyObject_CallOneArg(ffi::PyExc_StopIteration, value.as_ptr());
        Bound::from_owned_ptr_or_err(py, made)
    };
    match made {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

extern "C" fn send<M: Machine>(object: *mut PyObject, value: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the type, and a live value.
        unsafe {
            let created = coroutine::stage::<M>(object) == Stage::Created;
            if created && value != ffi::Py_None() {
                return Err(PyTypeError::new_err(
                    "can't send non-None value to a just-started coroutine",
                ));
            }
            returned(py, coroutine::step::<M>(py, object, Input::Go)?)
        }
    })
}

unsafe extern "C" fn throw<M: Machine>(
    object: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: a live object of the type, `count` live arguments.
        let throw = |py: Python<'_>| unsafe { throw_into::<M>(py, object, args, count) };
        // Exceptions dropped within go at once only if PyO3 knows that the interpreter is attached.
        Python::try_attach(throw).unwrap_or_else(|| throw(py))
    })
}

/// # Safety
/// As for a `METH_FASTCALL` function of the type.
unsafe fn throw_into<M: Machine>(
    py: Python<'_>,
    object: *mut PyObject,
    args: *mut *mut PyObject,
    count: Py_ssize_t,
) -> PyResult<*mut PyObject> {
    if !(1..=3).contains(&count) {
        return Err(PyTypeError::new_err(format!("throw() takes 1 to 3 arguments, not {count}")));
    }
    // SAFETY: the caller's.
    unsafe {
        let given = |n: usize| {
            let given = n < count as usize && *args.add(n) != ffi::Py_None();
            given.then(|| Bound::from_borrowed_ptr(py, *args.add(n)))
        };
        let kind = given(0).unwrap_or_else(|| py.None().into_bound(py));
        let error = thrown(kind, given(1), given(2))?;
        returned(py, coroutine::step::<M>(py, object, Input::Error(error))?)
    }
}

/// The exception that `throw(kind, value, traceback)` means.
pub(crate) fn thrown<'py>(
    kind: Bound<'py, PyAny>,
    value: Option<Bound<'py, PyAny>>,
    traceback: Option<Bound<'py, PyAny>>,
) -> PyResult<PyErr> {
    let py = kind.py();
    let error = if let Ok(class) = kind.cast::<PyType>() {
        match value {
            Some(value) if value.is_instance(class)? => value,
            Some(value) => class.call1((value,))?,
            None => class.call0()?,
        }
    } else if value.is_some() {
        return Err(PyTypeError::new_err("instance exception may not have a separate value"));
    } else {
        kind
    };
    if !error.is_instance_of::<PyBaseException>() {
        return Err(PyTypeError::new_err(format!(
            "exceptions must be classes or instances deriving from BaseException, not {}",
            error.get_type().name()?
        )));
    }
    let error = PyErr::from_value(error);
    if let Some(traceback) = traceback {
        let traceback = traceback.cast_into::<PyTraceback>().map_err(|_| {
            PyTypeError::new_err("throw() third argument must be a traceback object")
        })?;
        error.set_traceback(py, Some(traceback));
    }
    Ok(error)
}

extern "C" fn close<M: Machine>(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: Python passes a live object of the type.
        unsafe { coroutine::close::<M>(py, object)? };
        Ok(py.None().into_ptr())
    })
}

extern "C" fn name<M: Machine>(_object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    let qualname = M::QUALNAME.to_bytes();
    let start = qualname.iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
    // SAFETY: a C string, from a place within it.
    unsafe { ffi::PyUnicode_FromString(M::QUALNAME.as_ptr().add(start)) }
}

extern "C" fn qualname<M: Machine>(_object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: a C string.
    unsafe { ffi::PyUnicode_FromString(M::QUALNAME.as_ptr()) }
}

extern "C" fn cr_await<M: Machine>(object: *mut PyObject, _closure: *mut c_void) -> *mut PyObject {
    // SAFETY: Python passes a live object of the type.
    unsafe {
        let found = coroutine::awaiting::<M>(object);
        if found.is_null() { ffi::Py_NewRef(ffi::Py_None()) } else { found }
    }
}

extern "C" fn cr_running<M: Machine>(
    object: *mut PyObject,
    _closure: *mut c_void,
) -> *mut PyObject {
    // SAFETY: Python passes a live object of the type.
    unsafe { ffi::PyBool_FromLong((coroutine::stage::<M>(object) == Stage::Running).into()) }
}

extern "C" fn repr<M: Machine>(object: *mut PyObject) -> *mut PyObject {
    // SAFETY: a format with a C string and a pointer.
    unsafe {
        ffi::PyUnicode_FromFormat(
            c"<coroutine object %s at %p>".as_ptr(),
            M::QUALNAME.as_ptr(),
            object,
        )
    }
}
