//! Where a stock future keeps its state.
//!
//! `done()` is a call of some thirty nanoseconds, and a lock's release asks it. The C structure is
//! no public interface and differs between versions, so nothing is assumed: where the fields lie is
//! found by watching futures change, and if the answer is not plain, methods are called instead.

use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

/// What a future's state can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Cancelled,
    Finished,
}

/// Offsets in bytes from the start of a future.
#[derive(Debug)]
pub(super) struct Layout {
    state: usize,
    blocking: usize,
    blocking_bit: u8,
    /// Pointers to objects, or null.
    result: usize,
    exception: usize,
}

/// A loop as far as a new future asks.
#[pyclass(frozen)]
struct Nowhere;

#[pymethods]
impl Nowhere {
    fn get_debug(&self) -> bool {
        false
    }

    #[pyo3(signature = (*_args, **_keywords))]
    fn call_soon(&self, _args: &Bound<'_, PyTuple>, _keywords: Option<&Bound<'_, PyDict>>) {}
}

impl Layout {
    /// Finds the layout of `class`, which is `asyncio.Future`; None if that is ambiguous, or if it
    /// is the variant in Python.
    pub(super) fn find(class: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = class.py();
        if class.getattr("__module__")?.extract::<&str>()? != "_asyncio" {
            return Ok(None);
        }
        let size: usize = class.getattr("__basicsize__")?.extract()?;
        let nowhere = Py::new(py, Nowhere)?;
        let future = || {
            let keywords = PyDict::new(py);
            keywords.set_item("loop", &nowhere)?;
            class.call((), Some(&keywords))
        };
        let (pending, cancelled, finished, failed) = (future()?, future()?, future()?, future()?);
        cancelled.call_method0("cancel")?;
        let value = PyList::empty(py);
        finished.call_method1("set_result", (&value,))?;
        let error = py.get_type::<pyo3::exceptions::PyException>().call0()?;
        failed.call_method1("set_exception", (&error,))?;
        failed.call_method0("exception")?; // it counts as retrieved then
        // SAFETY: three live objects of a class with instances of this size.
        let (a, b, c) =
            unsafe { (bytes(&pending, size), bytes(&cancelled, size), bytes(&finished, size)) };
        let head = size_of::<PyObject>();
        let mut places = (head..size.saturating_sub(3)).step_by(4).filter(|&at| {
            let word = |bytes: &[u8]| i32::from_ne_bytes([0, 1, 2, 3].map(|n| bytes[at + n]));
            (word(&a), word(&b), word(&c)) == (0, 1, 2)
        });
        let (Some(state), None) = (places.next(), places.next()) else {
            return Ok(None);
        };
        // SAFETY: as above.
        let (result, exception) =
            unsafe { (place_of(&finished, size, value.as_any()), place_of(&failed, size, &error)) };
        let (Some(result), Some(exception)) = (result, exception) else {
            return Ok(None);
        };
        let name = intern!(py, "_asyncio_future_blocking");
        pending.setattr(name, true)?;
        // SAFETY: as above.
        let awaited = unsafe { bytes(&pending, size) };
        let mut changed = (head..size).filter(|&at| awaited[at] != a[at]);
        let (Some(blocking), None) = (changed.next(), changed.next()) else {
            return Ok(None);
        };
        let blocking_bit = awaited[blocking] ^ a[blocking];
        pending.setattr(name, false)?;
        let layout = Self { state, blocking, blocking_bit, result, exception };
        Ok(layout.holds(&pending, &cancelled, &finished)?.then_some(layout))
    }

    /// Whether tasks, of `class`, begin as futures do.
    pub(super) fn fits_tasks(&self, class: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = class.py();
        if class.getattr("__module__")?.extract::<&str>()? != "_asyncio" {
            return Ok(false);
        }
        let coroutine = py.import("asyncio.tasks")?.call_method1("sleep", (0,))?;
        let keywords = PyDict::new(py);
        keywords.set_item("loop", Py::new(py, Nowhere)?)?;
        keywords.set_item("name", "layout")?; // takes no number from the count of tasks
        let task = class.call((&coroutine,), Some(&keywords))?;
        task.setattr("_log_destroy_pending", false)?;
        coroutine.call_method0("close")?;
        let size: usize = class.getattr("__basicsize__")?.extract()?;
        // SAFETY: a live object of a class with instances of this size.
        let before = unsafe { bytes(&task, size) };
        task.setattr(intern!(py, "_asyncio_future_blocking"), true)?;
        // SAFETY: as above.
        let after = unsafe { bytes(&task, size) };
        let changed: Vec<usize> = (0..size).filter(|&at| before[at] != after[at]).collect();
        Ok(changed == [self.blocking]
            && before[self.blocking] ^ after[self.blocking] == self.blocking_bit)
    }

