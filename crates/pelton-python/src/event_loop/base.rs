//! `BaseLoop`: the Python class that holds a loop's core.

use std::os::fd::RawFd;
use std::ptr::null_mut;
use std::rc::Rc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi::{self, PyObject};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use super::core::{LoopCore, Ready, Timer};
use super::executor::ThreadPool;
use super::gil::GilBound;
use super::handle::HandleRef;
use super::os_error;
use super::sources::Source;
use super::watch::Side;

/// The compiled half of `pelton.Loop`.
#[pyclass(frozen, subclass, module = "pelton._core")]
pub(crate) struct BaseLoop {
    core: GilBound<Rc<LoopCore>>,
}

impl BaseLoop {
    /// The loop's state.
    pub(crate) fn core(&self) -> Rc<LoopCore> {
        Rc::clone(&self.core)
    }

    /// The state of a loop given as a raw pointer, borrowed for as long as the loop lives.
    ///
    /// # Safety
    /// `event_loop` is a live `BaseLoop`, and stays alive for `'a`; the GIL is held.
    pub(crate) unsafe fn core_of<'a>(event_loop: *mut PyObject) -> &'a LoopCore {
        // SAFETY: the caller's; the class is frozen, so its contents may be shared.
        unsafe {
            let py = Python::assume_attached();
            let base = Borrowed::from_ptr(py, event_loop).cast_unchecked::<Self>();
            &*std::ptr::from_ref::<LoopCore>(&base.get().core)
        }
    }
}

#[pymethods]
impl BaseLoop {
    #[new]
    #[pyo3(signature = (*_args, **_kwargs))]
    fn new(_args: &Bound<'_, PyTuple>, _kwargs: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let core = LoopCore::new().map_err(|error| os_error(&error))?;
        Ok(Self { core: GilBound::new(Rc::new(core)) })
    }

    /// Runs turns until `stop`; asyncio's `run_forever` calls it for one turn, so to say.
    fn _run_once(slf: &Bound<'_, Self>) -> PyResult<()> {
        let core = slf.get().core();
        core.object.set(slf.as_ptr());
        core.run_until_stopped(slf.py())
    }

    /// Ends `_run_once` after the turn under way, or after the next one.
    fn _request_stop(&self) {
        self.core.stopping.set(true);
        self.core.wake_if_parked();
    }

    /// Lets the core know the object that it is the core of.
    fn _bind(slf: &Bound<'_, Self>) {
        slf.get().core.object.set(slf.as_ptr());
    }

    fn _close_core(&self, py: Python<'_>) {
        self.core.close(py);
    }

    fn _set_core_debug(&self, enabled: bool) {
        self.core.debug.set(enabled);
    }

    fn _set_core_task_factory(&self, given: bool) {
        self.core.task_factory.set(given);
    }

    /// Whether `time` is replaced, so that timers must ask it.
    fn _set_core_clock(&self, replaced: bool) {
        self.core.own_clock.set(replaced);
    }

    /// The pool that serves `run_in_executor(None, ...)`; None where that is another executor's.
    fn _set_core_executor(&self, pool: Option<Py<ThreadPool>>) {
        let before = self.core.executor.replace(pool);
        drop(before); // after the borrow: it may end the pool
    }

