//! Limits of `pelton-resilience` as Python has them: with a clock, and shared by threads.

use pyo3::prelude::*;

mod bulkhead;
mod client_key;
mod rate_limiter;

pub(crate) use client_key::client_key;
pub(crate) use rate_limiter::RateLimiter;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<RateLimiter>()?;
    module.add_class::<bulkhead::Bulkhead>()?;
    module.add_function(wrap_pyfunction!(client_key::limit_key, module)?)
}
