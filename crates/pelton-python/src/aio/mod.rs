//! `pelton.aio`: asyncio's primitives with asyncio's semantics, one a file. They use whatever loop
//! runs, ours or not.
//!
//! - `coroutine`: state machines as Python coroutines; `coroutine_type`: their Python face
//! - `awaited`: what such a machine waits in; `entering`: `async with`
//! - `raw_class`: Python classes for what is made often; `task`: asyncio's tasks, from outside
//! - `future`: asyncio's futures; `layout`: where they keep their state
//! - `waiters`: who waits, in order; `bound`: on which loop; `held`: references to our own classes

mod arguments;
mod as_completed;
pub(crate) mod awaited;
mod barrier;
mod bound;
mod callback;
mod condition;
pub(crate) mod coroutine;
mod coroutine_type;
mod entering;
mod event;
pub(crate) mod future;
mod gather;
mod gathering;
mod held;
mod layout;
mod lock;
mod queue;
mod queue_calls;
mod queue_items;
mod raw_class;
mod seen;
mod semaphore;
mod shield;
mod sleep;
mod streams;
mod task;
mod task_group;
mod task_group_block;
mod timeout;
mod timeout_block;
mod wait;
mod wait_for;
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
    streams::register(module)?;
    timeout::register(module)?;
    wait_for::register(module)?;
    wait::register(module)?;
    gather::register(module)?;
    shield::register(module)?;
    as_completed::register(module)?;
    task_group::register(module)
}
