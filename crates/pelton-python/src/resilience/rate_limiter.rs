//! A rate limiter with the process's monotonic clock.

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pelton_resilience::rate::{Decision, Limiter, Rate};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The moment from which limiters count.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Rates for many keys. Threads may share it; no Python runs while it is locked.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct RateLimiter {
    limiter: Mutex<Limiter>,
}

impl RateLimiter {
    /// Asks for `cost` permits of `key` now.
    pub(crate) fn take_now(&self, key: &[u8], cost: u32) -> Decision {
        self.lock().take(key, BEGAN.elapsed(), cost)
    }

    fn lock(&self) -> MutexGuard<'_, Limiter> {
        // Its methods do not panic between two changes that belong together.
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl RateLimiter {
    #[new]
    #[pyo3(signature = (limit, period, *, burst, max_keys))]
    fn new(limit: u32, period: f64, burst: u32, max_keys: usize) -> PyResult<Self> {
        let period = Duration::try_from_secs_f64(period)
            .map_err(|error| PyValueError::new_err(format!("period={period}: {error}")))?;
        let rate = Rate::new(limit, period, burst)
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        LazyLock::force(&BEGAN);
        Ok(Self { limiter: Mutex::new(Limiter::new(rate, max_keys)) })
    }

    /// Asks for `cost` permits: (allowed, remaining, seconds until they would be given or None,
    /// seconds until all are back). `now` replaces the clock, in seconds from any moment.
    #[pyo3(signature = (key, *, cost=1, now=None))]
    fn take(
        &self,
        key: &[u8],
        cost: u32,
        now: Option<f64>,
    ) -> PyResult<(bool, u32, Option<f64>, f64)> {
        let decision = match now {
            None => self.take_now(key, cost),
            Some(now) => {
                let now = Duration::try_from_secs_f64(now)
                    .map_err(|error| PyValueError::new_err(format!("now={now}: {error}")))?;
                self.lock().take(key, now, cost)
            }
        };
        Ok((
            decision.allowed,
            decision.remaining,
            decision.retry_after.map(|wait| wait.as_secs_f64()),
            decision.reset_after.as_secs_f64(),
        ))
    }

    /// How many keys are remembered.
    #[getter]
    fn keys(&self) -> usize {
        self.lock().len()
    }

    /// How many keys were forgotten early, for want of room.
    #[getter]
    fn evicted(&self) -> u64 {
        self.lock().evicted()
    }
}
