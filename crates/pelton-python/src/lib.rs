//! The binding: the only crate that knows PyO3.
//!
//! It extracts arguments, calls the engine crates and converts what they return. Each area adds
//! its own names to the module in its `register` function; the stubs in `python/pelton/_core/` are
//! their manual.

use pyo3::prelude::*;

mod aio;
mod codings;
mod event_loop;
mod exchange;
mod forms;
mod jobs;
mod methods;
mod observe;
mod resilience;
mod server;
mod sockets;
mod transport;
mod web;

/// The extension module `pelton._core`.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    event_loop::register(module)?;
    transport::register(module)?;
    sockets::register(module)?;
    aio::register(module)?;
    server::register(module)?;
    forms::register(module)?;
    codings::register(module)?;
    web::register(module)?;
    jobs::register(module)?;
    resilience::register(module)?;
    observe::register(module)
}
