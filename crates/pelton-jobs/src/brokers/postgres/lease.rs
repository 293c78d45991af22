//! Jobs are taken by workers.

use std::collections::{HashMap, HashSet};

use postgres::Row;
use postgres::types::ToSql;

use super::fault::Fault;
use super::limits::LIMITED;
use super::{PostgresBroker, id_at, read_policy};
use crate::attempt::Note;
use crate::broker::{WorkerRow, WorkerSpec};
use crate::id::JobId;
use crate::job::LeasedJob;
use crate::state::{self, Event, State};
use crate::time::Time;

/// Due jobs made ready by one lease: more wait for the next, so that no write is long.
const PROMOTE_MAX: i64 = 1000;

/// A worker that leased a moment ago need not be touched again.
const TOUCH_AFTER: f64 = 0.2;

/// The open queues of a worker: those it wants ($1; $2: all), without those it leaves to others.
pub(super) const OPEN: &str = "SELECT name FROM pelton_queues WHERE NOT paused AND \
    ($2 OR name = ANY($1)) AND NOT name = ANY($3)";

/// Picks ready jobs where there are no limits: by priority, then from each queue in turn (so that a
/// flood in one does not keep the others waiting), the oldest first.
const PICK: &str = "turns AS MATERIALIZED (SELECT name, \
    (row_number() OVER (ORDER BY name) + $4) % (count(*) OVER ()) AS turn FROM open), \
    picked AS MATERIALIZED (SELECT p.id FROM turns, LATERAL (\
    SELECT id, priority, due, row_number() OVER (PARTITION BY priority ORDER BY due, id) AS rank \
    FROM (SELECT id, priority, due FROM pelton_jobs WHERE state = 2 AND queue = turns.name AND \
    lane = '' AND (expires_at IS NULL OR expires_at > $6) \
    ORDER BY priority DESC, due, id LIMIT $5 FOR UPDATE SKIP LOCKED) ready) p \
    ORDER BY p.priority DESC, p.rank, turns.turn, p.due, p.id LIMIT $5)";

/// Takes the jobs that were picked. Its parameters are those after the picking's.
fn take(first: usize) -> String {
    format!(
        "UPDATE pelton_jobs j SET state = ${first}, worker = ${}, started_at = ${}, \
         attempt = attempt + 1, token = token + 1, version = version + 1, progress = NULL, \
         message = NULL, expires_at = NULL FROM picked WHERE j.id = picked.id \
         RETURNING j.id, j.task, j.queue, j.payload, j.attempt, j.token, j.policy, j.timeout, \
         j.key, j.in_group, j.created_at, j.inputs, j.priority, j.due, j.headers",
        first + 1,
        first + 2,
    )
}

/// Who takes jobs, when, and the state that they get.
struct Taker {
    state: i16,
    worker: i64,
    now: i64,
}

/// What there is besides ready jobs.
struct Surroundings {
    limits: bool,
    lanes: bool,
}

