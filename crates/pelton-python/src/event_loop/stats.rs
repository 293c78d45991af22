//! What the loop counts about itself, always: a few additions a turn.

use std::cell::{Cell, RefCell};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::core::LoopCore;

/// Buckets of the histograms: bucket `n` counts durations below 2^n microseconds; the last one all
/// longer ones.
const BUCKETS: usize = 24;

/// A build to compare with, in which only turns are counted (cargo's feature `unobserved`).
pub(super) const UNOBSERVED: bool = cfg!(feature = "unobserved");

/// Durations by powers of two.
#[derive(Default)]
pub(super) struct Histogram([Cell<u64>; BUCKETS]);

impl Histogram {
    pub(super) fn add(&self, duration_ns: u64) {
        let micros = duration_ns / 1000;
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        let cell = &self.0[bucket.min(BUCKETS - 1)];
        cell.set(cell.get() + 1);
    }

    fn counts(&self) -> Vec<u64> {
        self.0.iter().map(Cell::get).collect()
    }
}

/// Counters since the loop was made.
#[derive(Default)]
pub(super) struct Stats {
    pub(super) turns: Cell<u64>,
    pub(super) callbacks: Cell<u64>,
    pub(super) events: Cell<u64>,
    pub(super) polls: Cell<u64>,
    /// Time in `_run_once`, in nanoseconds.
    pub(super) running_ns: Cell<u64>,
    /// Of that, time waiting for events.
    pub(super) parked_ns: Cell<u64>,
    pub(super) ready_max: Cell<usize>,
    /// From the end of a wait to the begin of the next: how long an event may have to wait.
    pub(super) turn_time: Histogram,
    /// From a timer's deadline to its run.
    pub(super) timer_lag: Histogram,
    pub(super) turn_max_ns: Cell<u64>,
    pub(super) lag_max_ns: Cell<u64>,
    /// When the turns now running began; `None` when the loop does not run.
    pub(super) started_ns: RefCell<Option<u64>>,
}

impl Stats {
    pub(super) fn turn(&self, duration_ns: u64) {
        // Not for the statistics alone: plans ask whether another turn has come.
        self.turns.set(self.turns.get() + 1);
        if UNOBSERVED {
            return;
        }
        self.turn_time.add(duration_ns);
        self.turn_max_ns.set(self.turn_max_ns.get().max(duration_ns));
    }

    pub(super) fn lag(&self, duration_ns: u64) {
        if UNOBSERVED {
            return;
        }
        self.timer_lag.add(duration_ns);
        self.lag_max_ns.set(self.lag_max_ns.get().max(duration_ns));
    }
}

/// Adds to a counter.
pub(super) fn count(cell: &Cell<u64>, more: u64) {
    if !UNOBSERVED {
        cell.set(cell.get() + more);
    }
}

impl LoopCore {
    /// Everything as a dict; the maxima begin anew.
    pub(super) fn stats_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = &self.stats;
        let now = pelton_reactor::monotonic_ns();
        let current = stats.started_ns.borrow().map_or(0, |started| now.saturating_sub(started));
        let seconds = |ns: u64| ns as f64 / 1e9;
        let dict = PyDict::new(py);
        dict.set_item("turns", stats.turns.get())?;
        dict.set_item("callbacks", stats.callbacks.get())?;
        dict.set_item("events", stats.events.get())?;
        dict.set_item("polls", stats.polls.get())?;
        dict.set_item("running", seconds(stats.running_ns.get() + current))?;
        dict.set_item("parked", seconds(stats.parked_ns.get()))?;
        dict.set_item("ready", self.ready.borrow().len())?;
        dict.set_item("ready_max", stats.ready_max.replace(0))?;
        let transports = self.stream_fds.borrow().len();
        dict.set_item("transports", transports)?;
        dict.set_item("timers", self.timers.borrow().len())?;
        dict.set_item("turn_max", seconds(stats.turn_max_ns.replace(0)))?;
        dict.set_item("lag_max", seconds(stats.lag_max_ns.replace(0)))?;
        dict.set_item("turn_time", stats.turn_time.counts())?;
        dict.set_item("timer_lag", stats.timer_lag.counts())?;
        Ok(dict)
    }
}
