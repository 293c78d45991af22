//! The attempts of a job that did not succeed.

use rusqlite::Connection;

use super::SqliteBroker;
use super::fault::Fault;
use super::finish::Running;
use crate::attempt::{self, Note};
use crate::id::JobId;
use crate::job::Lease;
use crate::record::{AttemptRecord, HISTORY_MAX};
use crate::state::Event;
use crate::time::Time;

impl SqliteBroker {
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
        self.cached(
            "INSERT INTO pelton_attempts (job, token, attempt, worker, started_at, ended_at, \
             ending, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(rusqlite::params![
            lease.row,
            lease.token,
            running.attempt,
            running.worker,
            running.started_at,
            now.0,
            ending,
            note.error,
        ])?;
        // Its leases, not its attempts: those are counted anew when it is retried by hand.
        if lease.token > HISTORY_MAX as i64 {
            self.cached(
                "DELETE FROM pelton_attempts WHERE job = ?1 AND token NOT IN (SELECT token FROM \
                 pelton_attempts WHERE job = ?1 ORDER BY token DESC LIMIT ?2)",
            )?
            .execute((lease.row, HISTORY_MAX as i64))?;
        }
        Ok(())
    }
}

/// A job's attempts, oldest first.
pub(super) fn of(conn: &Connection, id: JobId) -> Result<Vec<AttemptRecord>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT attempt, token, worker, started_at, ended_at, ending, error FROM pelton_attempts \
         WHERE job = (SELECT row FROM pelton_jobs WHERE id = ?) ORDER BY token",
    )?;
    let rows = statement.query_map([id.as_bytes()], |row| {
        Ok(AttemptRecord {
            attempt: row.get(0)?,
            token: row.get(1)?,
            worker: row.get(2)?,
            started_at: row.get::<_, Option<i64>>(3)?.map(Time),
            ended_at: Time(row.get(4)?),
            end: row.get(5)?,
            error: row.get(6)?,
        })
    })?;
    let mut attempts: Vec<_> = rows.collect::<Result<_, _>>()?;
    let more = attempts.len().saturating_sub(HISTORY_MAX);
    attempts.drain(..more);
    Ok(attempts)
}
