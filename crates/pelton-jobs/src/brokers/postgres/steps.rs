//! What a job has done already, and what was said to it meanwhile.

use super::fault::Fault;
use super::{PostgresBroker, check_text};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Lease, check_blob};
use crate::state::State;
use crate::time::Time;

/// Steps that a job may keep, and signals that may wait for it.
const KEPT_MAX: i64 = 10_000;

impl PostgresBroker {
    pub(super) fn write_step(
        &mut self,
        lease: Lease,
        step: &str,
        value: &[u8],
    ) -> Result<bool, Fault> {
        check_text("step", step)?;
        check_blob("step's result", value)?;
        if !self.holds(lease)? {
            return Ok(false);
        }
        self.check_room("steps", "SELECT count(*) FROM pelton_steps WHERE job = $1", lease.id)?;
        self.insert_step(lease.id, step, value)?;
        Ok(true)
    }

    pub(super) fn steps_of(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let rows = self.link.query(
            "SELECT name, value FROM pelton_steps WHERE job = $1",
            &[&&lease.id.as_bytes()[..]],
        )?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    pub(super) fn signal_to_step(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, Fault> {
        check_text("step", step)?;
        let id = &lease.id.as_bytes()[..];
        let kept = self
            .link
            .query("SELECT value FROM pelton_steps WHERE job = $1 AND name = $2", &[&id, &step])?;
        if let Some(row) = kept.first() {
            return Ok(Some(row.get(0)));
        }
        if !self.holds(lease)? {
            return Ok(None);
        }
        let came = self.link.query(
            "DELETE FROM pelton_signals WHERE row = (SELECT row FROM pelton_signals \
             WHERE job = $1 AND name = $2 ORDER BY row LIMIT 1) RETURNING value",
            &[&id, &signal],
        )?;
        let Some(value) = came.first().map(|row| row.get::<_, Vec<u8>>(0)) else {
            return Ok(None);
        };
        self.insert_step(lease.id, step, &value)?;
        Ok(Some(value))
    }

    pub(super) fn send_signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, Fault> {
        check_text("signal", signal)?;
        check_blob("signal's value", value)?;
        // Found and locked: the job does not lie down to wait meanwhile.
        let Some(job) = self.find(id)?.filter(|job| !job.state.is_end()) else {
            return Ok(false);
        };
        self.check_room("signals", "SELECT count(*) FROM pelton_signals WHERE job = $1", id)?;
        self.link.execute(
            "INSERT INTO pelton_signals (job, name, value) VALUES ($1, $2, $3)",
            &[&&id.as_bytes()[..], &signal, &value],
        )?;
        if job.state == State::Scheduled {
            let woken = self.link.execute(
                "UPDATE pelton_jobs SET due = $1, signal = NULL, version = version + 1 \
                 WHERE id = $2 AND signal = $3",
                &[&now.0, &&id.as_bytes()[..], &signal],
            )?;
            if woken > 0 {
                self.group.work = true;
                self.group.changed.push(id);
            }
        }
        Ok(true)
    }

    pub(super) fn has_signal(&mut self, id: JobId, signal: &str) -> Result<bool, Fault> {
        let rows = self.link.query(
            "SELECT 1 FROM pelton_signals WHERE job = $1 AND name = $2 LIMIT 1",
            &[&&id.as_bytes()[..], &signal],
        )?;
        Ok(!rows.is_empty())
    }

    fn insert_step(&mut self, id: JobId, step: &str, value: &[u8]) -> Result<(), Fault> {
        self.link.execute(
            "INSERT INTO pelton_steps (job, name, value) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            &[&&id.as_bytes()[..], &step, &value],
        )?;
        Ok(())
    }

    /// Whether this lease is still the one that holds its job: until the commit, if it is.
    fn holds(&mut self, lease: Lease) -> Result<bool, Fault> {
        let rows = self.link.query(
            "SELECT 1 FROM pelton_jobs WHERE id = $1 AND state = 3 AND token = $2 FOR UPDATE",
            &[&&lease.id.as_bytes()[..], &lease.token],
        )?;
        Ok(!rows.is_empty())
    }

    fn check_room(&mut self, what: &str, count: &str, id: JobId) -> Result<(), Fault> {
        let rows = self.link.query(count, &[&&id.as_bytes()[..]])?;
        let kept: i64 = rows.first().map_or(0, |row| row.get(0));
        if kept >= KEPT_MAX {
            return Err(Fault::Ours(BrokerError::Invalid(format!(
                "the job has {kept} {what} already, which is the limit: use several jobs"
            ))));
        }
        Ok(())
    }
}
