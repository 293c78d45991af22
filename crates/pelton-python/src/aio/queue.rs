//! `Queue`, `PriorityQueue` and `LifoQueue`.

use std::cell::{Cell, RefCell};

use pyo3::exceptions::{PyException, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple, PyType};

use super::bound::LoopBound;
use super::event::Event;
use super::future::call_method;
use super::held::{Held, add_class};
use super::queue_items::{Items, Order};
use super::waiters::Waiters;
use crate::event_loop::{GilBound, Owned};

/// A queue between tasks of one loop, first in, first out.
///
/// `maxsize` is the most it holds (zero or less: no limit); `put` waits for room and `get` for an
/// item, in the order in which tasks came. A subclass may override `_init`, `_put` and `_get`, as
/// asyncio's own do. As `asyncio.Queue` of Python 3.13.
#[pyclass(subclass, frozen, dict, weakref, module = "pelton.aio")]
pub(super) struct Queue(GilBound<State>);

pub(super) struct State {
    /// False while the object is only memory: up to 3.12 the interpreter makes its `__dict__` before
    /// the contents are written, and that may start a collection, which visits zeroes.
    made: bool,
    order: Order,
    /// A subclass has its own say in what is called within: everything goes by method calls.
    custom: bool,
    items: Items,
    /// As it was given; null for zero.
    maxsize: RefCell<Option<Owned>>,
    limit: Cell<Option<usize>>,
    pub(super) getters: Waiters,
    pub(super) putters: Waiters,
    pub(super) unfinished: Cell<i64>,
    /// Set while nothing is unfinished; made when it is first asked for.
    finished: RefCell<Option<Held<Event>>>,
    pub(super) shut_down: Cell<bool>,
    pub(super) bound: LoopBound,
}

/// What a subclass may override so that we must call it.
const OVERRIDABLE: [&str; 8] =
    ["_init", "_put", "_get", "qsize", "empty", "full", "put_nowait", "get_nowait"];

impl Queue {
    fn build(order: Order, class: &Bound<'_, PyType>, base: &Bound<'_, PyType>) -> PyResult<Self> {
        let mut custom = false;
        if !class.is(base) {
            for name in OVERRIDABLE {
                custom |= !class.getattr(name)?.is(&base.getattr(name)?);
            }
        }
        let items = Items::default();
        items.start(class.py(), order);
        Ok(Self(GilBound::new(State {
            made: true,
            order,
            custom,
            items,
            maxsize: RefCell::default(),
            limit: Cell::new(None),
            getters: Waiters::default(),
            putters: Waiters::default(),
            unfinished: Cell::new(0),
            finished: RefCell::default(),
            shut_down: Cell::new(false),
            bound: LoopBound::default(),
        })))
    }

    pub(super) fn state(&self) -> &State {
        &self.0
    }
}

impl Held<Queue> {
    fn ask(&self, name: &Bound<'_, pyo3::types::PyString>) -> PyResult<bool> {
        call_method(name, self.as_ptr(), &[])?.as_py().is_truthy(name.py())
    }

    #[inline]
    pub(super) fn is_full(&self, py: Python<'_>) -> PyResult<bool> {
        if self.0.custom { self.ask(intern!(py, "full")) } else { self.is_plainly_full(py) }
    }

    /// `full` of this class.
    #[inline]
    pub(super) fn is_plainly_full(&self, py: Python<'_>) -> PyResult<bool> {
        let Some(limit) = self.0.limit.get() else {
            return Ok(false);
        };
        let len = if self.0.custom {
            let len = call_method(intern!(py, "qsize"), self.as_ptr(), &[])?;
            len.as_py().extract::<usize>(py)?
        } else {
            self.0.items.len(py)?
        };
        Ok(len >= limit)
    }

    #[inline]
    pub(super) fn is_empty(&self, py: Python<'_>) -> PyResult<bool> {
        if self.0.custom {
            return self.ask(intern!(py, "empty"));
        }
        Ok(self.0.items.len(py)? == 0)
    }

    /// `put_nowait`, as a subclass may have it.
    #[inline]
    pub(super) fn put_now(&self, py: Python<'_>, item: Owned) -> PyResult<Owned> {
        if self.0.custom {
            return call_method(intern!(py, "put_nowait"), self.as_ptr(), &[item.as_ptr()]);
        }
        self.put_plainly(py, item)
    }

