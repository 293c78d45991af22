//! Schedules and their session, as Python sees them.

use std::sync::Arc;

use pelton_jobs::broker::Tick;
use pelton_jobs::schedule::{self as core, Cron, Interval, Rule, Solar};
use pelton_jobs::scheduler;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::answer::{Route, answer};
use super::broker::Broker;
use super::convert;
use super::courier::Courier;
use super::job::NewJob;

/// A schedule. Exactly one of `cron`, `every`, `solar` and `at` is given.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct ScheduleSpec {
    pub(super) spec: core::ScheduleSpec,
}

#[pymethods]
impl ScheduleSpec {
    #[new]
    #[pyo3(signature = (*, name, template, cron=None, tz="UTC", every=None, solar=None, at=None,
        grace=60.0, catch_up=1))]
    #[expect(clippy::too_many_arguments, reason = "keywords of the Python constructor")]
    fn new(
        name: String,
        template: &Bound<'_, NewJob>,
        cron: Option<&str>,
        tz: &str,
        every: Option<f64>,
        solar: Option<(String, f64, f64)>,
        at: Option<f64>,
        grace: f64,
        catch_up: u32,
    ) -> PyResult<Self> {
        let rule = match (cron, every, solar, at) {
            (Some(text), None, None, None) => {
                Cron::new(text, tz).map(|cron| Rule::Cron(Box::new(cron)))
            }
            (None, Some(seconds), None, None) => Interval::new(seconds).map(Rule::Every),
            (None, None, Some((event, latitude, longitude)), None) => {
                Solar::new(&event, latitude, longitude).map(Rule::Sun)
            }
            (None, None, None, Some(at)) => Ok(Rule::At(convert::time("at", at)?)),
            _ => {
                return Err(PyValueError::new_err(format!(
                    "schedule {name:?} needs exactly one of cron, every, solar and at"
                )));
            }
        };
        let rule = rule.map_err(convert::error)?;
        let template = Arc::clone(&template.get().job);
        let spec = core::ScheduleSpec { name, rule, template, grace, catch_up };
        spec.check().map_err(convert::error)?;
        Ok(Self { spec })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.spec.name
    }
}

/// Fires schedules while it is the leader among all schedulers of the broker.
#[pyclass(frozen, module = "pelton._core")]
pub(super) struct SchedulerSession {
    session: scheduler::SchedulerSession,
    courier: Courier,
}

/// A tick, with the seconds to its `next_at` counted by the broker's clock.
fn step(py: Python<'_>, (tick, sleep): (Tick, f64)) -> PyResult<Py<PyAny>> {
    let fired: Vec<(String, String)> =
        tick.fired.into_iter().map(|(name, id)| (name, id.to_string())).collect();
    Ok((tick.leads, fired, tick.unreadable, sleep).into_pyobject(py)?.into_any().unbind())
}

#[pymethods]
impl SchedulerSession {
    /// Writes the schedules (those of this owner that are not among them are removed).
    #[new]
    #[pyo3(signature = (broker, *, name, schedules, owner=String::new()))]
    fn new(
        py: Python<'_>,
        broker: &Bound<'_, Broker>,
        name: &str,
        schedules: Vec<Bound<'_, ScheduleSpec>>,
        owner: String,
    ) -> PyResult<Self> {
        let specs: Vec<_> = schedules.iter().map(|schedule| schedule.get().spec.clone()).collect();
        let engine = Arc::clone(&broker.get().engine);
        let session = py
            .detach(|| scheduler::SchedulerSession::start(engine, name, owner, specs))
            .map_err(convert::error)?;
        Ok(Self { session, courier: broker.get().courier.clone() })
    }

    /// (whether it leads, the (schedule, job id) fired now, the schedules that are due but cannot be
    /// read here, seconds to sleep at most).
    #[pyo3(signature = (*, waiter=None))]
    fn step(
        &self,
        py: Python<'_>,
        waiter: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Option<Py<PyAny>>> {
        answer(py, &self.courier, waiter, Route::new(step), |reply| self.session.step(reply))
    }

    /// Gives up the lead.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.session.close()).map_err(convert::error)
    }
}
