//! Attempts and limits, as Python sees them.

use pelton_jobs::record as core;
use pelton_jobs::time::Time;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::record::list;

/// An attempt that did not succeed.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct AttemptRecord {
    record: core::AttemptRecord,
}

impl AttemptRecord {
    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::AttemptRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

#[pymethods]
impl AttemptRecord {
    #[getter]
    fn attempt(&self) -> u32 {
        self.record.attempt
    }

    #[getter]
    fn token(&self) -> i64 {
        self.record.token
    }

    #[getter]
    fn worker(&self) -> Option<&str> {
        self.record.worker.as_deref()
    }

    #[getter]
    fn started_at(&self) -> Option<f64> {
        self.record.started_at.map(Time::as_secs)
    }

    #[getter]
    fn ended_at(&self) -> f64 {
        self.record.ended_at.as_secs()
    }

    #[getter]
    fn end(&self) -> &str {
        &self.record.end
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.record.error.as_ref().map(|error| PyBytes::new(py, error))
    }
}

/// A limit that holds across all workers.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct LimitRecord {
    record: core::LimitRecord,
}

impl LimitRecord {
    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::LimitRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

#[pymethods]
impl LimitRecord {
    #[getter]
    fn scope(&self) -> String {
        self.record.scope.text()
    }

    #[getter]
    fn concurrency(&self) -> Option<u32> {
        self.record.limit.concurrency
    }

    #[getter]
    fn rate(&self) -> Option<f64> {
        self.record.limit.rate.map(|rate| rate.per_second)
    }

    #[getter]
    fn burst(&self) -> Option<f64> {
        self.record.limit.rate.map(|rate| rate.burst)
    }

    #[getter]
    fn declared(&self) -> bool {
        self.record.declared
    }
}
