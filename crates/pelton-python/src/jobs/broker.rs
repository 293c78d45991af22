//! `pelton._core.Broker`.

use std::sync::Arc;

use pelton_jobs::engine::Engine;
use pelton_jobs::id::JobId;
use pelton_jobs::record::ListFilter;
use pelton_jobs::state::State;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::answer::{Route, answer};
use super::convert;
use super::courier::Courier;
use super::job::{Edge, NewJob};
use super::record::{JobRecord, QueueRecord, ScheduleRecord, WorkerRecord};

/// A broker of jobs, shared by all threads of the process.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct Broker {
    pub(super) engine: Arc<Engine>,
    pub(super) courier: Courier,
    url: String,
}

/// Jobs in one answer of `list_jobs`.
const LIST_MAX: u32 = 10_000;

/// Workers count as alive this long after a sign of life, in seconds.
const WORKER_SEEN: f64 = 120.0;

fn flag(py: Python<'_>, value: bool) -> PyResult<Py<PyAny>> {
    Ok(value.into_pyobject(py)?.to_owned().into_any().unbind())
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

fn ids(py: Python<'_>, ids: Vec<JobId>) -> PyResult<Py<PyAny>> {
    let texts = ids.iter().map(ToString::to_string);
    Ok(pyo3::types::PyList::new(py, texts.collect::<Vec<_>>())?.into_any().unbind())
}

#[pymethods]
impl Broker {
    #[new]
    fn new(py: Python<'_>, url: String) -> PyResult<Self> {
        let engine = py.detach(|| Engine::open(&url)).map_err(convert::error)?;
        Ok(Self { engine: Arc::new(engine), courier: Courier::start()?, url })
    }

    #[getter]
    fn url(&self) -> &str {
        &self.url
    }

    /// Waits for writes under way; later calls raise BrokerError.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.engine.close());
    }

    /// Durable when done; all or nothing. The ids, where a job with the same key was unfinished
    /// that job's id instead.
    #[pyo3(signature = (jobs, edges=Vec::new(), *, waiter=None))]
    fn enqueue(
        &self,
        py: Python<'_>,
        jobs: Vec<Bound<'_, NewJob>>,
        edges: Vec<Bound<'_, Edge>>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let jobs: Vec<_> = jobs.iter().map(|job| Arc::clone(&job.get().job)).collect();
        let edges: Vec<_> = edges.iter().map(|edge| edge.get().edge).collect();
        answer(py, &self.courier, waiter, Route::new(ids), |reply| {
            self.engine.write(move |broker, now| broker.enqueue(&jobs, &edges, now), reply);
        })
    }

    /// One job's record, or None.
    #[pyo3(signature = (id, *, waiter=None))]
    fn get(
        &self,
        py: Python<'_>,
        id: &str,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(JobRecord::maybe), |reply| {
            self.engine.read(move |reader, _| id.map_or(Ok(None), |id| reader.get(id)), reply);
        })
    }

    /// The record once its version is above `version`; None after `wait` seconds, or where there
    /// is no such job.
    #[pyo3(signature = (id, version, wait, *, waiter=None))]
    fn watch(
        &self,
        py: Python<'_>,
        id: &str,
        version: i64,
        wait: f64,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let patience = convert::patience(wait)?;
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(JobRecord::maybe), |reply| match id {
            Some(id) => self.engine.watch(id, version, patience, reply),
            None => reply.send(Ok(None)),
        })
    }

    /// Newest first.
    #[pyo3(signature = (*, state=None, queue=None, task=None, group=None, limit=50, before=None,
        waiter=None))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python method")]
    fn list_jobs(
        &self,
        py: Python<'_>,
        state: Option<&str>,
        queue: Option<String>,
        task: Option<String>,
        group: Option<String>,
        limit: u32,
        before: Option<&str>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let state = match state {
            None => None,
            Some(name) => Some(State::from_name(name).ok_or_else(|| {
                let names = State::ALL.map(State::name).join(", ");
                PyValueError::new_err(format!("no state {name:?}: one of {names}"))
            })?),
        };
        let before = before.map(str::parse).transpose().map_err(convert::error)?;
        let limit = limit.min(LIST_MAX);
        let filter = ListFilter { state, queue, task, group, limit, before };
        answer(py, &self.courier, waiter, Route::new(JobRecord::list), |reply| {
            self.engine.read(move |reader, _| reader.list(&filter), reply);
        })
    }

    /// Queued, scheduled and waiting jobs end at once, and so do those that wait for them; a
    /// running one gets `cancel_requested`. False: ended already, or unknown.
    #[pyo3(signature = (id, reason=String::new(), *, waiter=None))]
    fn cancel(
        &self,
        py: Python<'_>,
        id: &str,
        reason: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(flag), |reply| match id {
            Some(id) => {
                self.engine.write(move |broker, now| broker.cancel(id, &reason, now), reply);
            }
            None => reply.send(Ok(false)),
        })
    }

    /// A dead or cancelled job is queued again, with all its retries.
    #[pyo3(signature = (id, *, waiter=None))]
    fn retry(
        &self,
        py: Python<'_>,
        id: &str,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(flag), |reply| match id {
            Some(id) => self.engine.write(move |broker, now| broker.retry(id, now), reply),
            None => reply.send(Ok(false)),
        })
    }

    /// Only ended jobs.
    #[pyo3(signature = (id, *, waiter=None))]
    fn delete(
        &self,
        py: Python<'_>,
        id: &str,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(flag), |reply| match id {
            Some(id) => self.engine.write(move |broker, now| broker.delete(id, now), reply),
            None => reply.send(Ok(false)),
        })
    }

    /// Workers lease nothing from a paused queue.
    #[pyo3(signature = (queue, paused, *, waiter=None))]
    fn set_paused(
        &self,
        py: Python<'_>,
        queue: String,
        paused: bool,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(nothing), |reply| {
            self.engine.write(move |broker, _| broker.set_paused(&queue, paused), reply);
        })
    }

    /// All queues, by name.
    #[pyo3(signature = (*, waiter=None))]
    fn queues(
        &self,
        py: Python<'_>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(QueueRecord::list), |reply| {
            self.engine.read(|reader, _| reader.queues(), reply);
        })
    }

    /// Those seen in the last two minutes.
    #[pyo3(signature = (*, waiter=None))]
    fn workers(
        &self,
        py: Python<'_>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(WorkerRecord::list), |reply| {
            self.engine.read(|reader, now| reader.workers(now.after(-WORKER_SEEN)), reply);
        })
    }

    /// All schedules, by name.
    #[pyo3(signature = (*, waiter=None))]
    fn schedules(
        &self,
        py: Python<'_>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(ScheduleRecord::list), |reply| {
            self.engine.read(|reader, _| reader.schedules(), reply);
        })
    }
}
