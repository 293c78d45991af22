//! The job engine's bridge to Python.

use pyo3::prelude::*;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
