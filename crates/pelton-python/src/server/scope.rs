//! ASGI scopes.

use pelton_http::h1::Head;
use pelton_http::percent;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::access_log::version;
use super::origin::{Addresses, Origin};
use super::shared::Shared;

/// What is the same in all scopes, copied for each. Every key is there already, for its values to be
/// replaced: so a copy is made in one go and does not grow.
pub(super) struct Templates {
    http: Py<PyDict>,
    websocket: Py<PyDict>,
    extensions: Py<PyDict>,
    websocket_extensions: Py<PyDict>,
}

/// What applications may send beyond the plain messages.
const EXTENSIONS: [&str; 4] = [
    "http.response.pathsend",
    "http.response.zerocopysend",
    "http.response.trailers",
    "http.response.early_hint",
];
const WEBSOCKET_EXTENSIONS: [&str; 1] = ["websocket.http.response"];

impl Templates {
    pub(super) fn new(py: Python<'_>) -> PyResult<Self> {
        let asgi = PyDict::new(py);
        asgi.set_item("version", "3.0")?;
        asgi.set_item("spec_version", "2.5")?;
        let template = |kind: &str, scheme: &str, own: &str| {
            let scope = PyDict::new(py);
            scope.set_item("type", kind)?;
            scope.set_item("asgi", &asgi)?;
            scope.set_item("scheme", scheme)?;
            for key in [own, "http_version", "path", "raw_path", "query_string", "root_path"] {
                scope.set_item(PyString::intern(py, key), py.None())?;
            }
            for key in ["headers", "client", "server", "state", "extensions"] {
                scope.set_item(PyString::intern(py, key), py.None())?;
            }
            PyResult::Ok(scope.unbind())
        };
        let named = |names: &[&str]| {
            let extensions = PyDict::new(py);
            for name in names {
                let details = PyDict::new(py);
                if *name == "http.response.pathsend" {
                    // Ours: the message may have an `offset` and a `count`.
                    details.set_item("ranges", true)?;
                }
                extensions.set_item(name, details)?;
            }
            PyResult::Ok(extensions.unbind())
        };
        Ok(Self {
            http: template("http", "http", "method")?,
            websocket: template("websocket", "ws", "subprotocols")?,
            extensions: named(&EXTENSIONS)?,
            websocket_extensions: named(&WEBSOCKET_EXTENSIONS)?,
        })
    }
}

/// Builds the scope of a request. `mount`: the prefix of the mounted app that it goes to.
pub(super) fn build<'py>(
    py: Python<'py>,
    shared: &Shared,
    head: &Head,
    addresses: &Addresses,
    mount: Option<&str>,
    subprotocols: Option<&[String]>,
) -> PyResult<Bound<'py, PyDict>> {
    let templates = &shared.templates;
    let (template, extensions) = match subprotocols {
        None => (&templates.http, &templates.extensions),
        Some(_) => (&templates.websocket, &templates.websocket_extensions),
    };
    let scope = template.bind(py).copy()?;
    match subprotocols {
        None => scope.set_item(intern!(py, "method"), method(py, head.method()))?,
        Some(names) => scope.set_item(intern!(py, "subprotocols"), names)?,
    }
    scope.set_item(intern!(py, "http_version"), version_text(py, head))?;
    set_path(&scope, shared, head, mount)?;
    scope.set_item(intern!(py, "query_string"), PyBytes::new(py, head.query()))?;
    let origin = Origin::of(&shared.options, addresses, head.headers());
    scope.set_item(intern!(py, "headers"), headers(py, shared, head, origin.host())?)?;
    scope.set_item(intern!(py, "client"), origin.client(py)?)?;
    scope.set_item(intern!(py, "server"), origin.server(py)?)?;
    if origin.is_secure() {
        let secure = match subprotocols {
            None => intern!(py, "https"),
            Some(_) => intern!(py, "wss"),
        };
        scope.set_item(intern!(py, "scheme"), secure)?;
    }
    scope.set_item(intern!(py, "state"), shared.state.bind(py).copy()?)?;
    // A copy: a middleware may take one away.
    let extensions = extensions.bind(py).copy()?;
    if let Some(tls) = &addresses.tls {
        extensions.set_item(intern!(py, "tls"), tls.scope(py)?)?;
    }
    scope.set_item(intern!(py, "extensions"), extensions)?;
    Ok(scope)
}

/// The path holds the root path, as Starlette's routing wants it.
fn set_path(
    scope: &Bound<'_, PyDict>,
    shared: &Shared,
    head: &Head,
    mount: Option<&str>,
) -> PyResult<()> {
    let py = scope.py();
    let root = shared.options.root_path.as_str();
    let path = percent::decode_path(head.path());
    if root.is_empty() {
        scope.set_item(intern!(py, "path"), path.as_ref())?;
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, head.path()))?;
    } else {
        scope.set_item(intern!(py, "path"), format!("{root}{path}"))?;
        let raw_path = [root.as_bytes(), head.path()].concat();
        scope.set_item(intern!(py, "raw_path"), PyBytes::new(py, &raw_path))?;
    }
    match mount {
        None => scope.set_item(intern!(py, "root_path"), root),
        Some(prefix) => scope.set_item(intern!(py, "root_path"), format!("{root}{prefix}")),
    }
}

/// `host`: what a proxy says that the client asked for, in place of what it asked itself.
fn headers<'py>(
    py: Python<'py>,
    shared: &Shared,
    head: &Head,
    host: Option<&str>,
) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (name, value) in head.headers().iter() {
        let value = match host {
            Some(host) if name == b"host" => host.as_bytes(),
            _ => value,
        };
        let name = shared.header_names.bytes(py, name);
        list.append(PyTuple::new(py, [name, PyBytes::new(py, value)])?)?;
    }
    Ok(list)
}

fn version_text<'py>(py: Python<'py>, head: &Head) -> &'py Bound<'py, PyString> {
    match version(head) {
        "1.1" => intern!(py, "1.1"),
        "2" => intern!(py, "2"),
        _ => intern!(py, "1.0"),
    }
}

fn method<'py>(py: Python<'py>, method: &str) -> Bound<'py, PyString> {
    let common = match method {
        "GET" => intern!(py, "GET"),
        "POST" => intern!(py, "POST"),
        "PUT" => intern!(py, "PUT"),
        "PATCH" => intern!(py, "PATCH"),
        "DELETE" => intern!(py, "DELETE"),
        "HEAD" => intern!(py, "HEAD"),
        "OPTIONS" => intern!(py, "OPTIONS"),
        other => return PyString::new(py, other),
    };
    common.clone()
}
