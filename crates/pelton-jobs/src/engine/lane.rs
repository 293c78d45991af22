//! Messages on their way to one thread.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Messages that may wait; callers are refused above it.
pub(super) const LIMIT: usize = 100_000;

/// A queue with one taker.
pub(super) struct Lane<T> {
    state: Mutex<LaneState<T>>,
    changed: Condvar,
}

struct LaneState<T> {
    messages: VecDeque<T>,
    poked: bool,
    closed: bool,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        let state = LaneState { messages: VecDeque::new(), poked: false, closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T> Lane<T> {
    /// Adds a message; one that comes after the end is dropped, and its reply with it.
    pub(super) fn push(&self, message: T) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            drop(message);
            return;
        }
        state.messages.push_back(message);
        // The taker sleeps only where there were none.
        if state.messages.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Wakes the taker.
    pub(super) fn poke(&self) {
        self.lock().poked = true;
        self.changed.notify_one();
    }

    /// No more messages; the taker gets those that are there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn is_full(&self) -> bool {
        self.lock().messages.len() >= LIMIT
    }

    /// Waits for messages, a poke or the end, at most for `patience`, and moves all messages to
    /// `into`. `false` after the end.
    pub(super) fn take(&self, patience: Option<Duration>, into: &mut VecDeque<T>) -> bool {
        let mut state = self.lock();
        if state.messages.is_empty() && !state.poked && !state.closed {
            state = match patience {
                Some(Duration::ZERO) => state,
                Some(patience) => {
                    self.changed
                        .wait_timeout(state, patience)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.poked = false;
        into.append(&mut state.messages);
        !state.closed
    }

    fn lock(&self) -> MutexGuard<'_, LaneState<T>> {
        // Nothing that runs under this lock leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
