//! Rate limits of a route whose requests come from our own server.

use pelton_resilience::Decision;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::helpers::Helpers;
use crate::exchange::RequestHead;
use crate::resilience::{RateLimiter, client_key};

/// The rate limits that a plan asks itself, in order.
pub(crate) struct Guard {
    limits: Vec<Limit>,
}

/// One limit, from `guard.limits.RateLimit`.
struct Limit {
    /// The declaration itself, which knows what is said of it.
    object: Py<PyAny>,
    limiter: Py<RateLimiter>,
    cost: u32,
    /// The header whose value is the key; none: the client's address is.
    header: Option<Vec<u8>>,
}

/// Header fields that every answer of a request gets.
pub(crate) type Extra = Vec<(Vec<u8>, Vec<u8>)>;

/// What became of asking: the fields that say what is left, or the exception that answers a
/// request which is refused. Nothing to say where nothing was asked.
pub(crate) struct Admitted(pub(crate) PyResult<Extra>);

impl Default for Admitted {
    fn default() -> Self {
        Self(Ok(Extra::new()))
    }
}

impl Guard {
    /// Reads a sequence of `RateLimit`s.
    pub(crate) fn from_limits(limits: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut read = Vec::new();
        for limit in limits.try_iter()? {
            let limit = limit?;
            let header: Option<String> = limit.getattr("header")?.extract()?;
            read.push(Limit {
                limiter: limit.getattr("limiter")?.cast_into::<RateLimiter>()?.unbind(),
                cost: limit.getattr("cost")?.extract()?,
                header: header.map(|name| name.to_ascii_lowercase().into_bytes()),
                object: limit.unbind(),
            });
        }
        if read.is_empty() {
            return Err(PyValueError::new_err("a guard without limits"));
        }
        Ok(Self { limits: read })
    }

    /// Takes a permit of each limit: the header fields that say what is left, or the exception
    /// that answers a request which is refused. `client` gives the client's address.
    pub(crate) fn admit(
        &self,
        py: Python<'_>,
        head: &RequestHead<'_>,
        client: &dyn Fn() -> PyResult<Option<String>>,
    ) -> PyResult<Extra> {
        let mut decisions = Vec::with_capacity(self.limits.len());
        for limit in &self.limits {
            let key = limit.key(head, client)?;
            let decision = limit.limiter.get().take_now(&key, limit.cost);
            decisions.push((limit.object.bind(py), parts(&decision)));
            if !decision.allowed {
                break;
            }
        }
        let judge = Helpers::of(py)?.rate_headers.bind(py);
        judge.call1((decisions,))?.extract()
    }
}

impl Limit {
    fn key(
        &self,
        head: &RequestHead<'_>,
        client: &dyn Fn() -> PyResult<Option<String>>,
    ) -> PyResult<Vec<u8>> {
        let value = self.header.as_ref().and_then(|name| head.headers.get(name));
        if let Some(value) = value {
            // Apart from addresses, which those without the header are told by.
            return Ok([b"=", value].concat());
        }
        // Whoever has no address has the key that ASGI's way gives him.
        Ok(client_key(client()?.as_deref().unwrap_or_default()))
    }
}

/// What `_core.RateLimiter.take` returns.
fn parts(decision: &Decision) -> (bool, u32, Option<f64>, f64) {
    (
        decision.allowed,
        decision.remaining,
        decision.retry_after.map(|wait| wait.as_secs_f64()),
        decision.reset_after.as_secs_f64(),
    )
}
