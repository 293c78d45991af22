//! Coroutines written in Rust: state machines that `await` and `asyncio.Task` take as they take an
//! `async def`'s.
//!
//! A [`Machine`] is the body; the object around it does what every coroutine does: it starts when
//! it is first awaited and not before, runs once, takes exceptions by `throw`, ends early by
//! `close` (also when it is collected while it waits), warns if it was never awaited, and satisfies
//! `collections.abc.Coroutine`. Its memory is used again, and no exception is made to return.

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::{PyGeneratorExit, PyRuntimeError, PyStopIteration, PyValueError};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;

use super::coroutine_type;
use crate::event_loop::Owned;

/// What a coroutine is resumed with.
#[derive(Debug)]
pub(crate) enum Input {
    /// By `send` (the value says nothing), or for the first time.
    Go,
    /// By `throw` or `close`: the exception is raised where it waits.
    Error(PyErr),
}

/// What a step came to.
#[derive(Debug)]
pub(crate) enum Step {
    /// It waits for what a task understands: a future marked as awaited, or None for a turn.
    Yield(Owned),
    /// It is over, with a result.
    Return(Owned),
}

impl Step {
    /// Over, with None.
    pub(crate) fn done() -> Self {
        // SAFETY: None is alive; the GIL is held, as in every machine.
        Self::Return(unsafe { Owned::share(ffi::Py_None()) })
    }

    /// Over, with a bool.
    pub(crate) fn truth(value: bool) -> Self {
        // SAFETY: as above.
        Self::Return(unsafe { Owned::share(if value { ffi::Py_True() } else { ffi::Py_False() }) })
    }
}

/// Shows the collector the objects that a machine holds.
#[derive(Debug)]
pub(crate) struct Visitor {
    visit: ffi::visitproc,
    arg: *mut c_void,
    stop: c_int,
}

impl Visitor {
    pub(crate) fn new(visit: ffi::visitproc, arg: *mut c_void) -> Self {
        Self { visit, arg, stop: 0 }
    }

    /// Shows one object.
    pub(crate) fn see(&mut self, object: &Owned) {
        self.see_ptr(object.as_ptr());
    }

    /// Shows one object; null is skipped.
    pub(crate) fn see_ptr(&mut self, object: *mut PyObject) {
        if self.stop == 0 && !object.is_null() {
            // SAFETY: the collector's own visitor, and an object that is held.
            self.stop = unsafe { (self.visit)(object, self.arg) };
        }
    }

    /// What `tp_traverse` returns.
    pub(crate) fn answer(&self) -> c_int {
        self.stop
    }
}

/// The body of a coroutine.
pub(crate) trait Machine: Sized + 'static {
    /// The type's name, `pelton._core.…`.
    const NAME: &'static CStr;
    /// `__qualname__`: what it would be as an `async def`, `Queue.get`.
    const QUALNAME: &'static CStr;

    /// Where its type is kept: `static CLASS: Class<Self> = Class::new(); &CLASS`.
    fn class() -> &'static Class<Self>;

    /// Takes a step. The first is always `Input::Go`; a machine that returned `Step::Return` or an
    /// error is not asked again, and is dropped. Python may run in here, but not this machine.
    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step>;

    /// Shows every Python object that it holds.
    fn traverse(&self, visitor: &mut Visitor);

    /// What it waits in, for `cr_await`.
    fn awaiting(&self) -> Option<&Owned> {
        None
    }
}

/// Where a coroutine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Created,
    Suspended,
    Running,
    Finished,
}

/// The Python object around a machine.
#[repr(C)]
pub(super) struct CoroutineObject<M> {
    ob_base: PyObject,
    pub(super) weakrefs: *mut PyObject,
    stage: Stage,
    /// Present unless the stage is `Finished`.
    machine: MaybeUninit<M>,
}

/// A machine's Python type, and memory of its coroutines that died.
pub(crate) struct Class<M> {
    kind: AtomicPtr<ffi::PyTypeObject>,
    free: UnsafeCell<Vec<*mut CoroutineObject<M>>>,
}

// SAFETY: the list is touched only in `start` and `dealloc`, both with the GIL held and neither
// calling Python while it holds the reference.
unsafe impl<M> Sync for Class<M> {}