    /// The loop's counters; see `pelton.observe.loop_stats`.
    fn _stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        self.core.stats_dict(py)
    }

    /// Callbacks' time by name; see `pelton.observe.callbacks`.
    fn _callback_times<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        self.core.times.to_list(py)
    }

    /// Calls `callback(*args)` whenever `fd` can be read, in place of the callback it had.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_reader<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::add_watch(slf, fd, Side::Read, callback, args)
    }

    /// Calls `callback(*args)` whenever `fd` can be written, in place of the callback it had.
    #[pyo3(signature = (fd, callback, *args))]
    fn _add_writer<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        Self::add_watch(slf, fd, Side::Write, callback, args)
    }

    /// Whether `fd` is the socket of one of the loop's transports.
    fn _is_transport(&self, fd: RawFd) -> bool {
        self.core.stream_fds.borrow().contains(&fd)
    }

    /// What `fd` is watched for: 1 to read, 2 to write, 3 both, 0 neither.
    fn _watched(&self, fd: RawFd) -> u8 {
        self.core.watched(fd)
    }

    /// Ends `_add_reader`. False: there was none.
    fn _remove_reader(&self, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove_watch(fd, Side::Read)
    }

    /// Ends `_add_writer`. False: there was none.
    fn _remove_writer(&self, fd: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.remove_watch(fd, Side::Write)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // A part that is borrowed right now is left out: its objects then look reachable from
        // outside, which only keeps them alive until the next collection.
        if let Ok(ready) = self.core.ready.try_borrow() {
            for item in ready.iter() {
                match item {
                    Ready::Handle(handle) => visit.call(handle.as_py())?,
                    Ready::Alarm(alarm) => visit.call(alarm.as_py())?,
                    Ready::Native(_) => {}
                }
            }
        }
        if let Ok(timers) = self.core.timers.try_borrow() {
            for timer in timers.iter() {
                match timer {
                    Timer::Handle(handle) => visit.call(handle.as_py())?,
                    Timer::Alarm(alarm) => visit.call(alarm.as_py())?,
                    Timer::Native(_) => {}
                }
            }
        }
        let mut result = Ok(());
        if let Ok(sources) = self.core.sources.try_borrow() {
            for source in sources.iter() {
                match source {
                    Source::Watch(watch) => watch.each_object(|object| {
                        if result.is_ok() {
                            result = visit.call(object);
                        }
                    }),
                    Source::Stream(_) | Source::Datagrams(_) | Source::Listener(_) => {}
                }
            }
        }
        result
    }

    fn __clear__(&self, py: Python<'_>) {
        self.core.close(py);
    }
}

impl BaseLoop {
    fn add_watch<'py>(
        slf: &Bound<'py, Self>,
        fd: &Bound<'py, PyAny>,
        side: Side,
        callback: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let core = &slf.get().core;
        if core.is_closed() {
            return Err(PyRuntimeError::new_err("Event loop is closed"));
        }
        let number = descriptor(fd)?;
        let args: Vec<_> = args.iter().collect();
        let args: Vec<_> = args.iter().map(Bound::as_ptr).collect();
        // SAFETY: all are live for the call.
        let handle =
            unsafe { HandleRef::new(slf.as_ptr(), callback.as_ptr(), &args, null_mut(), None)? };
        handle.track();
        core.add_watch(number, side, handle.share()).map_err(|error| os_error(&error))?;
        core.note_given(number, fd);
        // SAFETY: `into_ptr` gives the reference away.
        Ok(unsafe { Bound::from_owned_ptr(slf.py(), handle.into_ptr()) })
    }

    fn remove_watch(&self, fd: &Bound<'_, PyAny>, side: Side) -> PyResult<bool> {
        if self.core.is_closed() {
            return Ok(false);
        }
        let number = match descriptor(fd) {
            Ok(number) => number,
            Err(error) => self.core.number_of_given(fd).ok_or(error)?,
        };
        Ok(self.core.remove_watch(number, side))
    }
}

impl Drop for BaseLoop {
    fn drop(&mut self) {
        self.core.object.set(null_mut());
        // SAFETY: Python objects die with the GIL held.
        self.core.close(unsafe { Python::assume_attached() });
    }
}

fn descriptor(fd: &Bound<'_, PyAny>) -> PyResult<RawFd> {
    // SAFETY: a live object; the call does its own checks.
    let number = unsafe { ffi::PyObject_AsFileDescriptor(fd.as_ptr()) };
    if number < 0 { Err(PyErr::fetch(fd.py())) } else { Ok(number) }
}
