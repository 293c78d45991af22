//! `pelton._core.Broker`.

use std::sync::Arc;

use pelton_jobs::engine::Engine;
use pelton_jobs::id::JobId;
use pelton_jobs::limit::{Limit, Rate, Scope};
use pelton_jobs::record::ListFilter;
use pelton_jobs::schedule::AT_RUN_TIME;
use pelton_jobs::state::State;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::answer::{Route, answer};
use super::convert;
use super::courier::Courier;
use super::history::{AttemptRecord, LimitRecord};
use super::job::{Edge, NewJob};
use super::record::{JobRecord, QueueRecord, ScheduleRecord, WorkerRecord};
use super::schedule::ScheduleSpec;

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

pub(super) fn flag(py: Python<'_>, value: bool) -> PyResult<Py<PyAny>> {
    Ok(value.into_pyobject(py)?.to_owned().into_any().unbind())
}

fn nothing(py: Python<'_>, (): ()) -> PyResult<Py<PyAny>> {
    Ok(py.None())
}

fn ids(py: Python<'_>, ids: Vec<JobId>) -> PyResult<Py<PyAny>> {
    let texts = ids.iter().map(ToString::to_string);
    Ok(pyo3::types::PyList::new(py, texts.collect::<Vec<_>>())?.into_any().unbind())
}

fn number(py: Python<'_>, number: u64) -> PyResult<Py<PyAny>> {
    Ok(number.into_pyobject(py)?.into_any().unbind())
}

fn maybe_id(py: Python<'_>, id: Option<JobId>) -> PyResult<Py<PyAny>> {
    Ok(id.map(|id| id.to_string()).into_pyobject(py)?.into_any().unbind())
}

fn maybe_seconds(py: Python<'_>, seconds: Option<f64>) -> PyResult<Py<PyAny>> {
    Ok(seconds.into_pyobject(py)?.into_any().unbind())
}

fn counts(py: Python<'_>, counts: [u64; 7]) -> PyResult<Py<PyAny>> {
    let by_state = PyDict::new(py);
    for (state, count) in State::ALL.into_iter().zip(counts) {
        by_state.set_item(state.name(), count)?;
    }
    Ok(by_state.into_any().unbind())
}

/// A rate, where one is given; without a burst it is one second's worth, at least 1.
fn rate(per_second: Option<f64>, burst: Option<f64>) -> Option<Rate> {
    per_second.map(|per_second| Rate { per_second, burst: burst.unwrap_or(per_second.max(1.0)) })
}

