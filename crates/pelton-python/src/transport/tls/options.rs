//! What a connection's TLS is made with.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::engine::Engine;

/// How to do TLS on a connection, or on all those of a server.
#[pyclass(frozen, module = "pelton._core")]
pub(crate) struct TlsOptions {
    context: Py<PyAny>,
    pub(super) server_side: bool,
    server_hostname: Py<PyAny>,
    /// As it was given, for messages.
    pub(super) handshake_timeout: Py<PyAny>,
    pub(super) handshake: Duration,
    pub(super) shutdown: Duration,
    short: bool,
}

#[pymethods]
impl TlsOptions {
    /// Timeouts are in seconds. `short` false keeps records on the methods of `ssl.SSLObject`.
    #[new]
    fn new(
        context: Py<PyAny>,
        server_side: bool,
        server_hostname: Bound<'_, PyAny>,
        handshake_timeout: Bound<'_, PyAny>,
        shutdown_timeout: Bound<'_, PyAny>,
        short: bool,
    ) -> PyResult<Self> {
        let handshake = seconds(&handshake_timeout, "ssl_handshake_timeout")?;
        let shutdown = seconds(&shutdown_timeout, "ssl_shutdown_timeout")?;
        Ok(Self {
            context,
            server_side,
            server_hostname: server_hostname.unbind(),
            handshake_timeout: handshake_timeout.unbind(),
            handshake,
            shutdown,
            short,
        })
    }
}

impl TlsOptions {
    /// The engine of a new connection. Fails as `SSLContext.wrap_bio` does.
    pub(super) fn engine(&self, py: Python<'_>) -> PyResult<Engine> {
        let hostname = self.server_hostname.bind(py);
        Engine::new(self.context.bind(py), self.server_side, hostname, self.short)
    }

    /// The `ssl.SSLContext`.
    pub(super) fn context<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.context.bind(py)
    }
}

fn seconds(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let number: f64 = value.extract()?;
    if number.is_nan() || number <= 0.0 {
        let given = value.str()?;
        let message = format!("{name} should be a positive number, got {given}");
        return Err(PyValueError::new_err(message));
    }
    Ok(Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX))
}
