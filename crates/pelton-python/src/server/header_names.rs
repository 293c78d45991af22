//! Bytes objects for the header names that most requests carry.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// Common names, each made once; found by length, then by comparison.
pub(super) struct HeaderNames {
    by_length: Vec<Vec<(&'static [u8], Py<PyBytes>)>>,
}

const COMMON: [&[u8]; 38] = [
    b"accept",
    b"accept-charset",
    b"accept-encoding",
    b"accept-language",
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"cookie",
    b"dnt",
    b"expect",
    b"forwarded",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"origin",
    b"pragma",
    b"priority",
    b"range",
    b"referer",
    b"sec-fetch-dest",
    b"sec-fetch-mode",
    b"sec-fetch-site",
    b"te",
    b"traceparent",
    b"transfer-encoding",
    b"upgrade",
    b"upgrade-insecure-requests",
    b"user-agent",
    b"via",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-request-id",
];

impl HeaderNames {
    pub(super) fn new(py: Python<'_>) -> Self {
        let longest = COMMON.iter().map(|name| name.len()).max().unwrap_or(0);
        let mut by_length: Vec<Vec<_>> = Vec::new();
        by_length.resize_with(longest + 1, Vec::new);
        for name in COMMON {
            by_length[name.len()].push((name, PyBytes::new(py, name).unbind()));
        }
        Self { by_length }
    }

    /// The name as bytes.
    pub(super) fn bytes<'py>(&self, py: Python<'py>, name: &[u8]) -> Bound<'py, PyBytes> {
        self.by_length
            .get(name.len())
            .and_then(|names| names.iter().find(|(common, _)| *common == name))
            .map_or_else(|| PyBytes::new(py, name), |(_, bytes)| bytes.bind(py).clone())
    }
}
