//! The block of a task group: what `async with` runs on the way in and on the way out.

use std::ffi::CStr;

use pyo3::exceptions::{PyBaseExceptionGroup, PyRuntimeError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::awaited::Awaited;
use super::coroutine::{Class, Input, Machine, Step, Visitor};
use super::future::{Future, call_method, is_cancellation};
use super::raw_class::{Field, value_of};
use super::task::raised;
use super::task_group::{TaskGroup, is_base_error};
use super::timeout::count;
use crate::event_loop::Owned;

/// Makes the types of this file.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Enter::class().register(py)?;
    Exit::class().register(py)
}

/// On the way in.
pub(super) struct Enter(Owned);

impl Enter {
    pub(super) fn new(group: Owned) -> Self {
        Self(group)
    }
}

impl Machine for Enter {
    const NAME: &'static CStr = c"pelton._core.TaskGroup_enter";
    const QUALNAME: &'static CStr = c"TaskGroup.__aenter__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Enter> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, _input: Input) -> PyResult<Step> {
        // SAFETY: made with a group, which the machine holds.
        unsafe {
            value_of::<TaskGroup>(self.0.as_ptr()).enter(py, &self.0)?;
            Ok(Step::Return(Owned::share(self.0.as_ptr())))
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.0);
    }
}

/// On the way out.
pub(super) struct Exit {
    group: Owned,
    /// What left the block.
    error: Option<Owned>,
    /// The cancellation that will leave the group, if nothing comes before it.
    cancellation: Field,
    /// It has begun.
    begun: bool,
    waiting: Option<Awaited>,
}

impl Machine for Exit {
    const NAME: &'static CStr = c"pelton._core.TaskGroup_exit";
    const QUALNAME: &'static CStr = c"TaskGroup.__aexit__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Exit> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let object = self.group.share_again();
        // SAFETY: made with a group, which is held.
        let group = unsafe { value_of::<TaskGroup>(object.as_ptr()) };
        if !self.begun {
            self.begun = true;
            self.begin(py, group)?;
        }
        if let Some(waits) = self.wait(py, group, input)? {
            return Ok(waits);
        }
        let result = self.finish(py, group);
        group.release();
        result
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.group);
        if let Some(error) = &self.error {
            visitor.see(error);
        }
        visitor.see_ptr(self.cancellation.as_ptr());
        if let Some(waiting) = &self.waiting {
            waiting.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.as_ref().map(Awaited::awaiting)
    }
}

impl Exit {
    pub(super) fn new(group: Owned, error: Option<Owned>) -> Self {
        Self { group, error, cancellation: Field::empty(), begun: false, waiting: None }
    }

    /// The block is over: an error of it ends the tasks.
    fn begin(&self, py: Python<'_>, group: &TaskGroup) -> PyResult<()> {
        group.exiting.set(true);
        let Some(error) = &self.error else {
            return Ok(());
        };
        if is_base_error(py, error) && group.base_error.as_ptr().is_null() {
            group.base_error.set(error.share_again());
        }
        if self.left_by_cancellation(py) {
            self.cancellation.set(error.share_again());
        }
        if group.aborting.get() { Ok(()) } else { group.abort(py) }
    }

    fn left_by_cancellation(&self, py: Python<'_>) -> bool {
        self.error.as_ref().is_some_and(|error| {
            is_cancellation(py, &PyErr::from_value(error.as_py().bind(py).clone()))
        })
    }

    /// Waits until no task is left; None then. A cancellation meanwhile, of which there may be
    /// several, ends the tasks; it does not end the wait.
    fn wait(
        &mut self,
        py: Python<'_>,
        group: &TaskGroup,
        mut input: Input,
    ) -> PyResult<Option<Step>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                match waiting.step(py, input) {
                    Ok(Step::Yield(value)) => return Ok(Some(Step::Yield(value))),
                    Ok(Step::Return(_)) => {}
                    Err(error) if is_cancellation(py, &error) => {
                        if !group.aborting.get() {
                            let error = error.into_value(py);
                            // SAFETY: the reference is given away.
                            self.cancellation.set(unsafe { Owned::steal(error.into_ptr()) });
                            group.abort(py)?;
                        }
                    }
                    Err(error) => return Err(error),
                }
                self.waiting = None;
                drop(group.on_completed.take());
            }
            if !group.has_tasks() {
                return Ok(None);
            }
            let waiter = Future::of_running_loop(py)?;
            self.waiting = Some(Awaited::future(py, &waiter)?);
            group.on_completed.set(waiter.into_owned());
            input = Input::Go;
        }
    }

    /// All tasks are done.
    fn finish(&self, py: Python<'_>, group: &TaskGroup) -> PyResult<Step> {
        if let Some(error) = group.base_error.take() {
            return Err(raised(py, &error));
        }
        let Some(parent) = group.parent.share() else {
            return Err(PyRuntimeError::new_err("the group was not entered"));
        };
        let ask = |method| count(py, &call_method(method, parent.as_ptr(), &[])?);
        if group.parent_cancel_requested.get() && ask(intern!(py, "uncancel"))? == 0 {
            // Nobody but the group asked.
            drop(self.cancellation.take());
        }
        let failed = !group.errors.as_ptr().is_null();
        if let Some(cancellation) = self.cancellation.take().filter(|_| !failed) {
            return Err(raised(py, &cancellation));
        }
        if let Some(error) = &self.error
            && !self.left_by_cancellation(py)
        {
            group.errors(py)?.append(error.as_py())?;
        }
        if group.errors.as_ptr().is_null() {
            return Ok(Step::done());
        }
        if ask(intern!(py, "cancelling"))? > 0 {
            // Somebody outside asked, and errors come first: the request stands for the next
            // thing that the task waits for.
            ask(intern!(py, "uncancel"))?;
            call_method(intern!(py, "cancel"), parent.as_ptr(), &[])?;
        }
        let text = "unhandled errors in a TaskGroup";
        let errors = group.errors(py)?;
        let error = py.get_type::<PyBaseExceptionGroup>().call1((text, errors))?;
        // SAFETY: a live exception; null means `from None`. The reference is given away.
        let error = unsafe {
            ffi::PyException_SetCause(error.as_ptr(), std::ptr::null_mut());
            Owned::steal(error.into_ptr())
        };
        Err(raised(py, &error))
    }
}
