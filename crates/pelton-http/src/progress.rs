//! Whether a client takes what we send.

use std::time::Duration;

/// Watches a transport's queue for movement.
#[derive(Debug)]
pub(crate) struct Progress {
    handed_out: u64,
    taken: u64,
    at: Duration,
}

impl Progress {
    pub(crate) fn new(now: Duration) -> Self {
        Self { handed_out: 0, taken: 0, at: now }
    }

    /// So many bytes went to the transport.
    pub(crate) fn hand_out(&mut self, bytes: usize) {
        self.handed_out += bytes as u64;
    }

    /// Of those, `queued` are still with the transport. Returns for how long the client has taken
    /// nothing though something waits for it.
    pub(crate) fn stalled_for(&mut self, now: Duration, queued: usize) -> Duration {
        let taken = self.handed_out.saturating_sub(queued as u64);
        if queued == 0 || taken > self.taken {
            self.taken = taken;
            self.at = now;
        }
        now.saturating_sub(self.at)
    }
}
