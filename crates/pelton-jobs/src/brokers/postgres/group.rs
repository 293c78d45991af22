//! A group of operations: one transaction, in which each can fail by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::{PostgresBroker, link};
use crate::broker::WorkerRow;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::Lease;
use crate::state::State;

/// Ids in one notification, which has 8000 bytes at most.
const NOTIFY_IDS: usize = 240;

/// How long another's transaction is taken to be still open, once a wait for it was in vain.
const BLOCKED_FOR: Duration = Duration::from_secs(5);

/// What the operations of a group leave for its end.
#[derive(Default)]
pub(super) struct Group {
    pub(super) work: bool,
    pub(super) cancels: bool,
    pub(super) orders: bool,
    pub(super) changed: Vec<JobId>,
    pub(super) leased: Vec<(WorkerRow, Lease)>,
    /// How many of the unsure leases it gave back, from the first on.
    pub(super) returned: usize,
    /// Changes to the number of jobs, by queue and state.
    pub(super) counts: BTreeMap<(String, i16), i64>,
    /// Whether an operation was done in the transaction.
    pub(super) used: bool,
    /// Whether it has a savepoint.
    pub(super) saved: bool,
    /// The fault that ended the whole transaction, not just its operation.
    pub(super) broken: Option<BrokerError>,
}

impl PostgresBroker {
    /// Notes that a job of `queue` moved; `None` is before the first and after the last state.
    pub(super) fn moved(&mut self, queue: &str, from: Option<State>, to: Option<State>) {
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *self.group.counts.entry((queue.to_owned(), state as i16)).or_default() += by;
            }
        }
        self.group.work |= matches!(to, Some(State::Queued | State::Scheduled))
            || (self.limited && from == Some(State::Running));
    }

    /// Runs one operation: all of it happens, or nothing.
    pub(super) fn atomic<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        if let Some(broken) = &self.group.broken {
            return Err(broken.clone());
        }
        match self.in_savepoint(operation) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(fault)) => Err(fault.explain(&self.link.location.name)),
            Err(fault) => Err(self.note_fault(fault)),
        }
    }

    /// The outer fault ends the whole transaction; the inner one has undone its operation only. The
    /// first operation needs no savepoint: where it fails, the transaction begins anew.
    fn in_savepoint<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<Result<T, Fault>, Fault> {
        if self.group.used {
            let again = if self.group.saved { "RELEASE operation; " } else { "" };
            self.link.send_ahead(&format!("{again}SAVEPOINT operation"));
            self.group.saved = true;
        }
        let before = self.group.counts.clone();
        let (changed, leased) = (self.group.changed.len(), self.group.leased.len());
        let returned = self.group.returned;
        let fault = match operation(self) {
            Ok(value) => {
                self.group.used = true;
                return Ok(Ok(value));
            }
            Err(fault @ (Fault::Lost(_) | Fault::Away(_))) => return Err(fault),
            Err(fault) => fault,
        };
        let undo = if self.group.used { "ROLLBACK TO operation" } else { "ROLLBACK; BEGIN" };
        if matches!(fault, Fault::Blocked(_)) {
            self.blocked_at = Some(Instant::now());
        }
        let wait = self.shorter_wait();
        if !self.link.is_unbegun() {
            self.link.batch(&format!("{undo}{wait}"))?;
        }
        // Queues and workers that the operation added are gone with it.
        self.queues.clear();
        self.touched.clear();
        self.group.counts = before;
        self.group.changed.truncate(changed);
        self.group.leased.truncate(leased);
        self.group.returned = returned;
        Ok(Err(fault))
    }

    /// What a transaction begins with, besides.
    pub(super) fn shorter_wait(&self) -> String {
        let blocked = self.blocked_at.is_some_and(|at| at.elapsed() < BLOCKED_FOR);
        if blocked { format!("; {}", link::SHORT_WAIT) } else { String::new() }
    }

    /// Notes that the whole transaction is over.
    pub(super) fn note_fault(&mut self, fault: Fault) -> BrokerError {
        if matches!(fault, Fault::Lost(_)) {
            self.link.drop_connection();
        }
        let error = fault.explain(&self.link.location.name);
        self.group.broken = Some(error.clone());
        error
    }

    pub(super) fn commit_group(&mut self) -> Result<(), Fault> {
        let counts = std::mem::take(&mut self.group.counts);
        let counts: Vec<_> = counts.into_iter().filter(|(_, by)| *by != 0).collect();
        let queues: Vec<&str> = counts.iter().map(|((queue, _), _)| queue.as_str()).collect();
        let states: Vec<i16> = counts.iter().map(|((_, state), _)| *state).collect();
        let numbers: Vec<i64> = counts.iter().map(|(_, by)| *by).collect();
        let mut messages = Vec::new();
        if self.group.work {
            messages.push(format!("work {}", self.uid));
        }
        if self.group.cancels {
            messages.push(format!("cancels {}", self.uid));
        }
        if self.group.orders {
            messages.push(format!("orders {}", self.uid));
        }
        for ids in self.group.changed.chunks(NOTIFY_IDS) {
            let ids: String = ids.iter().map(ToString::to_string).collect();
            messages.push(format!("{ids} {}", self.uid));
        }
        if counts.is_empty() && messages.is_empty() {
            return if self.link.is_unbegun() { Ok(()) } else { self.link.batch("COMMIT") };
        }
        self.link.query_and_commit(
            "WITH counted AS (INSERT INTO pelton_counts (queue, state, n) \
             SELECT * FROM unnest($1::text[], $2::smallint[], $3::bigint[])) \
             SELECT pg_notify(pelton_channel(), message) FROM unnest($4::text[]) message",
            &[&queues, &states, &numbers, &messages],
        )
    }
}
