//! Workers, the leases of those that went away, and orders.

use super::fault::Fault;
use super::{PostgresBroker, id_at};
use crate::attempt;
use crate::broker::{WorkerRow, WorkerSpec};
use crate::id::JobId;
use crate::job::{Lease, check_blob};
use crate::time::Time;

/// Jobs taken over from dead workers in one write; the rest follows in the next.
const TAKE_OVER_MAX: i64 = 500;

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
        let losses = u32::try_from(running.losses).unwrap_or(0);
        let (event, note) = attempt::lost(losses, running.cancel, now);
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

    pub(super) fn write_orders(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, Fault> {
        check_blob("order", order)?;
        let told = self.link.execute(
            "INSERT INTO pelton_orders (worker, body) SELECT row, $1 FROM pelton_workers \
             WHERE NOT closed AND lease_until >= $2 AND \
             ($3::text IS NULL OR name = $3 OR name = $3 || '-pool')",
            &[&order, &now.0, &name],
        )?;
        // Of those that nobody will take any more.
        self.link.execute(
            "DELETE FROM pelton_orders o WHERE NOT EXISTS \
             (SELECT 1 FROM pelton_workers w WHERE w.row = o.worker)",
            &[],
        )?;
        self.group.orders = true;
        Ok(told)
    }

    pub(super) fn take_orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        if let Some(report) = report {
            self.link.execute(
                "UPDATE pelton_workers SET report = $1 WHERE row = $2",
                &[&report, &worker.0],
            )?;
        }
        let rows = self.link.query(
            "DELETE FROM pelton_orders WHERE worker = $1 RETURNING row, body",
            &[&worker.0],
        )?;
        let mut orders: Vec<(i64, Vec<u8>)> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        orders.sort_unstable();
        Ok(orders.into_iter().map(|(_, body)| body).collect())
    }
}
