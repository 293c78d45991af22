//! `Condition`.

use std::cell::RefCell;
use std::ffi::CStr;
use std::ptr::null_mut;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, Py_ssize_t, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::types::{PyDict, PyTuple};

use super::awaited::Awaited;
use super::bound::LoopBound;
use super::coroutine::{Class, Input, Machine, Step, Visitor, coroutine};
use super::entering::{Enter, Exit, Exits};
use super::future::{Future, call_method, is_cancellation, owned};
use super::held::{Held, add_class, bracketed, fast_methods, methods, one_argument};
use super::lock::{self, Acquiring, Lock};
use super::waiters::{Place, Waiters};
use crate::event_loop::{GilBound, Owned, entry};

/// A lock, and a line of tasks that wait, without it, to be told that something changed.
///
/// `lock` may be shared with others; it need not be ours: what has asyncio's methods will do. A
/// wait may end without a reason, so ask again what you waited for, or use `wait_for`. As
/// `asyncio.Condition` of Python 3.13.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Condition(GilBound<State>);

struct State {
    /// False while the object is only memory: up to 3.12 the interpreter makes its `__dict__` before
    /// the contents are written, and that may start a collection, which visits zeroes.
    made: bool,
    lock: RefCell<Option<AnyLock>>,
    waiters: Waiters,
    bound: LoopBound,
}

impl State {
    fn new() -> Self {
        Self {
            made: true,
            lock: RefCell::default(),
            waiters: Waiters::default(),
            bound: LoopBound::default(),
        }
    }
}

/// The lock of a condition.
enum AnyLock {
    /// A `Lock` with nothing overridden.
    Ours(Held<Lock>),
    Other(Owned),
}

impl AnyLock {
    fn of(object: &Bound<'_, PyAny>) -> Self {
        // SAFETY: a live object, taken for a Lock only if it is one.
        unsafe {
            if object.is_exact_instance_of::<Lock>() {
                return Self::Ours(Held::share(object.as_ptr()));
            }
            Self::Other(Owned::share(object.as_ptr()))
        }
    }

    fn share(&self) -> Self {
        match self {
            Self::Ours(lock) => Self::Ours(lock.clone_ref()),
            // SAFETY: we hold it.
            Self::Other(lock) => Self::Other(unsafe { Owned::share(lock.as_ptr()) }),
        }
    }

    fn as_owned(&self) -> &Owned {
        match self {
            Self::Ours(lock) => lock.as_owned(),
            Self::Other(lock) => lock,
        }
    }

    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        match self {
            Self::Ours(lock) => Ok(lock.is_locked()),
            Self::Other(lock) => {
                let answer = call_method(intern!(py, "locked"), lock.as_ptr(), &[])?;
                answer.as_py().is_truthy(py)
            }
        }
    }

    fn release(&self, py: Python<'_>) -> PyResult<()> {
        match self {
            Self::Ours(lock) => lock.let_go(py),
            Self::Other(lock) => call_method(intern!(py, "release"), lock.as_ptr(), &[]).map(drop),
        }
    }
}

impl Condition {
    /// A condition with a lock of its own.
    pub(super) fn new_object(py: Python<'_>) -> PyResult<Held<Self>> {
        let condition = Py::new(py, Self(GilBound::new(State::new())))?;
        *condition.get().0.lock.borrow_mut() = Some(AnyLock::Ours(Lock::new_object(py)?));
        // SAFETY: a new object of the class.
        Ok(unsafe { Held::share(condition.as_ptr()) })
    }

    fn any_lock(&self) -> PyResult<AnyLock> {
        let lock = self.0.lock.borrow().as_ref().map(AnyLock::share);
        lock.ok_or_else(|| PyRuntimeError::new_err("Condition.__init__() was not called"))
    }

    /// The lock of a condition made by `new_object`.
    pub(super) fn own_lock(&self) -> PyResult<Held<Lock>> {
        match self.any_lock()? {
            AnyLock::Ours(lock) => Ok(lock),
            AnyLock::Other(_) => Err(PyRuntimeError::new_err("the lock was replaced")),
        }
    }

