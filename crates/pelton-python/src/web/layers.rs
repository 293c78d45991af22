//! What an app has around its routes, for requests that come past it.
//!
//! Middleware of which all is known is not entered: trusted hosts are compared here, and what CORS
//! says of a response is added here. Of what else a layer may do to a response, it is known which
//! responses it leaves as they are; the others are sent through the layers' own `send`. All other
//! middleware, and what these would refuse or answer themselves, takes the ASGI way.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::cors::Cors;
use crate::exchange::{Body, Exchange, RequestHead};

/// An app's layers.
pub(crate) struct Layers {
    /// `_plan_layers.AppLayers`.
    pub(crate) object: Py<PyAny>,
    /// Outermost first.
    layers: Vec<Layer>,
}

/// What a layer does, from `_plan_layers.AppLayers.kinds`.
enum Layer {
    /// It refuses other hosts than these, of which some begin with a star.
    Hosts(Vec<String>),
    Cors(Cors),
    /// It leaves bodies that are shorter than this as they are.
    Compression(usize),
    /// It does something only for those who take the request.
    Session,
}

impl Layers {
    /// Reads an `AppLayers`.
    pub(crate) fn from_object(object: Bound<'_, PyAny>) -> PyResult<Self> {
        let mut layers = Vec::new();
        for kind in object.getattr("kinds")?.try_iter()? {
            layers.push(Layer::from_kind(kind?.cast::<PyTuple>()?)?);
        }
        Ok(Self { layers, object: object.unbind() })
    }

    /// Whether all of them would let the request pass as it is.
    pub(crate) fn let_pass(&self, head: &RequestHead<'_>) -> bool {
        self.layers.iter().all(|layer| match layer {
            Layer::Hosts(names) => {
                let host = head.headers.get(b"host").and_then(plain_host);
                host.is_some_and(|host| is_one_of(&host, names))
            }
            Layer::Cors(_) => !Cors::is_preflight(head),
            Layer::Compression(_) | Layer::Session => true,
        })
    }

    /// Whether a response can be sent by [`respond`](Self::respond), or must go through their own
    /// `send`. `is_request_taken`: somebody had the `Request`.
    pub(crate) fn are_known(&self, body_length: usize, is_request_taken: bool) -> bool {
        self.layers.iter().all(|layer| match layer {
            Layer::Hosts(_) | Layer::Cors(_) => true,
            Layer::Compression(minimum) => body_length < *minimum,
            Layer::Session => !is_request_taken,
        })
    }

    /// Answers a request, with what the layers add to the fields.
    pub(crate) fn respond(
        &self,
        py: Python<'_>,
        exchange: &dyn Exchange,
        status: u16,
        fields: &[(&[u8], &[u8])],
        body: Body<'_>,
    ) -> PyResult<()> {
        let cors = self.layers.iter().find_map(|layer| match layer {
            Layer::Cors(cors) => Some(cors),
            _ => None,
        });
        let Some(cors) = cors else {
            return exchange.respond(py, status, fields, body);
        };
        let mut added = Ok(Vec::new());
        exchange.with_head(&mut |head| added = cors.fields(py, &head));
        let (added, vary) = (added?, varying(fields));
        let mut fields = fields.to_vec();
        for (name, value) in &added {
            set(&mut fields, name, value);
        }
        set(&mut fields, b"vary", &vary);
        exchange.respond(py, status, &fields, body)
    }

    /// Adds to a request's scope what the layers and the routing would have added; gives the `send`
    /// that the route is called with.
    pub(crate) fn complete<'py>(
        &self,
        scope: &Bound<'py, PyDict>,
        route: &Py<PyAny>,
        receive: &Bound<'py, PyAny>,
        send: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let object = self.object.bind(scope.py());
        object.call_method1(pyo3::intern!(scope.py(), "complete"), (scope, route, receive, send))
    }
}

impl Layer {
    fn from_kind(kind: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Ok(match kind.get_item(0)?.extract::<String>()?.as_str() {
            "hosts" => Self::Hosts(kind.get_item(1)?.extract()?),
            "cors" => Self::Cors(Cors::from_kind(kind)?),
            "compression" => Self::Compression(kind.get_item(1)?.extract()?),
            "session" => Self::Session,
            other => return Err(PyValueError::new_err(format!("{other} is no kind of layer"))),
        })
    }
}

/// All that the fields name in `vary`, and `Origin`.
fn varying(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut vary = Vec::new();
    for (name, value) in fields {
        if name.eq_ignore_ascii_case(b"vary") {
            vary.extend_from_slice(value);
            vary.extend_from_slice(b", ");
        }
    }
    vary.extend_from_slice(b"Origin");
    vary
}

/// Puts a field in the place of the first of its name, and takes out the others; else at the end.
fn set<'a>(fields: &mut Vec<(&'a [u8], &'a [u8])>, name: &'a [u8], value: &'a [u8]) {
    let mut is_set = false;
    fields.retain_mut(|field| {
        if !field.0.eq_ignore_ascii_case(name) {
            return true;
        }
        *field = (name, value);
        !std::mem::replace(&mut is_set, true)
    });
    if !is_set {
        fields.push((name, value));
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