    /// `get_nowait`, as a subclass may have it.
    #[inline]
    pub(super) fn get_now(&self, py: Python<'_>) -> PyResult<Owned> {
        if self.0.custom {
            return call_method(intern!(py, "get_nowait"), self.as_ptr(), &[]);
        }
        self.get_plainly(py)
    }

    /// `put_nowait` of this class. Returns None.
    #[inline]
    pub(super) fn put_plainly(&self, py: Python<'_>, item: Owned) -> PyResult<Owned> {
        let state = &self.0;
        if state.shut_down.get() {
            return Err(shut_down(py));
        }
        if self.is_full(py)? {
            return Err(asyncio_error(py, "QueueFull"));
        }
        if state.custom {
            call_method(intern!(py, "_put"), self.as_ptr(), &[item.as_ptr()])?;
        } else {
            state.items.push(py, state.order, item)?;
        }
        state.unfinished.set(state.unfinished.get() + 1);
        if let Some(finished) = &*state.finished.borrow() {
            finished.lower_flag();
        }
        state.getters.pop_and_wake(py)?;
        // SAFETY: a static object.
        Ok(unsafe { Owned::share(ffi::Py_None()) })
    }

    /// `get_nowait` of this class.
    #[inline]
    pub(super) fn get_plainly(&self, py: Python<'_>) -> PyResult<Owned> {
        let state = &self.0;
        if self.is_empty(py)? {
            let ended = state.shut_down.get();
            return Err(if ended { shut_down(py) } else { asyncio_error(py, "QueueEmpty") });
        }
        let item = self.take(py)?;
        state.putters.pop_and_wake(py)?;
        Ok(item)
    }

    fn take(&self, py: Python<'_>) -> PyResult<Owned> {
        if self.0.custom {
            return call_method(intern!(py, "_get"), self.as_ptr(), &[]);
        }
        self.0.items.pop(py, self.0.order)
    }

    pub(super) fn end_task(&self, py: Python<'_>) -> PyResult<()> {
        let left = self.0.unfinished.get() - 1;
        if left < 0 {
            return Err(PyValueError::new_err("task_done() called too many times"));
        }
        self.0.unfinished.set(left);
        if left == 0 { self.0.all_finished(py) } else { Ok(()) }
    }

    fn end(&self, py: Python<'_>, immediate: bool) -> PyResult<()> {
        let state = &self.0;
        state.shut_down.set(true);
        if immediate {
            while !self.is_empty(py)? {
                self.take(py)?;
                state.unfinished.set((state.unfinished.get() - 1).max(0));
            }
            if state.unfinished.get() == 0 {
                state.all_finished(py)?;
            }
        }
        state.getters.pop_and_wake_all(py)?;
        state.putters.pop_and_wake_all(py)
    }
}

impl State {
    pub(super) fn len(&self, py: Python<'_>) -> PyResult<usize> {
        self.items.len(py)
    }

    /// The event of `join`.
    pub(super) fn finished(&self, py: Python<'_>) -> PyResult<Held<Event>> {
        if let Some(event) = &*self.finished.borrow() {
            return Ok(event.clone_ref());
        }
        let event = Event::new_object(py, self.unfinished.get() <= 0)?;
        *self.finished.borrow_mut() = Some(event.clone_ref());
        Ok(event)
    }

    fn all_finished(&self, py: Python<'_>) -> PyResult<()> {
        let finished = self.finished.borrow().as_ref().map(Held::clone_ref);
        finished.map_or(Ok(()), |event| event.raise_flag(py))
    }

    fn set_maxsize(&self, maxsize: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let limit = match maxsize {
            None => 0.0,
            Some(maxsize) => maxsize.extract::<f64>().map_err(|_| {
                PyTypeError::new_err("maxsize must be a number; zero or less means no limit")
            })?,
        };
        // A queue of at most 1.5 items is full with two, as in asyncio.
        self.limit.set((limit > 0.0).then(|| limit.ceil() as usize));
        // SAFETY: an argument of the call under way.
        let new = maxsize.map(|maxsize| unsafe { Owned::share(maxsize.as_ptr()) });
        // A `let` of its own: the borrow ends before the old one is dropped.
        let old = self.maxsize.replace(new);
        drop(old);
        Ok(())
    }

