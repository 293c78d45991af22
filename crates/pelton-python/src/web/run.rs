//! One request on its way through a plan, as a coroutine.

use std::cell::RefCell;
use std::sync::Arc;

use pyo3::exceptions::{
    PyGeneratorExit, PyRuntimeError, PyStopIteration, PyTypeError, PyValueError,
};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::call::{self, Stepped};
use super::channel::Channel;
use super::guard::Admitted;
use super::plan::Plan;
use super::progress::{Awaiting, Next, Progress};
use crate::event_loop::GilBound;

/// The coroutine of one request: `await`ed under ASGI, or run by a Task of its own.
///
/// It steps the user's coroutines itself and passes on what they wait for, so that a request is
/// one coroutine however deep its dependencies go. Cancelling it cancels what it waits for. It
/// returns `None`.
#[pyclass(frozen, weakref, module = "pelton._core")]
pub(crate) struct RequestRun {
    plan: Arc<Plan>,
    state: GilBound<RefCell<State>>,
}

enum State {
    Unstarted(Box<Progress>),
    /// Waiting in `inner` for what `awaiting` says.
    Waiting {
        progress: Box<Progress>,
        inner: Py<PyAny>,
        awaiting: Awaiting,
    },
    /// A step is being taken.
    Running,
    Finished,
}

/// What a coroutine is resumed with.
enum Input<'a, 'py> {
    Value(&'a Bound<'py, PyAny>),
    Error(PyErr),
}

impl RequestRun {
    /// A request of `plan` that came through `channel`, and what its rate limits said.
    pub(crate) fn new(plan: Arc<Plan>, channel: Channel, admitted: Admitted) -> Self {
        let progress = Box::new(Progress::new(plan.clone(), channel, admitted));
        Self { plan, state: GilBound::new(RefCell::new(State::Unstarted(progress))) }
    }

    /// Takes a step. `None`: the request is over.
    fn step<'py>(
        &self,
        py: Python<'py>,
        input: Input<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let none = py.None().into_bound(py);
        let state = match self.state.try_borrow_mut() {
            Ok(mut state) => std::mem::replace(&mut *state, State::Running),
            Err(_) => State::Running,
        };
        let (mut progress, mut next) = match (state, input) {
            (State::Running, _) => {
                return Err(PyValueError::new_err("coroutine already executing"));
            }
            (State::Finished, _) => {
                self.state.replace(State::Finished);
                return Err(PyRuntimeError::new_err("cannot reuse already awaited coroutine"));
            }
            (State::Unstarted(_), Input::Error(error)) => {
                self.state.replace(State::Finished);
                return Err(error);
            }
            (State::Unstarted(mut progress), Input::Value(_)) => {
                let next = progress.begin(py);
                (progress, next)
            }
            (State::Waiting { mut progress, inner, awaiting }, input) => {
                let inner = inner.into_bound(py);
                let stepped = match input {
                    Input::Value(value) => call::resume(&inner, value),
                    Input::Error(error) => call::throw(&inner, error),
                };
                match stepped {
                    Stepped::Waits(on) => {
                        let inner = inner.unbind();
                        self.state.replace(State::Waiting { progress, inner, awaiting });
                        return Ok(Some(on));
                    }
                    Stepped::Ended(result) => {
                        drop(inner);
                        let next = progress.ended(py, awaiting, result);
                        (progress, next)
                    }
                }
            }
        };
        loop {
            let (inner, awaiting) = match next {
                Next::Done => break self.finish(Ok(None)),
                Next::Raise(error) => break self.finish(Err(error)),
                Next::Await(inner, awaiting) => (inner, awaiting),
            };
            let stepped = match call::awaited(inner) {
                Ok(inner) => match call::resume(&inner, &none) {
                    Stepped::Waits(on) => {
                        let inner = inner.unbind();
                        self.state.replace(State::Waiting { progress, inner, awaiting });
                        return Ok(Some(on));
                    }
                    Stepped::Ended(result) => result,
                },
                Err(error) => Err(error),
            };
            next = progress.ended(py, awaiting, stepped);
        }
    }

    fn finish<T>(&self, result: PyResult<T>) -> PyResult<T> {
        self.state.replace(State::Finished);
        result
    }
}

