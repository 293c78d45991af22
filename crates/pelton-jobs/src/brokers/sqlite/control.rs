//! What people ask of jobs and queues.

use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::{SqliteBroker, state_at};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::check_name;
use crate::state::{self, Effect, Event, State};
use crate::time::Time;
use crate::workflow;

/// A job, as far as a request on it needs to know.
pub(super) struct Found {
    pub(super) row: i64,
    pub(super) state: State,
    queue: i64,
    pending: u32,
    children: u32,
    key: Option<String>,
    reason: Option<String>,
}

impl SqliteBroker {
    pub(super) fn cancel_job(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, Fault> {
        let Some(job) = self.find(id)? else { return Ok(false) };
        let Some(next) = state::step(job.state, Event::CancelAsked, now) else {
            return Ok(false);
        };
        let reason = Some(reason).filter(|reason| !reason.is_empty());
        if next.effects.contains(&Effect::TellWorker) {
            self.cached(
                "UPDATE pelton_jobs SET cancel = 1, reason = ?, version = version + 1 \
                 WHERE row = ?",
            )?
            .execute((reason, job.row))?;
            self.group.commit.cancels = true;
            self.group.commit.changed.push(id);
            return Ok(true);
        }
        self.end_unstarted(id, &job, next.state, reason, now)?;
        Ok(true)
    }

    fn end_unstarted(
        &mut self,
        id: JobId,
        job: &Found,
        to: State,
        reason: Option<&str>,
        now: Time,
    ) -> Result<(), Fault> {
        self.cached(
            "UPDATE pelton_jobs SET state = ?1, finished_at = ?2, reason = ?3, signal = NULL, \
             purge_at = ?2 + CAST(result_ttl * 1000000 AS INTEGER), version = version + 1 \
             WHERE row = ?4",
        )?
        .execute((to as i64, now.0, reason, job.row))?;
        self.moved(job.queue, Some(job.state), Some(to));
        self.group.commit.changed.push(id);
        if job.children > 0 {
            self.end_children(id, job.row, to, now)?;
        }
        Ok(())
    }

    /// Jobs that were not begun in time end. `true`: there may be more.
    pub(super) fn end_expired(&mut self, now: Time) -> Result<bool, Fault> {
        let expired: Vec<JobId> = self
            .cached(
                "SELECT id FROM pelton_jobs WHERE expires_at IS NOT NULL AND state < 3 AND \
                 expires_at <= ? ORDER BY expires_at LIMIT 200",
            )?
            .query_map([now.0], |row| super::id_at(row, 0))?
            .collect::<Result<_, _>>()?;
        for id in &expired {
            // One may have been ended by the one before it.
            if let Some(job) = self.find(*id)?
                && let Some(next) = state::step(job.state, Event::Expired, now)
            {
                self.end_unstarted(*id, &job, next.state, Some("expired"), now)?;
            }
        }
        Ok(!expired.is_empty())
    }

    pub(super) fn retry_job(&mut self, id: JobId, now: Time) -> Result<bool, Fault> {
        let Some(job) = self.find(id)? else { return Ok(false) };
        let event = Event::Retried { waits: job.pending > 0 };
        let Some(next) = state::step(job.state, event, now) else { return Ok(false) };
        self.check_retry(id, &job)?;
        // The limits may have changed since it ended.
        let task = self
            .cached("SELECT task FROM pelton_jobs WHERE row = ?")?
            .query_row([job.row], |row| row.get(0))?;
        let lane = self.lane_of(task)?;
        self.cached(
            "UPDATE pelton_jobs SET state = ?1, due = ?2, attempt = 0, failures = 0, losses = 0, \
             cancel = 0, expires_at = NULL, started_at = NULL, finished_at = NULL, \
             purge_at = NULL, progress = NULL, message = NULL, reason = NULL, error = NULL, \
             lane = ?4, version = version + 1 WHERE row = ?3",
        )?
        .execute((next.state as i64, now.0, job.row, lane))?;
        self.moved(job.queue, Some(job.state), Some(next.state));
        self.group.commit.changed.push(id);
        Ok(true)
    }

    /// Refuses a retry that would break a key's promise or wait for a parent that is gone.
    fn check_retry(&self, id: JobId, job: &Found) -> Result<(), Fault> {
        workflow::check_needed(id, job.reason.as_deref())?;
        if let Some(key) = &job.key {
            let taken = self
                .cached("SELECT 1 FROM pelton_jobs WHERE key = ? AND state < 4")?
                .exists([key])?;
            if taken {
                return Err(Fault::Ours(BrokerError::Invalid(format!(
                    "job {id} cannot run again now: an unfinished job has its key {key:?}"
                ))));
            }
        }
        let parents: u32 = self
            .cached(
                "SELECT count(*) FROM pelton_edges e JOIN pelton_jobs j ON j.row = e.parent \
                 WHERE e.child = ? AND e.done = 0",
            )?
            .query_row([job.row], |row| row.get(0))?;
        if parents < job.pending {
            return Err(Fault::Ours(BrokerError::Invalid(format!(
                "job {id} cannot run again: the record of a job that it waits for is gone"
            ))));
        }
        Ok(())
    }

    pub(super) fn delete_job(&mut self, id: JobId, now: Time) -> Result<bool, Fault> {
        let Some(job) = self.find(id)?.filter(|job| job.state.is_end()) else {
            return Ok(false);
        };
        self.remove_row(id, job.row, job.queue, job.state, now)?;
        self.group.commit.changed.push(id);
        Ok(true)
    }

    /// Removes an ended job's row, and the edges that only it needed. Results that it gave to its
    /// children stay with them; those that still wait for it would wait for ever.
    pub(super) fn remove_row(
        &mut self,
        id: JobId,
        row: i64,
        queue: i64,
        state: State,
        now: Time,
    ) -> Result<(), Fault> {
        if state != State::Succeeded {
            self.end_children(id, row, state, now)?;
            self.cached("DELETE FROM pelton_edges WHERE parent = ? AND done = 0")?
                .execute([row])?;
        }
        self.cached("DELETE FROM pelton_jobs WHERE row = ?")?.execute([row])?;
        self.cached("DELETE FROM pelton_edges WHERE child = ?")?.execute([row])?;
        self.cached("DELETE FROM pelton_attempts WHERE job = ?")?.execute([row])?;
        self.cached("DELETE FROM pelton_steps WHERE job = ?")?.execute([row])?;
        self.cached("DELETE FROM pelton_signals WHERE job = ?")?.execute([row])?;
        self.moved(queue, Some(state), None);
        Ok(())
    }

    pub(super) fn pause_queue(&mut self, queue: &str, paused: bool) -> Result<(), Fault> {
        check_name("queue", queue)?;
        let row = self.queue_row(queue)?;
        self.cached("UPDATE pelton_queues SET paused = ? WHERE row = ?")?.execute((paused, row))?;
        self.group.commit.work |= !paused;
        Ok(())
    }

    pub(super) fn find(&self, id: JobId) -> Result<Option<Found>, Fault> {
        let found = self
            .cached(
                "SELECT row, state, queue, pending, children, key, reason FROM pelton_jobs \
                 WHERE id = ?",
            )?
            .query_row([id.as_bytes()], |row| {
                Ok(Found {
                    row: row.get(0)?,
                    state: state_at(row, 1)?,
                    queue: row.get(2)?,
                    pending: row.get(3)?,
                    children: row.get(4)?,
                    key: row.get(5)?,
                    reason: row.get(6)?,
                })
            })
            .optional()?;
        Ok(found)
    }
}
