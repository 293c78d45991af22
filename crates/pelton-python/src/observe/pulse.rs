//! `Pulse`: what other threads may see of a running loop, without the GIL.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::watchdog;

/// A loop's sign of life. The loop writes it, at the price of a store a callback; the watchdog
/// reads it.
#[derive(Default)]
pub(crate) struct Pulse {
    /// Callbacks begun so far.
    step: AtomicU64,
    /// The loop does not run, or waits for events.
    idle: AtomicBool,
}

impl Pulse {
    /// A callback begins: the `step`th.
    #[inline]
    pub(crate) fn begin(&self, step: u64) {
        self.step.store(step, Ordering::Relaxed);
    }

    /// Nothing keeps the loop from now on.
    pub(crate) fn rest(&self) {
        self.idle.store(true, Ordering::SeqCst);
    }

    /// The loop has something to do. Starts the watchdog again if all were idle so far.
    pub(crate) fn resume(&self) {
        // The watchdog says that it sleeps, and looks at `idle` after that; we change `idle`, and
        // then look whether it sleeps. In one order of all, one of us sees the other.
        self.idle.store(false, Ordering::SeqCst);
        if watchdog::sleeps() {
            watchdog::wake();
        }
    }

    pub(super) fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }
}
