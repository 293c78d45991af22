//! Which loop a primitive belongs to.

use std::cell::RefCell;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pyclass::{PyTraverseError, PyVisit};

use super::future::running_loop;
use crate::event_loop::Owned;

/// The loop that a primitive first waited on; it stays with that one.
#[derive(Debug, Default)]
pub(super) struct LoopBound(RefCell<Option<Owned>>);

impl LoopBound {
    /// The running loop, for `owner`; RuntimeError if the owner belongs to another.
    pub(super) fn get(&self, owner: &Bound<'_, PyAny>) -> PyResult<Owned> {
        let running = running_loop(owner.py())?;
        let other = {
            let mut bound = self.0.borrow_mut();
            match &*bound {
                None => {
                    // SAFETY: we hold it.
                    *bound = Some(unsafe { Owned::share(running.as_ptr()) });
                    false
                }
                Some(bound) => bound.as_ptr() != running.as_ptr(),
            }
        };
        if other {
            return Err(PyRuntimeError::new_err(format!(
                "{} is bound to a different event loop",
                owner.repr()?
            )));
        }
        Ok(running)
    }

    /// `_loop`, for tools that look.
    pub(super) fn object(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.borrow().as_ref().map(|bound| bound.as_py().clone_ref(py))
    }

    /// Binds to another loop, or to none.
    pub(super) fn set(&self, event_loop: Option<&Bound<'_, PyAny>>) {
        // SAFETY: an argument of the call under way.
        let new = event_loop.map(|bound| unsafe { Owned::share(bound.as_ptr()) });
        // A `let` of its own: the borrow ends before the old loop is dropped.
        let old = self.0.replace(new);
        drop(old);
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_borrow().as_deref() {
            Ok(Some(bound)) => visit.call(bound.as_py()),
            _ => Ok(()),
        }
    }
}
