//! What a broker tells, as Python sees it.

use pelton_jobs::record as core;
use pelton_jobs::state::State;
use pelton_jobs::time::Time;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// A job as the broker knows it.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct JobRecord {
    record: core::JobRecord,
}

impl JobRecord {
    /// One record, or None.
    pub(super) fn maybe(py: Python<'_>, record: Option<core::JobRecord>) -> PyResult<Py<PyAny>> {
        match record {
            Some(record) => Ok(Py::new(py, Self { record })?.into_any()),
            None => Ok(py.None()),
        }
    }

    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::JobRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

/// A Python list of new objects.
pub(super) fn list<T>(py: Python<'_>, items: impl Iterator<Item = T>) -> PyResult<Py<PyAny>>
where
    T: pyo3::PyClass + Into<PyClassInitializer<T>>,
{
    let objects = items.map(|item| Py::new(py, item)).collect::<PyResult<Vec<_>>>()?;
    Ok(pyo3::types::PyList::new(py, objects)?.into_any().unbind())
}

fn bytes<'py>(py: Python<'py>, blob: Option<&Vec<u8>>) -> Option<Bound<'py, PyBytes>> {
    blob.map(|blob| PyBytes::new(py, blob))
}

#[pymethods]
impl JobRecord {
    #[getter]
    fn id(&self) -> String {
        self.record.id.to_string()
    }

    #[getter]
    fn task(&self) -> &str {
        &self.record.task
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.record.queue
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.record.state.name()
    }

    #[getter]
    fn priority(&self) -> i8 {
        self.record.priority
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.record.attempt
    }

    #[getter]
    fn max_retries(&self) -> u32 {
        self.record.max_retries
    }

    #[getter]
    fn created_at(&self) -> f64 {
        self.record.created_at.as_secs()
    }

    #[getter]
    fn run_at(&self) -> Option<f64> {
        self.record.run_at.map(Time::as_secs)
    }

    #[getter]
    fn started_at(&self) -> Option<f64> {
        self.record.started_at.map(Time::as_secs)
    }

    #[getter]
    fn finished_at(&self) -> Option<f64> {
        self.record.finished_at.map(Time::as_secs)
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.record.timeout
    }

    #[getter]
    fn key(&self) -> Option<&str> {
        self.record.key.as_deref()
    }

    #[getter]
    fn group(&self) -> Option<&str> {
        self.record.group.as_deref()
    }

    #[getter]
    fn worker(&self) -> Option<&str> {
        self.record.worker.as_deref()
    }

    #[getter]
    fn progress(&self) -> Option<f64> {
        self.record.progress
    }

    #[getter]
    fn message(&self) -> Option<&str> {
        self.record.message.as_deref()
    }

    #[getter]
    fn reason(&self) -> Option<&str> {
        self.record.reason.as_deref()
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.record.payload)
    }

    #[getter]
    fn result<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes(py, self.record.result.as_ref())
    }

    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes(py, self.record.error.as_ref())
    }

    #[getter]
    fn cancel_requested(&self) -> bool {
        self.record.cancel_requested
    }

    #[getter]
    fn version(&self) -> i64 {
        self.record.version
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes(py, self.record.extra.headers.as_ref())
    }

    #[getter]
    fn limit_key(&self) -> Option<&str> {
        self.record.extra.limit_key.as_deref()
    }

    #[getter]
    fn signal(&self) -> Option<&str> {
        self.record.signal.as_deref()
    }
}

/// A queue, and how many of its jobs are in each state.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct QueueRecord {
    record: core::QueueRecord,
}

impl QueueRecord {
    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::QueueRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

#[pymethods]
impl QueueRecord {
    #[getter]
    fn name(&self) -> &str {
        &self.record.name
    }

    #[getter]
    fn paused(&self) -> bool {
        self.record.paused
    }

    #[getter]
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = PyDict::new(py);
        for (state, count) in State::ALL.into_iter().zip(self.record.counts) {
            counts.set_item(state.name(), count)?;
        }
        Ok(counts)
    }

    #[getter]
    fn oldest_queued_at(&self) -> Option<f64> {
        self.record.oldest_queued_at.map(Time::as_secs)
    }
}

/// A worker that is alive, or was a moment ago.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct WorkerRecord {
    record: core::WorkerRecord,
}

impl WorkerRecord {
    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::WorkerRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

#[pymethods]
impl WorkerRecord {
    #[getter]
    fn name(&self) -> &str {
        &self.record.name
    }

    #[getter]
    fn hostname(&self) -> &str {
        &self.record.hostname
    }

    #[getter]
    fn pid(&self) -> u32 {
        self.record.pid
    }

    #[getter]
    fn queues(&self) -> Vec<String> {
        self.record.queues.clone()
    }

    #[getter]
    fn concurrency(&self) -> u32 {
        self.record.concurrency
    }

    #[getter]
    fn started_at(&self) -> f64 {
        self.record.started_at.as_secs()
    }

    #[getter]
    fn seen_at(&self) -> f64 {
        self.record.seen_at.as_secs()
    }

    #[getter]
    fn running(&self) -> u64 {
        self.record.running
    }

    #[getter]
    fn processed(&self) -> u64 {
        self.record.processed
    }

    #[getter]
    fn failed(&self) -> u64 {
        self.record.failed
    }

    #[getter]
    fn report<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        bytes(py, self.record.report.as_ref())
    }
}

/// A schedule, and where it stands.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct ScheduleRecord {
    record: core::ScheduleRecord,
}

impl ScheduleRecord {
    /// A list of them.
    pub(super) fn list(py: Python<'_>, records: Vec<core::ScheduleRecord>) -> PyResult<Py<PyAny>> {
        list(py, records.into_iter().map(|record| Self { record }))
    }
}

#[pymethods]
impl ScheduleRecord {
    #[getter]
    fn name(&self) -> &str {
        &self.record.name
    }

    #[getter]
    fn task(&self) -> &str {
        &self.record.task
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.record.queue
    }

    #[getter]
    fn cron(&self) -> Option<&str> {
        self.record.cron.as_deref()
    }

    #[getter]
    fn tz(&self) -> &str {
        &self.record.tz
    }

    #[getter]
    fn every(&self) -> Option<f64> {
        self.record.every
    }

    #[getter]
    fn next_at(&self) -> Option<f64> {
        self.record.next_at.map(Time::as_secs)
    }

    #[getter]
    fn last_at(&self) -> Option<f64> {
        self.record.last_at.map(Time::as_secs)
    }

    #[getter]
    fn last_job(&self) -> Option<String> {
        self.record.last_job.map(|id| id.to_string())
    }

    #[getter]
    fn owner(&self) -> &str {
        &self.record.owner
    }

    #[getter]
    fn paused(&self) -> bool {
        self.record.paused
    }

    #[getter]
    fn grace(&self) -> f64 {
        self.record.grace
    }

    #[getter]
    fn catch_up(&self) -> u32 {
        self.record.catch_up
    }
}
