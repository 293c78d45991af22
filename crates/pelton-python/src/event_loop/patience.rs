//! Waiting a moment for another thread before going to sleep.
//!
//! Waking a thread costs both sides far more than the short call it was woken for. Where answers
//! tend to come within microseconds, the waiter looks out for them first; where they do not, it
//! soon stops doing so, and tries again now and then. An idle thread never looks out: it does so
//! once, after work, and then sleeps.

use std::hint::spin_loop;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use pelton_reactor::monotonic_ns;

/// How long one look-out takes at most.
const WATCH_NS: u64 = 40_000;
/// Looks between two readings of the clock.
const LOOKS: u32 = 32;
/// What a success brings, of at most `TRUST_MAX`; a failure costs one.
const TRUST_GAIN: u8 = 4;
const TRUST_MAX: u8 = 16;
/// Waits without a look-out, once all trust is gone, until the next attempt.
const PAUSE: u8 = 64;

/// Whether looking out has been worth it of late.
pub(super) struct Patience {
    trust: AtomicU8,
    skipped: AtomicU8,
}

/// Of the loops' threads, for the answers of executors.
pub(super) static LOOP: Patience = Patience::new();
/// Of executors' threads, for their next call.
pub(super) static WORKER: Patience = Patience::new();
/// Of executors' threads that have a call, for the loop to release the GIL.
pub(super) static HANDOVER: Patience = Patience::new();

impl Patience {
    const fn new() -> Self {
        Self { trust: AtomicU8::new(TRUST_MAX), skipped: AtomicU8::new(0) }
    }

    /// Waits for `came` a moment, if that has been worth it. Returns whether it came.
    pub(super) fn watch(&self, came: impl Fn() -> bool) -> bool {
        if came() {
            return true;
        }
        // Two threads that change the counters at once only make them a little wrong.
        let trust = self.trust.load(Ordering::Relaxed);
        if trust == 0 {
            let skipped = self.skipped.load(Ordering::Relaxed);
            self.skipped.store((skipped + 1) % PAUSE, Ordering::Relaxed);
            if skipped + 1 < PAUSE {
                return false;
            }
        }
        if !has_second_core() {
            return false;
        }
        let end = monotonic_ns() + WATCH_NS;
        loop {
            for _ in 0..LOOKS {
                if came() {
                    self.trust.store((trust + TRUST_GAIN).min(TRUST_MAX), Ordering::Relaxed);
                    return true;
                }
                spin_loop();
            }
            if monotonic_ns() >= end {
                self.trust.store(trust.saturating_sub(1), Ordering::Relaxed);
                return false;
            }
        }
    }
}

/// On a single one, the other thread cannot move while this one looks out.
fn has_second_core() -> bool {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from)) > 1
}
