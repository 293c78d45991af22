//! Housekeeping, in writes small enough that nobody waits for them.

use super::fault::Fault;
use super::{SqliteBroker, id_at, state_at};
use crate::time::Time;

/// Records removed in one write.
const PURGE_MAX: i64 = 500;

impl SqliteBroker {
    /// One batch. `true`: there may be more.
    pub(super) fn tidy_up(&mut self, now: Time) -> Result<bool, Fault> {
        let expired = self.end_expired(now)?;
        let lost = self.take_over_lost(now)?;
        let purged = self.purge(now)?;
        Ok(expired || lost || purged)
    }

    /// Removes records that are past their time.
    fn purge(&mut self, now: Time) -> Result<bool, Fault> {
        let old: Vec<_> = self
            .cached(
                "SELECT id, row, queue, state FROM pelton_jobs WHERE purge_at IS NOT NULL AND \
                 purge_at <= ? ORDER BY purge_at LIMIT ?",
            )?
            .query_map((now.0, PURGE_MAX), |row| {
                Ok((id_at(row, 0)?, row.get(1)?, row.get(2)?, state_at(row, 3)?))
            })?
            .collect::<Result<_, _>>()?;
        for (id, row, queue, state) in &old {
            self.remove_row(*id, *row, *queue, *state, now)?;
        }
        Ok(old.len() == PURGE_MAX as usize)
    }
}
