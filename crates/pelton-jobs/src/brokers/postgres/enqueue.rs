//! Jobs are written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fault::Fault;
use super::{PostgresBroker, clean, id_at, state_at};
use crate::brokers::check_plain;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, NewJob};
use crate::state::{self, State};
use crate::time::Time;
use crate::workflow;

/// How a job hangs together with others of its workflow.
#[derive(Clone, Copy, Default)]
struct Ties {
    inputs: i32,
    pending: i32,
    children: i32,
}

/// A parent that was there before.
struct Elder {
    state: State,
    result: Option<Vec<u8>>,
}

/// Tries to write a job whose key others take at the same time.
const RACES_MAX: usize = 10;

const INSERT: &str = "INSERT INTO pelton_jobs (id, state, queue, priority, due, task, policy, \
    inputs, pending, children, created_at, expires_at, timeout, result_ttl, key, in_group, payload, \
    headers) \
    SELECT id, state, queue, priority, due, task, policy, inputs, pending, children, $18, \
    expires_at, timeout, result_ttl, key, in_group, payload, headers FROM unnest($1::bytea[], \
    $2::smallint[], $3::text[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::int[], \
    $9::int[], $10::int[], $11::bigint[], $12::float8[], $13::float8[], $14::text[], $15::text[], \
    $16::bytea[], $17::int[], $19::bytea[]) AS new (id, state, queue, priority, due, task, policy, \
    inputs, pending, children, expires_at, timeout, result_ttl, key, in_group, payload, nth, \
    headers) \
    ORDER BY nth ON CONFLICT DO NOTHING RETURNING id";

impl PostgresBroker {
    pub(super) fn enqueue_jobs(
        &mut self,
        jobs: &[&Arc<NewJob>],
        edges: &[Edge],
        again: bool,
        now: Time,
    ) -> Result<Vec<JobId>, Fault> {
        let mut own = HashSet::with_capacity(jobs.len());
        for job in jobs {
            job.check()?;
            check_plain(&job.extra, edges)?;
            check_text(job)?;
            if !own.insert(job.id) {
                return Err(used(job.id));
            }
        }
        if again && let Some(ids) = self.written_before(jobs)? {
            return Ok(ids);
        }
        let asked: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
        workflow::check(&asked, edges)?;
        for _ in 0..RACES_MAX {
            let ids = self.resolve_keys(jobs)?;
            let written = if edges.is_empty() {
                let new = jobs.iter().zip(&ids).filter(|(job, id)| job.id == **id);
                let new: Vec<_> = new.map(|(job, _)| (*job, Ties::default())).collect();
                self.insert_jobs(&new, now)?
            } else {
                self.insert_workflow(jobs, &ids, edges, now)?
            };
            if written {
                return Ok(ids);
            }
        }
        Err(Fault::Ours(BrokerError::Store(
            "a key was taken and freed again and again while its job was to be written".into(),
        )))
    }

