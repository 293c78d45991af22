//! Work for a loop from threads that do not hold the GIL.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pelton_reactor::Waker;
use pyo3::prelude::*;

/// Something to run once in the loop's thread. It may be dropped instead, in any thread, when the
/// loop is closed.
pub(crate) type Letter = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// A loop's letter box: cheap to clone, usable from any thread, and after the loop's end.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Inner>);

struct Inner {
    slot: Mutex<Slot>,
    /// Whether there are letters: what the loop looks at every turn.
    full: AtomicBool,
    waker: Waker,
}

#[derive(Default)]
struct Slot {
    /// Bounded by those who post: each has a limit of its own for what it has under way.
    letters: Vec<Letter>,
    closed: bool,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        let slot = Mutex::default();
        Self(Arc::new(Inner { slot, full: AtomicBool::new(false), waker }))
    }

    /// Has `letter` run in the loop's next turn. Where the loop is closed, it is dropped.
    pub(crate) fn post(&self, letter: Letter) {
        let first = {
            let mut slot = self.lock();
            if slot.closed {
                drop(slot);
                drop(letter);
                return;
            }
            slot.letters.push(letter);
            self.0.full.store(true, Ordering::Release);
            slot.letters.len() == 1
        };
        if first {
            // A full eventfd is the only failure, and then the wait ends anyway.
            let _ = self.0.waker.wake();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.0.full.load(Ordering::Acquire)
    }

    /// All letters, in the order they came.
    pub(super) fn take(&self) -> Vec<Letter> {
        let mut slot = self.lock();
        self.0.full.store(false, Ordering::Relaxed);
        std::mem::take(&mut slot.letters)
    }

    /// Refuses letters from now on, and gives those that nobody will read.
    pub(super) fn close(&self) -> Vec<Letter> {
        let mut slot = self.lock();
        slot.closed = true;
        std::mem::take(&mut slot.letters)
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        // Nothing that runs under this lock leaves the slot half changed.
        self.0.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
