//! `pelton.aio`: asyncio's primitives with asyncio's semantics, one a file. They use whatever loop
//! runs, ours or not.

use pyo3::prelude::*;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(_module: &Bound<'_, PyModule>) -> PyResult<()> {
    Ok(())
}
