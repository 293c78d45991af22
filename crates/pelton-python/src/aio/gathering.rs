//! The future that `gather` returns: cancelling it cancels what it gathers.

use std::ptr::null_mut;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::arguments::Arguments;
use super::future::{Future, call_method, owned};
use super::gather::Gather;
use super::raw_class::{MethodFunction, RawClass, value_of};
use crate::event_loop::{Owned, entry};

/// A subclass of `asyncio.Future`, made by Python's own means, with one slot of ours.
struct Gathering {
    class: Py<PyType>,
    /// Where an instance keeps its `Gather`, in bytes from its start.
    offset: usize,
}

fn gathering(py: Python<'_>) -> PyResult<&'static Gathering> {
    static GATHERING: PyOnceLock<Gathering> = PyOnceLock::new();
    GATHERING.get_or_try_init(py, || {
        let base = py.import("asyncio.futures")?.getattr("Future")?;
        let names = PyDict::new(py);
        names.set_item("__slots__", ("_gather",))?;
        names.set_item("__module__", "pelton._core")?;
        names
            .set_item("__doc__", "What gather() returns; cancelling it cancels what it gathers.")?;
        let class = py.get_type::<PyType>().call1(("_GatheringFuture", (base,), names))?;
        let class = class.cast_into::<PyType>()?;
        let definition = MethodFunction::FastWithKeywords(cancel)
            .definition(c"cancel", c"Cancel everything that is gathered.");
        let definition = Box::leak(Box::new(definition));
        // SAFETY: the definition lives as long as the process; the descriptor checks that `self` is
        // of the class. A slot's descriptor says where the slot is.
        unsafe {
            let cancel = ffi::PyDescr_NewMethod(class.as_type_ptr(), definition);
            class.setattr("cancel", Bound::from_owned_ptr_or_err(py, cancel)?)?;
            let slot = class.getattr("_gather")?;
            if ffi::Py_TYPE(slot.as_ptr()) != &raw mut ffi::PyMemberDescr_Type {
                return Err(PyRuntimeError::new_err("a slot without a member descriptor"));
            }
            let slot = slot.as_ptr().cast::<ffi::PyMemberDescrObject>();
            let offset = (*(*slot).d_member).offset as usize;
            Ok(Gathering { class: class.unbind(), offset })
        }
    })
}

/// A new future of `event_loop` for what `gather` gathers.
pub(super) fn future(py: Python<'_>, event_loop: &Owned, gather: &Owned) -> PyResult<Future> {
    static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let names = NAMES.get_or_try_init(py, || {
        Ok::<_, PyErr>(PyTuple::new(py, [intern!(py, "loop")])?.unbind())
    })?;
    let gathering = gathering(py)?;
    let args = [null_mut(), event_loop.as_ptr()];
    // SAFETY: a call with one keyword argument; the word before it is ours to lend. The slot of a
    // new instance is empty, and takes over a reference.
    unsafe {
        let future = ffi::PyObject_Vectorcall(
            gathering.class.as_ptr(),
            args.as_ptr().add(1),
            ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            names.as_ptr(),
        );
        let future = owned(py, future)?;
        *slot(future.as_ptr(), gathering.offset) = ffi::Py_NewRef(gather.as_ptr());
        Ok(Future::from_object(future))
    }
}

/// # Safety
/// A live instance of the class whose slot lies at `offset`.
unsafe fn slot(future: *mut PyObject, offset: usize) -> *mut *mut PyObject {
    // SAFETY: the caller's.
    unsafe { future.byte_add(offset).cast() }
}

unsafe extern "C" fn cancel(
    future: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: what the interpreter passes: `self` is of the class, and its slot has a `Gather`
        // or nothing, as only this file writes it... or Python, which may delete it.
        unsafe {
            let [message] = Arguments::new(args, count, names).parse("cancel", 1, ["msg"])?;
            let message = message.unwrap_or(ffi::Py_None());
            let gather = *slot(future, gathering(py)?.offset);
            let this = Future::from_object(Owned::share(future));
            let asked =
                !gather.is_null() && Gather::class().is_exact(gather) && !done(py, &this)? && {
                    let gather = Owned::share(gather);
                    value_of::<Gather>(gather.as_ptr()).cancel_children(py, message)?
                };
            Ok(ffi::PyBool_FromLong(asked.into()))
        }
    })
}

fn done(py: Python<'_>, future: &Future) -> PyResult<bool> {
    call_method(intern!(py, "done"), future.as_ptr(), &[])?.as_py().bind(py).is_truthy()
}

/// `child.cancel(msg=message)`.
pub(super) fn cancel_child(
    py: Python<'_>,
    child: *mut PyObject,
    message: *mut PyObject,
) -> PyResult<bool> {
    static NAMES: PyOnceLock<Py<PyTuple>> = PyOnceLock::new();
    let names = NAMES
        .get_or_try_init(py, || Ok::<_, PyErr>(PyTuple::new(py, [intern!(py, "msg")])?.unbind()))?;
    let args = [null_mut(), child, message];
    // SAFETY: a call with one keyword argument; the word before the object is ours to lend.
    let answer = unsafe {
        let answer = ffi::PyObject_VectorcallMethod(
            intern!(py, "cancel").as_ptr(),
            args.as_ptr().add(1),
            1 | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
            names.as_ptr(),
        );
        owned(py, answer)?
    };
    answer.as_py().bind(py).is_truthy()
}
