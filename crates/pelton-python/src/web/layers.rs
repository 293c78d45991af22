//! What an app has around its routes, for requests that come past it.
//!
//! Middleware that would only look at a request and let it pass does so here: CORS, where the
//! request has no `Origin`, and trusted hosts, where the host is one. All else takes the ASGI way.

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::exchange::RequestHead;

/// An app's layers.
pub(crate) struct Layers {
    /// `_plan_layers.AppLayers`.
    pub(crate) object: Py<PyAny>,
    /// Whether CORS is among them.
    cors: bool,
    /// For each layer of trusted hosts the names, and those that begin with a star.
    hosts: Vec<Vec<String>>,
}

impl Layers {
    /// Reads an `AppLayers`.
    pub(crate) fn from_object(object: Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self {
            cors: object.getattr("has_cors")?.extract()?,
            hosts: object.getattr("hosts")?.extract()?,
            object: object.unbind(),
        })
    }

    /// Whether all of them would let the request pass as it is.
    pub(crate) fn let_pass(&self, head: &RequestHead<'_>) -> bool {
        if self.cors && head.headers.get(b"origin").is_some() {
            return false;
        }
        self.hosts.is_empty() || {
            let host = head.headers.get(b"host").and_then(plain_host);
            host.is_some_and(|host| self.hosts.iter().all(|names| is_one_of(&host, names)))
        }
    }

    /// Adds to a response's fields what the layers add; `vary` is room for one of them.
    pub(crate) fn add_fields<'a>(
        &self,
        fields: &mut Vec<(&'a [u8], &'a [u8])>,
        vary: &'a mut Vec<u8>,
    ) {
        if !self.cors {
            return;
        }
        let mut place = None;
        let mut number = 0;
        fields.retain(|(name, value)| {
            let is_vary = name.eq_ignore_ascii_case(b"vary");
            if is_vary {
                vary.extend_from_slice(value);
                vary.extend_from_slice(b", ");
            }
            let is_first = is_vary && place.is_none();
            if is_first {
                place = Some(number);
            }
            let kept = is_first || !is_vary;
            number += usize::from(kept);
            kept
        });
        vary.extend_from_slice(b"Origin");
        let vary: &'a [u8] = vary;
        match place {
            Some(number) => fields[number].1 = vary,
            None => fields.push((b"vary", vary)),
        }
    }

    /// Adds to a request's scope what the layers and the routing would have added; gives the `send`
    /// that the route is called with.
    pub(crate) fn complete<'py>(
        &self,
        scope: &Bound<'py, PyDict>,
        route: &Py<PyAny>,
        send: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = scope.py();
        self.object.bind(py).call_method1(pyo3::intern!(py, "complete"), (scope, route, send))
    }
}

/// The host of a `Host` field in its usual form, in lower case.
fn plain_host(field: &[u8]) -> Option<String> {
    let field = std::str::from_utf8(field).ok()?;
    let (host, port) = field.split_once(':').unwrap_or((field, "0"));
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    (is_host && is_port).then(|| host.to_ascii_lowercase())
}

fn is_one_of(host: &str, names: &[String]) -> bool {
    names.iter().any(|name| match name.strip_prefix('*') {
        Some(end) => host.ends_with(end),
        None => host == name,
    })
}