    /// Releases the lock.
    pub(super) fn let_go(&self, py: Python<'_>) -> PyResult<()> {
        self.any_lock()?.release(py)
    }

    /// Wakes `count` of those who wait; the lock must be held.
    pub(super) fn tell(&self, py: Python<'_>, count: usize) -> PyResult<()> {
        if !self.any_lock()?.locked(py)? {
            return Err(PyRuntimeError::new_err("cannot notify on un-acquired lock"));
        }
        self.0.waiters.wake(py, count, false)
    }
}

#[pymethods]
impl Condition {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(lock=None)")]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> Self {
        Self(GilBound::new(State::new()))
    }

    #[pyo3(signature = (lock=None))]
    fn __init__(&self, py: Python<'_>, lock: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let lock = match lock {
            Some(lock) => AnyLock::of(lock),
            None => AnyLock::Ours(Lock::new_object(py)?),
        };
        // A `let` of its own: the borrow ends before the old lock is dropped.
        let old = self.0.lock.replace(Some(lock));
        drop(old);
        Ok(())
    }

    /// Whether somebody has the lock.
    fn locked(&self, py: Python<'_>) -> PyResult<bool> {
        self.any_lock()?.locked(py)
    }

    /// Wake the first `n` of the tasks that wait. The lock must be held; they run once they get it.
    #[pyo3(signature = (n=1))]
    fn notify(&self, py: Python<'_>, n: isize) -> PyResult<()> {
        self.tell(py, n.max(0) as usize)
    }

    /// Wake all tasks that wait. The lock must be held.
    fn notify_all(&self, py: Python<'_>) -> PyResult<()> {
        self.tell(py, usize::MAX)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (condition, py) = (slf.get(), slf.py());
        let state = if condition.locked(py)? { "locked" } else { "unlocked" };
        bracketed(slf, state, condition.0.waiters.len(py)?)
    }

    #[getter]
    fn _lock(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.any_lock()?.as_owned().as_py().clone_ref(py))
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
        if !self.0.made {
            return Ok(());
        }
        if let Ok(Some(lock)) = self.0.lock.try_borrow().as_deref() {
            visit.call(lock.as_owned().as_py())?;
        }
        self.0.waiters.traverse(&visit)?;
        self.0.bound.traverse(&visit)
    }

    fn __clear__(&self) {
        // A `let` of its own: the borrow ends before the lock is dropped.
        let lock = self.0.lock.take();
        drop(lock);
        self.0.waiters.clear();
        self.0.bound.set(None);
    }
}

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    Wait::class().register(py)?;
    WaitFor::class().register(py)?;
    Exit::<Condition>::class().register(py)?;
    add_class::<Condition>(module)?;
    methods::<Condition>(
        py,
        &[
            (c"acquire", acquire, c"Acquire the lock. Returns True."),
            (c"release", release, c"Release the lock."),
            (c"wait", wait, c"Release the lock, wait to be told, acquire it. Returns True."),
            (c"__aenter__", enter, c"Acquire the lock."),
        ],
    )?;
    fast_methods::<Condition>(
        py,
        &[
            (c"__aexit__", exit, c"Release the lock."),
            (c"wait_for", wait_for, c"Wait until predicate() is true. Returns what it returned."),
        ],
    )
}

impl Exits for Condition {
    fn exit_class() -> &'static Class<Exit<Self>> {
        static CLASS: Class<Exit<Condition>> = Class::new();
        &CLASS
    }
}

extern "C" fn acquire(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Condition.
        match unsafe { Held::<Condition>::borrow(&object) }.any_lock()? {
            AnyLock::Ours(lock) => coroutine(py, lock::Acquire::new(lock, false)),
            AnyLock::Other(lock) => {
                Ok(call_method(intern!(py, "acquire"), lock.as_ptr(), &[])?.into_ptr())
            }
        }
    })
}

