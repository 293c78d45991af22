//! Rate limits of a route whose requests come from our own server.

use pelton_resilience::Decision;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::helpers::Helpers;
use crate::exchange::Exchange;
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
    /// that answers a request which is refused.
    pub(crate) fn admit(&self, py: Python<'_>, exchange: &dyn Exchange) -> PyResult<Extra> {
        let mut decisions = Vec::with_capacity(self.limits.len());
        for limit in &self.limits {
            let key = limit.key(py, exchange)?;
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
    fn key(&self, py: Python<'_>, exchange: &dyn Exchange) -> PyResult<Vec<u8>> {
        if let Some(name) = &self.header {
            let mut value = None;
            exchange.with_head(&mut |head| value = head.headers.get(name).map(<[u8]>::to_vec));
            if let Some(value) = value {
                // Apart from addresses, which those without the header are told by.
                return Ok([b"=", value.as_slice()].concat());
            }
        }
        match exchange.client(py)? {
            Some(address) => Ok(client_key(&address)),
            None => Ok(Vec::new()),
        }
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
