//! Work for a loop from threads that do not hold the GIL.

use std::sync::Arc;

use pelton_reactor::{Doorbell, Inbox, Waker};
use pyo3::prelude::*;

/// Something to run once in the loop's thread. It may be dropped instead, in any thread, when the
/// loop is closed.
pub(crate) type Letter = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// A loop's letter box: cheap to clone, usable from any thread, and after the loop's end.
///
/// Letters are bounded by those who post: each has a limit of its own for what it has under way.
#[derive(Clone)]
pub(crate) struct Mailbox(Arc<Inner>);

struct Inner {
    inbox: Inbox<Letter>,
    waker: Waker,
}

impl Mailbox {
    pub(super) fn new(waker: Waker) -> Self {
        Self(Arc::new(Inner { inbox: Inbox::new(), waker }))
    }

    /// Has `letter` run in the loop's next turn. Where the loop is closed, it is dropped.
    pub(crate) fn post(&self, letter: Letter) {
        if let Ok(true) = self.0.inbox.put(letter) {
            self.wake();
        }
    }

    /// Ends the loop's wait: something was left where it looks.
    pub(super) fn ring(&self) {
        if self.bell().ring() {
            self.wake();
        }
    }

    /// What ends the loop's wait.
    pub(super) fn bell(&self) -> &Doorbell {
        self.0.inbox.bell()
    }

    /// All letters, in the order they came.
    pub(super) fn take(&self) -> Vec<Letter> {
        self.0.inbox.take()
    }

    /// Refuses letters from now on, and gives those that nobody will read.
    pub(super) fn close(&self) -> Vec<Letter> {
        self.0.inbox.close()
    }

    fn wake(&self) {
        // A full eventfd is the only failure, and then the wait ends anyway.
        let _ = self.0.waker.wake();
    }
}