    /// The ids, if a call whose answer was lost has written these jobs.
    fn written_before(&mut self, jobs: &[&Arc<NewJob>]) -> Result<Option<Vec<JobId>>, Fault> {
        let asked: Vec<&[u8]> = jobs.iter().map(|job| &job.id.as_bytes()[..]).collect();
        let there = self.link.query("SELECT id FROM pelton_jobs WHERE id = ANY($1)", &[&asked])?;
        if there.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.resolve_keys(jobs)?))
    }

    /// The id of each job, or of the unfinished one that has its key.
    fn resolve_keys(&mut self, jobs: &[&Arc<NewJob>]) -> Result<Vec<JobId>, Fault> {
        let keys: Vec<&str> = jobs.iter().filter_map(|job| job.key.as_deref()).collect();
        let mut holders: HashMap<String, JobId> = HashMap::new();
        if !keys.is_empty() {
            let rows = self.link.query(
                "SELECT key, id FROM pelton_jobs WHERE key = ANY($1) AND state < 4",
                &[&keys],
            )?;
            for row in rows {
                holders.insert(row.get(0), id_at(&row, 1));
            }
        }
        let resolve = |job: &&Arc<NewJob>| match &job.key {
            None => job.id,
            Some(key) => *holders.entry(key.clone()).or_insert(job.id),
        };
        Ok(jobs.iter().map(resolve).collect())
    }

    fn insert_workflow(
        &mut self,
        jobs: &[&Arc<NewJob>],
        ids: &[JobId],
        edges: &[Edge],
        now: Time,
    ) -> Result<bool, Fault> {
        let real: HashMap<JobId, JobId> =
            jobs.iter().zip(ids).map(|(job, id)| (job.id, *id)).collect();
        let written: HashSet<JobId> =
            jobs.iter().zip(ids).filter(|(job, id)| job.id == **id).map(|(_, id)| *id).collect();
        let edges: Vec<Edge> = edges
            .iter()
            .filter(|edge| written.contains(&edge.child))
            .map(|edge| Edge { parent: *real.get(&edge.parent).unwrap_or(&edge.parent), ..*edge })
            .collect();
        let elders = self.elders(&edges, &written)?;
        let mut ties: HashMap<JobId, Ties> = HashMap::new();
        for edge in &edges {
            let done =
                elders.get(&edge.parent).is_some_and(|elder| elder.state == State::Succeeded);
            let child = ties.entry(edge.child).or_default();
            child.inputs += 1;
            child.pending += i32::from(!done);
            ties.entry(edge.parent).or_default().children += 1;
        }
        let new: Vec<(&Arc<NewJob>, Ties)> = jobs
            .iter()
            .filter(|job| written.contains(&job.id))
            .map(|job| (*job, ties.get(&job.id).copied().unwrap_or_default()))
            .collect();
        if !self.insert_jobs(&new, now)? {
            return Ok(false);
        }
        for edge in &edges {
            let result = elders.get(&edge.parent).and_then(|elder| elder.result.as_deref());
            self.link.execute(
                "INSERT INTO pelton_edges (child, position, parent, done, result) \
                 VALUES ($1, $2, $3, $4, $5)",
                &[
                    &&edge.child.as_bytes()[..],
                    &(edge.position as i32),
                    &&edge.parent.as_bytes()[..],
                    &result.is_some(),
                    &result,
                ],
            )?;
        }
        for (id, elder) in &elders {
            let added = ties.get(id).map_or(0, |ties| ties.children);
            self.link.execute(
                "UPDATE pelton_jobs SET children = children + $1 WHERE id = $2",
                &[&added, &&id.as_bytes()[..]],
            )?;
            if matches!(elder.state, State::Dead | State::Cancelled) {
                self.end_children(*id, elder.state, now)?;
            }
        }
        Ok(true)
    }

    /// The parents that are not of this batch. All must be known; they stay as they are until this
    /// group is committed.
    fn elders(
        &mut self,
        edges: &[Edge],
        written: &HashSet<JobId>,
    ) -> Result<HashMap<JobId, Elder>, Fault> {
        let mut asked: Vec<JobId> =
            edges.iter().map(|edge| edge.parent).filter(|id| !written.contains(id)).collect();
        asked.sort_unstable();
        asked.dedup();
        let bytes: Vec<&[u8]> = asked.iter().map(|id| &id.as_bytes()[..]).collect();
        let rows = self.link.query(
            "SELECT id, state, result FROM pelton_jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE",
            &[&bytes],
        )?;
        let mut elders = HashMap::new();
        for row in rows {
            elders.insert(id_at(&row, 0), Elder { state: state_at(&row, 1)?, result: row.get(2) });
        }
        match asked.iter().find(|id| !elders.contains_key(id)) {
            None => Ok(elders),
            Some(unknown) => Err(Fault::Ours(BrokerError::Invalid(format!(
                "no job {unknown} to wait for: it was never enqueued, or its record has expired"
            )))),
        }
    }

    /// `false`: another process took a key this moment, and nothing was written.
    fn insert_jobs(&mut self, jobs: &[(&Arc<NewJob>, Ties)], now: Time) -> Result<bool, Fault> {
        if jobs.is_empty() {
            return Ok(true);
        }
        let queues: HashSet<&str> = jobs.iter().map(|(job, _)| job.queue.as_str()).collect();
        self.know_queues(queues)?;
        let dues: Vec<i64> = jobs.iter().map(|(job, _)| job.run_at.unwrap_or(now).0).collect();
        let states: Vec<State> = jobs
            .iter()
            .zip(&dues)
            .map(|((_, ties), due)| state::first(ties.pending as usize, Time(*due), now))
            .collect();
        macro_rules! column {
            ($of:expr) => {
                jobs.iter().map($of).collect::<Vec<_>>()
            };
        }
        let rows = self.link.query(
            INSERT,
            &[
                &column!(|(job, _)| &job.id.as_bytes()[..]),
                &states.iter().map(|state| *state as i16).collect::<Vec<_>>(),
                &column!(|(job, _)| job.queue.as_str()),
                &column!(|(job, _)| i16::from(job.priority)),
                &dues,
                &column!(|(job, _)| job.task.as_str()),
                &column!(|(job, _)| job.retry.to_text()),
                &column!(|(_, ties)| ties.inputs),
                &column!(|(_, ties)| ties.pending),
                &column!(|(_, ties)| ties.children),
                &column!(|(job, _)| job.expires_at.map(|time| time.0)),
                &column!(|(job, _)| job.timeout),
                &column!(|(job, _)| job.result_ttl),
                &column!(|(job, _)| job.key.as_deref()),
                &column!(|(job, _)| job.group.as_deref()),
                &column!(|(job, _)| job.payload.as_slice()),
                &(0..jobs.len() as i32).collect::<Vec<_>>(),
                &now.0,
                &column!(|(job, _)| job.extra.headers.as_deref()),
            ],
        )?;
        if rows.len() < jobs.len() {
            let written: HashSet<JobId> = rows.iter().map(|row| id_at(row, 0)).collect();
            let bytes: Vec<&[u8]> = written.iter().map(|id| &id.as_bytes()[..]).collect();
            self.link.execute("DELETE FROM pelton_jobs WHERE id = ANY($1)", &[&bytes])?;
            let missing = jobs.iter().find(|(job, _)| !written.contains(&job.id));
            return match missing {
                Some((job, _)) if job.key.is_none() || self.is_there(job.id)? => Err(used(job.id)),
                _ => Ok(false),
            };
        }
        for ((job, _), state) in jobs.iter().zip(states) {
            self.moved(&job.queue, None, Some(state));
        }
        Ok(true)
    }

    fn is_there(&mut self, id: JobId) -> Result<bool, Fault> {
        let sql = "SELECT 1 FROM pelton_jobs WHERE id = $1";
        Ok(!self.link.query(sql, &[&&id.as_bytes()[..]])?.is_empty())
    }
}

fn used(id: JobId) -> Fault {
    Fault::Ours(BrokerError::Invalid(format!("job {id} cannot be written: an id can be used once")))
}

fn check_text(job: &NewJob) -> Result<(), BrokerError> {
    let texts = [Some(&job.task), Some(&job.queue), job.key.as_ref(), job.group.as_ref()];
    match texts.into_iter().flatten().find(|text| clean(text) != **text) {
        None => Ok(()),
        Some(text) => Err(BrokerError::Invalid(format!(
            "{text:?} has a null character in it, which PostgreSQL does not store"
        ))),
    }
}
