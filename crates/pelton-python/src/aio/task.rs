//! asyncio's tasks, seen from outside: the current one, and one for any awaitable.

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use super::future::{Future, call_method, owned, running_loop_or_none};
use crate::event_loop::Owned;

/// What the module needs of asyncio's tasks, looked up once.
struct Tasks {
    /// `asyncio.Task` and `asyncio.Future`: the compiled ones.
    stock: [Py<PyAny>; 2],
    /// What each loop runs, `asyncio.tasks._current_tasks`; not there from 3.14 on.
    current: Option<Py<PyAny>>,
    /// `asyncio.current_task`.
    current_task: Py<PyAny>,
    ensure_future: Py<PyAny>,
    /// `asyncio.futures._get_loop`.
    loop_of: Py<PyAny>,
    is_future: Py<PyAny>,
    is_coroutine: Py<PyAny>,
    is_awaitable: Py<PyAny>,
    /// The loop for what is called outside of one.
    event_loop: Py<PyAny>,
}

fn tasks(py: Python<'_>) -> PyResult<&'static Tasks> {
    static TASKS: PyOnceLock<Tasks> = PyOnceLock::new();
    TASKS.get_or_try_init(py, || {
        let module = py.import("asyncio.tasks")?;
        let events = py.import("asyncio.events")?;
        let name = |name: &str| Ok::<_, PyErr>(module.getattr(name)?.unbind());
        // Up to 3.11, the quiet variant for functions that asyncio calls on a user's behalf.
        let event_loop = match events.getattr_opt("_get_event_loop")? {
            Some(quiet) => quiet,
            None => events.getattr("get_event_loop")?,
        };
        let current = module.getattr_opt("_current_tasks")?;
        Ok(Tasks {
            stock: [name("Task")?, py.import("asyncio.futures")?.getattr("Future")?.unbind()],
            current: current
                .filter(|found| found.cast_exact::<pyo3::types::PyDict>().is_ok())
                .map(Bound::unbind),
            current_task: name("current_task")?,
            ensure_future: name("ensure_future")?,
            loop_of: py.import("asyncio.futures")?.getattr("_get_loop")?.unbind(),
            is_future: py.import("asyncio.futures")?.getattr("isfuture")?.unbind(),
            is_coroutine: py.import("asyncio.coroutines")?.getattr("iscoroutine")?.unbind(),
            is_awaitable: py.import("inspect")?.getattr("isawaitable")?.unbind(),
            event_loop: event_loop.unbind(),
        })
    })
}

/// The task that `event_loop`, which runs, is in a step of.
pub(super) fn current_task(py: Python<'_>, event_loop: &Owned) -> PyResult<Option<Owned>> {
    let tasks = tasks(py)?;
    if let Some(current) = &tasks.current {
        // SAFETY: a dict and a live key; what it gives is borrowed from the dict.
        unsafe {
            let found = ffi::PyDict_GetItemWithError(current.as_ptr(), event_loop.as_ptr());
            if found.is_null() && PyErr::occurred(py) {
                return Err(PyErr::fetch(py));
            }
            return Ok((!found.is_null() && found != ffi::Py_None()).then(|| Owned::share(found)));
        }
    }
    // SAFETY: a call of a live object with a live argument.
    let found = unsafe {
        let found = ffi::PyObject_CallOneArg(tasks.current_task.as_ptr(), event_loop.as_ptr());
        owned(py, found)?
    };
    Ok((!is_none(&found)).then_some(found))
}

/// The loop that runs in this thread, or else the policy's.
pub(super) fn event_loop(py: Python<'_>) -> PyResult<Owned> {
    if let Some(running) = running_loop_or_none(py)? {
        return Ok(running);
    }
    // SAFETY: a call of a live object.
    unsafe { owned(py, ffi::PyObject_CallNoArgs(tasks(py)?.event_loop.as_ptr())) }
}

/// `asyncio.ensure_future(object, loop=event_loop)`.
pub(super) fn ensure_future(
    py: Python<'_>,
    object: *mut PyObject,
    event_loop: Option<&Owned>,
) -> PyResult<Future> {
    let tasks = tasks(py)?;
    // SAFETY: a live object.
    if unsafe { ffi::PyCoro_CheckExact(object) } != 0 {
        return match event_loop {
            Some(event_loop) => start(py, event_loop, object),
            None => start(py, &self::event_loop(py)?, object),
        };
    }
    if event_loop.is_none() && is_stock(tasks, object) {
        // SAFETY: an argument of the call, alive.
        return Ok(Future::from_object(unsafe { Owned::share(object) }));
    }
    // SAFETY: live objects.
    unsafe {
        let object = Bound::from_borrowed_ptr(py, object);
        let keywords = event_loop.map(|event_loop| {
            let keywords = pyo3::types::PyDict::new(py);
            keywords.set_item(intern!(py, "loop"), event_loop.as_py())?;
            Ok::<_, PyErr>(keywords)
        });
        let keywords = keywords.transpose()?;
        let future = tasks.ensure_future.bind(py).call((object,), keywords.as_ref())?;
        Ok(Future::from_object(Owned::steal(future.into_ptr())))
    }
}

/// `event_loop.create_task(coroutine)`; a coroutine that the loop does not take is closed.
fn start(py: Python<'_>, event_loop: &Owned, coroutine: *mut PyObject) -> PyResult<Future> {
    match call_method(intern!(py, "create_task"), event_loop.as_ptr(), &[coroutine]) {
        Ok(task) => Ok(Future::from_object(task)),
        Err(error) => {
            if error.is_instance_of::<PyRuntimeError>(py) {
                call_method(intern!(py, "close"), coroutine, &[])?;
            }
            Err(error)
        }
    }
}

/// Whether an object is an `asyncio.Task` or `asyncio.Future`, and of no subclass.
pub(super) fn is_stock_future(py: Python<'_>, object: *mut PyObject) -> bool {
    tasks(py).is_ok_and(|tasks| is_stock(tasks, object))
}

/// Whether an object is an `asyncio.Task` or `asyncio.Future`, and of no subclass.
fn is_stock(tasks: &Tasks, object: *mut PyObject) -> bool {
    // SAFETY: a live object.
    let kind = unsafe { ffi::Py_TYPE(object) };
    tasks.stock.iter().any(|class| class.as_ptr() == kind.cast())
}

/// Whether an object is None.
pub(super) fn is_none(object: &Owned) -> bool {
    // SAFETY: None is alive.
    object.as_ptr() == unsafe { ffi::Py_None() }
}

/// How a future ended.
pub(super) enum Outcome {
    Result(Owned),
    Exception(Owned),
    Cancelled,
}

/// How `future`, which is done, ended. Its exception counts as retrieved then.
pub(super) fn outcome(py: Python<'_>, future: &Future) -> PyResult<Outcome> {
    if let Some(result) = future.plain_result(py)? {
        return Ok(Outcome::Result(result));
    }
    if future.cancelled(py)? {
        return Ok(Outcome::Cancelled);
    }
    let exception = call_method(intern!(py, "exception"), future.as_ptr(), &[])?;
    if is_none(&exception) {
        future.result(py).map(Outcome::Result)
    } else {
        Ok(Outcome::Exception(exception))
    }
}

/// The exception of `future`, which is done and was not cancelled. It counts as retrieved then.
pub(super) fn exception(py: Python<'_>, future: &Future) -> PyResult<Option<Owned>> {
    if future.plain_result(py)?.is_some() {
        return Ok(None);
    }
    let exception = call_method(intern!(py, "exception"), future.as_ptr(), &[])?;
    Ok((!is_none(&exception)).then_some(exception))
}

/// The loop of a future.
pub(super) fn loop_of(py: Python<'_>, future: &Future) -> PyResult<Owned> {
    let tasks = tasks(py)?;
    if is_stock(tasks, future.as_ptr()) {
        return call_method(intern!(py, "get_loop"), future.as_ptr(), &[]);
    }
    // SAFETY: a call of a live object with a live argument.
    unsafe { owned(py, ffi::PyObject_CallOneArg(tasks.loop_of.as_ptr(), future.as_ptr())) }
}

/// Whether an object is a future, for asyncio.
pub(super) fn is_future(py: Python<'_>, object: *mut PyObject) -> PyResult<bool> {
    let tasks = tasks(py)?;
    Ok(is_stock(tasks, object) || asks(py, &tasks.is_future, object)?)
}

/// Whether an object is a coroutine, for asyncio.
pub(super) fn is_coroutine(py: Python<'_>, object: *mut PyObject) -> PyResult<bool> {
    let tasks = tasks(py)?;
    // SAFETY: a live object.
    let exact = unsafe { ffi::PyCoro_CheckExact(object) != 0 };
    Ok(exact || (!is_stock(tasks, object) && asks(py, &tasks.is_coroutine, object)?))
}

/// `object` can be awaited.
pub(super) fn is_awaitable(py: Python<'_>, object: *mut PyObject) -> PyResult<bool> {
    asks(py, &tasks(py)?.is_awaitable, object)
}

fn asks(py: Python<'_>, question: &Py<PyAny>, object: *mut PyObject) -> PyResult<bool> {
    // SAFETY: a call of a live object with a live argument.
    let answer = unsafe { owned(py, ffi::PyObject_CallOneArg(question.as_ptr(), object))? };
    answer.as_py().bind(py).is_truthy()
}

/// The error of `raise exception`: what is being handled in this thread becomes its context.
pub(super) fn raised(py: Python<'_>, exception: &Owned) -> PyErr {
    // SAFETY: a live exception; `fetch` takes what was just set.
    unsafe {
        let kind = ffi::Py_TYPE(exception.as_ptr());
        ffi::PyErr_SetObject(kind.cast(), exception.as_ptr());
    }
    PyErr::fetch(py)
}
