//! `pelton._core.WorkerSession`.

use std::sync::Arc;

use pelton_jobs::broker::{Progress, WorkerSpec};
use pelton_jobs::id::JobId;
use pelton_jobs::job as core;
use pelton_jobs::worker::{self, WorkerEvents};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::answer::{Route, answer};
use super::broker::{Broker, flag};
use super::convert;
use super::courier::Courier;
use super::job::{LeasedJob, Outcome, Settled};
use super::record::list;

/// One worker's leases. A thread of the core renews them every third of `lease` seconds, whatever
/// Python does, until their outcome is in; it also keeps the worker's heartbeat.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct WorkerSession {
    session: Arc<worker::WorkerSession>,
    courier: Courier,
}

/// Python's callables, called with the GIL from the session's thread.
struct Callbacks {
    on_cancel: Py<PyAny>,
    on_lost: Py<PyAny>,
    on_order: Option<Py<PyAny>>,
}

impl Callbacks {
    fn call(callback: &Py<PyAny>, ids: &[JobId]) {
        // Without an interpreter there is nobody to tell.
        Python::try_attach(|py| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            if let Err(error) = callback.call1(py, (ids,)) {
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        });
    }
}

impl WorkerEvents for Callbacks {
    fn cancel(&self, ids: Vec<JobId>) {
        Self::call(&self.on_cancel, &ids);
    }

    fn lost(&self, ids: Vec<JobId>) {
        Self::call(&self.on_lost, &ids);
    }

    fn order(&self, orders: Vec<Vec<u8>>) {
        let Some(callback) = &self.on_order else { return };
        Python::try_attach(|py| {
            let orders: Vec<_> = orders.iter().map(|order| PyBytes::new(py, order)).collect();
            if let Err(error) = callback.call1(py, (orders,)) {
                error.write_unraisable(py, Some(callback.bind(py)));
            }
        });
    }
}

fn leased(py: Python<'_>, jobs: Vec<core::LeasedJob>) -> PyResult<Py<PyAny>> {
    list(py, jobs.into_iter().map(|job| LeasedJob { job }))
}

fn settled(py: Python<'_>, settled: Vec<core::Settled>) -> PyResult<Py<PyAny>> {
    list(py, settled.into_iter().map(|settled| Settled { settled }))
}

fn steps(py: Python<'_>, steps: Vec<(String, Vec<u8>)>) -> PyResult<Py<PyAny>> {
    let found = PyDict::new(py);
    for (name, value) in steps {
        found.set_item(name, PyBytes::new(py, &value))?;
    }
    Ok(found.into_any().unbind())
}

fn maybe_bytes(py: Python<'_>, value: Option<Vec<u8>>) -> PyResult<Py<PyAny>> {
    Ok(value.map_or_else(|| py.None(), |value| PyBytes::new(py, &value).into_any().unbind()))
}

#[pymethods]
impl WorkerSession {
    #[new]
    #[pyo3(signature = (broker, *, name, queues, skip=Vec::new(), concurrency, lease=15.0, on_cancel, on_lost, on_order=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python constructor")]
    fn new(
        py: Python<'_>,
        broker: &Bound<'_, Broker>,
        name: String,
        queues: Vec<String>,
        skip: Vec<String>,
        concurrency: u32,
        lease: f64,
        on_cancel: Py<PyAny>,
        on_lost: Py<PyAny>,
        on_order: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let hostname = py.import("socket")?.call_method0("gethostname")?.extract()?;
        let pid = std::process::id();
        let spec = WorkerSpec { name, hostname, pid, queues, skip, concurrency, lease };
        let engine = Arc::clone(&broker.get().engine);
        let events = Box::new(Callbacks { on_cancel, on_lost, on_order });
        let session = py
            .detach(|| worker::WorkerSession::start(engine, spec, events))
            .map_err(convert::error)?;
        Ok(Self { session: Arc::new(session), courier: broker.get().courier.clone() })
    }

    /// Up to `limit` due jobs; an empty list after `wait` seconds without one.
    #[pyo3(signature = (limit, wait, *, waiter=None))]
    fn lease(
        &self,
        py: Python<'_>,
        limit: usize,
        wait: f64,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let patience = convert::patience(wait)?;
        if limit == 0 {
            return Err(PyValueError::new_err("limit must be 1 or more"));
        }
        let session = Arc::clone(&self.session);
        // Jobs that the caller will never see go back to their queues.
        let undelivered = move |jobs: Vec<core::LeasedJob>| {
            session.release(jobs.iter().map(core::LeasedJob::lease).collect());
        };
        let route = Route { make: leased, undelivered: Some(Box::new(undelivered)) };
        answer(py, &self.courier, waiter, route, |reply| {
            self.session.lease(limit, patience, reply);
        })
    }

    /// One write for all: states, results, successors, next attempts.
    #[pyo3(signature = (outcomes, *, waiter=None))]
    fn finish(
        &self,
        py: Python<'_>,
        outcomes: Vec<Bound<'_, Outcome>>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let outcomes: Vec<_> =
            outcomes.iter().map(|outcome| outcome.get().outcome.clone()).collect();
        answer(py, &self.courier, waiter, Route::new(settled), |reply| {
            self.session.finish(outcomes, reply);
        })
    }

    /// Returns at once; only the newest is written, at most 20 times a second.
    #[pyo3(signature = (job, fraction, message=None))]
    fn progress(
        &self,
        job: &Bound<'_, LeasedJob>,
        fraction: f64,
        message: Option<String>,
    ) -> PyResult<()> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(PyValueError::new_err(format!(
                "progress is a fraction from 0 to 1, not {fraction}"
            )));
        }
        let lease = job.get().job.lease();
        self.session.progress(Progress { lease, fraction, message });
        Ok(())
    }

    /// The results of the steps that the job has finished, by name.
    #[pyo3(signature = (job, *, waiter=None))]
    fn steps(
        &self,
        py: Python<'_>,
        job: &Bound<'_, LeasedJob>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let lease = job.get().job.lease();
        answer(py, &self.courier, waiter, Route::new(steps), |reply| {
            self.session.steps(lease, reply);
        })
    }

    /// Keeps a step's result for later attempts; False where the lease is lost.
    #[pyo3(signature = (job, step, value, *, waiter=None))]
    fn save_step(
        &self,
        py: Python<'_>,
        job: &Bound<'_, LeasedJob>,
        step: String,
        value: Vec<u8>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let lease = job.get().job.lease();
        answer(py, &self.courier, waiter, Route::new(flag), |reply| {
            self.session.save_step(lease, step, value, reply);
        })
    }

    /// Makes the oldest signal of a name the result of a step, and gives it; None: none came.
    #[pyo3(signature = (job, signal, step, *, waiter=None))]
    fn take_signal(
        &self,
        py: Python<'_>,
        job: &Bound<'_, LeasedJob>,
        signal: String,
        step: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let lease = job.get().job.lease();
        answer(py, &self.courier, waiter, Route::new(maybe_bytes), |reply| {
            self.session.take_signal(lease, signal, step, reply);
        })
    }

    /// What `WorkerRecord.report` says of this worker, from its next sign of life.
    fn report(&self, report: Vec<u8>) {
        self.session.report(report);
    }

    /// Ends the heartbeat, removes the worker; leases still held expire by themselves.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.session.close()).map_err(convert::error)
    }
}