/// Coroutines of a type kept for use again.
const FREE_MAX: usize = 256;

impl<M: Machine> Class<M> {
    /// No type yet: `register` makes it.
    pub(crate) const fn new() -> Self {
        Self { kind: AtomicPtr::new(null_mut()), free: UnsafeCell::new(Vec::new()) }
    }

    /// Makes the type. Call it when the module is made, for every machine.
    pub(crate) fn register(&self, py: Python<'_>) -> PyResult<()> {
        let kind = coroutine_type::create::<M>(py)?;
        self.kind.store(kind.into_ptr().cast(), Ordering::Relaxed);
        Ok(())
    }
}

/// A coroutine that will run `machine` when it is awaited: a new reference.
#[inline]
pub(crate) fn coroutine<M: Machine>(py: Python<'_>, machine: M) -> PyResult<*mut PyObject> {
    let class = M::class();
    let kind = class.kind.load(Ordering::Relaxed);
    // SAFETY: the type was made at import. Memory from the free list came from `PyObject_GC_New` of
    // the same type and is untracked; every field is filled in before the collector can see it.
    unsafe {
        let object = match (*class.free.get()).pop() {
            Some(object) => ffi::PyObject_Init(object.cast(), kind).cast(),
            None => ffi::PyObject_GC_New::<CoroutineObject<M>>(kind),
        };
        if object.is_null() {
            return Err(PyErr::fetch(py));
        }
        (*object).weakrefs = null_mut();
        (*object).stage = Stage::Created;
        (&raw mut (*object).machine).write(MaybeUninit::new(machine));
        ffi::PyObject_GC_Track(object.cast());
        Ok(object.cast())
    }
}

/// Takes a step of a coroutine.
///
/// # Safety
/// `object` is a live coroutine of `M`; the GIL is held.
#[inline]
pub(super) unsafe fn step<M: Machine>(
    py: Python<'_>,
    object: *mut PyObject,
    input: Input,
) -> PyResult<Step> {
    let object = object.cast::<CoroutineObject<M>>();
    // SAFETY: the caller's. While the stage is `Running`, no one else reaches the machine: a second
    // `step` is refused, the collector skips it, and the caller holds the object.
    unsafe {
        match (*object).stage {
            Stage::Running => return Err(PyValueError::new_err("coroutine already executing")),
            Stage::Finished => {
                return Err(match input {
                    Input::Go => PyRuntimeError::new_err("cannot reuse already awaited coroutine"),
                    Input::Error(error) => error,
                });
            }
            Stage::Created => {
                if let Input::Error(error) = input {
                    finish(object);
                    return Err(error);
                }
            }
            Stage::Suspended => {}
        }
        (*object).stage = Stage::Running;
        let stepped = (*(*object).machine.as_mut_ptr()).resume(py, input);
        if matches!(stepped, Ok(Step::Yield(_))) {
            (*object).stage = Stage::Suspended;
        } else {
            finish(object);
        }
        stepped
    }
}

