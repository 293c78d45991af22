//! `Stall`: one time that a callback held the loop too long, and the newest of them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Stalls that are remembered; older ones are forgotten.
const KEPT: usize = 128;

/// A line of a Python stack.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) file: String,
    pub(super) line: u32,
    pub(super) function: String,
}

/// One callback that held its loop past the limit.
#[derive(Clone)]
pub(super) struct Stall {
    /// Tells it from the others.
    pub(super) id: u64,
    /// When it was first seen, in seconds since 1970.
    pub(super) began: f64,
    /// Seconds it was seen to last.
    pub(super) duration: f64,
    /// Of these, seconds that the loop's thread used a processor.
    pub(super) cpu: f64,
    /// It still lasts.
    pub(super) ongoing: bool,
    /// The stack came while another thread could not have the GIL.
    pub(super) gil_held: bool,
    /// Innermost frame last. Empty: no stack could be had.
    pub(super) stack: Vec<Frame>,
    pub(super) task: Option<String>,
    /// The thread that runs the loop, as `threading.get_ident()` says.
    pub(super) thread: u64,
}

impl Stall {
    /// The text of the log.
    pub(super) fn describe(&self, limit: f64) -> String {
        let mut text = format!(
            "The event loop was held for {:.3} s by one callback (limit {limit:.3} s, {:.3} s of \
             processor time{}{})",
            self.duration,
            self.cpu,
            if self.gil_held { ", GIL held" } else { "" },
            self.task.as_ref().map_or(String::new(), |name| format!(", task {name}")),
        );
        for frame in &self.stack {
            text +=
                &format!("\n  File \"{}\", line {}, in {}", frame.file, frame.line, frame.function);
        }
        text
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("began", self.began)?;
        dict.set_item("duration", self.duration)?;
        dict.set_item("cpu", self.cpu)?;
        dict.set_item("ongoing", self.ongoing)?;
        dict.set_item("gil_held", self.gil_held)?;
        dict.set_item("task", self.task.as_deref())?;
        dict.set_item("thread", self.thread)?;
        let stack: Vec<_> =
            self.stack.iter().map(|frame| (&frame.file, frame.line, &frame.function)).collect();
        dict.set_item("stack", stack)?;
        Ok(dict)
    }
}

/// The newest stalls of the process.
static STALLS: Mutex<VecDeque<Stall>> = Mutex::new(VecDeque::new());

fn lock() -> MutexGuard<'static, VecDeque<Stall>> {
    // Nothing that runs under this lock leaves the list half changed.
    STALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Remembers `stall`, in place of what was known of it before.
pub(super) fn remember(stall: Stall) {
    let mut stalls = lock();
    if let Some(known) = stalls.iter_mut().rev().find(|known| known.id == stall.id) {
        *known = stall;
        return;
    }
    if stalls.len() == KEPT {
        stalls.pop_front();
    }
    stalls.push_back(stall);
}

/// Changes what is known of a stall.
pub(super) fn update(id: u64, change: impl FnOnce(&mut Stall)) {
    if let Some(stall) = lock().iter_mut().rev().find(|stall| stall.id == id) {
        change(stall);
    }
}

/// What is known of a stall.
pub(super) fn get(id: u64) -> Option<Stall> {
    lock().iter().rev().find(|stall| stall.id == id).cloned()
}

/// Forgets all stalls.
#[pyfunction]
pub(super) fn clear_stalls() {
    lock().clear();
}

/// The newest stalls, oldest first; see `pelton.observe.stalls`.
#[pyfunction]
pub(super) fn stalls(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let known: Vec<Stall> = lock().iter().cloned().collect();
    known.iter().map(|stall| stall.to_dict(py)).collect()
}