#[pymethods]
impl RequestRun {
    fn __await__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.step(py, Input::Value(&py.None().into_bound(py)))
    }

    /// Takes a step, as a generator's `send`.
    fn send<'py>(&self, py: Python<'py>, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !value.is_none() && matches!(&*self.state.borrow(), State::Unstarted(_)) {
            return Err(PyTypeError::new_err(
                "can't send non-None value to a just-started coroutine",
            ));
        }
        self.step(py, Input::Value(value))?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    /// Throws an exception in where the request waits.
    #[pyo3(signature = (kind, value=None, traceback=None))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        kind: Bound<'py, PyAny>,
        value: Option<Bound<'py, PyAny>>,
        traceback: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let error = thrown(kind, value)?;
        if let Some(traceback) = traceback.filter(|traceback| !traceback.is_none()) {
            error.value(py).setattr("__traceback__", traceback)?;
        }
        self.step(py, Input::Error(error))?.ok_or_else(|| PyStopIteration::new_err(()))
    }

    /// Ends the request where it waits.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if matches!(&*self.state.borrow(), State::Finished) {
            return Ok(());
        }
        match self.step(py, Input::Error(PyGeneratorExit::new_err(()))) {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(PyRuntimeError::new_err("coroutine ignored GeneratorExit")),
            Err(error) if error.is_instance_of::<PyGeneratorExit>(py) => Ok(()),
            Err(error) => Err(error),
        }
    }

    // A request that waits for ever may be part of a cycle: its frames can know its own Task.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(state) = self.state.try_borrow() else {
            return Ok(());
        };
        match &*state {
            State::Unstarted(progress) => progress.traverse(&visit),
            State::Waiting { progress, inner, .. } => {
                visit.call(inner)?;
                progress.traverse(&visit)
            }
            State::Running | State::Finished => Ok(()),
        }
    }

    fn __clear__(&self) {
        let Ok(mut state) = self.state.try_borrow_mut() else {
            return;
        };
        let dropped = std::mem::replace(&mut *state, State::Finished);
        drop(state);
        drop(dropped);
    }

    /// The endpoint's name.
    #[getter]
    fn __qualname__(&self, py: Python<'_>) -> Py<PyString> {
        self.plan.name.clone_ref(py)
    }

    /// The endpoint's name.
    #[getter]
    fn __name__(&self, py: Python<'_>) -> Py<PyString> {
        self.plan.name.clone_ref(py)
    }

    /// Whether a step is being taken.
    #[getter]
    fn cr_running(&self) -> bool {
        matches!(&*self.state.borrow(), State::Running)
    }

    /// What it waits in.
    #[getter]
    fn cr_await(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        match &*self.state.borrow() {
            State::Waiting { inner, .. } => Some(inner.clone_ref(py)),
            _ => None,
        }
    }
}

/// The exception that `throw` was called with, in its one- or two-argument form.
fn thrown(kind: Bound<'_, PyAny>, value: Option<Bound<'_, PyAny>>) -> PyResult<PyErr> {
    let value = value.filter(|value| !value.is_none());
    if let Ok(class) = kind.cast::<pyo3::types::PyType>() {
        return Ok(match value {
            Some(value) if value.is_instance(class)? => PyErr::from_value(value),
            Some(value) => PyErr::from_value(class.call1((value,))?),
            None => PyErr::from_value(class.call0()?),
        });
    }
    if value.is_some() || !kind.is_instance_of::<pyo3::exceptions::PyBaseException>() {
        return Err(PyTypeError::new_err("exceptions must be classes or instances of them"));
    }
    Ok(PyErr::from_value(kind))
}
