//! Attempts end.

use rusqlite::OptionalExtension;

use super::SqliteBroker;
use super::fault::Fault;
use crate::attempt::{self, Attempt, Note};
use crate::broker::{Chance, Progress, WorkerRow};
use crate::job::{End, Lease, Outcome, Settled};
use crate::retry::DEAD_TTL_MIN;
use crate::state::{self, Effect, Event, State};
use crate::time::Time;

/// A running job, as far as its end depends on it.
pub(super) struct Running {
    pub(super) queue: i64,
    pub(super) policy: i64,
    pub(super) failures: u32,
    pub(super) losses: u32,
    pub(super) children: u32,
    pub(super) cancel: bool,
    pub(super) attempt: u32,
    pub(super) started_at: Option<i64>,
    pub(super) worker: Option<String>,
}

impl SqliteBroker {
    pub(super) fn finish_jobs(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, Fault> {
        let mut settled = Vec::with_capacity(outcomes.len());
        let (mut processed, mut failed) = (0, 0);
        for outcome in outcomes {
            let one = self.finish_one(outcome, now, chance)?;
            if one.state.is_some() && !outcome.end.is_unfinished() {
                processed += 1;
                failed += i64::from(matches!(outcome.end, End::Failure { .. }));
            }
            settled.push(one);
        }
        self.cached(
            "UPDATE pelton_workers SET processed = processed + ?, failed = failed + ?, \
             seen_at = max(seen_at, ?) WHERE row = ?",
        )?
        .execute((processed, failed, now.0, worker.0))?;
        Ok(settled)
    }

    fn finish_one(
        &mut self,
        outcome: &Outcome,
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Settled, Fault> {
        attempt::check(&outcome.end)?;
        let lease = outcome.lease;
        let stale = Settled { id: lease.id, state: None, run_at: None };
        if let End::Success(result) = &outcome.end {
            return Ok(if self.succeed(lease, result, now)? {
                Settled { state: Some(State::Succeeded), ..stale }
            } else {
                stale
            });
        }
        let Some(running) = self.running(lease)? else { return Ok(stale) };
        let attempt = Attempt {
            policy: self.policy(running.policy)?,
            failures: running.failures,
            cancel: running.cancel,
        };
        let came = match &outcome.end {
            End::Suspend { signal: Some(signal), .. } => self.has_signal(lease.row, signal)?,
            _ => false,
        };
        let (event, note) = attempt.ended(&outcome.end, came, now, chance);
        let state = self.end_attempt(lease, &running, event, &note, now)?;
        Ok(Settled { state, run_at: note.run_at, ..stale })
    }

    /// The common end: one statement, fenced. `false`: the lease was lost.
    fn succeed(&mut self, lease: Lease, result: &[u8], now: Time) -> Result<bool, Fault> {
        let Some(next) = state::step(State::Running, Event::Succeeded, now) else {
            return Ok(false);
        };
        let done: Option<(i64, u32)> = self
            .cached(
                "UPDATE OR FAIL pelton_jobs SET state = ?1, worker = NULL, finished_at = ?2, \
                 purge_at = ?2 + CAST(result_ttl * 1000000 AS INTEGER), result = ?3, reason = NULL, \
                 version = version + 1 \
                 WHERE row = ?4 AND id = ?5 AND state = 3 AND token = ?6 \
                 RETURNING queue, children",
            )?
            .query_row(
                (next.state as i64, now.0, result, lease.row, lease.id.as_bytes(), lease.token),
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let Some((queue, children)) = done else { return Ok(false) };
        self.moved(queue, Some(State::Running), Some(next.state));
        self.group.commit.changed.push(lease.id);
        if children > 0 && next.effects.contains(&Effect::ReleaseChildren) {
            self.release_children(lease.id, lease.row, result, now)?;
        }
        Ok(true)
    }

    /// The job, if this lease is still the one that holds it.
    pub(super) fn running(&self, lease: Lease) -> Result<Option<Running>, Fault> {
        let found = self
            .cached(
                "SELECT queue, policy, failures, losses, children, cancel, attempt, started_at, \
                 (SELECT name FROM pelton_workers w WHERE w.row = worker) FROM pelton_jobs \
                 WHERE row = ? AND id = ? AND state = 3 AND token = ?",
            )?
            .query_row((lease.row, lease.id.as_bytes(), lease.token), |row| {
                Ok(Running {
                    queue: row.get(0)?,
                    policy: row.get(1)?,
                    failures: row.get(2)?,
                    losses: row.get(3)?,
                    children: row.get(4)?,
                    cancel: row.get(5)?,
                    attempt: row.get(6)?,
                    started_at: row.get(7)?,
                    worker: row.get(8)?,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// Moves a running job by `event`, with all that the transition asks for.
    pub(super) fn end_attempt(
        &mut self,
        lease: Lease,
        running: &Running,
        event: Event,
        note: &Note<'_>,
        now: Time,
    ) -> Result<Option<State>, Fault> {
        let Some(next) = state::step(State::Running, event, now) else { return Ok(None) };
        let has = |effect| i64::from(next.effects.contains(&effect));
        let ends = next.effects.contains(&Effect::Finish);
        let least = if next.state == State::Dead { DEAD_TTL_MIN } else { 0.0 };
        self.cached(
            "UPDATE OR FAIL pelton_jobs SET state = ?1, worker = NULL, attempt = attempt - ?2, \
             failures = failures + ?3, losses = CASE WHEN ?4 THEN losses + 1 ELSE 0 END, \
             due = coalesce(?5, due), error = coalesce(?6, error), \
             reason = CASE WHEN ?1 = 6 THEN coalesce(?7, reason) ELSE ?7 END, \
             finished_at = ?8, \
             purge_at = ?8 + CAST(max(result_ttl, ?9) * 1000000 AS INTEGER), \
             signal = ?11, version = version + 1 WHERE row = ?10",
        )?
        .execute(rusqlite::params![
            next.state as i64,
            has(Effect::ForgetAttempt),
            has(Effect::CountFailure),
            has(Effect::CountLoss),
            note.run_at.map(|time| time.0),
            note.error,
            note.reason,
            ends.then_some(now.0),
            least,
            lease.row,
            note.signal,
        ])?;
        self.remember(lease, running, event, note, now)?;
        self.moved(running.queue, Some(State::Running), Some(next.state));
        self.group.commit.changed.push(lease.id);
        if running.children > 0 && next.effects.contains(&Effect::EndChildren) {
            self.end_children(lease.id, lease.row, next.state, now)?;
        }
        Ok(Some(next.state))
    }

    pub(super) fn write_progress(&mut self, reports: &[Progress]) -> Result<(), Fault> {
        for Progress { lease, fraction, message } in reports {
            let written = self
                .cached(
                    "UPDATE pelton_jobs SET progress = ?, message = ?, version = version + 1 \
                     WHERE row = ? AND id = ? AND state = 3 AND token = ?",
                )?
                .execute((fraction, message, lease.row, lease.id.as_bytes(), lease.token))?;
            if written > 0 {
                self.group.commit.changed.push(lease.id);
            }
        }
        Ok(())
    }
}
