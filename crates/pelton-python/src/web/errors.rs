//! What becomes of an exception: the app's handlers, or whoever runs the request.

use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::channel::Channel;
use super::helpers::Helpers;
use super::progress::{Awaiting, Next, Phase, Progress};

impl Progress {
    pub(super) fn handle<'py>(&mut self, py: Python<'py>, error: PyErr) -> Next<'py> {
        self.phase = Phase::Handling;
        if !error.is_instance_of::<PyException>(py) {
            return Next::Raise(error);
        }
        match self.begin_handling(py, &error) {
            Ok(handling) => Next::Await(handling, Awaiting::Handled),
            Err(second) => {
                second.set_cause(py, Some(error));
                self.give_up(py, second)
            }
        }
    }

    fn begin_handling<'py>(
        &mut self,
        py: Python<'py>,
        error: &PyErr,
    ) -> PyResult<Bound<'py, PyAny>> {
        let helpers = Helpers::of(py)?;
        let request = self.request(py)?;
        let send = self.tracked_send(py)?;
        let error = error.value(py);
        match &self.channel {
            Channel::Asgi { .. } => helpers.answer_error.bind(py).call1((error, request, send)),
            Channel::Native { layers, .. } => {
                let layers = layers.object.bind(py);
                helpers.answer_as_app.bind(py).call1((error, request, send, layers))
            }
        }
    }

    pub(super) fn handled<'py>(
        &mut self,
        py: Python<'py>,
        result: PyResult<Bound<'py, PyAny>>,
    ) -> Next<'py> {
        match result {
            Ok(left) if left.is_none() => Next::Done,
            Ok(error) => self.give_up(py, PyErr::from_value(error)),
            Err(error) => self.give_up(py, error),
        }
    }

    /// Ends with an exception that nothing takes.
    pub(super) fn give_up<'py>(&mut self, py: Python<'py>, error: PyErr) -> Next<'py> {
        match &self.channel {
            Channel::Native { exchange, .. } if error.is_instance_of::<PyException>(py) => {
                exchange.failed(py, error);
                Next::Done
            }
            _ => Next::Raise(error),
        }
    }
}
