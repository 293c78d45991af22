//! Housekeeping, in writes small enough that nobody waits for them.

use super::fault::Fault;
use super::{SqliteBroker, id_at, state_at};
use crate::time::Time;

/// Records removed in one write.
const PURGE_MAX: i64 = 500;

/// Seconds after which a bucket that nobody took from is forgotten.
const BUCKET_REST: f64 = 3600.0;

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
        // A record whose key is still taken stays for as long as it is.
        self.cached(
            "UPDATE pelton_jobs SET purge_at = key_until WHERE purge_at IS NOT NULL AND \
             purge_at <= ?1 AND key_until > ?1",
        )?
        .execute([now.0])?;
        // Buckets that are full again mean nothing.
        self.cached(
            "DELETE FROM pelton_buckets WHERE name IN \
             (SELECT name FROM pelton_buckets WHERE tat < ? LIMIT ?)",
        )?
        .execute((now.after(-BUCKET_REST).0, PURGE_MAX))?;
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
