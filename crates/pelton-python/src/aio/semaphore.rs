//! `Semaphore` and `BoundedSemaphore`.

use std::cell::Cell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyFloat, PyTuple};

use super::bound::LoopBound;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::entering::{Enter, Exit, Exits};
use super::future::is_cancellation;
use super::held::{Held, add_class, bracketed, fast_methods, methods};
use super::waiters::{Place, Waiters};
use crate::event_loop::{GilBound, Owned, entry};

/// A number of permits for tasks of one loop: `acquire` takes one or waits, `release` gives one.
///
/// Tasks get them in the order in which they asked. `float("inf")` permits never run out. As
/// `asyncio.Semaphore` of Python 3.13.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Semaphore(GilBound<State>);

/// The value of a semaphore that never runs out.
const UNLIMITED: i64 = i64::MAX;

struct State {
    value: Cell<i64>,
    /// What `release` must not exceed.
    limit: Cell<Option<i64>>,
    waiters: Waiters,
    bound: LoopBound,
}

impl Semaphore {
    fn empty() -> Self {
        Self(GilBound::new(State {
            value: Cell::new(1),
            limit: Cell::new(None),
            waiters: Waiters::default(),
            bound: LoopBound::default(),
        }))
    }

    fn initialise(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<i64> {
        let value = value.map_or(Ok(1), permits)?;
        if value < 0 {
            return Err(PyValueError::new_err("Semaphore initial value must be >= 0"));
        }
        self.0.value.set(value);
        Ok(value)
    }

    fn add(&self, permits: i64) {
        if self.0.value.get() != UNLIMITED {
            self.0.value.set(self.0.value.get() + permits);
        }
    }

    /// Nobody can have a permit at once: there is none, or others were before.
    fn is_locked(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.0.value.get() == 0 || !self.0.waiters.all_cancelled(py)?)
    }

    fn give_back(&self, py: Python<'_>) -> PyResult<()> {
        if self.0.limit.get().is_some_and(|limit| self.0.value.get() >= limit) {
            return Err(PyValueError::new_err("BoundedSemaphore released too many times"));
        }
        self.add(1);
        self.wake_next(py).map(drop)
    }

    /// Gives a permit to the first who waits for one; false if nobody does.
    fn wake_next(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(next) = self.0.waiters.first_pending(py)? else {
            return Ok(false);
        };
        self.add(-1);
        // SAFETY: a static object.
        next.set_result(py, unsafe { ffi::Py_True() })?;
        Ok(true)
    }

    /// Those who came while there was a line get what is left.
    fn wake_while_any(&self, py: Python<'_>) -> PyResult<()> {
        while self.0.value.get() > 0 && self.wake_next(py)? {}
        Ok(())
    }
}

