//! The HTTP server: connections that live in the loop's thread.
//!
//! Bytes come through a [`door`] to a [`connection`] (or one of [`http2`]), whose engine
//! (`pelton-http`) finds requests in them; a [`request`] goes to the framework's plan or, by
//! [`asgi`], to the application; what that sends comes back to the engine and leaves at the end of
//! the loop's turn.

mod access_log;
mod asgi;
mod awaitable;
mod carrier;
mod connection;
mod counters;
mod dispatch;
mod door;
mod drain;
mod ends;
mod exchange;
mod files;
mod guard;
mod header_names;
mod http2;
mod http_server;
mod link;
mod lobby;
mod message;
mod options;
mod origin;
mod proxied;
mod request;
mod runner;
mod scope;
mod shared;
mod tls;
mod websocket;

use pyo3::prelude::*;

pub(crate) use tls::TlsSession;

/// Adds this area's names to `pelton._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<http_server::HttpServer>()?;
    module.add_class::<asgi::Receive>()?;
    module.add_function(wrap_pyfunction!(http_server::http_stats, module)?)
}
