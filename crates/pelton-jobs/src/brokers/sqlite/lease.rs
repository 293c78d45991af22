//! Jobs are taken by workers.

use std::collections::HashSet;

use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::limits::Limits;
use super::{SqliteBroker, id_at};
use crate::broker::{Claim, WorkerRow, WorkerSpec};
use crate::gate::{self, Candidate};
use crate::id::JobId;
use crate::job::LeasedJob;
use crate::state::{self, Event, State};
use crate::time::Time;

/// Due jobs made ready by one lease: more wait for the next, so that no write is long.
const PROMOTE_MAX: i64 = 1000;

/// Jobs that may be leased, with the numbers of their queues and limited tasks.
type Ready = Vec<Candidate<i64, i64>>;

/// A leased row, before its names are known.
struct Taken {
    job: LeasedJob,
    queue: i64,
    task: i64,
    policy: i64,
    inputs: i64,
}

impl SqliteBroker {
    pub(super) fn lease_jobs(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, Fault> {
        self.bring_up_to_date(worker, spec, now)?;
        let queues = self.open_queues(spec)?;
        let limits = Limits::open(self, now)?;
        let candidates = self.candidates(&queues, limit, &limits)?;
        self.turn = self.turn.wrapping_add(1);
        let (leased, _) = self.take_admitted(candidates, limits, worker, limit, now)?;
        Ok(leased)
    }

    /// Takes those of `ids` that are ready, and if this call made jobs ready itself, any others.
    pub(super) fn claim_jobs(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        ids: &[JobId],
        limit: usize,
        now: Time,
    ) -> Result<Claim, Fault> {
        let made_ready = self.bring_up_to_date(worker, spec, now)?;
        if ids.is_empty() && !made_ready {
            return Ok(Claim::default());
        }
        let queues = self.open_queues(spec)?;
        let limits = Limits::open(self, now)?;
        let mut candidates = Vec::with_capacity(ids.len());
        let mut rests = false;
        for id in ids {
            match self.ready_job(*id)? {
                Some(candidate) if queues.contains(&candidate.queue) => candidates.push(candidate),
                Some(_) => rests = true,
                None => {}
            }
        }
        if made_ready {
            let told: HashSet<i64> = candidates.iter().map(|one| one.row).collect();
            let others = self.candidates(&queues, limit, &limits)?;
            candidates.extend(others.into_iter().filter(|one| !told.contains(&one.row)));
            candidates.sort_by_key(|one| (-one.priority, one.due, one.row));
        }
        let (jobs, held) = self.take_admitted(candidates, limits, worker, limit, now)?;
        Ok(Claim { jobs, held: held || rests })
    }

    /// A worker's sign of life, and what is due. `true`: jobs became ready by it.
    fn bring_up_to_date(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<bool, Fault> {
        self.touch_worker(worker, spec, now)?;
        let promoted = self.promote(now)?;
        self.end_expired(now)?;
        Ok(self.take_over_lost(now)? || promoted)
    }

    /// Takes candidates as far as there is room, and the limits allow; whether they held one back.
    fn take_admitted(
        &mut self,
        candidates: Ready,
        mut limits: Limits,
        worker: WorkerRow,
        limit: usize,
        now: Time,
    ) -> Result<(Vec<LeasedJob>, bool), Fault> {
        let mut leased = Vec::with_capacity(limit.min(1024));
        let mut held = false;
        for candidate in candidates {
            if leased.len() == limit {
                break;
            }
            if !limits.admits(self, &candidate)? {
                held = true;
                continue;
            }
            if let Some(taken) = self.take(candidate.row, worker, now)? {
                limits.gate.passed(&candidate);
                leased.push(self.with_names(taken)?);
            }
        }
        limits.close(self)?;
        Ok((leased, held))
    }

    /// A job, if it is ready.
    fn ready_job(&self, id: JobId) -> Result<Option<Candidate<i64, i64>>, Fault> {
        let found = self
            .cached(
                "SELECT priority, due, row, limit_key, queue, lane FROM pelton_jobs \
                 WHERE id = ? AND state = 2",
            )?
            .query_row([id.as_bytes()], |row| {
                Ok(Candidate {
                    priority: row.get(0)?,
                    due: row.get(1)?,
                    row: row.get(2)?,
                    key: row.get(3)?,
                    queue: row.get(4)?,
                    task: row.get(5)?,
                })
            })
            .optional()?;
        Ok(found)
    }

    /// When a lease for this worker would find something to do.
    pub(super) fn next_work(
        &mut self,
        spec: &WorkerSpec,
        now: Time,
    ) -> Result<Option<Time>, Fault> {
        let queues = self.open_queues(spec)?;
        let mut limits = Limits::open(self, now)?;
        for candidate in self.candidates(&queues, 1, &limits)? {
            if limits.admits(self, &candidate)? {
                return Ok(Some(now));
            }
        }
        let due: Option<i64> = self
            .cached("SELECT min(due) FROM pelton_jobs WHERE state = 1")?
            .query_row([], |row| row.get(0))?;
        let lost: Option<i64> = self
            .cached("SELECT min(lease_until) FROM pelton_workers")?
            .query_row([], |row| row.get(0))?;
        let limited = limits.gate.opens_at().map(|at| at.0);
        Ok([due, lost, limited].into_iter().flatten().min().map(Time))
    }

    /// Scheduled jobs whose time came are queued, whatever their queue. `true`: there were some.
    fn promote(&mut self, now: Time) -> Result<bool, Fault> {
        let Some(next) = state::step(State::Scheduled, Event::Due, now) else { return Ok(false) };
        let promoted: Vec<_> = self
            .cached(
                "UPDATE pelton_jobs SET state = ?1, signal = NULL, version = version + 1 \
                 WHERE row IN \
                 (SELECT row FROM pelton_jobs WHERE state = 1 AND due <= ?2 ORDER BY due LIMIT ?3) \
                 RETURNING id, queue",
            )?
            .query_map((next.state as i64, now.0, PROMOTE_MAX), |row| {
                Ok((id_at(row, 0)?, row.get(1)?))
            })?
            .collect::<Result<_, _>>()?;
        let some = !promoted.is_empty();
        for (id, queue) in promoted {
            self.moved(queue, Some(State::Scheduled), Some(next.state));
            self.group.commit.changed.push(id);
        }
        Ok(some)
    }

    /// The rows of a worker's queues that are not paused.
    fn open_queues(&self, spec: &WorkerSpec) -> Result<Vec<i64>, Fault> {
        let WorkerSpec { queues, skip, .. } = spec;
        let mut statement = self.cached("SELECT row, name FROM pelton_queues WHERE paused = 0")?;
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(queue) = found.next()? {
            let name = queue.get_ref(1)?.as_str().unwrap_or_default();
            let wanted = queues.is_empty() || queues.iter().any(|wanted| wanted == name);
            if wanted && !skip.iter().any(|skipped| skipped == name) {
                rows.push(queue.get(0)?);
            }
        }
        Ok(rows)
    }

    /// Ready jobs in the order in which they should run. At least the first `limit`, where there
    /// are as many; only the index is read but for limited tasks.
    fn candidates(&self, queues: &[i64], limit: usize, limits: &Limits) -> Result<Ready, Fault> {
        let mut all = Vec::with_capacity(queues.len());
        for queue in queues {
            let mut of_queue = self.ready(*queue, 0, limit)?;
            for lane in &limits.lanes {
                of_queue.extend(self.ready(*queue, *lane, limits.gate.scan(lane, limit))?);
            }
            all.push(of_queue);
        }
        Ok(gate::in_turn(all, self.turn))
    }

    fn ready(&self, queue: i64, lane: i64, limit: usize) -> Result<Ready, Fault> {
        // The key is beside the index, and wanted of limited tasks only.
        let mut statement = self.cached(if lane == 0 {
            "SELECT priority, due, row, NULL FROM pelton_jobs \
             WHERE state = 2 AND queue = ? AND lane = ? ORDER BY priority DESC, due, row LIMIT ?"
        } else {
            "SELECT priority, due, row, limit_key FROM pelton_jobs \
             WHERE state = 2 AND queue = ? AND lane = ? ORDER BY priority DESC, due, row LIMIT ?"
        })?;
        let rows = statement.query_map((queue, lane, limit as i64), |row| {
            Ok(Candidate {
                priority: row.get(0)?,
                due: row.get(1)?,
                row: row.get(2)?,
                key: row.get(3)?,
                queue,
                task: lane,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Takes one ready job; `None` where it expired this moment.
    fn take(&self, row: i64, worker: WorkerRow, now: Time) -> Result<Option<Taken>, Fault> {
        let Some(next) = state::step(State::Queued, Event::Leased, now) else { return Ok(None) };
        let taken = self
            .cached(
                "UPDATE OR FAIL pelton_jobs SET state = ?1, worker = ?2, started_at = ?3, \
                 attempt = attempt + 1, token = token + 1, version = version + 1, \
                 progress = NULL, message = NULL, expires_at = NULL \
                 WHERE row = ?4 AND state = 2 AND (expires_at IS NULL OR expires_at > ?3) \
                 RETURNING id, queue, task, policy, attempt, token, timeout, inputs, key, \
                 grouping, created_at, payload, headers",
            )?
            .query_row((next.state as i64, worker.0, now.0, row), |found| {
                Ok(Taken {
                    queue: found.get(1)?,
                    task: found.get(2)?,
                    policy: found.get(3)?,
                    inputs: found.get(7)?,
                    job: LeasedJob {
                        id: id_at(found, 0)?,
                        row,
                        task: "".into(),
                        queue: "".into(),
                        attempt: found.get(4)?,
                        token: found.get(5)?,
                        timeout: found.get(6)?,
                        key: found.get(8)?,
                        group: found.get(9)?,
                        created_at: Time(found.get(10)?),
                        payload: found.get(11)?,
                        headers: found.get(12)?,
                        max_retries: 0,
                        inputs: Vec::new(),
                    },
                })
            })
            .optional()?;
        Ok(taken)
    }

    fn with_names(&mut self, taken: Taken) -> Result<LeasedJob, Fault> {
        let Taken { mut job, queue, task, policy, inputs } = taken;
        job.queue = self.queue_name(queue)?;
        job.task = self.task_name(task)?;
        job.max_retries = self.policy(policy)?.max_retries;
        if inputs > 0 {
            let mut statement = self.cached(
                "SELECT coalesce(result, x'') FROM pelton_edges WHERE child = ? ORDER BY position",
            )?;
            job.inputs =
                statement.query_map([job.row], |row| row.get(0))?.collect::<Result<_, _>>()?;
        }
        self.moved(queue, Some(State::Queued), Some(State::Running));
        self.group.commit.changed.push(job.id);
        Ok(job)
    }
}