/// Ends a coroutine early, as `close` does: what it waits in gets `GeneratorExit`.
///
/// # Safety
/// As for `step`.
pub(super) unsafe fn close<M: Machine>(py: Python<'_>, object: *mut PyObject) -> PyResult<()> {
    // SAFETY: the caller's.
    unsafe {
        if (*object.cast::<CoroutineObject<M>>()).stage == Stage::Finished {
            return Ok(());
        }
        match step::<M>(py, object, Input::Error(PyGeneratorExit::new_err(()))) {
            Ok(Step::Return(_)) => Ok(()),
            Ok(Step::Yield(_)) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Err(error)
                if error.is_instance_of::<PyGeneratorExit>(py)
                    || error.is_instance_of::<PyStopIteration>(py) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// Drops the machine. What is dropped may run Python, so the object says it is over first.
unsafe fn finish<M>(object: *mut CoroutineObject<M>) {
    // SAFETY: a live object whose stage is not `Finished` yet, so that the machine is there.
    unsafe {
        (*object).stage = Stage::Finished;
        ptr::drop_in_place((*object).machine.as_mut_ptr());
    }
}

/// The stage of a coroutine.
///
/// # Safety
/// As for `step`.
pub(super) unsafe fn stage<M>(object: *mut PyObject) -> Stage {
    // SAFETY: the caller's.
    unsafe { (*object.cast::<CoroutineObject<M>>()).stage }
}

/// What a coroutine waits in: a new reference, or null.
///
/// # Safety
/// As for `step`.
pub(super) unsafe fn awaiting<M: Machine>(object: *mut PyObject) -> *mut PyObject {
    let object = object.cast::<CoroutineObject<M>>();
    // SAFETY: the caller's; a suspended coroutine has its machine, and nothing runs in it.
    unsafe {
        if (*object).stage != Stage::Suspended {
            return null_mut();
        }
        let found = (*(*object).machine.as_ptr()).awaiting();
        found.map_or(null_mut(), |object| ffi::Py_NewRef(object.as_ptr()))
    }
}

/// `tp_traverse`. What runs is held by who runs it, so its machine need not be looked at.
pub(super) unsafe extern "C" fn traverse<M: Machine>(
    object: *mut PyObject,
    visit: ffi::visitproc,
    arg: *mut c_void,
) -> c_int {
    let mut visitor = Visitor::new(visit, arg);
    // SAFETY: the collector passes a live object.
    unsafe {
        visitor.see_ptr(ffi::Py_TYPE(object).cast());
        if matches!(stage::<M>(object), Stage::Created | Stage::Suspended) {
            (*(*object.cast::<CoroutineObject<M>>()).machine.as_ptr()).traverse(&mut visitor);
        }
    }
    visitor.answer()
}

/// `tp_clear`.
pub(super) unsafe extern "C" fn clear<M: Machine>(object: *mut PyObject) -> c_int {
    // SAFETY: the collector passes a live object, which nothing runs: it is not reachable.
    unsafe {
        if matches!(stage::<M>(object), Stage::Created | Stage::Suspended) {
            finish(object.cast::<CoroutineObject<M>>());
        }
    }
    0
}

/// `tp_finalize`: a coroutine that waits ends as by `close`; one that never ran is reported.
pub(super) unsafe extern "C" fn finalize<M: Machine>(object: *mut PyObject) {
    // SAFETY: a live object, with the GIL held; the error that is set belongs to somebody else.
    unsafe {
        let py = Python::assume_attached();
        let current = PyErr::take(py);
        match stage::<M>(object) {
            Stage::Created => {
                let text = c"coroutine '%s' was never awaited";
                let category = ffi::PyExc_RuntimeWarning;
                if ffi::PyErr_WarnFormat(category, 1, text.as_ptr(), M::QUALNAME.as_ptr()) < 0 {
                    ffi::PyErr_WriteUnraisable(object);
                }
            }
            Stage::Suspended => {
                if let Err(error) = close::<M>(py, object) {
                    error.write_unraisable(py, Some(&Bound::from_borrowed_ptr(py, object)));
                }
            }
            Stage::Running | Stage::Finished => {}
        }
        if let Some(error) = current {
            error.restore(py);
        }
    }
}

/// `tp_dealloc`.
pub(super) unsafe extern "C" fn dealloc<M: Machine>(object: *mut PyObject) {
    let this = object.cast::<CoroutineObject<M>>();
    // SAFETY: the last reference is gone, so the memory is ours, unless the finalizer brought the
    // object back. It leaves the collector's lists, then the machine is dropped once, and then the
    // type, which each instance holds. The collector remembers what was finalized, so such memory
    // is not used again.
    unsafe {
        let plain = (*this).stage == Stage::Finished;
        if !plain && ffi::PyObject_CallFinalizerFromDealloc(object) < 0 {
            return;
        }
        ffi::PyObject_GC_UnTrack(object.cast());
        if !(*this).weakrefs.is_null() {
            ffi::PyObject_ClearWeakRefs(object);
        }
        if (*this).stage != Stage::Finished {
            finish(this);
        }
        let kind = ffi::Py_TYPE(object);
        let free = &mut *M::class().free.get();
        if plain && ffi::PyObject_GC_IsFinalized(object) == 0 && free.len() < FREE_MAX {
            free.push(this);
        } else {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(kind.cast());
    }
}
