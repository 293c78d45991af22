//! Values across the boundary, and one map of errors.

use std::time::Duration;

use pelton_jobs::BrokerError as CoreError;
use pelton_jobs::id::JobId;
use pelton_jobs::time::Time;
use pyo3::create_exception;
use pyo3::exceptions::{PyException, PyValueError};
use pyo3::prelude::*;

create_exception!(
    pelton._core,
    BrokerError,
    PyException,
    "The broker could not do it: unreachable, broken, full, read-only, or of a newer schema."
);

/// The caller's fault is a `ValueError`, everything else a `BrokerError`.
pub(super) fn error(error: CoreError) -> PyErr {
    match error {
        CoreError::Invalid(message) => PyValueError::new_err(message),
        other => BrokerError::new_err(other.to_string()),
    }
}

/// A point in time from seconds since the epoch; `what` names it in the error.
pub(super) fn time(what: &str, seconds: f64) -> PyResult<Time> {
    // The year 9999: what is beyond is a mistake in units.
    if !(0.0..=253_402_300_799.0).contains(&seconds) {
        return Err(PyValueError::new_err(format!(
            "{what} is in seconds since the epoch, up to the year 9999, not {seconds}"
        )));
    }
    Ok(Time::from_secs(seconds))
}

/// How long to wait; `inf` is for ever.
pub(super) fn patience(seconds: f64) -> PyResult<Duration> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(PyValueError::new_err(format!("wait is in seconds, 0 or more, not {seconds}")));
    }
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

/// The job that a text names; `None` for what no job is ever called.
pub(super) fn known_id(text: &str) -> Option<JobId> {
    text.parse().ok()
}
