//! Jobs on their way, as Python sees them.

use std::sync::Arc;

use pelton_jobs::clock::{Clock, SystemClock};
use pelton_jobs::id::JobId;
use pelton_jobs::job::{self as core, End};
use pelton_jobs::retry;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::convert;

/// A UUID version 7 as 32 hexadecimal digits: sorts by time of creation.
#[pyfunction]
pub(super) fn new_job_id() -> PyResult<String> {
    JobId::new(SystemClock.now()).map(|id| id.to_string()).map_err(convert::error)
}

/// How often and when a failed job runs again. Backoff is exponential with full jitter.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct RetryPolicy {
    policy: retry::RetryPolicy,
}

#[pymethods]
impl RetryPolicy {
    #[new]
    #[pyo3(signature = (*, max_retries=3, base_delay=1.0, max_delay=600.0, factor=2.0, jitter=true))]
    fn new(
        max_retries: u32,
        base_delay: f64,
        max_delay: f64,
        factor: f64,
        jitter: bool,
    ) -> PyResult<Self> {
        for (what, value) in
            [("base_delay", base_delay), ("max_delay", max_delay), ("factor", factor)]
        {
            if !(value.is_finite() && value >= 0.0) {
                return Err(PyValueError::new_err(format!(
                    "{what} must be a finite number, 0 or more, not {value}"
                )));
            }
        }
        let policy = retry::RetryPolicy { max_retries, base_delay, max_delay, factor, jitter };
        Ok(Self { policy })
    }

    #[getter]
    fn max_retries(&self) -> u32 {
        self.policy.max_retries
    }

    #[getter]
    fn base_delay(&self) -> f64 {
        self.policy.base_delay
    }

    #[getter]
    fn max_delay(&self) -> f64 {
        self.policy.max_delay
    }

    #[getter]
    fn factor(&self) -> f64 {
        self.policy.factor
    }

    #[getter]
    fn jitter(&self) -> bool {
        self.policy.jitter
    }
}

/// A job to be written. `id` is made by the caller (`new_job_id`).
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct NewJob {
    pub(super) job: Arc<core::NewJob>,
}

#[pymethods]
impl NewJob {
    #[new]
    #[pyo3(signature = (*, id, task, payload, queue="default", priority=0, run_at=None,
        expires_at=None, key=None, timeout=None, retry=None, result_ttl=86_400.0, group=None,
        headers=None, limit_key=None, key_ttl=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python constructor")]
    fn new(
        id: &str,
        task: &str,
        payload: &[u8],
        queue: &str,
        priority: i64,
        run_at: Option<f64>,
        expires_at: Option<f64>,
        key: Option<String>,
        timeout: Option<f64>,
        retry: Option<&Bound<'_, RetryPolicy>>,
        result_ttl: f64,
        group: Option<String>,
        headers: Option<Vec<u8>>,
        limit_key: Option<String>,
        key_ttl: Option<f64>,
    ) -> PyResult<Self> {
        let job = core::NewJob {
            id: id.parse().map_err(convert::error)?,
            task: task.to_owned(),
            payload: payload.to_vec(),
            queue: queue.to_owned(),
            priority: i8::try_from(priority).map_err(|_| {
                PyValueError::new_err(format!("priority {priority} is not within -100 to 100"))
            })?,
            run_at: run_at.map(|at| convert::time("run_at", at)).transpose()?,
            expires_at: expires_at.map(|at| convert::time("expires_at", at)).transpose()?,
            key,
            timeout,
            retry: retry.map(|retry| retry.get().policy).unwrap_or_default(),
            result_ttl,
            group,
            extra: core::Extra { headers, limit_key, key_ttl },
        };
        job.check().map_err(convert::error)?;
        Ok(Self { job: Arc::new(job) })
    }

    #[getter]
    fn id(&self) -> String {
        self.job.id.to_string()
    }

    #[getter]
    fn task(&self) -> &str {
        &self.job.task
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.job.queue
    }

    /// As the function `pelton_enqueue` of a PostgreSQL broker takes it.
    fn columns<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let job = &self.job;
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let columns = PyDict::new(py);
        columns.set_item("id", job.id.to_string())?;
        columns.set_item("task", &job.task)?;
        columns.set_item("queue", &job.queue)?;
        columns.set_item("priority", job.priority)?;
        columns.set_item("run_at", job.run_at.map(|time| time.0))?;
        columns.set_item("expires_at", job.expires_at.map(|time| time.0))?;
        columns.set_item("timeout", job.timeout)?;
        columns.set_item("result_ttl", job.result_ttl)?;
        columns.set_item("policy", job.retry.to_text())?;
        columns.set_item("key", &job.key)?;
        columns.set_item("group", &job.group)?;
        columns.set_item("headers", job.extra.headers.as_deref().map(hex))?;
        columns.set_item("payload", hex(&job.payload))?;
        columns.set_item("limit_key", &job.extra.limit_key)?;
        columns.set_item("key_ttl", job.extra.key_ttl)?;
        Ok(columns)
    }
}

