//! Attempts end.

use std::collections::{HashMap, HashSet};

use super::fault::Fault;
use super::{PostgresBroker, clean, id_at, purge_at, read_policy};
use crate::attempt::{self, Attempt, Note};
use crate::broker::{Chance, Progress, WorkerRow};
use crate::id::JobId;
use crate::job::{End, Lease, Outcome, Settled};
use crate::retry::DEAD_TTL_MIN;
use crate::state::{self, Effect, Event, State};
use crate::time::Time;

/// A running job, as far as its end depends on it.
pub(super) struct Running {
    queue: String,
    policy: String,
    failures: i32,
    pub(super) losses: i32,
    children: i32,
    pub(super) cancel: bool,
    pub(super) attempt: i32,
    pub(super) started_at: Option<i64>,
    pub(super) worker: Option<String>,
}

impl PostgresBroker {
    pub(super) fn finish_jobs(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, Fault> {
        for outcome in outcomes {
            attempt::check(&outcome.end)?;
        }
        let mut succeeded = self.succeed_all(worker, outcomes, now)?;
        let mut settled = Vec::with_capacity(outcomes.len());
        let (mut processed, mut failed) = (0_i64, 0_i64);
        for outcome in outcomes {
            let one = if matches!(outcome.end, End::Success(_)) {
                // Taken out: a second outcome under the same lease is stale.
                let state = succeeded.remove(&outcome.lease.id).map(|()| State::Succeeded);
                Settled { id: outcome.lease.id, state, run_at: None }
            } else {
                self.finish_one(outcome, now, chance)?
            };
            let unfinished = outcome.end.is_unfinished() || matches!(outcome.end, End::Success(_));
            if one.state.is_some() && !unfinished {
                processed += 1;
                failed += i64::from(matches!(outcome.end, End::Failure { .. }));
            }
            settled.push(one);
        }
        // Those that succeeded were counted as they were written.
        if processed > 0 {
            self.link.execute(
                "UPDATE pelton_workers SET processed = processed + $1, failed = failed + $2, \
                 seen_at = greatest(seen_at, $3) WHERE row = $4",
                &[&processed, &failed, &now.0, &worker.0],
            )?;
        }
        Ok(settled)
    }

    /// The common end, of all that have it in one statement, fenced. Those whose lease held.
    fn succeed_all(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
    ) -> Result<HashMap<JobId, ()>, Fault> {
        let Some(next) = state::step(State::Running, Event::Succeeded, now) else {
            return Ok(HashMap::new());
        };
        let (mut ids, mut tokens, mut results) = (Vec::new(), Vec::new(), Vec::new());
        let mut seen = HashSet::new();
        // In one order everywhere, so that no two writers wait for each other in a circle.
        let mut sorted: Vec<&Outcome> = outcomes.iter().collect();
        sorted.sort_by_key(|outcome| outcome.lease.id);
        for outcome in sorted {
            if let End::Success(result) = &outcome.end
                && seen.insert(outcome.lease.id)
            {
                ids.push(&outcome.lease.id.as_bytes()[..]);
                tokens.push(outcome.lease.token);
                results.push(result.as_slice());
            }
        }
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = self.link.query(
            concat!(
                "WITH done AS (UPDATE pelton_jobs j SET state = $1, worker = NULL, finished_at = $2, purge_at = ",
                purge_at!("$2"),
                ", result = o.result, reason = NULL, version = version + 1 \
                 FROM unnest($3::bytea[], $4::bigint[], $5::bytea[]) AS o (id, token, result) \
                 WHERE j.id = o.id AND j.state = 3 AND j.token = o.token \
                 RETURNING j.id, j.queue, j.children), counted AS (UPDATE pelton_workers SET \
                 processed = processed + (SELECT count(*) FROM done), \
                 seen_at = greatest(seen_at, $2) WHERE row = $6) SELECT * FROM done"
            ),
            &[&(next.state as i16), &now.0, &ids, &tokens, &results, &worker.0],
        )?;
        let mut done = HashMap::with_capacity(rows.len());
        let mut parents = Vec::new();
        for row in &rows {
            let id = id_at(row, 0);
            self.moved(row.get(1), Some(State::Running), Some(next.state));
            self.group.changed.push(id);
            if row.get::<_, i32>(2) > 0 && next.effects.contains(&Effect::ReleaseChildren) {
                parents.push(id);
            }
            done.insert(id, ());
        }
        parents.sort_unstable();
        for parent in parents {
            let at = ids.iter().position(|id| *id == &parent.as_bytes()[..]);
            if let Some(at) = at {
                self.release_children(parent, results[at], now)?;
            }
        }
        Ok(done)
    }

    fn finish_one(
        &mut self,
        outcome: &Outcome,
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Settled, Fault> {
        let lease = outcome.lease;
        let stale = Settled { id: lease.id, state: None, run_at: None };
        let Some(running) = self.running(lease)? else { return Ok(stale) };
        let attempt = Attempt {
            policy: read_policy(&running.policy),
            failures: u32::try_from(running.failures).unwrap_or(0),
            cancel: running.cancel,
        };
        let came = match &outcome.end {
            End::Suspend { signal: Some(signal), .. } => self.has_signal(lease.id, signal)?,
            _ => false,
        };
        let (event, note) = attempt.ended(&outcome.end, came, now, chance);
        let state = self.end_attempt(lease, &running, event, &note, now)?;
        Ok(Settled { state, run_at: note.run_at, ..stale })
    }

    /// The job, if this lease is still the one that holds it; nobody changes it until the commit.
    pub(super) fn running(&mut self, lease: Lease) -> Result<Option<Running>, Fault> {
        let rows = self.link.query(
            "SELECT queue, policy, failures, losses, children, cancel, attempt, started_at, \
             (SELECT name FROM pelton_workers w WHERE w.row = j.worker) FROM pelton_jobs j \
             WHERE id = $1 AND state = 3 AND token = $2 FOR UPDATE OF j",
            &[&&lease.id.as_bytes()[..], &lease.token],
        )?;
        Ok(rows.first().map(|row| Running {
            queue: row.get(0),
            policy: row.get(1),
            failures: row.get(2),
            losses: row.get(3),
            children: row.get(4),
            cancel: row.get(5),
            attempt: row.get(6),
            started_at: row.get(7),
            worker: row.get(8),
        }))
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
        let has = |effect| i32::from(next.effects.contains(&effect));
        let ends = next.effects.contains(&Effect::Finish);
        let least = if next.state == State::Dead { DEAD_TTL_MIN } else { 0.0 };
        self.link.execute(
            concat!(
                "UPDATE pelton_jobs SET state = $1::smallint, worker = NULL, attempt = attempt - $2, \
             failures = failures + $3, losses = CASE WHEN $4 = 1 THEN losses + 1 ELSE 0 END, \
             due = coalesce($5, due), error = coalesce($6, error), \
             reason = CASE WHEN $1::smallint = 6 THEN coalesce($7, reason) ELSE $7 END, \
             finished_at = $8::bigint, purge_at = CASE WHEN $8 IS NOT NULL THEN ",
                purge_at!("$8", "$9"),
                " END, signal = $11, version = version + 1 WHERE id = $10"
            ),
            &[
                &(next.state as i16),
                &has(Effect::ForgetAttempt),
                &has(Effect::CountFailure),
                &has(Effect::CountLoss),
                &note.run_at.map(|time| time.0),
                &note.error,
                &note.reason.as_deref().map(clean),
                &ends.then_some(now.0),
                &least,
                &&lease.id.as_bytes()[..],
                &note.signal,
            ],
        )?;
        self.remember(lease, running, event, note, now)?;
        self.moved(&running.queue, Some(State::Running), Some(next.state));
        self.group.changed.push(lease.id);
        if running.children > 0 && next.effects.contains(&Effect::EndChildren) {
            self.end_children(lease.id, next.state, now)?;
        }
        Ok(Some(next.state))
    }

    pub(super) fn write_progress(&mut self, reports: &[Progress]) -> Result<(), Fault> {
        for Progress { lease, fraction, message } in reports {
            let written = self.link.execute(
                "UPDATE pelton_jobs SET progress = $1, message = $2, version = version + 1 \
                 WHERE id = $3 AND state = 3 AND token = $4",
                &[
                    fraction,
                    &message.as_deref().map(clean),
                    &&lease.id.as_bytes()[..],
                    &lease.token,
                ],
            )?;
            if written > 0 {
                self.group.changed.push(lease.id);
            }
        }
        Ok(())
    }
}
