//! A request as the framework's plan sees it.

use std::rc::Rc;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::exchange::{Body, Exchange, RequestHead};

use super::asgi::{Receive, Send};
use super::message;
use super::request::Request;

/// The plan's side of a request. Dropped without an answer, it answers 500: a plan that was
/// cancelled leaves no client waiting.
pub(super) struct PlanExchange {
    request: Rc<Request>,
}

impl PlanExchange {
    pub(super) fn new(request: Rc<Request>) -> Self {
        Self { request }
    }
}

impl Exchange for PlanExchange {
    fn with_head(&self, read: &mut dyn FnMut(RequestHead<'_>)) {
        self.request.with_head(read);
    }

    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        match self.request.collected.borrow().as_ref() {
            Some(body) => body.bind(py).clone(),
            None => PyBytes::new(py, b""),
        }
    }

    fn asgi<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let scope = self.request.scope(py)?;
        let receive = Bound::new(py, Receive::new(self.request.clone()))?;
        let send = Bound::new(py, Send::new(self.request.clone()))?;
        Ok((scope.into_any(), receive.into_any(), send.into_any()))
    }

    fn respond(
        &self,
        py: Python<'_>,
        status: u16,
        headers: &[(&[u8], &[u8])],
        body: Body<'_>,
    ) -> PyResult<()> {
        let request = &self.request;
        if !request.is_open() {
            // The client left: there is nobody to tell.
            return Ok(());
        }
        let carrier = &request.carrier;
        carrier
            .respond(status, &mut headers.iter().copied(), body.as_slice())
            .map_err(message::response_error)?;
        request.status.set(status);
        request.note_sent(body.as_slice().len());
        carrier.finish_request(py, request)?;
        carrier.advance(py);
        Ok(())
    }

    fn failed(&self, py: Python<'_>, error: PyErr) {
        self.request.report(py, &error);
        if let Err(error) = self.request.fail(py) {
            self.request.shared.log_error(py, "Error while answering 500", &error);
        }
    }
}

impl Drop for PlanExchange {
    fn drop(&mut self) {
        let request = self.request.clone();
        let shared = request.shared.clone();
        // What a plan holds is dropped inside Python's deallocation: answer outside of it.
        if self.request.is_open() || shared.has_task(request.id) {
            shared.clone().event_loop.run_soon_native(move |py| {
                shared.remove_task(py, request.id);
                if request.is_open() { request.fail(py) } else { Ok(()) }
            });
        }
    }
}
