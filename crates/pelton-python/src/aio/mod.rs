//! `pelton.aio`: asyncio's primitives with asyncio's semantics, one a file. They use whatever loop
//! runs, ours or not.
//!
//! - `coroutine`: state machines as Python coroutines; `coroutine_type`: their Python face
//! - `awaited`: what such a machine waits in; `entering`: `async with`
//! - `future`: asyncio's futures; `layout`: where they keep their state
//! - `waiters`: who waits, in order; `bound`: on which loop; `held`: references to our own classes

pub(crate) mod awaited;
mod barrier;
mod bound;
mod condition;
pub(crate) mod coroutine;
mod coroutine_type;
mod entering;
mod event;
pub(crate) mod future;
mod held;
mod layout;
mod lock;
mod queue;
mod queue_calls;
mod queue_items;
mod semaphore;
mod sleep;
mod streams;
mod waiters;

use pyo3::prelude::*;

pub(crate) use streams::reader::Reader;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    barrier::register(module)?;
    condition::register(module)?;
    entering::register(module.py())?;
    event::register(module)?;
    lock::register(module)?;
    queue::register(module)?;
    semaphore::register(module)?;
    sleep::register(module)?;
    streams::register(module)
}
