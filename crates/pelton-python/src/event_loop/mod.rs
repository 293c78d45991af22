//! The event loop: ready queue, timers, polling, and the methods asyncio calls most.
//!
//! `pelton.Loop` inherits from `BaseLoop`, made here, and from asyncio's own unix loop: what runs per
//! callback or per packet is Rust, what runs per connection or per loop is asyncio's Python.
//!
//! - `base`: the Python class; `calls`: its hottest methods, as C entry points
//! - `core`: the state; `turn` and `wait`: one turn of the loop
//! - `watch`: `add_reader` and `add_writer`; `socket_calls`: who waits for a watched descriptor by
//!   `sock_*`
//! - `handle`: callbacks with their arguments inline; `context`: what their context is until they run
//! - `alarm`: deadlines of Rust objects, without a handle
//! - `executor`: the default executor's threads; `patience`: what they and the loop do before sleep
//! - `native`: the interface for the other areas of this crate (`LoopRef`); `inline`: tasks whose
//!   first step runs at once
//!
//! Everything is guarded by the GIL (`gil`), and no borrow is held while Python runs.

mod alarm;
mod base;
pub(crate) mod calls;
mod context;
pub(crate) mod core;
mod executor;
mod gil;
mod handle;
mod handle_type;
mod inline;
mod mailbox;
mod native;
mod patience;
pub(crate) mod rawtype;
mod socket_calls;
mod sources;
mod stats;
mod turn;
mod wait;
mod watch;

use pyo3::prelude::*;

pub(crate) use alarm::{Alarm, AlarmKind, now_seconds};
pub(crate) use base::BaseLoop;
pub(crate) use calls::add as add_method;
pub(crate) use gil::{GilBound, Owned, entry};
pub(crate) use mailbox::Mailbox;
pub(crate) use native::{LoopRef, NativeTimer};
pub(crate) use sources::Source;
pub(crate) use watch::{Side, Watch};

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    context::prepare(module.py())?;
    handle::register(module)?;
    module.add_class::<base::BaseLoop>()?;
    executor::register(module)?;
    calls::register(module.py())
}

/// The exception of a failed system call, with its `errno`.
pub(crate) fn os_error(error: &std::io::Error) -> PyErr {
    match error.raw_os_error() {
        Some(code) => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default().to_owned();
            // OSError picks the subclass that belongs to the code.
            pyo3::exceptions::PyOSError::new_err((code, text))
        }
        // The reactor refuses to work in a child made by fork.
        None if error.kind() == std::io::ErrorKind::Unsupported => {
            pyo3::exceptions::PyRuntimeError::new_err(error.to_string())
        }
        None => pyo3::exceptions::PyOSError::new_err(error.to_string()),
    }
}
