//! A bulkhead that threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pelton_resilience::bulkhead::{self, Entry, Ticket};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// So many at a time, and so many waiting.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Bulkhead {
    state: Mutex<bulkhead::Bulkhead>,
}

impl Bulkhead {
    fn lock(&self) -> MutexGuard<'_, bulkhead::Bulkhead> {
        // Its methods do not panic between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Bulkhead {
    #[new]
    fn new(limit: usize, queue: usize) -> PyResult<Self> {
        if limit == 0 {
            return Err(PyValueError::new_err("a limit must be at least 1"));
        }
        Ok(Self { state: Mutex::new(bulkhead::Bulkhead::new(limit, queue)) })
    }

    /// Asks to be let in: True, a ticket to wait with, or None where the queue is full.
    fn enter<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(match self.lock().enter() {
            Entry::Entered => Some(true.into_pyobject(py)?.to_owned().into_any()),
            Entry::Waits(ticket) => Some(ticket.0.into_pyobject(py)?.into_any()),
            Entry::Full => None,
        })
    }

    /// Somebody left: the ticket that is in now instead.
    fn leave(&self) -> Option<u64> {
        self.lock().leave().map(|ticket| ticket.0)
    }

    /// Gives up waiting. False: it was in already, and must leave.
    fn withdraw(&self, ticket: u64) -> bool {
        self.lock().withdraw(Ticket(ticket))
    }

    /// How many are in.
    #[getter]
    fn running(&self) -> usize {
        self.lock().running()
    }

    /// How many wait.
    #[getter]
    fn waiting(&self) -> usize {
        self.lock().waiting()
    }
}
