//! asyncio's futures, at the price of a field access where that is possible.
//!
//! The primitives wait by stock `asyncio.Future`s, so that any task on any loop can wait for them.
//! A future's state is read from its C structure, if a test at start-up found where it lies
//! (`layout`); futures of other classes are asked by their methods.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use super::layout::{Layout, State};
use crate::event_loop::Owned;

/// What the module needs of asyncio, looked up once.
struct Asyncio {
    /// `asyncio.Future`.
    future: Py<PyAny>,
    /// `asyncio.events._get_running_loop`.
    running: Py<PyAny>,
    /// `BaseEventLoop.create_future`.
    create_future: Py<PyAny>,
    /// `asyncio.CancelledError`.
    cancelled: Py<PyAny>,
    /// `("loop",)`: the names of a call's keyword arguments.
    loop_keyword: Py<PyTuple>,
    layout: Option<Layout>,
    /// `asyncio.Task`, if its instances begin as futures do.
    task: Option<Py<PyAny>>,
}

fn asyncio(py: Python<'_>) -> PyResult<&'static Asyncio> {
    static ASYNCIO: PyOnceLock<Asyncio> = PyOnceLock::new();
    ASYNCIO.get_or_try_init(py, || {
        let events = py.import("asyncio.events")?;
        let future = py.import("asyncio.futures")?.getattr("Future")?;
        let stock = py.import("asyncio.base_events")?.getattr("BaseEventLoop")?;
        let task = py.import("asyncio.tasks")?.getattr("Task")?;
        let layout = Layout::find(&future)?;
        let fits = layout.as_ref().map(|layout| layout.fits_tasks(&task)).transpose()?;
        Ok(Asyncio {
            layout,
            task: (fits == Some(true)).then(|| task.unbind()),
            future: future.unbind(),
            running: events.getattr("_get_running_loop")?.unbind(),
            create_future: stock.getattr("create_future")?.unbind(),
            cancelled: py.import("asyncio.exceptions")?.getattr("CancelledError")?.unbind(),
            loop_keyword: PyTuple::new(py, [intern!(py, "loop")])?.unbind(),
        })
    })
}

/// The loop that runs in this thread, or None.
pub(crate) fn running_loop_or_none(py: Python<'_>) -> PyResult<Option<Owned>> {
    let running = asyncio(py)?.running.as_ptr();
    // SAFETY: a call of a live object; the result is a new reference.
    let found = unsafe { owned(py, ffi::PyObject_CallNoArgs(running))? };
    // SAFETY: None is immortal in effect.
    Ok((found.as_ptr() != unsafe { ffi::Py_None() }).then_some(found))
}

/// The loop that runs in this thread; RuntimeError if none does.
pub(crate) fn running_loop(py: Python<'_>) -> PyResult<Owned> {
    running_loop_or_none(py)?.ok_or_else(|| PyRuntimeError::new_err("no running event loop"))
}

/// Whether an error is `asyncio.CancelledError`.
pub(crate) fn is_cancellation(py: Python<'_>, error: &PyErr) -> bool {
    asyncio(py).is_ok_and(|asyncio| error.is_instance(py, asyncio.cancelled.bind(py)))
}

/// The class `asyncio.CancelledError`.
pub(crate) fn cancelled_error(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    Ok(asyncio(py)?.cancelled.bind(py))
}

/// Takes over the result of a C call: null is an error.
///
/// # Safety
/// `result` is a new reference, or null with an exception set.
pub(crate) unsafe fn owned(py: Python<'_>, result: *mut PyObject) -> PyResult<Owned> {
    if result.is_null() {
        return Err(PyErr::fetch(py));
    }
    // SAFETY: the caller's.
    Ok(unsafe { Owned::steal(result) })
}

/// Arguments that `call_method` has room for.
const ARGS_MAX: usize = 4;

/// `object.name(args...)`, with four arguments at most. `name` is best an interned string.
pub(crate) fn call_method(
    name: &Bound<'_, pyo3::types::PyString>,
    object: *mut PyObject,
    args: &[*mut PyObject],
) -> PyResult<Owned> {
    // One word that the callee may use, the object, and its arguments.
    let mut all = [null_mut(); 2 + ARGS_MAX];
    all[1] = object;
    all[2..2 + args.len()].copy_from_slice(args);
    // SAFETY: live objects; the word before the object is ours to lend.
    unsafe {
        owned(
            name.py(),
            ffi::PyObject_VectorcallMethod(
                name.as_ptr(),
                all.as_ptr().add(1),
                (1 + args.len()) | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                null_mut(),
            ),
        )
    }
}

/// A future that a primitive made or was given: `asyncio.Future`, or whatever the loop makes.
///
/// As with a Python reference, dropping it leaves the future to its other holders.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Future(Owned);

impl Future {
    /// What `event_loop.create_future()` returns. For a loop whose `create_future` is asyncio's, or
    /// ours, the future is made directly.
    pub(crate) fn new(py: Python<'_>, event_loop: *mut PyObject) -> PyResult<Self> {
        let asyncio = asyncio(py)?;
        // SAFETY: a live object.
        if !makes_stock_futures(py, asyncio, unsafe { ffi::Py_TYPE(event_loop) })? {
            return Ok(Self(call_method(intern!(py, "create_future"), event_loop, &[])?));
        }
        let args = [null_mut(), event_loop];
        // SAFETY: a call with one keyword argument; the word before it is ours to lend.
        unsafe {
            let future = ffi::PyObject_Vectorcall(
                asyncio.future.as_ptr(),
                args.as_ptr().add(1),
                ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                asyncio.loop_keyword.as_ptr(),
            );
            Ok(Self(owned(py, future)?))
        }
    }

    /// Makes a future that was woken with None one to wait for again, if nobody else holds it. A
    /// new one costs a call with keywords and a question to the loop.
    pub(crate) fn reuse(self, py: Python<'_>) -> PyResult<Option<Self>> {
        let asyncio = asyncio(py)?;
        let Some(layout) = asyncio.layout.as_ref().filter(|_| self.has_class_of(asyncio)) else {
            return Ok(None);
        };
        // SAFETY: a live future of the class whose layout was found; a result of None says that it
        // was finished by `set_result`.
        unsafe {
            if ffi::Py_REFCNT(self.as_ptr()) != 1
                || layout.state(self.as_ptr()) != State::Finished
                || !layout.has_none(self.as_ptr())
            {
                return Ok(None);
            }
            layout.make_pending(self.as_ptr());
        }
        Ok(Some(self))
    }

    /// A future of the loop that runs; RuntimeError if none does.
    pub(crate) fn of_running_loop(py: Python<'_>) -> PyResult<Self> {
        Self::new(py, running_loop(py)?.as_ptr())
    }

    /// Takes `object` for a future: it has asyncio's methods.
    pub(crate) fn from_object(object: Owned) -> Self {
        Self(object)
    }

    /// Another reference to the same future.
    pub(crate) fn share(&self) -> Self {
        // SAFETY: it is live, as we hold it; futures are reached with the GIL held.
        Self(unsafe { Owned::share(self.as_ptr()) })
    }

    /// The object, borrowed.
    pub(crate) fn as_ptr(&self) -> *mut PyObject {
        self.0.as_ptr()
    }

    /// The object as a reference.
    pub(super) fn as_owned(&self) -> &Owned {
        &self.0
    }

    /// The reference itself.
    pub(crate) fn into_owned(self) -> Owned {
        self.0
    }

    /// Whether both are the same object.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.as_ptr() == other.as_ptr()
    }

    /// It has a result or an exception, or was cancelled.
    pub(crate) fn done(&self, py: Python<'_>) -> PyResult<bool> {
        match self.stock_state(py)? {
            Some(state) => Ok(state != State::Pending),
            None => self.ask(intern!(py, "done")),
        }
    }

    /// It was cancelled.
    pub(crate) fn cancelled(&self, py: Python<'_>) -> PyResult<bool> {
        match self.stock_state(py)? {
            Some(state) => Ok(state == State::Cancelled),
            None => self.ask(intern!(py, "cancelled")),
        }
    }

    /// Sets the result; `InvalidStateError` if it is done.
    pub(crate) fn set_result(&self, py: Python<'_>, value: *mut PyObject) -> PyResult<()> {
        call_method(intern!(py, "set_result"), self.as_ptr(), &[value]).map(drop)
    }

    /// Sets the result unless it is done. Returns whether it did.
    pub(crate) fn wake(&self, py: Python<'_>, value: *mut PyObject) -> PyResult<bool> {
        if self.done(py)? {
            return Ok(false);
        }
        self.set_result(py, value)?;
        Ok(true)
    }

    /// Sets the exception; `InvalidStateError` if it is done.
    pub(crate) fn set_exception(&self, py: Python<'_>, error: PyErr) -> PyResult<()> {
        let error = error.into_value(py);
        call_method(intern!(py, "set_exception"), self.as_ptr(), &[error.as_ptr()]).map(drop)
    }

    /// Cancels it, unless it is done. Returns whether it did.
    pub(crate) fn cancel(&self, py: Python<'_>) -> PyResult<bool> {
        if self.done(py)? {
            return Ok(false);
        }
        self.ask(intern!(py, "cancel"))
    }

    /// The result; or its exception, or `CancelledError`, or `InvalidStateError` if it is not done.
    pub(crate) fn result(&self, py: Python<'_>) -> PyResult<Owned> {
        call_method(intern!(py, "result"), self.as_ptr(), &[])
    }

    /// Whether it is known, without a call, that its result is None.
    pub(super) fn has_none(&self, py: Python<'_>) -> PyResult<bool> {
        let asyncio = asyncio(py)?;
        Ok(match &asyncio.layout {
            // SAFETY: a live future of the class whose layout was found.
            Some(layout) if self.has_class_of(asyncio) => unsafe { layout.has_none(self.as_ptr()) },
            _ => false,
        })
    }

    /// The result, if there is one and it can be had without a call; None says nothing.
    pub(super) fn plain_result(&self, py: Python<'_>) -> PyResult<Option<Owned>> {
        let asyncio = asyncio(py)?;
        let Some(layout) = asyncio.layout.as_ref().filter(|_| self.has_class_of(asyncio)) else {
            return Ok(None);
        };
        // SAFETY: a live future of a class whose layout was found; a new reference, or null.
        unsafe {
            let result = layout.plain_result(self.as_ptr());
            Ok((!result.is_null()).then(|| Owned::steal(result)))
        }
    }

    /// Whether it is an `asyncio.Future` or an `asyncio.Task`, and of no class derived from these.
    pub(super) fn is_stock(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.has_class_of(asyncio(py)?))
    }

    /// Marks it as awaited, as `__await__` does when it yields it: a task takes it then if it is
    /// what a coroutine yields.
    pub(super) fn begin_await(&self, py: Python<'_>) -> PyResult<()> {
        let asyncio = asyncio(py)?;
        if let Some(layout) = asyncio.layout.as_ref().filter(|_| self.has_class_of(asyncio)) {
            // SAFETY: a live future of the class whose layout was found.
            unsafe { layout.set_blocking(self.as_ptr()) };
            return Ok(());
        }
        // SAFETY: a live object, and True.
        let failed = unsafe {
            let name = intern!(py, "_asyncio_future_blocking").as_ptr();
            ffi::PyObject_SetAttr(self.as_ptr(), name, ffi::Py_True()) < 0
        };
        if failed { Err(PyErr::fetch(py)) } else { Ok(()) }
    }

    fn ask(&self, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<bool> {
        let answer = call_method(name, self.as_ptr(), &[])?;
        // SAFETY: a live object.
        match unsafe { ffi::PyObject_IsTrue(answer.as_ptr()) } {
            -1 => Err(PyErr::fetch(name.py())),
            answer => Ok(answer == 1),
        }
    }

    fn has_class_of(&self, asyncio: &Asyncio) -> bool {
        // SAFETY: a live object.
        let kind = unsafe { ffi::Py_TYPE(self.as_ptr()).cast::<PyObject>() };
        kind == asyncio.future.as_ptr()
            || asyncio.task.as_ref().is_some_and(|task| kind == task.as_ptr())
    }

    fn stock_state(&self, py: Python<'_>) -> PyResult<Option<State>> {
        let asyncio = asyncio(py)?;
        let known = asyncio.layout.as_ref().filter(|_| self.has_class_of(asyncio));
        // SAFETY: a live future of the class whose layout was found.
        Ok(known.map(|layout| unsafe { layout.state(self.as_ptr()) }))
    }
}

/// Whether loops of this class make `asyncio.Future`s by asyncio's `create_future`, or by ours.
fn makes_stock_futures(
    py: Python<'_>,
    asyncio: &Asyncio,
    kind: *mut ffi::PyTypeObject,
) -> PyResult<bool> {
    // The class seen last, either way; both hold a reference, so that no other class can come to
    // lie at the same address.
    static STOCK: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
    static OTHER: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(null_mut());
    if STOCK.load(Ordering::Relaxed) == kind {
        return Ok(true);
    }
    if OTHER.load(Ordering::Relaxed) == kind {
        return Ok(false);
    }
    // SAFETY: the type of a live object.
    let class = unsafe { Bound::from_borrowed_ptr(py, kind.cast()) };
    let method = class.getattr("create_future")?;
    let ours = py.get_type::<crate::event_loop::BaseLoop>().getattr("create_future")?;
    let stock = method.is(&asyncio.create_future) || method.is(&ours);
    let cell = if stock { &STOCK } else { &OTHER };
    let old = cell.swap(class.into_ptr().cast(), Ordering::Relaxed);
    // SAFETY: the reference that the cell held, or null.
    unsafe { ffi::Py_XDECREF(old.cast()) };
    Ok(stock)
}
