//! What a job has done already, and what was said to it meanwhile.

use rusqlite::OptionalExtension;

use super::SqliteBroker;
use super::fault::Fault;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Lease, check_blob, check_name};
use crate::state::State;
use crate::time::Time;

/// Steps that a job may keep, and signals that may wait for it.
const KEPT_MAX: i64 = 10_000;

impl SqliteBroker {
    pub(super) fn write_step(
        &mut self,
        lease: Lease,
        step: &str,
        value: &[u8],
    ) -> Result<bool, Fault> {
        check_name("step", step)?;
        check_blob("step's result", value)?;
        if !self.holds(lease)? {
            return Ok(false);
        }
        self.check_room("steps", "SELECT count(*) FROM pelton_steps WHERE job = ?", lease.row)?;
        self.cached("INSERT OR IGNORE INTO pelton_steps (job, name, value) VALUES (?, ?, ?)")?
            .execute((lease.row, step, value))?;
        Ok(true)
    }

    pub(super) fn steps_of(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut statement = self.cached("SELECT name, value FROM pelton_steps WHERE job = ?")?;
        let rows = statement.query_map([lease.row], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn signal_to_step(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        check_name("step", step)?;
        let kept = self
            .cached("SELECT value FROM pelton_steps WHERE job = ? AND name = ?")?
            .query_row((lease.row, step), |row| row.get(0))
            .optional()?;
        if kept.is_some() || !self.holds(lease)? {
            return Ok(kept);
        }
        let came: Option<Vec<u8>> = self
            .cached(
                "DELETE FROM pelton_signals WHERE row = (SELECT min(row) FROM pelton_signals \
                 WHERE job = ? AND name = ?) RETURNING value",
            )?
            .query_row((lease.row, signal), |row| row.get(0))
            .optional()?;
        if let Some(value) = &came {
            self.cached("INSERT INTO pelton_steps (job, name, value) VALUES (?, ?, ?)")?
                .execute((lease.row, step, value))?;
        }
        Ok(came)
    }

    pub(super) fn send_signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, Fault> {
        check_name("signal", signal)?;
        check_blob("signal's value", value)?;
        let Some(job) = self.find(id)?.filter(|job| !job.state.is_end()) else {
            return Ok(false);
        };
        self.check_room("signals", "SELECT count(*) FROM pelton_signals WHERE job = ?", job.row)?;
        self.cached("INSERT INTO pelton_signals (job, name, value) VALUES (?, ?, ?)")?
            .execute((job.row, signal, value))?;
        if job.state == State::Scheduled {
            let woken = self
                .cached(
                    "UPDATE pelton_jobs SET due = ?1, signal = NULL, version = version + 1 \
                     WHERE row = ?2 AND signal = ?3",
                )?
                .execute((now.0, job.row, signal))?;
            if woken > 0 {
                self.group.commit.work = true;
                self.group.commit.changed.push(id);
            }
        }
        Ok(true)
    }

    pub(super) fn has_signal(&self, row: i64, signal: &str) -> Result<bool, Fault> {
        Ok(self
            .cached("SELECT 1 FROM pelton_signals WHERE job = ? AND name = ?")?
            .exists((row, signal))?)
    }

    /// Whether this lease is still the one that holds its job.
    fn holds(&self, lease: Lease) -> Result<bool, Fault> {
        Ok(self
            .cached(
                "SELECT 1 FROM pelton_jobs WHERE row = ? AND id = ? AND state = 3 AND token = ?",
            )?
            .exists((lease.row, lease.id.as_bytes(), lease.token))?)
    }

    fn check_room(&self, what: &str, count: &str, row: i64) -> Result<(), Fault> {
        let kept: i64 = self.cached(count)?.query_row([row], |found| found.get(0))?;
        if kept >= KEPT_MAX {
            return Err(Fault::Ours(BrokerError::Invalid(format!(
                "the job has {kept} {what} already, which is the limit: use several jobs"
            ))));
        }
        Ok(())
    }
}
