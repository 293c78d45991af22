//! Workers, the leases of those that went away, and housekeeping.

use super::fault::Fault;
use super::finish::Note;
use super::{PostgresBroker, id_at, state_at};
use crate::broker::{WorkerRow, WorkerSpec};
use crate::id::JobId;
use crate::job::Lease;
use crate::retry::{self, Verdict};
use crate::state::Event;
use crate::time::Time;

/// Jobs taken over from dead workers in one write; the rest follows in the next.
const TAKE_OVER_MAX: i64 = 500;

/// Records removed in one write.
const PURGE_MAX: i64 = 500;

impl PostgresBroker {
    pub(super) fn insert_worker(
        &mut self,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<WorkerRow, Fault> {
        let rows = self.link.query(
            "INSERT INTO pelton_workers (name, hostname, pid, queues, concurrency, started_at, \
             seen_at, lease_until) VALUES ($1, $2, $3, $4, $5, $6, $6, $7) RETURNING row",
            &[
                &spec.name,
                &spec.hostname,
                &i64::from(spec.pid),
                &spec.queues.join("\n"),
                &i64::from(spec.concurrency),
                &now.0,
                &now.after(spec.lease).0,
            ],
        )?;
        Ok(WorkerRow(rows.first().map_or(0, |row| row.get(0))))
    }

    /// A sign of life. A worker that was given up is there again, without its jobs.
    pub(super) fn touch_worker(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<(), Fault> {
        self.link.execute(
            "INSERT INTO pelton_workers (row, name, hostname, pid, queues, concurrency, \
             started_at, seen_at, lease_until) VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8) \
             ON CONFLICT (row) DO UPDATE SET seen_at = excluded.seen_at, \
             lease_until = excluded.lease_until",
            &[
                &worker.0,
                &spec.name,
                &spec.hostname,
                &i64::from(spec.pid),
                &spec.queues.join("\n"),
                &i64::from(spec.concurrency),
                &now.0,
                &now.after(spec.lease).0,
            ],
        )?;
        self.touched.insert(worker, now);
        self.return_unsure(now)
    }

    pub(super) fn renew_leases(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, Fault> {
        self.touch_worker(worker, spec, now)?;
        let ids: Vec<&[u8]> = held.iter().map(|lease| &lease.id.as_bytes()[..]).collect();
        let tokens: Vec<i64> = held.iter().map(|lease| lease.token).collect();
        let rows = self.link.query(
            "SELECT o.id FROM unnest($1::bytea[], $2::bigint[]) AS o (id, token) WHERE NOT EXISTS \
             (SELECT 1 FROM pelton_jobs j WHERE j.id = o.id AND j.state = 3 AND j.token = o.token)",
            &[&ids, &tokens],
        )?;
        Ok(rows.iter().map(|row| id_at(row, 0)).collect())
    }

    pub(super) fn delete_worker(&mut self, worker: WorkerRow) -> Result<(), Fault> {
        self.touched.remove(&worker);
        let gone = self.link.execute(
            "DELETE FROM pelton_workers WHERE row = $1 AND NOT EXISTS \
             (SELECT 1 FROM pelton_jobs WHERE state = 3 AND worker = $1)",
            &[&worker.0],
        )?;
        if gone == 0 {
            self.link
                .execute("UPDATE pelton_workers SET closed = true WHERE row = $1", &[&worker.0])?;
        }
        Ok(())
    }

    /// Takes jobs from workers whose lease ran out. `true`: there may be more.
    pub(super) fn take_over_lost(&mut self, now: Time) -> Result<bool, Fault> {
        // Its row is locked: it cannot come back to life meanwhile, and two do not take over at once.
        let rows = self.link.query(
            "SELECT row FROM pelton_workers WHERE lease_until < $1 ORDER BY lease_until LIMIT 1 \
             FOR UPDATE SKIP LOCKED",
            &[&now.0],
        )?;
        let Some(dead) = rows.first().map(|row| row.get::<_, i64>(0)) else { return Ok(false) };
        let leases: Vec<Lease> = self
            .link
            .query(
                "SELECT id, token FROM pelton_jobs WHERE state = 3 AND worker = $1 \
                 ORDER BY id LIMIT $2 FOR UPDATE",
                &[&dead, &TAKE_OVER_MAX],
            )?
            .iter()
            .map(|row| Lease { id: id_at(row, 0), row: 0, token: row.get(1) })
            .collect();
        for lease in &leases {
            self.lose(*lease, now)?;
        }
        if leases.len() < TAKE_OVER_MAX as usize {
            self.link.execute("DELETE FROM pelton_workers WHERE row = $1", &[&dead])?;
        }
        Ok(true)
    }

    fn lose(&mut self, lease: Lease, now: Time) -> Result<(), Fault> {
        let Some(running) = self.running(lease)? else { return Ok(()) };
        let losses = u32::try_from(running.losses).unwrap_or(0) + 1;
        let (event, reason) = match retry::after_loss(losses, now) {
            _ if running.cancel => (Event::CancelDone, "its worker went away".to_owned()),
            Verdict::Again(_) => (Event::Lost, String::new()),
            Verdict::GiveUp => (
                Event::LostForGood,
                format!(
                    "poison: {} workers in a row went away while they ran it",
                    retry::MAX_LOSSES
                ),
            ),
        };
        let note =
            Note { reason: Some(reason).filter(|reason| !reason.is_empty()), ..Note::default() };
        self.end_attempt(lease, &running, event, &note, now)?;
        Ok(())
    }

    pub(super) fn cancelled_of(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, Fault> {
        let rows = self.link.query(
            "SELECT id FROM pelton_jobs WHERE state = 3 AND worker = $1 AND cancel",
            &[&worker.0],
        )?;
        Ok(rows.iter().map(|row| id_at(row, 0)).collect())
    }

    /// One batch of housekeeping. `true`: there may be more.
    pub(super) fn tidy_up(&mut self, now: Time) -> Result<bool, Fault> {
        let expired = self.end_expired(now)?;
        let lost = self.take_over_lost(now)?;
        let purged = self.purge(now)?;
        self.put_counts_together()?;
        Ok(expired || lost || purged)
    }

    /// Removes records that are past their time.
    fn purge(&mut self, now: Time) -> Result<bool, Fault> {
        let rows = self.link.query(
            "SELECT id, queue, state FROM pelton_jobs WHERE purge_at IS NOT NULL AND \
             purge_at <= $1 ORDER BY purge_at LIMIT $2 FOR UPDATE SKIP LOCKED",
            &[&now.0, &PURGE_MAX],
        )?;
        for row in &rows {
            self.remove_row(id_at(row, 0), row.get(1), state_at(row, 2)?, now)?;
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