/// `child` waits for `parent`, and gets its result at `position` of its `inputs`.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Edge {
    pub(super) edge: core::Edge,
}

#[pymethods]
impl Edge {
    #[new]
    #[pyo3(signature = (parent, child, position=0, *, on_failure=false))]
    fn new(parent: &str, child: &str, position: u32, on_failure: bool) -> PyResult<Self> {
        let parent = parent.parse().map_err(convert::error)?;
        let child = child.parse().map_err(convert::error)?;
        let on = if on_failure { core::On::Failure } else { core::On::Success };
        Ok(Self { edge: core::Edge { parent, child, position, on } })
    }
}

/// A job that this worker may run, once, while it holds the lease.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct LeasedJob {
    pub(super) job: core::LeasedJob,
}

#[pymethods]
impl LeasedJob {
    #[getter]
    fn id(&self) -> String {
        self.job.id.to_string()
    }

    #[getter]
    fn task(&self) -> &str {
        &self.job.task
    }

    #[getter]
    fn queue(&self) -> &str {
        &self.job.queue
    }

    #[getter]
    fn payload<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.job.payload)
    }

    #[getter]
    fn attempt(&self) -> u32 {
        self.job.attempt
    }

    #[getter]
    fn token(&self) -> i64 {
        self.job.token
    }

    #[getter]
    fn max_retries(&self) -> u32 {
        self.job.max_retries
    }

    #[getter]
    fn timeout(&self) -> Option<f64> {
        self.job.timeout
    }

    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.job.inputs.iter().map(|input| PyBytes::new(py, input)))
    }

    #[getter]
    fn key(&self) -> Option<&str> {
        self.job.key.as_deref()
    }

    #[getter]
    fn group(&self) -> Option<&str> {
        self.job.group.as_deref()
    }

    #[getter]
    fn created_at(&self) -> f64 {
        self.job.created_at.as_secs()
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.job.headers.as_ref().map(|headers| PyBytes::new(py, headers))
    }
}

/// How an attempt ended.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Outcome {
    pub(super) outcome: core::Outcome,
}

impl Outcome {
    fn of(job: &Bound<'_, LeasedJob>, end: End) -> Self {
        Self { outcome: core::Outcome { lease: job.get().job.lease(), end } }
    }
}

#[pymethods]
impl Outcome {
    /// The attempt has a result.
    #[staticmethod]
    fn success(job: &Bound<'_, LeasedJob>, result: &[u8]) -> Self {
        Self::of(job, End::Success(result.to_vec()))
    }

    /// `error`: JSON object with `type`, `message`, `traceback`. `retry=False`: dead at once.
    /// `delay`: seconds to the next attempt instead of the policy's (still counted as a retry).
    #[staticmethod]
    #[pyo3(signature = (job, error, *, retry=true, delay=None))]
    fn failure(
        job: &Bound<'_, LeasedJob>,
        error: &[u8],
        retry: bool,
        delay: Option<f64>,
    ) -> PyResult<Self> {
        if let Some(delay) = delay.filter(|delay| !(delay.is_finite() && *delay >= 0.0)) {
            return Err(PyValueError::new_err(format!(
                "delay must be a finite number of seconds, 0 or more, not {delay}"
            )));
        }
        Ok(Self::of(job, End::Failure { error: error.to_vec(), retry, delay }))
    }

    /// The attempt was stopped, as was asked for.
    #[staticmethod]
    fn cancelled(job: &Bound<'_, LeasedJob>, reason: String) -> Self {
        Self::of(job, End::Cancelled(reason))
    }

    /// Back to its queue, not run (a worker that stops): the attempt does not count.
    #[staticmethod]
    fn release(job: &Bound<'_, LeasedJob>) -> Self {
        Self::of(job, End::Release)
    }

    /// Aside until a time (None: for ever) or until a signal came: the attempt goes on then.
    #[staticmethod]
    #[pyo3(signature = (job, *, until=None, signal=None))]
    fn suspend(
        job: &Bound<'_, LeasedJob>,
        until: Option<f64>,
        signal: Option<String>,
    ) -> PyResult<Self> {
        let until = until.map(|at| convert::time("until", at)).transpose()?;
        Ok(Self::of(job, End::Suspend { until, signal }))
    }
}

/// What the broker made of an outcome.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Settled {
    pub(super) settled: core::Settled,
}

#[pymethods]
impl Settled {
    #[getter]
    fn id(&self) -> String {
        self.settled.id.to_string()
    }

    #[getter]
    fn state(&self) -> &'static str {
        self.settled.state.map_or("stale", pelton_jobs::state::State::name)
    }

    #[getter]
    fn run_at(&self) -> Option<f64> {
        self.settled.run_at.map(pelton_jobs::time::Time::as_secs)
    }
}
