//! Jobs are written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::fault::Fault;
use super::{PostgresBroker, check_text, id_at, state_at};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, NewJob, On};
use crate::state::{self, State};
use crate::time::Time;
use crate::workflow::{self, Ties};

/// A parent that was there before.
struct Elder {
    state: State,
    result: Option<Vec<u8>>,
}

/// Tries to write a job whose key others take at the same time.
const RACES_MAX: usize = 10;

const INSERT: &str = "INSERT INTO pelton_jobs (id, state, queue, priority, due, task, policy, \
    inputs, pending, children, created_at, expires_at, timeout, result_ttl, key, in_group, payload, \
    headers, limit_key, key_until, lane) \
    SELECT id, state, queue, priority, due, task, policy, inputs, pending, children, $18, \
    expires_at, timeout, result_ttl, key, in_group, payload, headers, limit_key, key_until, \
    coalesce((SELECT l.task FROM pelton_lanes l WHERE l.task = new.task), '') \
    FROM unnest($1::bytea[], \
    $2::smallint[], $3::text[], $4::smallint[], $5::bigint[], $6::text[], $7::text[], $8::int[], \
    $9::int[], $10::int[], $11::bigint[], $12::float8[], $13::float8[], $14::text[], $15::text[], \
    $16::bytea[], $17::int[], $19::bytea[], $20::text[], $21::bigint[]) AS new (id, state, queue, \
    priority, due, task, policy, inputs, pending, children, expires_at, timeout, result_ttl, key, \
    in_group, payload, nth, headers, limit_key, key_until) \
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
            check_texts(job)?;
            if !own.insert(job.id) {
                return Err(used(job.id));
            }
        }
        if again && let Some(ids) = self.written_before(jobs, now)? {
            return Ok(ids);
        }
        let asked: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
        workflow::check(&asked, edges)?;
        for _ in 0..RACES_MAX {
            let ids = self.resolve_keys(jobs, now)?;
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
    fn written_before(
        &mut self,
        jobs: &[&Arc<NewJob>],
        now: Time,
    ) -> Result<Option<Vec<JobId>>, Fault> {
        let asked: Vec<&[u8]> = jobs.iter().map(|job| &job.id.as_bytes()[..]).collect();
        let there = self.link.query("SELECT id FROM pelton_jobs WHERE id = ANY($1)", &[&asked])?;
        if there.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.resolve_keys(jobs, now)?))
    }

    /// The id of each job, or of the one that has its key.
    fn resolve_keys(&mut self, jobs: &[&Arc<NewJob>], now: Time) -> Result<Vec<JobId>, Fault> {
        let keys: Vec<&str> = jobs.iter().filter_map(|job| job.key.as_deref()).collect();
        let mut holders: HashMap<String, JobId> = HashMap::new();
        if !keys.is_empty() {
            // Later rows take the place of earlier ones: one that has not ended comes before one
            // whose key is still taken, and among those the newest counts.
            let rows = self.link.query(
                "SELECT key, id FROM (SELECT key, id, 1 AS live FROM pelton_jobs \
                 WHERE key = ANY($1) AND state < 4 UNION ALL SELECT key, id, 0 FROM pelton_jobs \
                 WHERE key = ANY($1) AND key_until > $2) held ORDER BY live, id",
                &[&keys, &now.0],
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

    /// Whether one of these keys is still taken by a job that has ended this moment: whoever had
    /// the key when it was looked up first is not met by writing it.
    fn are_windows_taken(
        &mut self,
        jobs: &[(&Arc<NewJob>, Ties)],
        now: Time,
    ) -> Result<bool, Fault> {
        let windowed = jobs.iter().filter(|(job, _)| job.extra.key_ttl.is_some());
        let keys: Vec<&str> = windowed.filter_map(|(job, _)| job.key.as_deref()).collect();
        if keys.is_empty() {
            return Ok(false);
        }
        let own: Vec<&[u8]> = jobs.iter().map(|(job, _)| &job.id.as_bytes()[..]).collect();
        let rows = self.link.query(
            "SELECT 1 FROM pelton_jobs WHERE key = ANY($1) AND key_until > $2 AND \
             NOT id = ANY($3) LIMIT 1",
            &[&keys, &now.0, &own],
        )?;
        Ok(!rows.is_empty())
    }

    fn insert_workflow(
        &mut self,
        jobs: &[&Arc<NewJob>],
        ids: &[JobId],
        edges: &[Edge],
        now: Time,
    ) -> Result<bool, Fault> {
        let (written, edges) = workflow::resolve(jobs.iter().map(|job| job.id), ids, edges);
        let elders = self.elders(&edges, &written)?;
        let ties = workflow::ties(&edges, |parent| {
            elders.get(&parent).is_some_and(|elder| elder.state == State::Succeeded)
        });
        let new: Vec<(&Arc<NewJob>, Ties)> = jobs
            .iter()
            .filter(|job| written.contains(&job.id))
            .map(|job| (*job, ties.get(&job.id).copied().unwrap_or_default()))
            .collect();
        if !self.insert_jobs(&new, now)? {
            return Ok(false);
        }
        self.insert_edges(&edges, &elders)?;
        for (id, elder) in &elders {
            let added = ties.get(id).map_or(0, |ties| ties.children as i32);
            self.link.execute(
                "UPDATE pelton_jobs SET children = children + $1 WHERE id = $2",
                &[&added, &&id.as_bytes()[..]],
            )?;
            match elder.state {
                State::Dead | State::Cancelled => self.end_children(*id, elder.state, now)?,
                State::Succeeded => self.drop_unneeded(*id, now)?,
                _ => {}
            }
        }
        Ok(true)
    }

    fn insert_edges(
        &mut self,
        edges: &[Edge],
        elders: &HashMap<JobId, Elder>,
    ) -> Result<(), Fault> {
        let result_for = |edge: &Edge| {
            let elder = elders.get(&edge.parent).filter(|_| edge.on == On::Success);
            elder.and_then(|elder| elder.result.as_deref())
        };
        let results: Vec<Option<&[u8]>> = edges.iter().map(result_for).collect();
        self.link.execute(
            "INSERT INTO pelton_edges (child, position, parent, done, result, kind) \
             SELECT child, position, parent, result IS NOT NULL, result, kind FROM unnest(\
             $1::bytea[], $2::int[], $3::bytea[], $4::bytea[], $5::smallint[]) \
             AS new (child, position, parent, result, kind)",
            &[
                &edges.iter().map(|edge| &edge.child.as_bytes()[..]).collect::<Vec<_>>(),
                &edges.iter().map(|edge| edge.position as i32).collect::<Vec<_>>(),
                &edges.iter().map(|edge| &edge.parent.as_bytes()[..]).collect::<Vec<_>>(),
                &results,
                &edges.iter().map(|edge| i16::from(edge.on == On::Failure)).collect::<Vec<_>>(),
            ],
        )?;
        Ok(())
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
                &column!(|(_, ties)| ties.inputs as i32),
                &column!(|(_, ties)| ties.pending as i32),
                &column!(|(_, ties)| ties.children as i32),
                &column!(|(job, _)| job.expires_at.map(|time| time.0)),
                &column!(|(job, _)| job.timeout),
                &column!(|(job, _)| job.result_ttl),
                &column!(|(job, _)| job.key.as_deref()),
                &column!(|(job, _)| job.group.as_deref()),
                &column!(|(job, _)| job.payload.as_slice()),
                &(0..jobs.len() as i32).collect::<Vec<_>>(),
                &now.0,
                &column!(|(job, _)| job.extra.headers.as_deref()),
                &column!(|(job, _)| job.extra.limit_key.as_deref()),
                &column!(|(job, _)| job.extra.key_ttl.map(|ttl| now.after(ttl).0)),
            ],
        )?;
        if rows.len() < jobs.len() || self.are_windows_taken(jobs, now)? {
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

fn check_texts(job: &NewJob) -> Result<(), BrokerError> {
    let key = job.extra.limit_key.as_ref();
    for (what, text) in
        [("key", job.key.as_ref()), ("group", job.group.as_ref()), ("limit key", key)]
    {
        text.map_or(Ok(()), |text| check_text(what, text))?;
    }
    check_text("task", &job.task)?;
    check_text("queue", &job.queue)
}
