//! Calls with prepared keyword names, and what `await` does with a value.

use pyo3::exceptions::{PyAttributeError, PyStopIteration, PyTypeError};
use pyo3::types::iterator::PySendResult;
use pyo3::types::{PyIterator, PyString, PyTuple};
use pyo3::{ffi, intern, prelude::*};

use super::helpers::Helpers;
use super::respond::Checker;

/// Calls `callable` with `values` under the names `names`, in order, and nothing else.
pub(crate) fn call_named<'py>(
    callable: &Bound<'py, PyAny>,
    names: &Bound<'py, PyTuple>,
    values: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    call_mixed(callable, 0, names, values)
}

/// Calls `callable` with the first `positional` of `values` by position and the others under
/// `names`.
pub(crate) fn call_mixed<'py>(
    callable: &Bound<'py, PyAny>,
    positional: usize,
    names: &Bound<'py, PyTuple>,
    values: &[Bound<'py, PyAny>],
) -> PyResult<Bound<'py, PyAny>> {
    if values.len() != positional + names.len() {
        return Err(PyTypeError::new_err("as many values as names are needed"));
    }
    // SAFETY: `Bound` is a transparent wrapper of an object pointer, so `values` is an array of
    // valid object pointers as vectorcall wants; their number was checked against the names just
    // now; all are alive for the call, and the result is a new reference or null with an error.
    unsafe {
        let result = ffi::PyObject_Vectorcall(
            callable.as_ptr(),
            values.as_ptr().cast::<*mut ffi::PyObject>(),
            positional,
            if names.is_empty() { std::ptr::null_mut() } else { names.as_ptr() },
        );
        Bound::from_owned_ptr_or_err(callable.py(), result)
    }
}

/// How one step of an awaited object ended.
pub(crate) enum Stepped<'py> {
    /// It waits for this.
    Waits(Bound<'py, PyAny>),
    /// It is done: its result or its exception.
    Ended(PyResult<Bound<'py, PyAny>>),
}

/// The object that runs when `value` is awaited.
pub(crate) fn awaited<'py>(value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: `PyCoro_CheckExact` reads the type of a valid object.
    if unsafe { ffi::PyCoro_CheckExact(value.as_ptr()) } != 0 {
        return Ok(value);
    }
    let py = value.py();
    match value.call_method0(intern!(py, "__await__")) {
        Ok(iterator) => Ok(iterator),
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => {
            // A generator marked by `types.coroutine` is awaitable without the method.
            // SAFETY: `PyGen_Check` reads the type of a valid object.
            if unsafe { ffi::PyGen_Check(value.as_ptr()) } != 0 {
                return Ok(value);
            }
            let kind = value.get_type().name()?.to_string();
            Err(PyTypeError::new_err(format!("object {kind} can't be used in 'await' expression")))
        }
        Err(error) => Err(error),
    }
}

/// Resumes `running` (see [`awaited`]) with `value`: `None` but for loops that answer what a
/// coroutine yields, as Trio does.
pub(crate) fn resume<'py>(running: &Bound<'py, PyAny>, value: &Bound<'py, PyAny>) -> Stepped<'py> {
    // SAFETY: `send` hands the object to `PyIter_Send`, which takes any object: one that is no
    // iterator fails there with an exception.
    let iterator = unsafe { running.cast_unchecked::<PyIterator>() };
    match iterator.send(value) {
        Ok(PySendResult::Next(value)) => Stepped::Waits(value),
        Ok(PySendResult::Return(value)) => Stepped::Ended(Ok(value)),
        Err(error) => Stepped::Ended(Err(error)),
    }
}

/// Throws `error` into `running` where it waits.
pub(crate) fn throw<'py>(running: &Bound<'py, PyAny>, error: PyErr) -> Stepped<'py> {
    let py = running.py();
    match running.call_method1(intern!(py, "throw"), (error.into_value(py),)) {
        Ok(value) => Stepped::Waits(value),
        Err(stop) if stop.is_instance_of::<PyStopIteration>(py) => {
            Stepped::Ended(stop.value(py).getattr(intern!(py, "value")))
        }
        Err(error) => Stepped::Ended(Err(error)),
    }
}

/// The type name of an endpoint or dependency, for messages.
pub(crate) fn qualified_name<'py>(call: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = call.py();
    match call.getattr(intern!(py, "__qualname__")) {
        Ok(name) => Ok(name.cast_into::<PyString>()?),
        Err(_) => call.get_type().qualname(),
    }
}

/// A call to make later, perhaps in another thread: `job()`.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct Job {
    call: Py<PyAny>,
    names: Py<PyTuple>,
    values: Vec<Py<PyAny>>,
    /// Compares what it gives with the response model; the job then gives a [`Checked`].
    checker: Option<Checker>,
}

impl Job {
    /// Keeps `call(**dict(zip(names, values)))` for later.
    pub(crate) fn new<'py>(
        call: &Bound<'py, PyAny>,
        names: &Bound<'py, PyTuple>,
        values: Vec<Bound<'py, PyAny>>,
        checker: Option<Checker>,
    ) -> Self {
        Self {
            call: call.clone().unbind(),
            names: names.clone().unbind(),
            values: values.into_iter().map(Bound::unbind).collect(),
            checker,
        }
    }
}

#[pymethods]
impl Job {
    fn __call__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let values: Vec<_> = self.values.iter().map(|value| value.bind(py).clone()).collect();
        let value = call_named(self.call.bind(py), self.names.bind(py), &values)?;
        let Some(checker) = &self.checker else {
            return Ok(value);
        };
        let helpers = Helpers::of(py)?;
        if value.is_instance(helpers.response.bind(py))? {
            return Ok(value);
        }
        let checked = checker.check(helpers, value)?;
        Ok(Bound::new(py, checked)?.into_any())
    }
}