    fn maxsize(&self, py: Python<'_>) -> Py<PyAny> {
        match &*self.maxsize.borrow() {
            Some(maxsize) => maxsize.as_py().clone_ref(py),
            None => pyo3::types::PyInt::new(py, 0).into_any().unbind(),
        }
    }
}

#[pymethods]
impl Queue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        Self::build(Order::Fifo, class, &class.py().get_type::<Self>())
    }

    #[pyo3(signature = (maxsize=None))]
    fn __init__(slf: &Bound<'_, Self>, maxsize: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let state = slf.get().state();
        state.set_maxsize(maxsize)?;
        if state.custom {
            slf.call_method1(intern!(slf.py(), "_init"), (state.maxsize(slf.py()),))?;
        }
        Ok(())
    }

    /// Makes `_queue`. For subclasses to override.
    fn _init(&self, py: Python<'_>, _maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.items.start(py, self.0.order);
        Ok(())
    }

    /// Adds an item to `_queue`. For subclasses to override.
    fn _put(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        // SAFETY: an argument of the call under way.
        self.0.items.push(py, self.0.order, unsafe { Owned::share(item.as_ptr()) })
    }

    /// Takes the next item out of `_queue`. For subclasses to override.
    fn _get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.items.pop(py, self.0.order)?.as_py().clone_ref(py))
    }

    /// Wakes the first of these futures that is not done.
    fn _wakeup_next(&self, waiters: &Bound<'_, PyAny>) -> PyResult<()> {
        while waiters.is_truthy()? {
            let waiter = waiters.call_method0("popleft")?;
            if !waiter.call_method0("done")?.is_truthy()? {
                waiter.call_method1("set_result", (waiters.py().None(),))?;
                break;
            }
        }
        Ok(())
    }

    /// Put and get no more: `QueueShutDown` is raised, by `get` once the queue is empty.
    ///
    /// With `immediate`, what is in the queue is dropped, and counts as done. Who waits wakes up.
    #[pyo3(signature = (immediate=false))]
    fn shutdown(slf: &Bound<'_, Self>, immediate: bool) -> PyResult<()> {
        // SAFETY: a live Queue.
        unsafe { Held::<Self>::share(slf.as_ptr()) }.end(slf.py(), immediate)
    }

    /// The most items that it holds; zero or less: no limit.
    #[getter]
    fn maxsize(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.maxsize(py)
    }

    fn _format(slf: &Bound<'_, Self>) -> PyResult<String> {
        let (state, py) = (slf.get().state(), slf.py());
        let mut text = format!("maxsize={}", state.maxsize(py).bind(py).repr()?);
        let items = state.items.list(py)?;
        if !items.is_empty() {
            text += &format!(" _queue={}", items.repr()?);
        }
        for (name, waiters) in [("_getters", &state.getters), ("_putters", &state.putters)] {
            match waiters.len(py)? {
                0 => {}
                len => text += &format!(" {name}[{len}]"),
            }
        }
        if state.unfinished.get() != 0 {
            text += &format!(" tasks={}", state.unfinished.get());
        }
        if state.shut_down.get() {
            text += " shutdown";
        }
        Ok(text)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let name = slf.get_type().name()?;
        let format = slf.call_method0("_format")?;
        Ok(format!("<{name} at {:#x} {format}>", slf.as_ptr() as usize))
    }

    fn __str__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("<{} {}>", slf.get_type().name()?, slf.call_method0("_format")?))
    }

    #[classmethod]
    fn __class_getitem__(
        class: &Bound<'_, PyType>,
        item: &Bound<'_, PyAny>,
    ) -> PyResult<Py<PyAny>> {
        // SAFETY: live objects; the result is a new reference.
        unsafe {
            let alias = ffi::Py_GenericAlias(class.as_ptr(), item.as_ptr());
            Ok(Bound::from_owned_ptr_or_err(class.py(), alias)?.unbind())
        }
    }

    #[getter]
    fn _queue(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.items.object(py)?.as_py().clone_ref(py))
    }

    #[setter(_queue)]
    fn set_queue(&self, queue: Bound<'_, PyAny>) {
        self.0.items.set_object(queue);
    }

    #[getter]
    fn _maxsize(&self, py: Python<'_>) -> Py<PyAny> {
        self.0.maxsize(py)
    }

    #[setter(_maxsize)]
    fn set_maxsize(&self, maxsize: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.set_maxsize(Some(maxsize))
    }

    #[getter]
    fn _getters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.getters.deque(py)?.as_py().clone_ref(py))
    }

    #[getter]
    fn _putters(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.putters.deque(py)?.as_py().clone_ref(py))
    }

    #[getter]
    fn _unfinished_tasks(&self) -> i64 {
        self.0.unfinished.get()
    }

    #[setter(_unfinished_tasks)]
    fn set_unfinished_tasks(&self, count: i64) {
        self.0.unfinished.set(count);
    }

    #[getter]
    fn _finished(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(self.0.finished(py)?.as_owned().as_py().clone_ref(py))
    }

    #[getter]
    fn _is_shutdown(&self) -> bool {
        self.0.shut_down.get()
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
        self.0.items.traverse(&visit)?;
        self.0.getters.traverse(&visit)?;
        self.0.putters.traverse(&visit)?;
        if let Ok(Some(finished)) = self.0.finished.try_borrow().as_deref() {
            visit.call(finished.as_owned().as_py())?;
        }
        self.0.bound.traverse(&visit)
    }

    fn __clear__(&self) {
        self.0.items.clear();
        self.0.getters.clear();
        self.0.putters.clear();
        self.0.bound.set(None);
    }
}

