//! Workers, and the leases of those that went away.
//!
//! A worker has one lease for all its jobs: a row with a time, which it moves on while it lives.
//! Renewing costs one write, however many jobs run.

use super::fault::Fault;
use super::{SqliteBroker, id_at};
use crate::attempt;
use crate::broker::{WorkerRow, WorkerSpec};
use crate::id::JobId;
use crate::job::Lease;
use crate::time::Time;

/// Jobs taken over from dead workers in one write; the rest follows in the next.
const TAKE_OVER_MAX: i64 = 500;

impl SqliteBroker {
    pub(super) fn insert_worker(
        &mut self,
        row: Option<WorkerRow>,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<WorkerRow, Fault> {
        let row = self
            .cached(
                "INSERT INTO pelton_workers (row, name, hostname, pid, queues, concurrency, \
                 started_at, seen_at, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .insert(rusqlite::params![
                row.map(|row| row.0),
                spec.name,
                spec.hostname,
                spec.pid,
                spec.queues.join("\n"),
                spec.concurrency,
                now.0,
                now.0,
                now.after(spec.lease).0,
            ])?;
        Ok(WorkerRow(row))
    }

    /// A sign of life. A worker that was given up is there again, without its jobs.
    pub(super) fn touch_worker(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<(), Fault> {
        let there = self
            .cached("UPDATE pelton_workers SET seen_at = ?1, lease_until = ?2 WHERE row = ?3")?
            .execute((now.0, now.after(spec.lease).0, worker.0))?;
        if there == 0 {
            self.insert_worker(Some(worker), spec, now)?;
        }
        Ok(())
    }

    pub(super) fn renew_leases(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, Fault> {
        self.touch_worker(worker, spec, now)?;
        let mut lost = Vec::new();
        for lease in held {
            let own = self
                .cached(
                    "SELECT 1 FROM pelton_jobs \
                     WHERE row = ? AND id = ? AND state = 3 AND token = ?",
                )?
                .exists((lease.row, lease.id.as_bytes(), lease.token))?;
            if !own {
                lost.push(lease.id);
            }
        }
        Ok(lost)
    }

    pub(super) fn delete_worker(&mut self, worker: WorkerRow) -> Result<(), Fault> {
        let gone = self
            .cached(
                "DELETE FROM pelton_workers WHERE row = ?1 AND NOT EXISTS \
                 (SELECT 1 FROM pelton_jobs WHERE state = 3 AND worker = ?1)",
            )?
            .execute([worker.0])?;
        if gone == 0 {
            self.cached("UPDATE pelton_workers SET closed = 1 WHERE row = ?")?
                .execute([worker.0])?;
        }
        Ok(())
    }

    /// Takes jobs from workers whose lease ran out. `true`: there may be more.
    pub(super) fn take_over_lost(&mut self, now: Time) -> Result<bool, Fault> {
        let dead: Option<i64> = self
            .cached("SELECT min(row) FROM pelton_workers WHERE lease_until < ?")?
            .query_row([now.0], |row| row.get(0))?;
        let Some(dead) = dead else { return Ok(false) };
        let leases: Vec<Lease> = self
            .cached(
                "SELECT id, row, token FROM pelton_jobs WHERE state = 3 AND worker = ? LIMIT ?",
            )?
            .query_map((dead, TAKE_OVER_MAX), |row| {
                Ok(Lease { id: id_at(row, 0)?, row: row.get(1)?, token: row.get(2)? })
            })?
            .collect::<Result<_, _>>()?;
        for lease in &leases {
            self.lose(*lease, now)?;
        }
        if leases.len() < TAKE_OVER_MAX as usize {
            self.cached("DELETE FROM pelton_workers WHERE row = ?")?.execute([dead])?;
        }
        Ok(true)
    }

    fn lose(&mut self, lease: Lease, now: Time) -> Result<(), Fault> {
        let Some(running) = self.running(lease)? else { return Ok(()) };
        let (event, note) = attempt::lost(running.losses, running.cancel, now);
        self.end_attempt(lease, &running, event, &note, now)?;
        Ok(())
    }

    pub(super) fn write_orders(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, Fault> {
        crate::job::check_blob("order", order)?;
        let told = self
            .cached(
                "INSERT INTO pelton_orders (worker, body) SELECT row, ?1 FROM pelton_workers \
                 WHERE closed = 0 AND lease_until >= ?2 AND \
                 (?3 IS NULL OR name = ?3 OR name = ?3 || '-pool')",
            )?
            .execute((order, now.0, name))?;
        // Of those that nobody will take any more.
        self.cached(
            "DELETE FROM pelton_orders WHERE worker NOT IN (SELECT row FROM pelton_workers)",
        )?
        .execute([])?;
        self.group.commit.orders = true;
        Ok(told as u64)
    }

    pub(super) fn take_orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        if let Some(report) = report {
            self.cached("UPDATE pelton_workers SET report = ? WHERE row = ?")?
                .execute((report, worker.0))?;
        }
        let mut orders: Vec<(i64, Vec<u8>)> = self
            .cached("DELETE FROM pelton_orders WHERE worker = ? RETURNING row, body")?
            .query_map([worker.0], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        orders.sort_unstable();
        Ok(orders.into_iter().map(|(_, body)| body).collect())
    }

    pub(super) fn cancelled_of(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, Fault> {
        let mut statement = self
            .cached("SELECT id FROM pelton_jobs WHERE state = 3 AND cancel = 1 AND worker = ?")?;
        let ids = statement.query_map([worker.0], |row| id_at(row, 0))?;
        Ok(ids.collect::<Result<_, _>>()?)
    }
}
