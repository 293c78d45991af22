//! `sock_*`: calls on sockets that are their caller's, awaited.
//!
//! A call is tried when it is awaited. If it would block, it waits for the next event of the
//! descriptor, and is tried again by the task that resumes: a task that was cancelled meanwhile has
//! taken nothing from the socket. The descriptor stays watched between calls
//! (`event_loop::socket_calls`), and where it is known that nothing came, the first try is left out.
//!
//! - `methods`: the methods of the loop; `call`: what they return, `call_type` its Python face
//! - `operation`: the calls themselves; `waiter`: what a waiting task waits for

mod call;
mod call_type;
mod methods;
mod operation;
pub(crate) mod waiter;
mod waiter_type;

use pyo3::prelude::*;

/// Adds this area's methods to the loop.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    waiter_type::register(module.py())?;
    call_type::register(module.py())?;
    methods::register(module.py())
}
