//! Sending a response, and what runs after it.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::channel::Channel;
use super::guard::Extra;
use super::helpers::Helpers;
use super::progress::{Awaiting, Next, Progress};
use super::respond::{Answer, Payload, PlainResponse, field_of};
use crate::exchange::Body;

/// The content type of what plans write themselves.
const JSON: (&[u8], &[u8]) = (b"content-type", b"application/json");

impl Progress {
    /// Sends the response that was made, once what it promises is on the disk.
    pub(super) fn send<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let tasks = match &self.answer {
            Some(Answer::Object(response)) => {
                Some(response.bind(py).getattr(intern!(py, "background"))?)
            }
            _ => self.background.as_ref().map(|tasks| tasks.bind(py).clone()),
        };
        if let Some(tasks) = tasks
            && tasks.is_instance(Helpers::of(py)?.background_tasks.bind(py))?
            && tasks.getattr(intern!(py, "is_uncommitted"))?.is_truthy()?
        {
            let committing = tasks.call_method0(intern!(py, "commit"))?;
            return Ok(Next::Await(committing, Awaiting::Committed));
        }
        self.send_answer(py)
    }

    /// Sends the response that was made.
    pub(super) fn send_answer<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        match &self.answer {
            Some(Answer::Object(response)) => {
                let response = response.bind(py).clone();
                self.send_object(&response)
            }
            Some(Answer::Json { status, body, extra }) => {
                let extra = extra.as_ref().map(|extra| extra.bind(py));
                let length = body.as_slice(py).len();
                if let Channel::Native { exchange, layers, .. } = &self.channel
                    && layers.are_known(length, self.request.is_some())
                {
                    let pairs = extra.map(collect_fields).transpose()?.unwrap_or_default();
                    let mut headers = Vec::with_capacity(1 + pairs.len() + self.extra.len());
                    headers.push(JSON);
                    let pairs = pairs.iter();
                    headers.extend(pairs.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
                    headers.extend(borrowed(&self.extra));
                    let body = match body {
                        Payload::Rust(bytes) => Body::Bytes(bytes),
                        Payload::Python(bytes) => Body::Python(bytes.bind(py).clone()),
                    };
                    layers.respond(py, exchange.as_ref(), *status, &headers, body)?;
                    self.started = true;
                    return self.run_background(py);
                }
                let message = start_message(py, *status, length, extra)?;
                let sending = self.asgi_send(py)?.call1((message,))?;
                self.started = true;
                Ok(Next::Await(sending, Awaiting::AsgiStart))
            }
            None => self.run_background(py),
        }
    }

    /// The second message of a response that the plan wrote.
    pub(super) fn send_asgi_body<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let send = self.asgi_send(py)?;
        let Some(Answer::Json { body, .. }) = &self.answer else {
            return self.run_background(py);
        };
        let message = PyDict::new(py);
        message.set_item(intern!(py, "type"), intern!(py, "http.response.body"))?;
        let bytes = match body {
            Payload::Rust(bytes) => PyBytes::new(py, bytes),
            Payload::Python(bytes) => bytes.bind(py).clone(),
        };
        message.set_item(intern!(py, "body"), bytes)?;
        Ok(Next::Await(send.call1((message,))?, Awaiting::AsgiBody))
    }

    /// The ASGI `send` for what the plan wrote: the caller's, or the one of the app's layers.
    fn asgi_send<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.channel {
            Channel::Asgi { send, .. } => Ok(send.bind(py).clone()),
            Channel::Native { .. } => Ok(self.tracked_send(py)?.into_any()),
        }
    }

    /// The background tasks, after a response that the plan wrote.
    pub(super) fn run_background<'py>(&mut self, py: Python<'py>) -> PyResult<Next<'py>> {
        let tasks = self.background.as_ref().map(|tasks| tasks.bind(py).clone());
        self.run_tasks(py, tasks)
    }

    fn run_tasks<'py>(
        &mut self,
        py: Python<'py>,
        tasks: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Next<'py>> {
        match tasks {
            Some(tasks) if !tasks.is_none() => {
                Ok(Next::Await(tasks.call0()?, Awaiting::Background))
            }
            _ => Ok(self.sent_all(py)),
        }
    }

    fn send_object<'py>(&mut self, response: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let py = response.py();
        if let Channel::Native { exchange, layers, .. } = &self.channel
            && let Some(plain) = PlainResponse::of(Helpers::of(py)?, response)?
            && layers.are_known(plain.body.as_bytes().len(), self.request.is_some())
        {
            let fields = plain.headers.iter();
            let mut headers: Vec<_> =
                fields.map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            headers.extend(borrowed(&self.extra));
            let body = Body::Python(plain.body);
            layers.respond(py, exchange.as_ref(), plain.status, &headers, body)?;
            self.started = true;
            let tasks = response.getattr(intern!(py, "background"))?;
            return self.run_tasks(py, Some(tasks));
        }
        // First, as it decides which scope the request has.
        let send = self.tracked_send(py)?;
        let parts = self.parts(py)?;
        let sending = response.call1((parts.scope, parts.receive, send))?;
        Ok(Next::Await(sending, Awaiting::Sent))
    }
}

fn borrowed(extra: &Extra) -> impl Iterator<Item = (&[u8], &[u8])> {
    extra.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
}

fn start_message<'py>(
    py: Python<'py>,
    status: u16,
    length: usize,
    extra: Option<&Bound<'py, PyList>>,
) -> PyResult<Bound<'py, PyDict>> {
    let headers = PyList::empty(py);
    if !(status < 200 || matches!(status, 204 | 304)) {
        let length = itoa::Buffer::new().format(length).as_bytes().to_vec();
        let name = PyBytes::new(py, b"content-length");
        headers.append((name, PyBytes::new(py, &length)))?;
    }
    headers.append((PyBytes::new(py, JSON.0), PyBytes::new(py, JSON.1)))?;
    if let Some(extra) = extra {
        for field in extra.iter() {
            headers.append(field)?;
        }
    }
    let message = PyDict::new(py);
    message.set_item(intern!(py, "type"), intern!(py, "http.response.start"))?;
    message.set_item(intern!(py, "status"), status)?;
    message.set_item(intern!(py, "headers"), headers)?;
    Ok(message)
}

type Fields<'py> = Vec<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)>;

fn collect_fields<'py>(fields: &Bound<'py, PyList>) -> PyResult<Fields<'py>> {
    fields
        .iter()
        .map(|field| match field_of(&field) {
            Some(pair) => Ok(pair),
            None => {
                let (name, value): (Vec<u8>, Vec<u8>) = field.extract()?;
                Ok((PyBytes::new(fields.py(), &name), PyBytes::new(fields.py(), &value)))
            }
        })
        .collect()
}
