//! What CORS adds to a response, as Starlette's middleware would.

use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::extract::latin1;
use crate::exchange::RequestHead;

/// A CORS middleware's rules for requests that are no preflight.
pub(super) struct Cors {
    /// `is_allowed_origin(origin)` of the middleware.
    is_allowed: Py<PyAny>,
    /// What every answer to a request with an origin says.
    simple: Fields,
    all_origins: bool,
    credentials: bool,
}

/// Fields to set, with their values.
pub(super) type Fields = Vec<(Vec<u8>, Vec<u8>)>;

const ALLOW_ORIGIN: &[u8] = b"access-control-allow-origin";

impl Cors {
    /// Reads `("cors", is_allowed_origin, simple, all origins, credentials)`.
    pub(super) fn from_kind(kind: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Ok(Self {
            is_allowed: kind.get_item(1)?.unbind(),
            simple: kind.get_item(2)?.extract()?,
            all_origins: kind.get_item(3)?.extract()?,
            credentials: kind.get_item(4)?.extract()?,
        })
    }

    /// Whether the middleware answers the request itself.
    pub(super) fn is_preflight(head: &RequestHead<'_>) -> bool {
        head.method == "OPTIONS"
            && head.headers.get(b"origin").is_some()
            && head.headers.get(b"access-control-request-method").is_some()
    }

    /// What an answer to this request says, beyond that it varies with the origin.
    pub(super) fn fields(&self, py: Python<'_>, head: &RequestHead<'_>) -> PyResult<Fields> {
        let Some(origin) = head.headers.get(b"origin") else {
            return Ok(Fields::new());
        };
        let mut fields = self.simple.clone();
        let mirrors = if self.all_origins {
            self.credentials
        } else {
            let text = PyString::new(py, &latin1(origin));
            self.is_allowed.bind(py).call1((text,))?.is_truthy()?
        };
        if mirrors {
            match fields.iter_mut().find(|(name, _)| name == ALLOW_ORIGIN) {
                Some((_, value)) => *value = origin.to_vec(),
                None => fields.push((ALLOW_ORIGIN.to_vec(), origin.to_vec())),
            }
        }
        Ok(fields)
    }
}
