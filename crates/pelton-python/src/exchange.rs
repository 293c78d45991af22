//! The seam between what brings requests (the server, or an ASGI caller such as `TestClient`) and
//! what answers them (the framework's plans).

use pelton_http::Headers;
use pyo3::intern;
use pyo3::prelude::*;

/// The head of a request, borrowed from whoever brought it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestHead<'a> {
    /// The method, upper case as sent.
    pub(crate) method: &'a str,
    /// The path, percent-decoded.
    pub(crate) path: &'a str,
    /// What follows `?`, undecoded; empty where there is none.
    pub(crate) query: &'a [u8],
    /// Names in lower case, in the order they came.
    pub(crate) headers: &'a Headers,
}

/// A response's body, complete.
pub(crate) enum Body<'a> {
    /// Bytes made in Rust.
    Bytes(&'a [u8]),
    /// Bytes that Python made.
    Python(Bound<'a, pyo3::types::PyBytes>),
}

impl Body<'_> {
    /// The bytes themselves.
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Bytes(data) => data,
            Self::Python(data) => data.as_bytes(),
        }
    }
}

/// The first part of a scope's ``client``, if it has one.
pub(crate) fn client_of(py: Python<'_>, scope: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    let client = scope.call_method1(intern!(py, "get"), (intern!(py, "client"),))?;
    if client.is_none() { Ok(None) } else { Ok(Some(client.get_item(0)?.extract()?)) }
}

/// One request waiting for its answer.
///
/// Exactly one of `respond` and `asgi` answers it. The request's body is complete before a plan
/// sees the exchange (the plan says beforehand whether it wants one).
pub(crate) trait Exchange {
    /// Calls `read` with the request's head.
    fn with_head(&self, read: &mut dyn FnMut(RequestHead<'_>));
    /// The request's body, as Python bytes.
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, pyo3::types::PyBytes>;
    /// `(scope, receive, send)`, made when first asked for: for endpoints that take a `Request`,
    /// and for responses that stream. `receive` yields the buffered body, then the disconnect.
    fn asgi<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)>;
    /// Answers with a complete response. `content-length` is added by the transport side; `date`
    /// and `server` too. Header names are in lower case.
    fn respond(
        &self,
        py: Python<'_>,
        status: u16,
        headers: &[(&[u8], &[u8])],
        body: Body<'_>,
    ) -> PyResult<()>;
    /// The run ended with an exception that no handler of the app took: it is logged, and answered
    /// with 500 if nothing was answered. At most once.
    fn failed(&self, py: Python<'_>, error: PyErr);
}
