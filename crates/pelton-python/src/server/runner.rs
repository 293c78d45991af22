//! An application's coroutine, watched to its end.

use std::cell::RefCell;
use std::rc::Rc;

use pyo3::exceptions::PyStopIteration;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyIterator;
use pyo3::types::iterator::PySendResult;

use crate::event_loop::GilBound;

use super::awaitable::thrown;

/// What hears of the end.
pub(super) trait Run {
    /// The coroutine returned or raised. What this returns is how the task ends.
    fn ended(&self, py: Python<'_>, result: PyResult<()>) -> PyResult<()>;
}

/// A coroutine around the application's: the task runs it, and no callback is needed to learn how
/// that ended.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Runner {
    inner: Py<PyAny>,
    run: GilBound<RefCell<Option<Rc<dyn Run>>>>,
}

impl Runner {
    /// A coroutine that runs `inner` and tells `run` how it ended.
    pub(super) fn wrap<'py>(
        inner: &Bound<'py, PyAny>,
        run: Rc<dyn Run>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = inner.py();
        // A coroutine is driven itself; another awaitable by its iterator.
        let inner = if inner.hasattr(intern!(py, "send"))? {
            inner.clone()
        } else {
            inner.call_method0(intern!(py, "__await__"))?
        };
        let runner = Self { inner: inner.unbind(), run: GilBound::new(RefCell::new(Some(run))) };
        Ok(Bound::new(py, runner)?.into_any())
    }

    /// One step; `None` at the end.
    fn step(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        // SAFETY: `send` is `PyIter_Send`, which takes any object that has `send` or iterates.
        let inner = unsafe { self.inner.bind(py).cast_unchecked::<PyIterator>() };
        match inner.send(py.None().bind(py)) {
            Ok(PySendResult::Next(value)) => Ok(Some(value.unbind())),
            Ok(PySendResult::Return(_)) => self.finish(py, Ok(())),
            Err(error) => self.finish(py, Err(error)),
        }
    }

    fn finish(&self, py: Python<'_>, result: PyResult<()>) -> PyResult<Option<Py<PyAny>>> {
        let run = self.run.borrow_mut().take();
        match run {
            Some(run) => run.ended(py, result).map(|()| None),
            None => result.map(|()| None),
        }
    }
}

#[pymethods]
impl Runner {
    fn __await__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        self.step(py)
    }

    fn send(&self, py: Python<'_>, _value: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        match self.step(py)? {
            Some(value) => Ok(value),
            None => Err(PyStopIteration::new_err((py.None(),))),
        }
    }

    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        value: Option<&Bound<'_, PyAny>>,
        traceback: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Py<PyAny>> {
        let _ = traceback;
        let error = thrown(kind, value).into_value(py);
        let ended = match self.inner.call_method1(py, intern!(py, "throw"), (error,)) {
            Ok(value) => return Ok(value),
            Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => Ok(()),
            Err(error) => Err(error),
        };
        self.finish(py, ended)?;
        Err(PyStopIteration::new_err((py.None(),)))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.inner.call_method0(py, intern!(py, "close"))?;
        self.run.borrow_mut().take();
        Ok(())
    }

    /// `cr_frame`, `cr_code` and the like, for those who look into tasks.
    fn __getattr__(&self, py: Python<'_>, name: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        self.inner.getattr(py, name.cast::<pyo3::types::PyString>()?)
    }
}
