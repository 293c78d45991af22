//! Brings answers to the futures of asyncio loops.
//!
//! The engine's threads never wait for the GIL. For Pelton's own loop they leave settlements in its
//! mailbox; for other loops here: the courier's thread takes all that wait, and hands each loop its
//! share by one `call_soon_threadsafe`. The loop's own thread then makes the Python values and sets
//! them.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use pyo3::prelude::*;

use crate::event_loop::{LoopRef, Mailbox};

/// A future, and how to settle it.
pub(super) struct Settlement {
    /// The loop of the future.
    pub(super) address: Address,
    /// What waits for the answer.
    pub(super) future: Py<PyAny>,
    /// Makes the value or the exception, in the loop's thread.
    pub(super) answer: Box<dyn Answer>,
}

/// Where a settlement goes.
pub(super) enum Address {
    /// Pelton's loop: straight into its mailbox.
    Mailbox(Mailbox),
    /// Another loop: by `call_soon_threadsafe`.
    Loop(Py<PyAny>),
}

impl Address {
    /// The address of a future's loop.
    pub(super) fn of(event_loop: Bound<'_, PyAny>) -> Self {
        match LoopRef::from_object(&event_loop) {
            Ok(ours) => Self::Mailbox(ours.mailbox()),
            Err(_) => Self::Loop(event_loop.unbind()),
        }
    }
}

/// An answer on its way.
pub(super) trait Answer: Send + Sync {
    /// The value, as Python will see it.
    fn make(&mut self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    /// Nobody takes it: the future was cancelled, or its loop is closed.
    fn undelivered(&mut self);
}

/// A thread that settles futures. Clones share it; it ends with the last of them.
#[derive(Clone)]
pub(super) struct Courier {
    _guard: Arc<Guard>,
    satchel: Arc<Satchel>,
}

#[derive(Default)]
struct Satchel {
    state: Mutex<SatchelState>,
    changed: Condvar,
}

#[derive(Default)]
struct SatchelState {
    /// Bounded by the engine's own queue: one settlement for each call.
    settlements: Vec<Settlement>,
    closed: bool,
}

/// Tells the thread when the last courier is gone.
struct Guard(Arc<Satchel>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.0.changed.notify_one();
    }
}

impl Courier {
    /// Starts the thread.
    pub(super) fn start() -> PyResult<Self> {
        let satchel = Arc::<Satchel>::default();
        let theirs = Arc::clone(&satchel);
        std::thread::Builder::new().name("pelton-courier".into()).spawn(move || theirs.run())?;
        Ok(Self { _guard: Arc::new(Guard(Arc::clone(&satchel))), satchel })
    }

    /// Has a future settled soon.
    pub(super) fn send(&self, settlement: Settlement) {
        if let Address::Mailbox(mailbox) = &settlement.address {
            let mailbox = mailbox.clone();
            let letter = Settle::new(vec![settlement]);
            return mailbox.post(Box::new(move |py| letter.__call__(py)));
        }
        let mut state = self.satchel.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settlements.push(settlement);
        if state.settlements.len() == 1 {
            self.satchel.changed.notify_one();
        }
    }
}

impl Satchel {
    fn run(&self) {
        loop {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while state.settlements.is_empty() {
                if state.closed {
                    return;
                }
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            drop(state);
            // What comes while the GIL is waited for goes along.
            let delivered = Python::try_attach(|py| {
                let settlements = {
                    let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                    std::mem::take(&mut state.settlements)
                };
                deliver(py, settlements);
            });
            if delivered.is_none() {
                // The interpreter is gone, and with it everybody who waits.
                return;
            }
        }
    }
}

/// Hands each loop its settlements.
fn deliver(py: Python<'_>, settlements: Vec<Settlement>) {
    let mut batches: Vec<(Py<PyAny>, Vec<Settlement>)> = Vec::new();
    for settlement in settlements {
        let Address::Loop(event_loop) = &settlement.address else { continue };
        match batches.iter_mut().find(|(other, _)| other.is(event_loop)) {
            Some((_, batch)) => batch.push(settlement),
            None => batches.push((event_loop.clone_ref(py), vec![settlement])),
        }
    }
    for (event_loop, batch) in batches {
        let settle = Settle::new(batch);
        let batch = Arc::clone(&settle.batch);
        let called = Bound::new(py, settle)
            .and_then(|settle| event_loop.call_method1(py, "call_soon_threadsafe", (settle,)));
        if called.is_err() {
            // The loop is closed: its futures will never be asked again.
            give_back(&batch);
        }
    }
}

fn give_back(batch: &Mutex<Vec<Settlement>>) {
    for mut settlement in batch.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        settlement.answer.undelivered();
    }
}

/// The callable that a loop runs.
#[pyclass(frozen, module = "pelton._core")]
struct Settle {
    batch: Arc<Mutex<Vec<Settlement>>>,
}

impl Settle {
    fn new(batch: Vec<Settlement>) -> Self {
        Self { batch: Arc::new(Mutex::new(batch)) }
    }
}

#[pymethods]
impl Settle {
    /// Settles all futures of the batch that still wait.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let batch = {
            let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *batch)
        };
        let mut trouble = None;
        for Settlement { future, mut answer, .. } in batch {
            if let Err(error) = settle(future.bind(py), answer.as_mut()) {
                trouble = Some(error);
            }
        }
        // The loop's exception handler tells of it; the other futures are settled.
        trouble.map_or(Ok(()), Err)
    }
}

impl Drop for Settle {
    fn drop(&mut self) {
        // A loop that was closed before it ran the call.
        give_back(&self.batch);
    }
}

fn settle(future: &Bound<'_, PyAny>, answer: &mut dyn Answer) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
        answer.undelivered();
        return Ok(());
    }
    match answer.make(py) {
        Ok(value) => future.call_method1(pyo3::intern!(py, "set_result"), (value,))?,
        Err(error) => {
            future.call_method1(pyo3::intern!(py, "set_exception"), (error.into_value(py),))?
        }
    };
    Ok(())
}
