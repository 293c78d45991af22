//! Jobs are written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::OptionalExtension;

use super::fault::Fault;
use super::{SqliteBroker, id_at, state_at};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, NewJob, On};
use crate::state::{self, State};
use crate::time::Time;
use crate::workflow::{self, Ties};

/// A parent that was there before.
struct Elder {
    row: i64,
    state: State,
    result: Option<Vec<u8>>,
}

impl SqliteBroker {
    pub(super) fn enqueue_jobs(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, Fault> {
        for job in jobs {
            job.check()?;
        }
        let ids = self.resolve_keys(jobs, now)?;
        if edges.is_empty() {
            for (job, id) in jobs.iter().zip(&ids) {
                if job.id == *id {
                    self.insert_job(job, Ties::default(), now)?;
                }
            }
        } else {
            self.insert_workflow(jobs, &ids, edges, now)?;
        }
        Ok(ids)
    }

    /// The id of each job, or of the one that has its key.
    fn resolve_keys(&mut self, jobs: &[Arc<NewJob>], now: Time) -> Result<Vec<JobId>, Fault> {
        let mut of_batch: HashMap<&str, JobId> = HashMap::new();
        let mut ids = Vec::with_capacity(jobs.len());
        for job in jobs {
            let Some(key) = job.key.as_deref() else {
                ids.push(job.id);
                continue;
            };
            let before = self
                .cached("SELECT id FROM pelton_jobs WHERE key = ? AND state < 4")?
                .query_row([key], |row| id_at(row, 0))
                .optional()?;
            let before = match before {
                Some(id) => Some(id),
                None => self
                    .cached(
                        "SELECT id FROM pelton_jobs WHERE key = ?1 AND key_until > ?2 \
                         ORDER BY row DESC LIMIT 1",
                    )?
                    .query_row((key, now.0), |row| id_at(row, 0))
                    .optional()?,
            };
            let first = before.unwrap_or(job.id);
            ids.push(*of_batch.entry(key).or_insert(first));
        }
        Ok(ids)
    }

    fn insert_workflow(
        &mut self,
        jobs: &[Arc<NewJob>],
        ids: &[JobId],
        edges: &[Edge],
        now: Time,
    ) -> Result<(), Fault> {
        let asked: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
        workflow::check(&asked, edges)?;
        let (written, edges) = workflow::resolve(jobs.iter().map(|job| job.id), ids, edges);
        let elders = self.elders(&edges, &written)?;
        let ties = workflow::ties(&edges, |parent| {
            elders.get(&parent).is_some_and(|elder| elder.state == State::Succeeded)
        });
        let mut rows: HashMap<JobId, i64> =
            elders.iter().map(|(id, elder)| (*id, elder.row)).collect();
        for job in jobs.iter().filter(|job| written.contains(&job.id)) {
            let ties = ties.get(&job.id).copied().unwrap_or_default();
            rows.insert(job.id, self.insert_job(job, ties, now)?);
        }
        for edge in &edges {
            let elder = elders.get(&edge.parent);
            let result =
                elder.filter(|_| edge.on == On::Success).and_then(|elder| elder.result.as_deref());
            self.cached(
                "INSERT INTO pelton_edges (child, position, parent, done, result, kind) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute((
                rows.get(&edge.child),
                edge.position,
                rows.get(&edge.parent),
                result.is_some(),
                result,
                edge.on == On::Failure,
            ))?;
        }
        self.tie_to_elders(&elders, &ties, now)
    }

    /// The parents that are not of this batch. All must be known.
    fn elders(
        &mut self,
        edges: &[Edge],
        written: &HashSet<JobId>,
    ) -> Result<HashMap<JobId, Elder>, Fault> {
        let mut elders = HashMap::new();
        for parent in edges.iter().map(|edge| edge.parent) {
            if written.contains(&parent) || elders.contains_key(&parent) {
                continue;
            }
            let elder = self
                .cached("SELECT row, state, result FROM pelton_jobs WHERE id = ?")?
                .query_row([parent.as_bytes()], |row| {
                    Ok(Elder { row: row.get(0)?, state: state_at(row, 1)?, result: row.get(2)? })
                })
                .optional()?;
            let Some(elder) = elder else {
                return Err(Fault::Ours(BrokerError::Invalid(format!(
                    "no job {parent} to wait for: it was never enqueued, or its record has expired"
                ))));
            };
            elders.insert(parent, elder);
        }
        Ok(elders)
    }

    /// Elder parents learn of their new children; those that failed before end them at once.
    fn tie_to_elders(
        &mut self,
        elders: &HashMap<JobId, Elder>,
        ties: &HashMap<JobId, Ties>,
        now: Time,
    ) -> Result<(), Fault> {
        for (id, elder) in elders {
            let added = ties.get(id).map_or(0, |ties| ties.children);
            self.cached("UPDATE pelton_jobs SET children = children + ? WHERE row = ?")?
                .execute((added, elder.row))?;
            if matches!(elder.state, State::Dead | State::Cancelled) {
                self.end_children(*id, elder.row, elder.state, now)?;
            } else if elder.state == State::Succeeded {
                self.drop_unneeded(*id, elder.row, now)?;
            }
        }
        Ok(())
    }

    fn insert_job(&mut self, job: &NewJob, ties: Ties, now: Time) -> Result<i64, Fault> {
        let queue = self.queue_row(&job.queue)?;
        let task = self.task_row(&job.task)?;
        let policy = self.policy_row(&job.retry)?;
        let lane = self.lane_of(task)?;
        let due = job.run_at.unwrap_or(now);
        let state = state::first(ties.pending as usize, due, now);
        let inserted = self
            .cached(
                "INSERT OR FAIL INTO pelton_jobs (id, state, queue, priority, due, task, policy, inputs, \
                 pending, children, created_at, expires_at, timeout, result_ttl, key, grouping, \
                 payload, lane, headers, limit_key, key_until) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .insert(rusqlite::params![
                job.id.as_bytes(),
                state as i64,
                queue,
                job.priority,
                due.0,
                task,
                policy,
                ties.inputs,
                ties.pending,
                ties.children,
                now.0,
                job.expires_at.map(|time| time.0),
                job.timeout,
                job.result_ttl,
                job.key,
                job.group,
                job.payload,
                lane,
                job.extra.headers,
                job.extra.limit_key,
                job.extra.key_ttl.map(|ttl| now.after(ttl).0),
            ]);
        let row = match inserted {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
            {
                return Err(Fault::Ours(BrokerError::Invalid(format!(
                    "job {} cannot be written: an id can be used once ({error})",
                    job.id
                ))));
            }
            other => other?,
        };
        self.moved(queue, None, Some(state));
        Ok(row)
    }
}