/// A scope and its limit, `None` where neither of the two is given.
fn limit(
    scope: &str,
    concurrency: Option<u32>,
    rate: Option<f64>,
    burst: Option<f64>,
) -> PyResult<(Scope, Option<Limit>)> {
    let scope = Scope::parse(scope).map_err(convert::error)?;
    let limit = Limit { concurrency, rate: self::rate(rate, burst) };
    let limit = (limit != Limit::default()).then_some(limit);
    if let Some(limit) = &limit {
        limit.check().map_err(convert::error)?;
    }
    Ok((scope, limit))
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
            self.engine.enqueue(jobs, edges, reply);
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

    /// Sends a signal to a job; False: it has ended, or is unknown.
    #[pyo3(signature = (id, name, value, *, waiter=None))]
    fn signal(
        &self,
        py: Python<'_>,
        id: &str,
        name: String,
        value: Vec<u8>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(flag), |reply| match id {
            Some(id) => {
                self.engine.write(move |broker, now| broker.signal(id, &name, &value, now), reply);
            }
            None => reply.send(Ok(false)),
        })
    }

    /// The attempts of a job that did not succeed, oldest first.
    #[pyo3(signature = (id, *, waiter=None))]
    fn history(
        &self,
        py: Python<'_>,
        id: &str,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let id = convert::known_id(id);
        answer(py, &self.courier, waiter, Route::new(AttemptRecord::list), |reply| {
            self.engine
                .read(move |reader, _| id.map_or(Ok(Vec::new()), |id| reader.history(id)), reply);
        })
    }

    /// How many jobs of a workflow are in each state.
    #[pyo3(signature = (group, *, waiter=None))]
    fn group_counts(
        &self,
        py: Python<'_>,
        group: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(counts), |reply| {
            self.engine.read(move |reader, _| reader.group_counts(&group), reply);
        })
    }

    /// Cancels all jobs of a workflow that have not ended. How many.
    #[pyo3(signature = (group, reason=String::new(), *, waiter=None))]
    fn cancel_group(
        &self,
        py: Python<'_>,
        group: String,
        reason: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(number), |reply| {
            self.engine.write(move |broker, now| broker.cancel_group(&group, &reason, now), reply);
        })
    }

    /// Cancels up to `limit` jobs of a queue that are not running. How many.
    #[pyo3(signature = (queue, limit=1000, *, waiter=None))]
    fn purge_queue(
        &self,
        py: Python<'_>,
        queue: String,
        limit: u32,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(number), |reply| {
            self.engine.write(move |broker, now| broker.purge_queue(&queue, limit, now), reply);
        })
    }

    /// Sets a limit, or removes it where neither is given.
    #[pyo3(signature = (scope, *, concurrency=None, rate=None, burst=None, waiter=None))]
    fn set_limit(
        &self,
        py: Python<'_>,
        scope: &str,
        concurrency: Option<u32>,
        rate: Option<f64>,
        burst: Option<f64>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let (scope, limit) = limit(scope, concurrency, rate, burst)?;
        answer(py, &self.courier, waiter, Route::new(nothing), |reply| {
            self.engine.write(move |broker, _| broker.set_limit(&scope, limit.as_ref()), reply);
        })
    }

    /// As `set_limit`, for what a task declares: it gives way to what `set_limit` set.
    #[pyo3(signature = (scope, *, concurrency=None, rate=None, burst=None, waiter=None))]
    fn declare_limit(
        &self,
        py: Python<'_>,
        scope: &str,
        concurrency: Option<u32>,
        rate: Option<f64>,
        burst: Option<f64>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let (scope, limit) = limit(scope, concurrency, rate, burst)?;
        answer(py, &self.courier, waiter, Route::new(nothing), |reply| {
            self.engine.write(move |broker, _| broker.declare_limit(&scope, limit.as_ref()), reply);
        })
    }

    /// All limits, by scope.
    #[pyo3(signature = (*, waiter=None))]
    fn limits(
        &self,
        py: Python<'_>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(LimitRecord::list), |reply| {
            self.engine.read(|reader, _| reader.limits(), reply);
        })
    }

    /// Takes from a bucket that all share; the seconds to wait before the next try, or None.
    #[pyo3(signature = (bucket, rate, burst=None, cost=1.0, *, waiter=None))]
    fn acquire(
        &self,
        py: Python<'_>,
        bucket: String,
        rate: f64,
        burst: Option<f64>,
        cost: f64,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let rate = Rate { per_second: rate, burst: burst.unwrap_or(rate.max(1.0)) };
        answer(py, &self.courier, waiter, Route::new(maybe_seconds), |reply| {
            self.engine.write(
                move |broker, now| {
                    let again = broker.acquire(&bucket, rate, cost, now)?;
                    Ok(again.map(|at| at.since(now).max(0.0)))
                },
                reply,
            );
        })
    }

    /// Adds or changes a schedule that no program declares.
    #[pyo3(signature = (schedule, *, waiter=None))]
    fn put_schedule(
        &self,
        py: Python<'_>,
        schedule: &Bound<'_, ScheduleSpec>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        let spec = schedule.get().spec.clone();
        answer(py, &self.courier, waiter, Route::new(nothing), |reply| {
            self.engine
                .write(move |broker, now| broker.put_schedule(AT_RUN_TIME, &spec, now), reply);
        })
    }

    /// False: there is none of this name.
    #[pyo3(signature = (name, *, waiter=None))]
    fn remove_schedule(
        &self,
        py: Python<'_>,
        name: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(flag), |reply| {
            self.engine.write(move |broker, _| broker.remove_schedule(&name), reply);
        })
    }

    /// False: there is none of this name.
    #[pyo3(signature = (name, paused, *, waiter=None))]
    fn pause_schedule(
        &self,
        py: Python<'_>,
        name: String,
        paused: bool,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(flag), |reply| {
            self.engine.write(move |broker, now| broker.pause_schedule(&name, paused, now), reply);
        })
    }

    /// Enqueues a schedule's job now; its id, or None where there is no such schedule.
    #[pyo3(signature = (name, *, waiter=None))]
    fn run_schedule(
        &self,
        py: Python<'_>,
        name: String,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(maybe_id), |reply| {
            self.engine.write(move |broker, now| broker.run_schedule(&name, now), reply);
        })
    }

    /// Orders something of the workers of this name, or of all. How many were told.
    #[pyo3(signature = (name, order, *, waiter=None))]
    fn order_workers(
        &self,
        py: Python<'_>,
        name: Option<String>,
        order: Vec<u8>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(number), |reply| {
            self.engine.write(
                move |broker, now| broker.order_workers(name.as_deref(), &order, now),
                reply,
            );
        })
    }
}
