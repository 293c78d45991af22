//! The two forms of every operation: a future that is settled later, or a call that blocks.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use pelton_jobs::BrokerError;
use pelton_jobs::engine::Reply;
use pyo3::prelude::*;

use super::convert;
use super::courier::{Address, Answer, Courier, Settlement};

/// How often a call that blocks looks for Ctrl-C.
const SIGNAL_PAUSE: Duration = Duration::from_millis(50);

/// How an answer becomes a Python value, and what is done with one that nobody takes.
pub(super) struct Route<T> {
    /// Makes the value.
    pub(super) make: fn(Python<'_>, T) -> PyResult<Py<PyAny>>,
    /// Takes back what the caller will never see.
    pub(super) undelivered: Option<Box<dyn FnOnce(T) + Send + Sync>>,
}

impl<T> Route<T> {
    /// For answers that may be lost.
    pub(super) fn new(make: fn(Python<'_>, T) -> PyResult<Py<PyAny>>) -> Self {
        Self { make, undelivered: None }
    }
}

/// Calls the engine with a reply that settles `waiter`, or blocks for the answer without one.
pub(super) fn answer<T: Send + Sync + 'static>(
    py: Python<'_>,
    courier: &Courier,
    waiter: Option<Bound<'_, PyAny>>,
    route: Route<T>,
    call: impl FnOnce(Reply<T>) + Send,
) -> PyResult<Option<Py<PyAny>>> {
    let Some(waiter) = waiter else { return block(py, route, call).map(Some) };
    let address = Address::of(waiter.call_method0(pyo3::intern!(py, "get_loop"))?);
    let (future, courier) = (waiter.unbind(), courier.clone());
    call(Reply::new(move |result| {
        let answer = Box::new(Pending { result: Some(result), route: Some(route) });
        courier.send(Settlement { address, future, answer });
    }));
    Ok(None)
}

struct Pending<T> {
    result: Option<Result<T, BrokerError>>,
    route: Option<Route<T>>,
}

impl<T: Send + Sync> Answer for Pending<T> {
    fn make(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match (self.result.take(), self.route.take()) {
            (Some(Ok(value)), Some(route)) => (route.make)(py, value),
            (Some(Err(error)), _) => Err(convert::error(error)),
            _ => Err(convert::BrokerError::new_err("an answer was asked for twice")),
        }
    }

    fn undelivered(&mut self) {
        if let (Some(Ok(value)), Some(route)) = (self.result.take(), self.route.take())
            && let Some(undelivered) = route.undelivered
        {
            undelivered(value);
        }
    }
}

fn block<T: Send + Sync + 'static>(
    py: Python<'_>,
    route: Route<T>,
    call: impl FnOnce(Reply<T>) + Send,
) -> PyResult<Py<PyAny>> {
    let (sender, mut receiver) = mpsc::sync_channel(1);
    let Route { make, undelivered } = route;
    let reply = Reply::new(move |result| {
        // Refused where the caller has gone, by Ctrl-C.
        let back = match sender.send(result) {
            Ok(()) => None,
            Err(mpsc::SendError(result)) => Some(result),
        };
        if let (Some(Ok(value)), Some(undelivered)) = (back, undelivered) {
            undelivered(value);
        }
    });
    py.detach(|| call(reply));
    let result = loop {
        // The receiver goes along, for it cannot be shared with a section without the GIL.
        let (answer, back) = py.detach(move || (receiver.recv_timeout(SIGNAL_PAUSE), receiver));
        receiver = back;
        match answer {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(convert::BrokerError::new_err("the broker did not answer"));
            }
        }
    };
    make(py, result.map_err(convert::error)?)
}
