//! Housekeeping, in writes small enough that nobody waits for them.

use super::fault::Fault;
use super::{PostgresBroker, id_at, state_at};
use crate::state::State;
use crate::time::Time;

/// Records removed in one write.
const PURGE_MAX: i64 = 500;

/// Seconds after which a bucket that nobody took from is forgotten.
const BUCKET_REST: f64 = 3600.0;

impl PostgresBroker {
    /// One batch. `true`: there may be more.
    pub(super) fn tidy_up(&mut self, now: Time) -> Result<bool, Fault> {
        let expired = self.end_expired(now)?;
        let lost = self.take_over_lost(now)?;
        let purged = self.purge(now)?;
        self.put_counts_together()?;
        Ok(expired || lost || purged)
    }

    /// Removes records that are past their time.
    fn purge(&mut self, now: Time) -> Result<bool, Fault> {
        // A record whose key is still taken stays for as long as it is.
        self.link.execute(
            "UPDATE pelton_jobs SET purge_at = key_until WHERE id IN (SELECT id FROM pelton_jobs \
             WHERE purge_at IS NOT NULL AND purge_at <= $1 AND key_until > $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED)",
            &[&now.0, &PURGE_MAX],
        )?;
        // Buckets that are full again mean nothing.
        self.link.execute(
            "DELETE FROM pelton_buckets WHERE name IN (SELECT name FROM pelton_buckets \
             WHERE tat < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
            &[&now.after(-BUCKET_REST).0, &PURGE_MAX],
        )?;
        let rows = self.link.query(
            "SELECT id, queue, state FROM pelton_jobs WHERE purge_at IS NOT NULL AND \
             purge_at <= $1 AND (key_until IS NULL OR key_until <= $1) ORDER BY purge_at LIMIT $2 \
             FOR UPDATE SKIP LOCKED",
            &[&now.0, &PURGE_MAX],
        )?;
        let mut plain: Vec<&[u8]> = Vec::with_capacity(rows.len());
        for row in &rows {
            match state_at(row, 2)? {
                // Nobody waits for it any more: it goes with the others like it, in a few writes.
                State::Succeeded => {
                    plain.push(row.get(0));
                    self.moved(row.get(1), Some(State::Succeeded), None);
                }
                state => self.remove_row(id_at(row, 0), row.get(1), state, now)?,
            }
        }
        if !plain.is_empty() {
            self.link.execute("DELETE FROM pelton_jobs WHERE id = ANY($1)", &[&plain])?;
            self.forget(&plain)?;
        }
        Ok(rows.len() == PURGE_MAX as usize)
    }

    fn put_counts_together(&mut self) -> Result<(), Fault> {
        self.link.execute(
            "WITH gone AS (DELETE FROM pelton_counts WHERE row IN (SELECT row FROM pelton_counts \
             ORDER BY row LIMIT 10000 FOR UPDATE SKIP LOCKED) RETURNING queue, state, n) \
             INSERT INTO pelton_counts (queue, state, n) SELECT queue, state, sum(n) FROM gone \
             GROUP BY queue, state HAVING sum(n) <> 0",
            &[],
        )?;
        Ok(())
    }
}
