//! What people ask of jobs and queues.

use super::fault::Fault;
use super::{PostgresBroker, check_text, clean, id_at, purge_at, state_at};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::state::{self, Effect, Event, State};
use crate::time::Time;
use crate::workflow;

/// A job, as far as a request on it needs to know.
pub(super) struct Found {
    pub(super) state: State,
    queue: String,
    pending: i32,
    children: i32,
    key: Option<String>,
    reason: Option<String>,
}

impl PostgresBroker {
    pub(super) fn cancel_job(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, Fault> {
        let Some(job) = self.find(id)? else { return Ok(false) };
        let Some(next) = state::step(job.state, Event::CancelAsked, now) else {
            return Ok(false);
        };
        let reason = Some(clean(reason)).filter(|reason| !reason.is_empty());
        if next.effects.contains(&Effect::TellWorker) {
            self.link.execute(
                "UPDATE pelton_jobs SET cancel = true, reason = $1, version = version + 1 \
                 WHERE id = $2",
                &[&reason, &&id.as_bytes()[..]],
            )?;
            self.group.cancels = true;
            self.group.changed.push(id);
            return Ok(true);
        }
        self.end_unstarted(id, &job, next.state, reason.as_deref(), now)?;
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
        self.link.execute(
            concat!(
                "UPDATE pelton_jobs SET state = $1, finished_at = $2, reason = $3, signal = NULL, \
                 purge_at = ",
                purge_at!("$2"),
                ", version = version + 1 WHERE id = $4"
            ),
            &[&(to as i16), &now.0, &reason, &&id.as_bytes()[..]],
        )?;
        self.moved(&job.queue, Some(job.state), Some(to));
        self.group.changed.push(id);
        if job.children > 0 {
            self.end_children(id, to, now)?;
        }
        Ok(())
    }

    /// Jobs that were not begun in time end. `true`: there may be more.
    pub(super) fn end_expired(&mut self, now: Time) -> Result<bool, Fault> {
        let rows = self.link.query(
            "SELECT id FROM pelton_jobs WHERE expires_at IS NOT NULL AND state < 3 AND \
             expires_at <= $1 ORDER BY expires_at LIMIT 200 FOR UPDATE SKIP LOCKED",
            &[&now.0],
        )?;
        for row in &rows {
            let id = id_at(row, 0);
            // One may have been ended by the one before it.
            if let Some(job) = self.find(id)?
                && let Some(next) = state::step(job.state, Event::Expired, now)
            {
                self.end_unstarted(id, &job, next.state, Some("expired"), now)?;
            }
        }
        Ok(!rows.is_empty())
    }

    pub(super) fn retry_job(&mut self, id: JobId, now: Time) -> Result<bool, Fault> {
        let Some(job) = self.find(id)? else { return Ok(false) };
        let event = Event::Retried { waits: job.pending > 0 };
        let Some(next) = state::step(job.state, event, now) else { return Ok(false) };
        self.check_retry(id, &job)?;
        // The limits may have changed since it ended.
        self.link.execute(
            "UPDATE pelton_jobs SET state = $1, due = $2, attempt = 0, failures = 0, losses = 0, \
             cancel = false, expires_at = NULL, started_at = NULL, finished_at = NULL, \
             purge_at = NULL, progress = NULL, message = NULL, reason = NULL, error = NULL, \
             lane = coalesce((SELECT l.task FROM pelton_lanes l WHERE l.task = pelton_jobs.task), \
             ''), version = version + 1 WHERE id = $3",
            &[&(next.state as i16), &now.0, &&id.as_bytes()[..]],
        )?;
        self.moved(&job.queue, Some(job.state), Some(next.state));
        self.group.changed.push(id);
        Ok(true)
    }

    /// Refuses a retry that would break a key's promise or wait for a parent that is gone.
    fn check_retry(&mut self, id: JobId, job: &Found) -> Result<(), Fault> {
        workflow::check_needed(id, job.reason.as_deref())?;
        if let Some(key) = &job.key {
            let taken = self
                .link
                .query("SELECT 1 FROM pelton_jobs WHERE key = $1 AND state < 4", &[key])?;
            if !taken.is_empty() {
                return Err(Fault::Ours(BrokerError::Invalid(format!(
                    "job {id} cannot run again now: an unfinished job has its key {key:?}"
                ))));
            }
        }
        let rows = self.link.query(
            "SELECT count(*)::int FROM pelton_edges e JOIN pelton_jobs j ON j.id = e.parent \
             WHERE e.child = $1 AND NOT e.done",
            &[&&id.as_bytes()[..]],
        )?;
        let parents: i32 = rows.first().map_or(0, |row| row.get(0));
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
        self.remove_row(id, &job.queue, job.state, now)?;
        self.group.changed.push(id);
        Ok(true)
    }

    /// Removes an ended job's row, and the edges that only it needed. Results that it gave to its
    /// children stay with them; those that still wait for it would wait for ever.
    pub(super) fn remove_row(
        &mut self,
        id: JobId,
        queue: &str,
        state: State,
        now: Time,
    ) -> Result<(), Fault> {
        let bytes = &id.as_bytes()[..];
        if state != State::Succeeded {
            self.end_children(id, state, now)?;
            self.link
                .execute("DELETE FROM pelton_edges WHERE parent = $1 AND NOT done", &[&bytes])?;
        }
        self.link.execute("DELETE FROM pelton_jobs WHERE id = $1", &[&bytes])?;
        self.moved(queue, Some(state), None);
        self.forget(&[bytes])
    }

    /// Removes what was kept beside these jobs' rows.
    pub(super) fn forget(&mut self, ids: &[&[u8]]) -> Result<(), Fault> {
        for sql in [
            "DELETE FROM pelton_edges WHERE child = ANY($1)",
            "DELETE FROM pelton_attempts WHERE job = ANY($1)",
            "DELETE FROM pelton_steps WHERE job = ANY($1)",
            "DELETE FROM pelton_signals WHERE job = ANY($1)",
        ] {
            self.link.execute(sql, &[&ids])?;
        }
        Ok(())
    }

    pub(super) fn pause_queue(&mut self, queue: &str, paused: bool) -> Result<(), Fault> {
        check_text("queue", queue)?;
        self.link.execute(
            "INSERT INTO pelton_queues (name, paused) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET paused = excluded.paused",
            &[&queue, &paused],
        )?;
        self.group.work |= !paused;
        Ok(())
    }

    /// The job, which nobody changes until the commit.
    pub(super) fn find(&mut self, id: JobId) -> Result<Option<Found>, Fault> {
        let rows = self.link.query(
            "SELECT state, queue, pending, children, key, reason FROM pelton_jobs WHERE id = $1 \
             FOR UPDATE",
            &[&&id.as_bytes()[..]],
        )?;
        rows.first()
            .map(|row| {
                Ok(Found {
                    state: state_at(row, 0)?,
                    queue: row.get(1),
                    pending: row.get(2),
                    children: row.get(3),
                    key: row.get(4),
                    reason: row.get(5),
                })
            })
            .transpose()
    }
}