impl PostgresBroker {
    pub(super) fn lease_jobs(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, Fault> {
        let touched = self.touched.get(&worker).copied();
        if touched.is_none_or(|at| !(0.0..TOUCH_AFTER).contains(&now.since(at)) || at == now) {
            self.touch_worker(worker, spec, now)?;
        }
        let Surroundings { limits, lanes } = self.look_at_the_clock(now)?;
        let Some(next) = state::step(State::Queued, Event::Leased, now) else {
            return Ok(Vec::new());
        };
        let taker = Taker { state: next.state as i16, worker: worker.0, now: now.0 };
        self.limited = limits;
        self.turn = self.turn.wrapping_add(1);
        let rows = if limits || lanes {
            self.take_limited(&taker, spec, limit, limits)?
        } else {
            let sql = format!("WITH open AS MATERIALIZED ({OPEN}), {PICK} {}", take(7));
            self.link.query(
                &sql,
                &[
                    &spec.queues,
                    &spec.queues.is_empty(),
                    &spec.skip,
                    &(self.turn as i64 & 0xffff),
                    &(limit as i64),
                    &now.0,
                    &taker.state,
                    &taker.worker,
                    &taker.now,
                ],
            )?
        };
        self.hand_out(worker, rows)
    }

    /// Takes ready jobs as far as the limits allow.
    fn take_limited(
        &mut self,
        taker: &Taker,
        spec: &WorkerSpec,
        limit: usize,
        alone: bool,
    ) -> Result<Vec<Row>, Fault> {
        let now = Time(taker.now);
        let mut limits = self.open_limits(alone, now)?;
        let ready = self.candidates(spec, limit, &mut limits, now)?;
        let mut trial = limits.gate.clone();
        let mut chosen = Vec::new();
        for one in &ready {
            if chosen.len() < limit && trial.admits(one) {
                trial.passed(one);
                chosen.push(one.row);
            }
        }
        if chosen.is_empty() {
            self.put_in_lanes(&limits, &ready)?;
            return Ok(Vec::new());
        }
        let ids: Vec<&[u8]> = chosen.iter().map(|id| &id.as_bytes()[..]).collect();
        let sql = format!(
            "WITH picked AS MATERIALIZED (SELECT id FROM pelton_jobs WHERE id = ANY($1) AND \
             state = 2 AND (expires_at IS NULL OR expires_at > $2) FOR UPDATE SKIP LOCKED) {}",
            take(3)
        );
        let values: [&(dyn ToSql + Sync); 5] =
            [&ids, &taker.now, &taker.state, &taker.worker, &taker.now];
        let rows = self.link.query(&sql, &values)?;
        // What another got hold of meanwhile uses up no limit.
        let taken: HashSet<JobId> = rows.iter().map(|row| id_at(row, 0)).collect();
        for one in ready.iter().filter(|one| taken.contains(&one.row)) {
            limits.gate.passed(one);
        }
        self.put_in_lanes(&limits, &ready)?;
        self.close_limits(limits.gate)?;
        Ok(rows)
    }

    fn hand_out(&mut self, worker: WorkerRow, mut rows: Vec<Row>) -> Result<Vec<LeasedJob>, Fault> {
        rows.sort_by_key(|row| (-row.get::<_, i16>(12), row.get::<_, i64>(13), id_at(row, 0)));
        let mut jobs = rows.iter().map(leased).collect::<Vec<_>>();
        let tied: Vec<bool> = rows.iter().map(|row| row.get::<_, i32>(11) > 0).collect();
        self.give_inputs(&mut jobs, &tied)?;
        for job in &jobs {
            self.moved(&job.queue, Some(State::Queued), Some(State::Running));
            self.group.changed.push(job.id);
        }
        self.group.leased.extend(jobs.iter().map(|job| (worker, job.lease())));
        Ok(jobs)
    }

    /// Gives jobs back whose lease was perhaps committed, in an answer that was lost: nobody runs
    /// them, and their worker lives.
    pub(super) fn return_unsure(&mut self, now: Time) -> Result<(), Fault> {
        if self.group.returned > 0 {
            return Ok(());
        }
        let mut unsure = self.unsure.clone();
        // In one order everywhere, so that no two writers wait for each other in a circle.
        unsure.sort_by_key(|(_, lease)| lease.id);
        for (worker, lease) in unsure {
            // By its id alone: it waits for the old transaction, if that is still being committed.
            // After one that was rolled back, another worker's lease has the same token.
            let rows = self.link.query(
                "SELECT worker FROM pelton_jobs WHERE id = $1 FOR UPDATE",
                &[&&lease.id.as_bytes()[..]],
            )?;
            let holder = rows.first().and_then(|row| row.get::<_, Option<i64>>(0));
            if holder == Some(worker.0)
                && let Some(running) = self.running(lease)?
            {
                let event = if running.cancel { Event::CancelDone } else { Event::Released };
                self.end_attempt(lease, &running, event, &Note::default(), now)?;
            }
        }
        self.group.returned = self.unsure.len();
        Ok(())
    }

    /// What is due by now: jobs become ready, expire, or are taken from dead workers.
    fn look_at_the_clock(&mut self, now: Time) -> Result<Surroundings, Fault> {
        let sql = format!(
            "SELECT (SELECT min(due) FROM pelton_jobs WHERE state = 1), \
             (SELECT min(expires_at) FROM pelton_jobs \
             WHERE expires_at IS NOT NULL AND state < 3), \
             (SELECT min(lease_until) FROM pelton_workers), {LIMITED}"
        );
        let rows = self.link.query(&sql, &[])?;
        let Some(row) = rows.first() else {
            return Ok(Surroundings { limits: true, lanes: true });
        };
        let is_before =
            |column, time: i64| row.get::<_, Option<i64>>(column).is_some_and(|at| at < time);
        if is_before(0, now.0 + 1) {
            self.promote(now)?;
        }
        if is_before(1, now.0 + 1) {
            self.end_expired(now)?;
        }
        if is_before(2, now.0) {
            self.take_over_lost(now)?;
        }
        Ok(Surroundings { limits: row.get(3), lanes: row.get(4) })
    }

    /// When a lease for this worker would find something to do.
    pub(super) fn next_work(
        &mut self,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<Option<Time>, Fault> {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM ({OPEN}) open WHERE EXISTS \
             (SELECT 1 FROM pelton_jobs WHERE state = 2 AND queue = open.name)), \
             (SELECT min(due) FROM pelton_jobs WHERE state = 1), \
             (SELECT min(lease_until) FROM pelton_workers), {LIMITED}"
        );
        let rows = self.link.query(&sql, &[&spec.queues, &spec.queues.is_empty(), &spec.skip])?;
        let Some(row) = rows.first() else { return Ok(None) };
        let mut opens_at = None;
        if row.get(0) {
            if !row.get::<_, bool>(3) {
                return Ok(Some(now));
            }
            let mut limits = self.open_limits(false, now)?;
            for one in self.candidates(spec, 1, &mut limits, now)? {
                if limits.gate.admits(&one) || limits.astray.contains(&one.row) {
                    return Ok(Some(now));
                }
            }
            opens_at = limits.gate.opens_at().map(|at| at.0);
        }
        let (due, lost): (Option<i64>, Option<i64>) = (row.get(1), row.get(2));
        Ok([due, lost, opens_at].into_iter().flatten().min().map(Time))
    }

