//! Transports over the loop's sockets.

pub(crate) mod native;

use pyo3::prelude::*;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
