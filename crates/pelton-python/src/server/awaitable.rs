//! What `receive()` and `send()` return: awaitables that make no Future where the answer is there.
//!
//! They have the four methods of `collections.abc.Coroutine`, so that `asyncio.create_task` and
//! `asyncio.wait_for` take them as they take a coroutine.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::event_loop::GilBound;

/// Something that will be there later.
pub(super) trait Source {
    /// The value, once it is there; an error ends the wait, too.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>>;
    /// Sets the result of the returned future when `poll` is worth asking again.
    fn park(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

/// An awaitable that is done: `None`, or a value.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Done {
    value: Option<Py<PyAny>>,
}

impl Done {
    /// The one that gives `None`; the same object each time.
    pub(super) fn none(py: Python<'_>) -> PyResult<Py<PyAny>> {
        static NONE: PyOnceLock<Py<Done>> = PyOnceLock::new();
        let done = NONE.get_or_try_init(py, || Py::new(py, Self { value: None }))?;
        Ok(done.clone_ref(py).into_any())
    }

    pub(super) fn value(py: Python<'_>, value: Py<PyAny>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, Self { value: Some(value) })?.into_any())
    }
}

#[pymethods]
impl Done {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        match &self.value {
            // The iterator's end without an exception: `None` is the result.
            None => Ok(None),
            Some(value) => Err(PyStopIteration::new_err((value.clone_ref(py),))),
        }
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let value = self.value.as_ref().map_or_else(|| py.None(), |value| value.clone_ref(py));
        Err(PyStopIteration::new_err((value,)))
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = traceback;
        Err(thrown(kind, value))
    }

    #[expect(clippy::unused_self, reason = "the method is part of the coroutine protocol")]
    fn close(&self) {}
}

/// An awaitable that waits for its source by futures of the loop.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Waiting {
    source: GilBound<Rc<dyn Source>>,
    /// The iterator of the future that is waited for.
    iterator: GilBound<RefCell<Option<Py<PyAny>>>>,
}

impl Waiting {
    /// An awaitable for `source`.
    pub(super) fn on(py: Python<'_>, source: Rc<dyn Source>) -> PyResult<Py<PyAny>> {
        let waiting =
            Self { source: GilBound::new(source), iterator: GilBound::new(RefCell::new(None)) };
        Ok(Py::new(py, waiting)?.into_any())
    }

    fn step(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        loop {
            let iterator = self.iterator.borrow_mut().take();
            if let Some(iterator) = iterator {
                match iterator.call_method0(py, intern!(py, "__next__")) {
                    Ok(future) => {
                        *self.iterator.borrow_mut() = Some(iterator);
                        return Ok(future);
                    }
                    Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => {}
                    Err(error) => return Err(error),
                }
            }
            if let Some(value) = self.source.poll(py)? {
                return Err(PyStopIteration::new_err((value,)));
            }
            let future = self.source.park(py)?;
            let iterator = future.call_method0(py, intern!(py, "__await__"))?;
            *self.iterator.borrow_mut() = Some(iterator);
        }
    }
}

#[pymethods]
impl Waiting {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.step(py)
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = traceback;
        self.close();
        Err(thrown(kind, value))
    }

    fn close(&self) {
        // A `let` of its own: the borrow ends before the iterator is dropped.
        let iterator = self.iterator.borrow_mut().take();
        drop(iterator);
    }
}

/// The exception that `throw(kind, value)` means.
pub(super) fn thrown(kind: &Bound<'_, PyAny>, value: Option<&Bound<'_, PyAny>>) -> PyErr {
    match value {
        Some(value) if !value.is_none() => PyErr::from_value(value.clone()),
        // An exception, or a class that is called without arguments.
        _ => PyErr::from_value(kind.clone()),
    }
}

/// Futures that wait for the same thing.
#[derive(Default)]
pub(super) struct Waiters(RefCell<Vec<Py<PyAny>>>);

impl Waiters {
    /// A new future of `event_loop`, woken by the next [`wake`](Self::wake).
    pub(super) fn park(&self, event_loop: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        let py = event_loop.py();
        let future = event_loop.call_method0(intern!(py, "create_future"))?.unbind();
        self.0.borrow_mut().push(future.clone_ref(py));
        Ok(future)
    }

    /// Wakes all who wait; those cancelled meanwhile are forgotten.
    pub(super) fn wake(&self, py: Python<'_>) -> PyResult<()> {
        if self.0.borrow().is_empty() {
            return Ok(());
        }
        let waiting = self.0.take();
        for future in waiting {
            if !future.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
                future.call_method1(py, intern!(py, "set_result"), (py.None(),))?;
            }
        }
        Ok(())
    }
}