    /// Scheduled jobs whose time came are queued, whatever their queue.
    fn promote(&mut self, now: Time) -> Result<(), Fault> {
        let Some(next) = state::step(State::Scheduled, Event::Due, now) else { return Ok(()) };
        let rows = self.link.query(
            "UPDATE pelton_jobs SET state = $1, signal = NULL, version = version + 1 WHERE id IN \
             (SELECT id FROM pelton_jobs WHERE state = 1 AND due <= $2 ORDER BY due LIMIT $3 \
             FOR UPDATE SKIP LOCKED) RETURNING id, queue",
            &[&(next.state as i16), &now.0, &PROMOTE_MAX],
        )?;
        for row in rows {
            self.moved(row.get(1), Some(State::Scheduled), Some(next.state));
            self.group.changed.push(id_at(&row, 0));
        }
        Ok(())
    }

    fn give_inputs(&mut self, jobs: &mut [LeasedJob], tied: &[bool]) -> Result<(), Fault> {
        let mut waiting: HashMap<_, &mut LeasedJob> = jobs
            .iter_mut()
            .zip(tied)
            .filter(|(_, tied)| **tied)
            .map(|(job, _)| (job.id, job))
            .collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let ids: Vec<Vec<u8>> = waiting.keys().map(|id| id.as_bytes().to_vec()).collect();
        let rows = self.link.query(
            "SELECT child, coalesce(result, ''::bytea) FROM pelton_edges WHERE child = ANY($1) \
             ORDER BY child, position",
            &[&ids],
        )?;
        for row in rows {
            if let Some(job) = waiting.get_mut(&id_at(&row, 0)) {
                job.inputs.push(row.get(1));
            }
        }
        Ok(())
    }
}

fn leased(row: &Row) -> LeasedJob {
    LeasedJob {
        id: id_at(row, 0),
        row: 0,
        task: row.get::<_, &str>(1).into(),
        queue: row.get::<_, &str>(2).into(),
        payload: row.get(3),
        attempt: u32::try_from(row.get::<_, i32>(4)).unwrap_or(0),
        token: row.get(5),
        max_retries: read_policy(row.get(6)).max_retries,
        timeout: row.get(7),
        inputs: Vec::new(),
        key: row.get(8),
        group: row.get(9),
        created_at: Time(row.get(10)),
        headers: row.get(14),
    }
}