    /// The other way round: what is written here is what Python reads.
    fn holds(
        &self,
        pending: &Bound<'_, PyAny>,
        cancelled: &Bound<'_, PyAny>,
        finished: &Bound<'_, PyAny>,
    ) -> PyResult<bool> {
        let name = intern!(pending.py(), "_asyncio_future_blocking");
        if self.blocking_bit.count_ones() != 1 || pending.getattr(name)?.is_truthy()? {
            return Ok(false);
        }
        // SAFETY: live futures, and offsets within them.
        unsafe {
            self.set_blocking(pending.as_ptr());
            let holds = pending.getattr(name)?.is_truthy()?
                && self.state(pending.as_ptr()) == State::Pending
                && self.state(cancelled.as_ptr()) == State::Cancelled
                && self.state(finished.as_ptr()) == State::Finished;
            if !holds {
                return Ok(false);
            }
            self.make_pending(finished.as_ptr());
        }
        if finished.call_method0("done")?.is_truthy()? {
            return Ok(false);
        }
        finished.call_method1("set_result", (7,))?;
        finished.call_method0("result")?.eq(7)
    }

    /// # Safety
    /// `future` is a live instance of exactly the class that was looked at; the GIL is held.
    pub(super) unsafe fn state(&self, future: *mut PyObject) -> State {
        // SAFETY: the caller's; `find` saw that an aligned word lies here.
        match unsafe { future.byte_add(self.state).cast::<i32>().read() } {
            0 => State::Pending,
            1 => State::Cancelled,
            _ => State::Finished,
        }
    }

    /// Makes a future that has a result one that has none, as if it were new.
    ///
    /// # Safety
    /// As for `state`; its state is `Finished` by `set_result`, so that its callbacks are gone and
    /// it has no exception.
    pub(super) unsafe fn make_pending(&self, future: *mut PyObject) {
        // SAFETY: the caller's; `find` saw that the owned result lies here, null before.
        let result = unsafe {
            future.byte_add(self.state).cast::<i32>().write(0);
            future.byte_add(self.result).cast::<*mut PyObject>().replace(std::ptr::null_mut())
        };
        // SAFETY: the reference that the future held.
        unsafe { pyo3::ffi::Py_XDECREF(result) };
    }

    /// Whether the result is None.
    ///
    /// # Safety
    /// As for `state`.
    pub(super) unsafe fn has_none(&self, future: *mut PyObject) -> bool {
        // SAFETY: the caller's; `find` saw that the result lies here, or null.
        unsafe {
            future.byte_add(self.result).cast::<*mut PyObject>().read() == pyo3::ffi::Py_None()
        }
    }

    /// The result of a future that has one: a new reference, or null.
    ///
    /// # Safety
    /// As for `state`.
    pub(super) unsafe fn plain_result(&self, future: *mut PyObject) -> *mut PyObject {
        // SAFETY: the caller's; `find` saw that pointers to objects lie at these places.
        unsafe {
            let exception = future.byte_add(self.exception).cast::<*mut PyObject>().read();
            if self.state(future) != State::Finished || !exception.is_null() {
                return std::ptr::null_mut();
            }
            let result = future.byte_add(self.result).cast::<*mut PyObject>().read();
            pyo3::ffi::Py_XNewRef(result)
        }
    }

    /// `_asyncio_future_blocking = True`.
    ///
    /// # Safety
    /// As for `state`.
    pub(super) unsafe fn set_blocking(&self, future: *mut PyObject) {
        // SAFETY: the caller's; `find` saw that this byte has the flag.
        unsafe { *future.cast::<u8>().add(self.blocking) |= self.blocking_bit }
    }
}

/// A copy of an object's memory.
///
/// # Safety
/// The object is at least `size` bytes large.
unsafe fn bytes(object: &Bound<'_, PyAny>, size: usize) -> Vec<u8> {
    // SAFETY: the caller's; the bytes are copied while the GIL is held.
    unsafe { std::slice::from_raw_parts(object.as_ptr().cast::<u8>(), size).to_vec() }
}

/// Where in `object`, and where alone, the address of `value` lies.
///
/// # Safety
/// The object is at least `size` bytes large.
unsafe fn place_of(
    object: &Bound<'_, PyAny>,
    size: usize,
    value: &Bound<'_, PyAny>,
) -> Option<usize> {
    // SAFETY: the caller's.
    let bytes = unsafe { bytes(object, size) };
    let address = (value.as_ptr() as usize).to_ne_bytes();
    let mut places = (size_of::<PyObject>()..=size.saturating_sub(address.len()))
        .step_by(address.len())
        .filter(|&at| bytes[at..at + address.len()] == address);
    let place = places.next();
    place.filter(|_| places.next().is_none())
}
