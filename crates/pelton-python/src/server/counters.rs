//! What a server counts about itself.

use std::cell::Cell;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Upper bounds of the latency histogram's buckets, in seconds; the last bucket has none.
pub(super) const BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Plain cells: a server lives in one thread.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) requests: Counter,
    pub(super) in_flight: Counter,
    /// Connections that a fault of ours ended.
    pub(super) panics: Counter,
    pub(super) websockets: Counter,
    pub(super) open_websockets: Counter,
    pub(super) accepted: Counter,
    pub(super) rejected: Counter,
    pub(super) refused: Counter,
    pub(super) failed: Counter,
    pub(super) disconnected: Counter,
    pub(super) bytes_in: Counter,
    pub(super) bytes_out: Counter,
    responses: [Counter; 5],
    latency: [Counter; BOUNDS.len() + 1],
    latency_sum_ns: Counter,
}

/// A number that goes up, and for what is open now, down.
#[derive(Default)]
pub(super) struct Counter(Cell<u64>);

impl Counter {
    pub(super) fn add(&self, amount: usize) {
        self.0.set(self.0.get() + amount as u64);
    }

    pub(super) fn subtract_one(&self) {
        self.0.set(self.0.get().saturating_sub(1));
    }

    pub(super) fn value(&self) -> u64 {
        self.0.get()
    }
}

impl Counters {
    /// A response of this status was sent.
    pub(super) fn count_status(&self, status: u16) {
        if let Some(class) = self.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            class.add(1);
        }
    }

    /// A response was complete so long after its request's head.
    pub(super) fn count_latency(&self, elapsed: Duration) {
        let seconds = elapsed.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.latency[bucket].add(1);
        self.latency_sum_ns.add(usize::try_from(elapsed.as_nanos()).unwrap_or(usize::MAX));
    }

    /// The counters as a dictionary; `connections`: those open now.
    pub(super) fn to_dict<'py>(
        &self,
        py: Python<'py>,
        connections: usize,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("connections", connections)?;
        for (name, counter) in [
            ("requests", &self.requests),
            ("in_flight", &self.in_flight),
            ("panics", &self.panics),
            ("websockets", &self.websockets),
            ("open_websockets", &self.open_websockets),
            ("accepted", &self.accepted),
            ("rejected", &self.rejected),
            ("refused", &self.refused),
            ("failed", &self.failed),
            ("disconnected", &self.disconnected),
            ("bytes_in", &self.bytes_in),
            ("bytes_out", &self.bytes_out),
        ] {
            dict.set_item(name, counter.value())?;
        }
        let responses = PyDict::new(py);
        for (class, counter) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(&self.responses) {
            responses.set_item(class, counter.value())?;
        }
        dict.set_item("responses", responses)?;
        let latency = PyDict::new(py);
        latency.set_item("bounds", BOUNDS)?;
        let counts: Vec<u64> = self.latency.iter().map(Counter::value).collect();
        latency.set_item("counts", counts)?;
        latency.set_item("sum", self.latency_sum_ns.value() as f64 / 1e9)?;
        dict.set_item("latency", latency)?;
        Ok(dict)
    }
}
