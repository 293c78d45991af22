//! `async with` for locks, semaphores and conditions.

use std::ffi::CStr;

use pyo3::PyClass;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;

use super::awaited::Awaited;
use super::coroutine::{Class, Input, Machine, Step, Visitor};
use super::future::call_method;
use super::held::Held;
use crate::event_loop::Owned;

/// Makes this file's types.
pub(super) fn register(py: Python<'_>) -> PyResult<()> {
    Enter::class().register(py)
}

/// `__aenter__` of a subclass, which may have its own `acquire`.
pub(super) struct Enter {
    object: Owned,
    acquiring: Option<Awaited>,
}

impl Enter {
    pub(super) fn new(object: Owned) -> Self {
        Self { object, acquiring: None }
    }
}

impl Machine for Enter {
    const NAME: &'static CStr = c"pelton._core.enter_coroutine";
    const QUALNAME: &'static CStr = c"__aenter__";

    fn class() -> &'static Class<Self> {
        static CLASS: Class<Enter> = Class::new();
        &CLASS
    }

    fn resume(&mut self, py: Python<'_>, input: Input) -> PyResult<Step> {
        let acquiring = match &mut self.acquiring {
            Some(acquiring) => acquiring,
            empty => {
                let acquire = call_method(intern!(py, "acquire"), self.object.as_ptr(), &[])?;
                empty.insert(Awaited::object(py, acquire.as_ptr())?)
            }
        };
        Ok(match acquiring.step(py, input)? {
            Step::Return(_) => Step::done(),
            step => step,
        })
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(&self.object);
        if let Some(acquiring) = &self.acquiring {
            acquiring.traverse(visitor);
        }
    }

    fn awaiting(&self) -> Option<&Owned> {
        self.acquiring.as_ref().map(Awaited::awaiting)
    }
}

/// `__aexit__` of a lock, a semaphore or a condition.
pub(super) struct Exit<T> {
    object: Held<T>,
    /// `release`, if it is not overridden.
    release: Option<fn(&T, Python<'_>) -> PyResult<()>>,
}

impl<T: Exits> Exit<T> {
    /// Leaves `object`, by `release` unless it is of a subclass.
    pub(super) fn new(
        py: Python<'_>,
        object: Held<T>,
        release: fn(&T, Python<'_>) -> PyResult<()>,
    ) -> Self {
        Self { release: object.is_exact(py).then_some(release), object }
    }
}

/// What `async with` leaves.
pub(super) trait Exits: PyClass<Frozen = True> + Sync {
    /// As for `Machine::class`.
    fn exit_class() -> &'static Class<Exit<Self>>;
}

impl<T: Exits> Machine for Exit<T> {
    const NAME: &'static CStr = c"pelton._core.exit_coroutine";
    const QUALNAME: &'static CStr = c"__aexit__";

    fn class() -> &'static Class<Self> {
        T::exit_class()
    }

    fn resume(&mut self, py: Python<'_>, _input: Input) -> PyResult<Step> {
        match self.release {
            Some(release) => release(&self.object, py)?,
            None => drop(call_method(intern!(py, "release"), self.object.as_ptr(), &[])?),
        }
        Ok(Step::done())
    }

    fn traverse(&self, visitor: &mut Visitor) {
        visitor.see(self.object.as_owned());
    }
}
