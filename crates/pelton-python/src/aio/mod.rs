//! `pelton.aio`: asyncio's primitives with asyncio's semantics, one a file. They use whatever loop
//! runs, ours or not.
//!
//! - `coroutine`: state machines as Python coroutines; `coroutine_type`: their Python face
//! - `awaited`: what such a machine waits in
//! - `future`: asyncio's futures; `layout`: where they keep their state

pub(crate) mod awaited;
pub(crate) mod coroutine;
mod coroutine_type;
pub(crate) mod future;
mod layout;
mod sleep;
mod streams;

use pyo3::prelude::*;

pub(crate) use streams::reader::Reader;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    sleep::register(module)?;
    streams::register(module)
}
