//! A clock that stands still until a test moves it.

use std::sync::atomic::{AtomicI64, Ordering};

use pelton_jobs::clock::Clock;
use pelton_jobs::time::Time;

/// Begins at a fixed moment (14 November 2023, 22:13:20 UTC).
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicI64::new(1_700_000_000_000_000))
    }
}

impl ManualClock {
    /// Moves the clock on (or back) by `seconds`.
    pub fn advance(&self, seconds: f64) {
        self.0.store(self.now().after(seconds).0, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        Time(self.0.load(Ordering::SeqCst))
    }
}
