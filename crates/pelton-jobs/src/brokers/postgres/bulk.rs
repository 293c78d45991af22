//! What people ask of many jobs at once.

use postgres::Row;

use super::fault::Fault;
use super::{PostgresBroker, id_at};
use crate::id::JobId;
use crate::time::Time;

impl PostgresBroker {
    /// Ends a workflow: newest jobs first, so that few are ended as the children of others.
    pub(super) fn cancel_all_of(
        &mut self,
        group: &str,
        reason: &str,
        now: Time,
    ) -> Result<u64, Fault> {
        // Locked oldest first, as everywhere, so that no two writers wait for each other in a circle.
        let rows = self.link.query(
            "SELECT id FROM pelton_jobs WHERE in_group = $1 AND state < 4 ORDER BY id FOR UPDATE",
            &[&group],
        )?;
        self.cancel_each(rows.iter().rev(), reason, now)
    }

    pub(super) fn cancel_unstarted_of(
        &mut self,
        queue: &str,
        limit: u32,
        now: Time,
    ) -> Result<u64, Fault> {
        // Ready ones by their index; the states aside are fewer. One that begins to run meanwhile
        // is left alone.
        let mut ended = 0;
        for states in ["state = 2", "state IN (0, 1)"] {
            let left = i64::from(limit) - i64::try_from(ended).unwrap_or(i64::MAX);
            if left <= 0 {
                break;
            }
            let sql = format!(
                "SELECT id FROM pelton_jobs WHERE state < 3 AND id IN (SELECT id FROM pelton_jobs \
                 WHERE {states} AND queue = $1 LIMIT $2) ORDER BY id FOR UPDATE"
            );
            let rows = self.link.query(&sql, &[&queue, &left])?;
            ended += self.cancel_each(rows.iter(), "purged", now)?;
        }
        Ok(ended)
    }

    fn cancel_each<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a Row>,
        reason: &str,
        now: Time,
    ) -> Result<u64, Fault> {
        let ids: Vec<JobId> = rows.map(|row| id_at(row, 0)).collect();
        let mut ended = 0;
        for id in ids {
            // One may have been ended with the one before it.
            ended += u64::from(self.cancel_job(id, reason, now)?);
        }
        Ok(ended)
    }
}
