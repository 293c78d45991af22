//! A request's way to whoever answers it, the same from every kind of connection.

use std::rc::Rc;

use pelton_http::h1::Head;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::web::Routed;

use super::asgi;
use super::exchange::PlanExchange;
use super::request::Request;
use super::shared::Shared;

/// The fields of an answer to a request that is one too many.
pub(super) const OVERLOADED: [(&[u8], &[u8]); 2] =
    [(b"content-type", b"text/plain; charset=utf-8"), (b"retry-after", b"1")];

/// The mounted app whose prefix the path has.
pub(super) fn mount(shared: &Shared, head: &Head) -> Option<usize> {
    shared.options.mounts.iter().position(|(prefix, _)| {
        head.path()
            .strip_prefix(prefix.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    })
}

/// Gives a request to its plan or to the application. `true`: its plan waits for the whole body,
/// which is to be collected and then given to [`resume`].
pub(super) fn begin(py: Python<'_>, request: &Rc<Request>) -> PyResult<bool> {
    let routed = match &request.shared.web {
        Some(web) if request.mount.is_none() => {
            let has_body = request.head.has_body();
            // No `?`: the request is counted by now, and whatever fails is to be answered.
            let mut routed = request.read_told_host(py).map(|()| None);
            let client = || request.client_host(py);
            let turn = Some(request.shared.event_loop.turn_number());
            if routed.is_ok() {
                request.with_head(&mut |head| {
                    routed = web.route(py, &head, has_body, turn, &client);
                });
            }
            routed
        }
        _ => Ok(None),
    };
    let started = match routed {
        Ok(Some(routed)) if request.head.has_body() && routed.wants_body() => {
            *request.plan.borrow_mut() = Some(routed);
            return Ok(true);
        }
        Ok(Some(routed)) => start_plan(py, request, routed),
        Ok(None) => asgi::start(py, request),
        Err(error) => Err(error),
    };
    fail_on_error(py, request, started)?;
    Ok(false)
}

/// The whole body, for which the request's plan waited, is there.
pub(super) fn resume(py: Python<'_>, request: &Rc<Request>, body: Py<PyBytes>) -> PyResult<()> {
    *request.collected.borrow_mut() = Some(body);
    let routed = request.plan.borrow_mut().take();
    let started = match routed {
        Some(routed) => start_plan(py, request, routed),
        None => Ok(()),
    };
    fail_on_error(py, request, started)
}

/// Runs the plan of a request whose body, if it wants one, is there.
fn start_plan(py: Python<'_>, request: &Rc<Request>, routed: Routed) -> PyResult<()> {
    let coroutine = routed.start(py, Rc::new(PlanExchange::new(request.clone())))?;
    asgi::spawn(py, request, &coroutine)
}

/// An application that fails before it runs answers 500 like one that fails later.
fn fail_on_error(py: Python<'_>, request: &Request, started: PyResult<()>) -> PyResult<()> {
    match started {
        Ok(()) => Ok(()),
        Err(error) => {
            request.report(py, &error);
            request.fail(py)
        }
    }
}
