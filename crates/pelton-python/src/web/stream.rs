//! Endpoints that yield: their items become the lines, events or pieces of the response.

use pyo3::prelude::*;

use super::helpers::Helpers;
use super::leave::Leave;
use super::progress::{Awaiting, Next, Progress};
use super::respond::Answer;

impl Progress {
    /// Makes the response of what an endpoint yields.
    pub(super) fn stream<'py>(&mut self, content: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let py = content.py();
        let request = self.request(py)?;
        let background = self.background.as_ref().map(|tasks| tasks.bind(py).clone());
        let temporal = self.temporal.as_ref().map(|response| response.bind(py).clone());
        let arguments = (self.plan.route.bind(py), content, background, temporal, request);
        let building = Helpers::of(py)?.build_stream.bind(py).call1(arguments)?;
        Ok(Next::Await(building, Awaiting::Streamed))
    }

    /// Goes on with `(response, stack)`; the stack's tasks make the items, and end with the request.
    pub(super) fn take_stream<'py>(&mut self, built: &Bound<'py, PyAny>) -> PyResult<Next<'py>> {
        let (response, stack): (Py<PyAny>, Py<PyAny>) = built.extract()?;
        self.leave_at_end.push(Leave::Manager(stack));
        self.answer = Some(Answer::Object(response));
        Ok(self.leave_function(built.py()))
    }
}
