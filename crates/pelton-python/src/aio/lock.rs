//! `Lock`.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use super::bound::LoopBound;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::entering::{Enter, Exit, Exits};
use super::future::is_cancellation;
use super::held::{Held, add_class, bracketed, fast_methods, methods};
use super::waiters::{Place, Waiters};
use crate::event_loop::{GilBound, Owned, entry};

/// A mutex for tasks of one loop. It belongs to no task: any may release it.
///
/// Tasks get it in the order in which they asked. A task that is cancelled while it waits leaves
/// the line; if it was just given the lock, the next one gets it. As `asyncio.Lock`.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Lock(GilBound<State>);

#[derive(Default)]
struct State {
    locked: Cell<bool>,
    waiters: Waiters,
    bound: LoopBound,
}

impl Lock {
    pub(super) fn is_locked(&self) -> bool {
        self.0.locked.get()
    }

    /// Takes it, if it is free and nobody is before us.
    fn try_acquire(&self, py: Python<'_>) -> PyResult<bool> {
        if self.is_locked() || !self.0.waiters.all_cancelled(py)? {
            return Ok(false);
        }
        self.0.locked.set(true);
        Ok(true)
    }

    /// Lets go of it; RuntimeError if nobody has it.
    pub(super) fn let_go(&self, py: Python<'_>) -> PyResult<()> {
        if !self.0.locked.replace(false) {
            return Err(PyRuntimeError::new_err("Lock is not acquired."));
        }
        self.wake_first(py)
    }

    /// A lock that nobody has.
    pub(super) fn new_object(py: Python<'_>) -> PyResult<Held<Self>> {
        let lock = Py::new(py, Self(GilBound::new(State::default())))?;
        // SAFETY: a new object of the class.
        Ok(unsafe { Held::share(lock.as_ptr()) })
    }

    fn wake_first(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(first) = self.0.waiters.first(py)? {
            // One that is done already will wake up, and see to the rest.
            // SAFETY: a static object.
            first.wake(py, unsafe { ffi::Py_True() })?;
        }
        Ok(())
    }
}

#[pymethods]
impl Lock {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(GilBound::new(State::default()))
    }

    #[pyo3(signature = ())]
    fn __init__(&self) {}

    /// Whether somebody has it.
    fn locked(&self) -> bool {
        self.is_locked()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let state = if slf.get().is_locked() { "locked" } else { "unlocked" };
        bracketed(slf, state, slf.get().0.waiters.len(slf.py())?)
    }

    #[getter]
    fn _locked(&self) -> bool {
        self.is_locked()
    }

    #[getter]
    fn _waiters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.waiters.deque(py)?.as_py().clone_ref(py))
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.bound.object(py)
    }

    #[setter(_loop)]
    fn set_loop(&self, event_loop: Option<&Bound<'_, PyAny>>) {
        self.0.bound.set(event_loop);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.waiters.traverse(&visit)?;
        self.0.bound.traverse(&visit)
    }

    fn __clear__(&self) {
        self.0.waiters.clear();
        self.0.bound.set(None);
    }
}

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    Acquire::class().register(py)?;
    Exit::<Lock>::class().register(py)?;
    add_class::<Lock>(module)?;
    methods::<Lock>(
        py,
        &[
            (c"acquire", acquire, c"Wait until it is free and take it. Returns True."),
            (c"release", release, c"Let go of it; RuntimeError if nobody has it."),
            (c"__aenter__", enter, c"Acquire it."),
        ],
    )?;
    fast_methods::<Lock>(py, &[(c"__aexit__", exit, c"Release it.")])
}

impl Exits for Lock {
    fn exit_class() -> &'static Class<Exit<Self>> {
        static CLASS: Class<Exit<Lock>> = Class::new();
        &CLASS
    }
}

extern "C" fn acquire(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Lock.
    let lock = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Acquire::new(lock, false)))
}

extern "C" fn release(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Lock.
        unsafe { Held::<Lock>::borrow(&object) }.let_go(py)?;
        Ok(py.None().into_ptr())
    })
}

extern "C" fn enter(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Lock.
        let lock = unsafe { Held::<Lock>::share(object) };
        if lock.is_exact(py) {
            coroutine(py, Acquire::new(lock, true))
        } else {
            coroutine(py, Enter::new(lock.into_owned()))
        }
    })
}

unsafe extern "C" fn exit(
    object: *mut PyObject,
    _args: *const *mut PyObject,
    _count: Py_ssize_t,
    _names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Lock.
    let lock = unsafe { Held::<Lock>::share(object) };
    entry(null_mut(), |py| coroutine(py, Exit::new(py, lock, Lock::let_go)))
}

/// The wait for a lock, in a coroutine of its own or within another machine.
#[derive(Default)]
pub(super) struct Acquiring(Option<Place>);

impl Acquiring {
    /// Takes a step; it returns True with the lock taken.
    pub(super) fn step(
        &mut self,
        py: Python<'_>,
        lock: &Held<Lock>,
        input: Input,
    ) -> PyResult<Step> {
        let place = match &mut self.0 {
            Some(place) => place,
            empty => {
                if lock.try_acquire(py)? {
                    return Ok(Step::truth(true));
                }
                let event_loop = lock.0.bound.get(lock.bind(py))?;
                empty.insert(Place::take(py, &event_loop, &lock.0.waiters)?)
            }
        };
        let stepped = place.step(py, input);
        if matches!(stepped, Ok(Step::Yield(_))) {
            return stepped;
        }
        lock.0.waiters.remove(py, &place.future)?;
        self.0 = None;
        match stepped {
            Ok(_) => {
                lock.0.locked.set(true);
                Ok(Step::truth(true))
            }
            Err(error) => {
                // We may have been given the lock: then it is the next one's.
                if is_cancellation(py, &error) && !lock.is_locked() {
                    lock.wake_first(py)?;
                }
                Err(error)
            }
        }
    }

    pub(super) fn awaiting(&self) -> Option<&Owned> {
        self.0.as_ref().map(Place::awaiting)
    }

    pub(super) fn traverse(&self, visitor: &mut Visitor) {
        if let Some(place) = &self.0 {
            place.traverse(visitor);
        }
    }
}

/// `Lock.acquire`, or `__aenter__`.
pub(super) struct Acquire {
    lock: Held<Lock>,
    acquiring: Acquiring,
    /// It returns None instead of True.
    enters: bool,
}

impl Acquire {
    pub(super) fn new(lock: Held<Lock>, enters: bool) -> Self {
        Self { lock, acquiring: Acquiring::default(), enters }
    }
}

impl Machine for Acquire {
    const NAME: &'static CStr = c"pelton._core.lock_acquire_coroutine";
    const QUALNAME: &'static CStr = c"Lock.acquire";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Acquire> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let step = self.acquiring.step(py, &self.lock, input)?;
        Ok(if self.enters && matches!(step, Step::Return(_)) { Step::done() } else { step })
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.lock.as_owned());
        self.acquiring.traverse(visitor);
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.acquiring.awaiting()
    }
}
