//! What people ask of many jobs at once.

use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::{SqliteBroker, id_at};
use crate::id::JobId;
use crate::time::Time;

impl SqliteBroker {
    /// Ends a workflow: newest jobs first, so that few are ended as the children of others.
    pub(super) fn cancel_all_of(
        &mut self,
        group: &str,
        reason: &str,
        now: Time,
    ) -> Result<u64, Fault> {
        let ids: Vec<JobId> = self
            .cached(
                "SELECT id FROM pelton_jobs WHERE grouping = ? AND state < 4 ORDER BY row DESC",
            )?
            .query_map([group], |row| id_at(row, 0))?
            .collect::<Result<_, _>>()?;
        let mut ended = 0;
        for id in ids {
            ended += u64::from(self.cancel_job(id, reason, now)?);
        }
        Ok(ended)
    }

    pub(super) fn cancel_unstarted_of(
        &mut self,
        queue: &str,
        limit: u32,
        now: Time,
    ) -> Result<u64, Fault> {
        let queue: Option<i64> = self
            .cached("SELECT row FROM pelton_queues WHERE name = ?")?
            .query_row([queue], |row| row.get(0))
            .optional()?;
        let Some(queue) = queue else { return Ok(0) };
        // Ready ones by their index; the states aside are fewer.
        let mut ids: Vec<JobId> = Vec::new();
        for states in ["state = 2", "state IN (0, 1)"] {
            let left = i64::from(limit) - ids.len() as i64;
            let mut statement = self.cached(&format!(
                "SELECT id FROM pelton_jobs WHERE {states} AND queue = ? LIMIT ?"
            ))?;
            let rows = statement.query_map((queue, left), |row| id_at(row, 0))?;
            for id in rows {
                ids.push(id?);
            }
        }
        let mut ended = 0;
        for id in ids {
            // One may have been ended with the one before it.
            ended += u64::from(self.cancel_job(id, "purged", now)?);
        }
        Ok(ended)
    }
}