extern "C" fn release(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Condition.
        unsafe { Held::<Condition>::borrow(&object) }.let_go(py)?;
        Ok(py.None().into_ptr())
    })
}

extern "C" fn wait(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Condition.
    let condition = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Wait { condition, waiting: Waiting::Start }))
}

extern "C" fn enter(object: *mut PyObject, _unused: *mut PyObject) -> *mut PyObject {
    entry(null_mut(), |py| {
        // SAFETY: the descriptor passes a live Condition.
        let condition = unsafe { Held::<Condition>::share(object) };
        match condition.any_lock()? {
            AnyLock::Ours(lock) if condition.is_exact(py) => {
                coroutine(py, lock::Acquire::new(lock, true))
            }
            _ => coroutine(py, Enter::new(condition.into_owned())),
        }
    })
}

unsafe extern "C" fn exit(
    object: *mut PyObject,
    _args: *const *mut PyObject,
    _count: Py_ssize_t,
    _names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: the descriptor passes a live Condition.
    let condition = unsafe { Held::share(object) };
    entry(null_mut(), |py| coroutine(py, Exit::new(py, condition, Condition::let_go)))
}

unsafe extern "C" fn wait_for(
    object: *mut PyObject,
    args: *const *mut PyObject,
    count: Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: what the interpreter passes to a method of Condition.
    let (condition, predicate) =
        unsafe { (Held::share(object), one_argument("wait_for", "predicate", args, count, names)) };
    entry(null_mut(), |py| {
        coroutine(py, WaitFor { condition, predicate: predicate?, waiting: None })
    })
}

/// The wait for a lock of any kind.
pub(super) enum Locking {
    Ours(Held<Lock>, Acquiring),
    Other(Awaited),
}

impl Locking {
    fn new(py: Python<'_>, lock: AnyLock) -> PyResult<Self> {
        Ok(match lock {
            AnyLock::Ours(lock) => Self::Ours(lock, Acquiring::default()),
            AnyLock::Other(lock) => {
                let acquire = call_method(intern!(py, "acquire"), lock.as_ptr(), &[])?;
                Self::Other(Awaited::object(py, acquire.as_ptr())?)
            }
        })
    }

    fn step(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        match self {
            Self::Ours(lock, acquiring) => acquiring.step(py, lock, input),
            Self::Other(awaited) => awaited.step(py, input),
        }
    }
}

/// The wait to be told, in a coroutine of its own or within another machine.
pub(super) enum Waiting {
    Start,
    /// In the line, without the lock.
    InLine(Place),
    /// Taking the lock again; then the error, if there is one, is raised.
    Relocking {
        locking: Locking,
        error: Option<PyErr>,
    },
}

impl Waiting {
    /// Takes a step; it returns True with the lock taken, and raises with the lock taken.
    pub(super) fn step(
        &mut self,
        py: Python<'_>,
        condition: &Held<Condition>,
        mut input: Input,
    ) -> PyResult<Step> {
        let state = &condition.0;
        if matches!(self, Self::Start) {
            let lock = condition.any_lock()?;
            if !lock.locked(py)? {
                return Err(PyRuntimeError::new_err("cannot wait on un-acquired lock"));
            }
            let event_loop = state.bound.get(condition.bind(py))?;
            let future = Future::new(py, event_loop.as_ptr())?;
            lock.release(py)?;
            state.waiters.push(py, &future)?;
            *self = Self::InLine(Place::with(py, future)?);
        }
        if let Self::InLine(place) = self {
            let stepped = place.step(py, input);
            if matches!(stepped, Ok(Step::Yield(_))) {
                return stepped;
            }
            state.waiters.remove(py, &place.future)?;
            let locking = Locking::new(py, condition.any_lock()?)?;
            *self = Self::Relocking { locking, error: stepped.err() };
            input = Input::Go;
        }
        let Self::Relocking { locking, error } = self else {
            return Ok(Step::truth(true));
        };
        // The lock is taken even if we are cancelled meanwhile: the caller will release it.
        let failed = loop {
            match locking.step(py, input) {
                Ok(Step::Return(_)) => break error.take(),
                Err(cancelled) if is_cancellation(py, &cancelled) => {
                    *error = Some(cancelled);
                    *locking = Locking::new(py, condition.any_lock()?)?;
                    input = Input::Go;
                }
                Err(fatal) => break Some(fatal),
                waits => return waits,
            }
        };
        let Some(failed) = failed else {
            return Ok(Step::truth(true));
        };
        // We may have been told just before: then another is to know.
        state.waiters.wake(py, 1, false)?;
        Err(failed)
    }

