//! What the framework itself gives to endpoints and dependencies, made when first asked for.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::channel::{AsgiParts, Channel};
use super::helpers::Helpers;
use super::progress::Progress;
use super::send::TrackedSend;

impl Progress {
    /// The request as ASGI has it.
    pub(super) fn parts<'py>(&self, py: Python<'py>) -> PyResult<AsgiParts<'py>> {
        if let (Channel::Native { .. }, Some(request)) = (&self.channel, &self.request) {
            let request = request.bind(py);
            return Ok(AsgiParts {
                scope: request.getattr(intern!(py, "scope"))?.cast_into()?,
                receive: request.getattr(intern!(py, "_receive"))?,
                send: request.getattr(intern!(py, "_send"))?,
            });
        }
        self.channel.parts(py, &self.plan.route)
    }

    /// The `Request`, one for all who ask.
    pub(super) fn request<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(request) = &self.request {
            return Ok(request.bind(py).clone());
        }
        let parts = self.parts(py)?;
        let class = Helpers::of(py)?.request.bind(py);
        let request = class.call1((parts.scope, parts.receive, parts.send))?;
        self.request = Some(request.clone().unbind());
        Ok(request)
    }

    /// The ASGI `send`, which notes that a response was begun.
    pub(super) fn tracked_send<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, TrackedSend>> {
        if let Some(send) = &self.tracked {
            return Ok(send.bind(py).clone());
        }
        if matches!(self.channel, Channel::Native { .. }) {
            // All who come later are to have the same scope as this `send`, with its session.
            self.request(py)?;
        }
        let send = Bound::new(
            py,
            TrackedSend::new(self.parts(py)?.send, self.started, self.extra.clone()),
        )?;
        self.tracked = Some(send.clone().unbind());
        Ok(send)
    }

    /// The `BackgroundTasks`, one for all who ask.
    pub(super) fn background_tasks<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        if let Some(tasks) = &self.background {
            return Ok(tasks.bind(py).clone());
        }
        let tasks = Helpers::of(py)?.background_tasks.bind(py).call0()?;
        self.background = Some(tasks.clone().unbind());
        Ok(tasks)
    }

    /// The `Response` for headers and status, one for all who ask.
    pub(super) fn temporal_response<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(response) = &self.temporal {
            return Ok(response.bind(py).clone());
        }
        let response = Helpers::of(py)?.temporal_response.bind(py).call0()?;
        self.temporal = Some(response.clone().unbind());
        Ok(response)
    }

    /// The bytes of a body that has come.
    pub(super) fn native_body<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        match &self.channel {
            Channel::Native { exchange, .. } => Some(exchange.body(py)),
            Channel::Asgi { .. } => None,
        }
    }
}
