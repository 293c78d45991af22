//! `Event`.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use super::bound::LoopBound;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::held::{Held, add_class, bracketed, methods};
use super::waiters::{Place, Waiters};
use crate::event_loop::{GilBound, Owned, entry};

/// A flag that tasks of one loop wait for.
///
/// Who waits when it is set wakes up, even if it is cleared at once. As `asyncio.Event`.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Event(GilBound<State>);

#[derive(Default)]
struct State {
    value: Cell<bool>,
    waiters: Waiters,
    bound: LoopBound,
}

impl Event {
    /// An event that is set already, or not.
    pub(super) fn new_object(py: Python<'_>, value: bool) -> PyResult<Held<Self>> {
        let event = Py::new(py, Self(GilBound::new(State::default())))?;
        event.get().0.value.set(value);
        // SAFETY: a new object of the class.
        Ok(unsafe { Held::share(event.as_ptr()) })
    }

    /// Sets the flag and wakes everybody.
    pub(super) fn raise_flag(&self, py: Python<'_>) -> PyResult<()> {
        if self.0.value.replace(true) {
            return Ok(());
        }
        self.0.waiters.wake(py, usize::MAX, true)
    }

    /// Clears the flag.
    pub(super) fn lower_flag(&self) {
        self.0.value.set(false);
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "()")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(GilBound::new(State::default()))
    }

    #[pyo3(signature = ())]
    fn __init__(&self) {}

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let state = if slf.get().0.value.get() { "set" } else { "unset" };
        bracketed(slf, state, slf.get().0.waiters.len(slf.py())?)
    }

    #[getter]
    fn _value(&self) -> bool {
        self.0.value.get()
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
    Wait::class().register(py)?;
    add_class::<Event>(module)?;
    methods::<Event>(
        py,
        &[
            (c"wait", wait, c"Wait until the flag is set. Returns True."),
            (c"is_set", is_set, c"Whether the flag is set."),
            (c"set", set, c"Set the flag and wake all who wait."),
            (c"clear", clear, c"Clear the flag."),
        ],
    )
}

extern "C" fn wait(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Event.
    let event = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Wait::new(event)))
}

extern "C" fn is_set(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Event.
    let value = unsafe { Held::<Event>::borrow(&object) }.0.value.get();
    // SAFETY: the GIL is held.
    unsafe { pyo3::ffi::PyBool_FromLong(value.into()) }
}

extern "C" fn set(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Event.
        unsafe { Held::<Event>::borrow(&object) }.raise_flag(py)?;
        Ok(py.None().into_ptr())
    })
}

extern "C" fn clear(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Event.
        unsafe { Held::<Event>::borrow(&object) }.lower_flag();
        Ok(py.None().into_ptr())
    })
}

/// `Event.wait`.
pub(super) struct Wait {
    event: Held<Event>,
    place: Option<Place>,
}

impl Wait {
    pub(super) fn new(event: Held<Event>) -> Self {
        Self { event, place: None }
    }
}

impl Machine for Wait {
    const NAME: &'static CStr = c"pelton._core.event_wait_coroutine";
    const QUALNAME: &'static CStr = c"Event.wait";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Wait> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let state = &self.event.0;
        let place = match &mut self.place {
            Some(place) => place,
            empty => {
                if state.value.get() {
                    return Ok(Step::truth(true));
                }
                let event_loop = state.bound.get(self.event.bind(py))?;
                empty.insert(Place::take(py, &event_loop, &state.waiters)?)
            }
        };
        let stepped = place.step(py, input);
        if !matches!(stepped, Ok(Step::Yield(_))) {
            state.waiters.remove(py, &place.future)?;
        }
        Ok(match stepped? {
            Step::Return(_) => Step::truth(true),
            step => step,
        })
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.event.as_owned());
        if let Some(place) = &self.place {
            place.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.place.as_ref().map(Place::awaiting)
    }
}
