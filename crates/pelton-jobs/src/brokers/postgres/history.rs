//! The attempts of a job that did not succeed.

use super::PostgresBroker;
use super::fault::Fault;
use super::finish::Running;
use super::link::Link;
use crate::attempt::{self, Note};
use crate::id::JobId;
use crate::job::Lease;
use crate::record::{AttemptRecord, HISTORY_MAX};
use crate::state::Event;
use crate::time::Time;

impl PostgresBroker {
    /// Notes how an attempt ended, where it is over and has not succeeded.
    pub(super) fn remember(
        &mut self,
        lease: Lease,
        running: &Running,
        event: Event,
        note: &Note<'_>,
        now: Time,
    ) -> Result<(), Fault> {
        let Some(ending) = attempt::ending(event) else { return Ok(()) };
        let id = &lease.id.as_bytes()[..];
        self.link.execute(
            "INSERT INTO pelton_attempts (job, token, attempt, worker, started_at, ended_at, \
             ending, error) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            &[
                &id,
                &lease.token,
                &running.attempt,
                &running.worker,
                &running.started_at,
                &now.0,
                &ending,
                &note.error,
            ],
        )?;
        // Its leases, not its attempts: those are counted anew when it is retried by hand.
        if lease.token > HISTORY_MAX as i64 {
            self.link.execute(
                "DELETE FROM pelton_attempts WHERE job = $1 AND token <= (SELECT token FROM \
                 pelton_attempts WHERE job = $1 ORDER BY token DESC LIMIT 1 OFFSET $2)",
                &[&id, &(HISTORY_MAX as i64)],
            )?;
        }
        Ok(())
    }
}

/// A job's attempts, oldest first.
pub(super) fn of(link: &mut Link, id: JobId) -> Result<Vec<AttemptRecord>, Fault> {
    let rows = link.query(
        "SELECT attempt, token, worker, started_at, ended_at, ending, error FROM pelton_attempts \
         WHERE job = $1 ORDER BY token",
        &[&&id.as_bytes()[..]],
    )?;
    let more = rows.len().saturating_sub(HISTORY_MAX);
    let record = |row: &postgres::Row| AttemptRecord {
        attempt: u32::try_from(row.get::<_, i32>(0)).unwrap_or(0),
        token: row.get(1),
        worker: row.get(2),
        started_at: row.get::<_, Option<i64>>(3).map(Time),
        ended_at: Time(row.get(4)),
        end: row.get(5),
        error: row.get(6),
    };
    Ok(rows.iter().skip(more).map(record).collect())
}