#[pymethods]
impl Semaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value=1)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self::empty()
    }

    #[pyo3(signature = (value=None))]
    fn __init__(&self, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        self.initialise(value).map(drop)
    }

    /// Whether `acquire` would wait.
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        self.is_locked(py)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (semaphore, py) = (slf.get(), slf.py());
        let state = if slf.call_method0("locked")?.is_truthy()? {
            "locked".to_owned()
        } else {
            format!("unlocked, value:{}", semaphore._value(py).bind(py).str()?)
        };
        bracketed(slf, &state, semaphore.0.waiters.len(py)?)
    }

    #[getter]
    fn _value(&self, py: Python<'_>) -> Py<PyAny> {
        match self.0.value.get() {
            UNLIMITED => PyFloat::new(py, f64::INFINITY).into_any().unbind(),
            // INVARIANT: an int is made of any i64; the error type has no values.
            value => {
                value.into_pyobject(py).unwrap_or_else(|never| match never {}).into_any().unbind()
            }
        }
    }

    #[setter(_value)]
    fn set_value(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.value.set(permits(value)?);
        Ok(())
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

/// A semaphore that never has more permits than at first: one `release` too many is a ValueError.
///
/// As `asyncio.BoundedSemaphore`.
#[pyclass(extends = Semaphore, subclass, frozen, module = "pelton.aio")]
struct BoundedSemaphore;

#[pymethods]
impl BoundedSemaphore {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(value=1)")]
    fn new(
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyClassInitializer<Self> {
        PyClassInitializer::from(Semaphore::empty()).add_subclass(Self)
    }

    #[pyo3(signature = (value=None))]
    fn __init__(slf: &Bound<'_, Self>, value: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let semaphore = slf.as_super().get();
        semaphore.0.limit.set(Some(semaphore.initialise(value)?));
        Ok(())
    }

    #[getter]
    fn _bound_value(slf: &Bound<'_, Self>) -> Option<i64> {
        slf.as_super().get().0.limit.get()
    }
}

/// A number of permits that Python gave.
fn permits(value: &Bound<'_, PyAny>) -> PyResult<i64> {
    match value.cast::<PyFloat>() {
        Ok(float) if float.value() == f64::INFINITY => Ok(UNLIMITED),
        Ok(_) => Err(PyTypeError::new_err("Semaphore value must be an int, or float('inf')")),
        Err(_) => value.extract(),
    }
}

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    Acquire::class().register(py)?;
    Exit::<Semaphore>::class().register(py)?;
    add_class::<Semaphore>(module)?;
    add_class::<BoundedSemaphore>(module)?;
    methods::<Semaphore>(
        py,
        &[
            (c"acquire", acquire, c"Wait for a permit and take it. Returns True."),
            (c"release", release, c"Give a permit back."),
            (c"__aenter__", enter, c"Acquire a permit."),
        ],
    )?;
    fast_methods::<Semaphore>(py, &[(c"__aexit__", exit, c"Release the permit.")])
}

impl Exits for Semaphore {
    fn exit_class() -> &'static Class<Exit<Self>> {
        static CLASS: Class<Exit<Semaphore>> = Class::new();
        &CLASS
    }
}

extern "C" fn acquire(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Semaphore.
    let semaphore = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Acquire { semaphore, place: None, enters: false }))
}

extern "C" fn release(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Semaphore.
        unsafe { Held::<Semaphore>::borrow(&object) }.give_back(py)?;
        Ok(py.None().into_ptr())
    })
}

extern "C" fn enter(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Semaphore.
        let semaphore = unsafe { Held::<Semaphore>::share(object) };
        if semaphore.is_exact(py) {
            coroutine(py, Acquire { semaphore, place: None, enters: true })
        } else {
            coroutine(py, Enter::new(semaphore.into_owned()))
        }
    })
}

unsafe extern "C" fn exit(
    object: *mut PyObject,
    _args: *const *mut PyObject,
    _count: Py_ssize_t,
    _names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Semaphore.
    let semaphore = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Exit::new(py, semaphore, Semaphore::give_back)))
}

/// `Semaphore.acquire`, or `__aenter__`.
struct Acquire {
    semaphore: Held<Semaphore>,
    place: Option<Place>,
    /// It returns None instead of True.
    enters: bool,
}

impl Acquire {
    fn taken(&self) -> Step {
        if self.enters { Step::done() } else { Step::truth(true) }
    }
}

impl Machine for Acquire {
    const NAME: &'static CStr = c"pelton._core.semaphore_acquire_coroutine";
    const QUALNAME: &'static CStr = c"Semaphore.acquire";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Acquire> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let semaphore = &self.semaphore;
        let place = match &mut self.place {
            Some(place) => place,
            empty => {
                if !semaphore.is_locked(py)? {
                    semaphore.add(-1);
                    return Ok(self.taken());
                }
                let event_loop = semaphore.0.bound.get(semaphore.bind(py))?;
                empty.insert(Place::take(py, &event_loop, &semaphore.0.waiters)?)
            }
        };
        let stepped = place.step(py, input);
        if matches!(stepped, Ok(Step::Yield(_))) {
            return stepped;
        }
        semaphore.0.waiters.remove(py, &place.future)?;
        if let Err(error) = &stepped {
            // We were given a permit that we cannot use.
            let given = place.future.done(py)? && !place.future.cancelled(py)?;
            if given && is_cancellation(py, error) {
                semaphore.add(1);
            }
        }
        semaphore.wake_while_any(py)?;
        stepped.map(|_| self.taken())
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.semaphore.as_owned());
        if let Some(place) = &self.place {
            place.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.place.as_ref().map(Place::awaiting)
    }
}