    pub(super) fn awaiting(&self) -> Option<&Owned> {
        match self {
            Self::Start => None,
            Self::InLine(place) => Some(place.awaiting()),
            Self::Relocking { locking: Locking::Ours(_, acquiring), .. } => acquiring.awaiting(),
            Self::Relocking { locking: Locking::Other(awaited), .. } => Some(awaited.awaiting()),
        }
    }

    pub(super) fn traverse(&self, visitor: &mut Visitor) {
        match self {
            Self::Start => {}
            Self::InLine(place) => place.traverse(visitor),
            Self::Relocking { locking: Locking::Ours(lock, acquiring), .. } => {
                visitor.see(lock.as_owned());
                acquiring.traverse(visitor);
            }
            Self::Relocking { locking: Locking::Other(awaited), .. } => awaited.traverse(visitor),
        }
    }
}

/// `Condition.wait`.
struct Wait {
    condition: Held<Condition>,
    waiting: Waiting,
}

impl Machine for Wait {
    const NAME: &'static CStr = c"pelton._core.condition_wait_coroutine";
    const QUALNAME: &'static CStr = c"Condition.wait";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Wait> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        self.waiting.step(py, &self.condition, input)
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.condition.as_owned());
        self.waiting.traverse(visitor);
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.awaiting()
    }
}

/// `Condition.wait_for`.
struct WaitFor {
    condition: Held<Condition>,
    predicate: Owned,
    waiting: Option<Told>,
}

/// A wait of the condition, or of a subclass that has its own.
enum Told {
    Ours(Waiting),
    Other(Awaited),
}

impl Machine for WaitFor {
    const NAME: &'static CStr = c"pelton._core.condition_wait_for_coroutine";
    const QUALNAME: &'static CStr = c"Condition.wait_for";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<WaitFor> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, mut input: Input) -> PyResult<Step> {
        loop {
            let stepped = match &mut self.waiting {
                None => None,
                Some(Told::Ours(waiting)) => Some(waiting.step(py, &self.condition, input)?),
                Some(Told::Other(awaited)) => Some(awaited.step(py, input)?),
            };
            if let Some(step @ Step::Yield(_)) = stepped {
                return Ok(step);
            }
            // SAFETY: a call of a live object.
            let answer = unsafe { owned(py, ffi::PyObject_CallNoArgs(self.predicate.as_ptr()))? };
            if answer.as_py().is_truthy(py)? {
                return Ok(Step::Return(answer));
            }
            self.waiting = Some(if self.condition.is_exact(py) {
                Told::Ours(Waiting::Start)
            } else {
                let wait = call_method(intern!(py, "wait"), self.condition.as_ptr(), &[])?;
                Told::Other(Awaited::object(py, wait.as_ptr())?)
            });
            input = Input::Go;
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.condition.as_owned());
        visitor.see(&self.predicate);
        match &self.waiting {
            Some(Told::Ours(waiting)) => waiting.traverse(visitor),
            Some(Told::Other(awaited)) => awaited.traverse(visitor),
            None => {}
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        match &self.waiting {
            Some(Told::Ours(waiting)) => waiting.awaiting(),
            Some(Told::Other(awaited)) => Some(awaited.awaiting()),
            None => None,
        }
    }
}
