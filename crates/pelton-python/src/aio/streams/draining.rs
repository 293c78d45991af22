//! The coroutines of a `StreamWriter`.

use std::ffi::CStr;

use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;

use super::writer::StreamWriter;
use crate::aio::awaited::Awaited;
use crate::aio::coroutine::{Class, Input, Machine, Step, Visitor};
use crate::aio::future::call_method;
use crate::event_loop::Owned;

/// Makes the coroutines' types.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Draining::class().register(py)?;
    Closed::class().register(py)
}

/// The writer of a coroutine.
///
/// # Safety
/// `writer` is a live `StreamWriter`; the GIL is held.
unsafe fn writer_of<'a>(py: Python<'_>, writer: &'a Owned) -> &'a StreamWriter {
    // SAFETY: the caller's; the class is frozen, so its contents may be shared for as long as the
    // reference is held.
    unsafe {
        let writer = Borrowed::from_ptr(py, writer.as_ptr()).cast_unchecked::<StreamWriter>();
        &*std::ptr::from_ref(writer.get())
    }
}

/// `drain()`.
pub(super) struct Draining {
    writer: Owned,
    stage: Stage,
}

enum Stage {
    Start,
    /// The connection is closing: a turn for `connection_lost`.
    Turn,
    /// In the protocol's `_drain_helper`.
    Helper(Awaited),
}

impl Draining {
    pub(super) fn new(writer: Owned) -> Self {
        Self { writer, stage: Stage::Start }
    }

    fn begin_helper(&mut self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: a `StreamWriter`, which this coroutine holds.
        let protocol = unsafe { writer_of(py, &self.writer) }.protocol.as_ptr();
        let helper = call_method(intern!(py, "_drain_helper"), protocol, &[])?;
        self.stage = Stage::Helper(Awaited::object(py, helper.as_ptr())?);
        Ok(())
    }
}

impl Machine for Draining {
    const NAME: &'static CStr = c"pelton._core.drain_coroutine";
    const QUALNAME: &'static CStr = c"StreamWriter.drain";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Draining> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let input = match self.stage {
            Stage::Start => {
                // SAFETY: a `StreamWriter`, which this coroutine holds.
                let writer = unsafe { writer_of(py, &self.writer) };
                if writer.is_drained(py) {
                    return Ok(Step::done());
                }
                if let Some(reader) = &writer.reader {
                    let error = reader.bind(py).call_method0(intern!(py, "exception"))?;
                    if !error.is_none() {
                        return Err(PyErr::from_value(error));
                    }
                }
                if writer.is_transport_closing(py)? {
                    self.stage = Stage::Turn;
                    // SAFETY: None is alive.
                    return Ok(Step::Yield(unsafe { Owned::share(ffi::Py_None()) }));
                }
                self.begin_helper(py)?;
                Input::Go
            }
            Stage::Turn => {
                if let Input::Error(error) = input {
                    return Err(error);
                }
                self.begin_helper(py)?;
                Input::Go
            }
            Stage::Helper(_) => input,
        };
        match &mut self.stage {
            Stage::Helper(helper) => helper.step(py, input),
            Stage::Start | Stage::Turn => Ok(Step::done()),
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.writer);
        if let Stage::Helper(helper) = &self.stage {
            helper.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        match &self.stage {
            Stage::Helper(helper) => Some(helper.awaiting()),
            Stage::Start | Stage::Turn => None,
        }
    }
}

/// `wait_closed()`.
pub(super) struct Closed {
    writer: Owned,
    waiting: Option<Awaited>,
}

impl Closed {
    pub(super) fn new(writer: Owned) -> Self {
        Self { writer, waiting: None }
    }
}

impl Machine for Closed {
    const NAME: &'static CStr = c"pelton._core.wait_closed_coroutine";
    const QUALNAME: &'static CStr = c"StreamWriter.wait_closed";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Closed> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let mut waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => {
                // SAFETY: a `StreamWriter`, which this coroutine holds.
                let protocol = unsafe { writer_of(py, &self.writer) }.protocol.as_ptr();
                let name = intern!(py, "_get_close_waiter");
                let closed = call_method(name, protocol, &[self.writer.as_ptr()])?;
                Awaited::object(py, closed.as_ptr())?
            }
        };
        match waiting.step(py, input)? {
            Step::Yield(value) => {
                self.waiting = Some(waiting);
                Ok(Step::Yield(value))
            }
            Step::Return(_) => Ok(Step::done()),
        }
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.writer);
        if let Some(waiting) = &self.waiting {
            waiting.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.waiting.as_ref().map(Awaited::awaiting)
    }
}
