//! Tasks whose first step runs at once, not through the ready queue.
//!
//! A task asks its loop for the first step in its constructor, by `call_soon`. While one is made
//! here, that call is kept instead of queued, and made when the task is complete. So the task is
//! the stock one on every version of Python.

use std::cell::Cell;
use std::ptr::null_mut;

use pyo3::ffi::PyObject;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::core::LoopCore;
use super::gil::Owned;
use super::handle::HandleRef;
use super::native::LoopRef;

/// What happens to the next `call_soon` of a task's constructor.
pub(super) enum Capture {
    /// It is kept.
    Armed,
    /// It was kept: the step, and its context.
    Taken { step: Owned, context: Option<Owned> },
}

impl LoopCore {
    /// Keeps a `call_soon` if `spawn_inline` waits for it.
    ///
    /// # Safety
    /// Live objects (`context` may be null); the GIL is held.
    #[inline]
    pub(super) unsafe fn capture_call(
        &self,
        callback: &*mut PyObject,
        args: &[*mut PyObject],
        context: *mut PyObject,
    ) -> bool {
        let mut capture = self.capture.borrow_mut();
        if !args.is_empty() || !matches!(*capture, Some(Capture::Armed)) {
            return false;
        }
        // SAFETY: the caller's.
        unsafe {
            *capture = Some(Capture::Taken {
                step: Owned::share(*callback),
                context: (!context.is_null()).then(|| Owned::share(context)),
            });
        }
        true
    }
}

impl LoopRef {
    /// A stock `asyncio.Task` of `coro`, whose first step has run when this returns: it may be done
    /// already. `context`: None for a copy of the current one. `name`: None for asyncio's own.
    ///
    /// While another task runs a step, or with a task factory or in debug mode, this is
    /// `create_task`, and the first step is queued.
    pub(crate) fn spawn_inline<'py>(
        &self,
        py: Python<'py>,
        coro: &Bound<'py, PyAny>,
        context: Option<&Bound<'py, PyAny>>,
        name: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let event_loop = self.object(py)?;
        if self.must_queue(py, &event_loop)? {
            let kwargs = PyDict::new(py);
            kwargs.set_item("context", context)?;
            kwargs.set_item("name", name)?;
            return event_loop.call_method("create_task", (coro,), Some(&kwargs));
        }
        *self.0.capture.borrow_mut() = Some(Capture::Armed);
        let task = new_task(py, &event_loop, coro, context, name);
        let captured = self.0.capture.borrow_mut().take();
        let task = task?;
        if let Some(Capture::Taken { step, context }) = captured {
            let context = context.as_ref().map_or(null_mut(), Owned::as_ptr);
            // SAFETY: all are live: the loop is bound above, the others are owned here.
            let handle =
                unsafe { HandleRef::new(event_loop.as_ptr(), step.as_ptr(), &[], context, None)? };
            self.0.run_handle(py, &handle)?;
        }
        Ok(task)
    }

    fn must_queue(&self, py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !self.0.running.get() || self.0.is_debug() || self.0.task_factory.get() {
            return Ok(true);
        }
        if !self.0.in_callback.get() {
            return Ok(false); // events are dispatched outside of any task
        }
        static CURRENT_TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let current_task = CURRENT_TASK.get_or_try_init(py, || {
            Ok::<_, PyErr>(py.import("asyncio")?.getattr("current_task")?.unbind())
        })?;
        Ok(!current_task.bind(py).call1((event_loop,))?.is_none())
    }
}

/// `asyncio.Task(coro, loop=..., name=..., context=...)`.
fn new_task<'py>(
    py: Python<'py>,
    event_loop: &Bound<'py, PyAny>,
    coro: &Bound<'py, PyAny>,
    context: Option<&Bound<'py, PyAny>>,
    name: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    static TASK: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let task = TASK
        .get_or_try_init(py, || Ok::<_, PyErr>(py.import("asyncio")?.getattr("Task")?.unbind()))?;
    // Python makes a dict of a class's keyword arguments: this one is used for all tasks. Whoever
    // makes a task while it is out (a finalizer, perhaps) gets one of his own.
    let kwargs = KWARGS.take().map_or_else(|| PyDict::new(py), |kwargs| kwargs.into_bound(py));
    kwargs.set_item(intern!(py, "loop"), event_loop)?;
    kwargs.set_item(intern!(py, "name"), name)?;
    kwargs.set_item(intern!(py, "context"), context)?;
    let made = task.bind(py).call((coro,), Some(&kwargs));
    // It keeps nobody alive.
    kwargs.set_item(intern!(py, "loop"), py.None())?;
    kwargs.set_item(intern!(py, "context"), py.None())?;
    KWARGS.set(Some(kwargs.unbind()));
    made
}

thread_local! {
    /// The keyword arguments of a thread's tasks, while none is being made.
    static KWARGS: Cell<Option<Py<PyDict>>> = const { Cell::new(None) };
}