/// A queue that gives the smallest item first; items are often pairs of a priority and data.
///
/// As `asyncio.PriorityQueue`.
#[pyclass(extends = Queue, subclass, frozen, module = "pelton.aio")]
struct PriorityQueue;

#[pymethods]
impl PriorityQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let base = class.py().get_type::<Self>();
        Ok(PyClassInitializer::from(Queue::build(Order::Heap, class, &base)?).add_subclass(Self))
    }
}

/// A queue that gives the newest item first. As `asyncio.LifoQueue`.
#[pyclass(extends = Queue, subclass, frozen, module = "pelton.aio")]
struct LifoQueue;

#[pymethods]
impl LifoQueue {
    #[new]
    #[classmethod]
    #[pyo3(signature = (*_args, **_kwargs), text_signature = "(maxsize=0)")]
    fn new(
        class: &Bound<'_, PyType>,
        _args: &Bound<'_, PyTuple>,
        _kwargs: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let base = class.py().get_type::<Self>();
        Ok(PyClassInitializer::from(Queue::build(Order::Lifo, class, &base)?).add_subclass(Self))
    }
}

/// `asyncio.QueueFull` or `asyncio.QueueEmpty`.
#[cold]
fn asyncio_error(py: Python<'_>, name: &str) -> PyErr {
    let made = py.import("asyncio.queues").and_then(|module| module.getattr(name)?.call0());
    made.map_or_else(|error| error, PyErr::from_value)
}

/// `QueueShutDown`: asyncio's, from 3.13 on.
fn shut_down_class(py: Python<'_>) -> PyResult<&Py<PyType>> {
    static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    CLASS.get_or_try_init(py, || {
        if let Some(class) = py.import("asyncio.queues")?.getattr_opt("QueueShutDown")? {
            return Ok(class.cast_into::<PyType>()?.unbind());
        }
        let doc = c"Raised when putting on to or getting from a shut-down Queue.";
        let base = py.get_type::<PyException>();
        PyErr::new_type(py, c"pelton.aio.QueueShutDown", Some(doc), Some(&base), None)
    })
}

/// A `QueueShutDown`.
#[cold]
pub(super) fn shut_down(py: Python<'_>) -> PyErr {
    let made = shut_down_class(py).and_then(|class| class.bind(py).call0());
    made.map_or_else(|error| error, PyErr::from_value)
}

/// Adds this file's names to `pelton._core`.
pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    add_class::<Queue>(module)?;
    add_class::<PriorityQueue>(module)?;
    add_class::<LifoQueue>(module)?;
    module.add("QueueShutDown", shut_down_class(module.py())?)?;
    super::queue_calls::register(module.py())
}
