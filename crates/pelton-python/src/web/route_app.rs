//! A compiled route as an ASGI app.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::channel::Channel;
use super::guard::Admitted;
use super::plan::Plan;
use super::run::RequestRun;

/// Whether plans are used at all; tests turn them off to compare with the reference path.
static ENABLED: AtomicBool = AtomicBool::new(true);

/// The ASGI app of one route: its plan, or while that does not hold, the reference path.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct RouteApp {
    plan: Arc<Plan>,
    reference: Py<PyAny>,
}

impl RouteApp {
    /// The plan.
    pub(crate) fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }
}

/// Whether plans are used at all.
pub(crate) fn plans_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Turns the use of plans on or off for the whole process; says what it was.
#[pyfunction]
pub(crate) fn use_plans(enabled: bool) -> bool {
    ENABLED.swap(enabled, Ordering::Relaxed)
}

#[pymethods]
impl RouteApp {
    #[new]
    fn new(spec: &Bound<'_, PyAny>, reference: Py<PyAny>) -> PyResult<Self> {
        Ok(Self { plan: Arc::new(Plan::from_spec(spec)?), reference })
    }

    /// What to await for one request.
    fn __call__<'py>(
        &self,
        scope: Bound<'py, PyDict>,
        receive: Bound<'py, PyAny>,
        send: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        let observed = scope.contains(intern!(py, "fastapi.telemetry"))?;
        if observed || !plans_enabled() || self.plan.is_overridden(py)? {
            return self.reference.bind(py).call1((scope, receive, send));
        }
        let channel =
            Channel::Asgi { scope: scope.unbind(), receive: receive.unbind(), send: send.unbind() };
        // The app around this one has asked the rate limits.
        let run = RequestRun::new(self.plan.clone(), channel, Admitted::default());
        Ok(Bound::new(py, run)?.into_any())
    }

    /// The reference path's app.
    #[getter]
    fn reference(&self, py: Python<'_>) -> Py<PyAny> {
        self.reference.clone_ref(py)
    }
}
