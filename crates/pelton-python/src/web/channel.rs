//! Where a request came from and its answer goes: the native server, or an ASGI caller.

use std::rc::Rc;

use pelton_http::Headers;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use pyo3::{PyTypeInfo, intern};

use super::extract::{Group, HeadView, PathValues};
use super::field::Found;
use super::layers::Layers;
use super::respond::field_of;
use super::router::Captured;
use crate::exchange::{Exchange, RequestHead};

/// One request's channel.
pub(crate) enum Channel {
    /// Our server's.
    Native {
        exchange: Rc<dyn Exchange>,
        captured: Captured,
        /// The app as a whole, for what surrounds a route.
        layers: Rc<Layers>,
    },
    /// An ASGI caller's.
    Asgi { scope: Py<PyDict>, receive: Py<PyAny>, send: Py<PyAny> },
}

/// `(scope, receive, send)` of a request.
pub(crate) struct AsgiParts<'py> {
    pub(crate) scope: Bound<'py, PyDict>,
    pub(crate) receive: Bound<'py, PyAny>,
    pub(crate) send: Bound<'py, PyAny>,
}

impl Channel {
    /// Finds the values of `group` in the head.
    pub(crate) fn find<'py>(
        &self,
        py: Python<'py>,
        group: &Group,
        found: &mut Vec<Found<'py>>,
    ) -> PyResult<()> {
        match self {
            Self::Native { exchange, captured, .. } => {
                exchange.with_head(&mut |head: RequestHead<'_>| {
                    let path = match captured {
                        Captured::Converted(values) => {
                            PathValues::Converted(values.bind(py).clone())
                        }
                        Captured::Places { .. } => PathValues::Captured(captured, head.path),
                    };
                    let view = HeadView { path, query: head.query, headers: head.headers };
                    group.find(py, &view, found);
                });
            }
            Self::Asgi { scope, .. } => {
                let scope = scope.bind(py);
                let path = scope.get_item(intern!(py, "path_params"))?;
                let path = match path.map(Bound::cast_into::<PyDict>) {
                    Some(Ok(path)) => path,
                    _ => PyDict::new(py),
                };
                let query = scope.get_item(intern!(py, "query_string"))?;
                let query = query.as_ref().and_then(|query| query.cast::<PyBytes>().ok());
                let headers = headers_of(scope)?;
                let view = HeadView {
                    path: PathValues::Converted(path),
                    query: query.map_or(&[], |query| query.as_bytes()),
                    headers: &headers,
                };
                group.find(py, &view, found);
            }
        }
        Ok(())
    }

    /// The first `content-type`.
    pub(crate) fn content_type(&self, py: Python<'_>) -> PyResult<Option<Vec<u8>>> {
        let name = b"content-type";
        match self {
            Self::Native { exchange, .. } => {
                let mut value = None;
                exchange.with_head(&mut |head| value = head.headers.get(name).map(<[u8]>::to_vec));
                Ok(value)
            }
            Self::Asgi { scope, .. } => {
                Ok(headers_of(scope.bind(py))?.get(name).map(<[u8]>::to_vec))
            }
        }
    }

    /// The request as ASGI has it. From our server: with what Starlette's routing would have added.
    pub(crate) fn parts<'py>(
        &self,
        py: Python<'py>,
        route: &Py<PyAny>,
    ) -> PyResult<AsgiParts<'py>> {
        match self {
            Self::Asgi { scope, receive, send } => Ok(AsgiParts {
                scope: scope.bind(py).clone(),
                receive: receive.bind(py).clone(),
                send: send.bind(py).clone(),
            }),
            Self::Native { exchange, captured, layers } => {
                let (scope, receive, send) = exchange.asgi(py)?;
                let scope = scope.cast_into::<PyDict>()?;
                let mut parameters = None;
                exchange.with_head(&mut |head| parameters = Some(captured.to_dict(py, head.path)));
                if let Some(parameters) = parameters {
                    scope.set_item(intern!(py, "path_params"), parameters?)?;
                }
                let send = layers.complete(&scope, route, &receive, send)?;
                Ok(AsgiParts { scope, receive, send })
            }
        }
    }
}

fn headers_of(scope: &Bound<'_, PyDict>) -> PyResult<Headers> {
    let py = scope.py();
    let mut headers = Headers::new();
    let Some(fields) = scope.get_item(intern!(py, "headers"))? else {
        return Ok(headers);
    };
    if PyList::is_exact_type_of(&fields) {
        for field in fields.cast::<PyList>()?.iter() {
            push(&mut headers, &field)?;
        }
    } else {
        for field in fields.try_iter()? {
            push(&mut headers, &field?)?;
        }
    }
    Ok(headers)
}

fn push(headers: &mut Headers, field: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Some((name, value)) = field_of(field) {
        headers.push(name.as_bytes(), value.as_bytes());
        return Ok(());
    }
    let (name, value): (Vec<u8>, Vec<u8>) = field.extract()?;
    headers.push(&name, &value);
    Ok(())
}
