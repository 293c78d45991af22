//! How threads wake the one that waits: no wakeup is lost, and one wait gets one at most.

#[cfg(loom)]
use loom::sync::atomic::{AtomicU8, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicU8, Ordering};

/// The owner works, and looks at what others left before it waits.
const AWAKE: u8 = 0;
/// It waits by looking at the bell.
const LISTENING: u8 = 1;
/// It waits in the kernel, or is about to.
const ASLEEP: u8 = 2;
/// Somebody left something.
const RUNG: u8 = 3;

/// The bell of one thread, its owner, which others ring after they left something for it.
///
/// The owner's round is `answer`, look at what was left, `listen`, `sleep`, wait in the kernel, and
/// `answer` again. Whoever rings makes the kernel end the wait if `ring` says so.
#[derive(Debug)]
pub struct Doorbell(AtomicU8);

impl Doorbell {
    /// A bell whose owner is awake.
    #[must_use]
    pub fn new() -> Self {
        Self(AtomicU8::new(AWAKE))
    }

    /// Others: something was left. True: the owner waits in the kernel and must be woken there.
    #[must_use]
    pub fn ring(&self) -> bool {
        self.0.swap(RUNG, Ordering::AcqRel) == ASLEEP
    }

    /// Others: whether the owner waits, and has not been rung.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.0.load(Ordering::Acquire), LISTENING | ASLEEP)
    }

    /// The owner has seen all that was left before its last `answer`, and begins to wait. False: it
    /// was rung since, so it must not.
    #[must_use]
    pub fn listen(&self) -> bool {
        self.0.compare_exchange(AWAKE, LISTENING, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner listens: whether somebody rang.
    #[must_use]
    pub fn is_rung(&self) -> bool {
        self.0.load(Ordering::Acquire) == RUNG
    }

    /// The owner goes from listening to a wait in the kernel. False: it was rung, so it must not.
    #[must_use]
    pub fn sleep(&self) -> bool {
        self.0.compare_exchange(LISTENING, ASLEEP, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The owner is awake, and looks at what was left from now on. True: somebody rang.
    pub fn answer(&self) -> bool {
        // Without the swap where nothing happened: this is done every turn.
        self.0.load(Ordering::Acquire) != AWAKE && self.0.swap(AWAKE, Ordering::AcqRel) == RUNG
    }
}

impl Default for Doorbell {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    // Models of it are in `inbox`.
    #[cfg(not(loom))]
    #[test]
    fn one_wakeup_for_one_wait() {
        let bell = super::Doorbell::new();
        assert!(!bell.ring(), "the owner is awake");
        assert!(!bell.listen(), "it was rung since");
        assert!(bell.answer());
        assert!(bell.listen() && bell.is_waiting());
        assert!(bell.sleep());
        assert!(bell.ring(), "it sleeps");
        assert!(!bell.ring(), "it is being woken");
        assert!(bell.answer());
        assert!(!bell.answer());
    }
}
