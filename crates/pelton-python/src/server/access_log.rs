//! One line a request, to the logger `pelton.access`.

use pelton_http::h1::{Head, Version};
use pyo3::prelude::*;

/// The logger, where the access log is on.
pub(super) struct AccessLog {
    logger: Py<PyAny>,
}

impl AccessLog {
    pub(super) fn new(py: Python<'_>) -> PyResult<Self> {
        let logger = py.import("logging")?.call_method1("getLogger", ("pelton.access",))?;
        Ok(Self { logger: logger.unbind() })
    }

    /// `127.0.0.1:5123 - "GET /path?query HTTP/1.1" 200`. The target is as sent: httparse and the
    /// head's checks leave no control character in it that could forge a line.
    pub(super) fn log(
        &self,
        py: Python<'_>,
        client: &str,
        head: &Head,
        status: u16,
    ) -> PyResult<()> {
        let mut target = String::from_utf8_lossy(head.path()).into_owned();
        if !head.query().is_empty() {
            target.push('?');
            target.push_str(&String::from_utf8_lossy(head.query()));
        }
        let version = version(head);
        let arguments =
            ("%s - \"%s %s HTTP/%s\" %d", client, head.method(), target, version, status);
        self.logger.call_method1(py, "info", arguments)?;
        Ok(())
    }
}

/// As ASGI's `http_version`.
pub(super) fn version(head: &Head) -> &'static str {
    match head.version() {
        Version::Http10 => "1.0",
        Version::Http11 => "1.1",
        Version::Http2 => "2",
    }
}
