//! Answers from what was committed, on a connection of their own.

use std::collections::BTreeMap;

use postgres::Row;
use postgres::types::ToSql;

use super::fault::Fault;
use super::link::Link;
use super::{TRIES_MAX, id_at, state_at};
use crate::broker::Reader;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::Extra;
use crate::record::{
    AttemptRecord, JobRecord, LimitRecord, ListFilter, QueueRecord, ScheduleRecord, WorkerRecord,
};
use crate::state::State;
use crate::time::Time;

/// A view of the tables.
pub(super) struct PostgresReader {
    link: Link,
}

/// What a job's record is made of.
const RECORD: &str = "SELECT j.id, j.task, j.queue, j.state, j.priority, j.attempt, j.policy, \
    j.created_at, j.due, j.started_at, j.finished_at, j.timeout, j.key, j.in_group, \
    (SELECT w.name FROM pelton_workers w WHERE w.row = j.worker), j.progress, j.message, j.reason, \
    j.payload, j.result, j.error, j.cancel, j.version, j.headers, \
    j.limit_key, j.signal FROM pelton_jobs j";

impl PostgresReader {
    pub(super) fn new(link: Link) -> Self {
        Self { link }
    }

    /// A question is asked again where its connection broke: it changes nothing.
    fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Link) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        let mut tries = 0;
        loop {
            self.link.ready()?;
            match question(&mut self.link) {
                Err(Fault::Lost(_)) if tries < TRIES_MAX => self.link.drop_connection(),
                other => return other.map_err(|fault| fault.explain(&self.link.location.name)),
            }
            tries += 1;
        }
    }
}

impl Reader for PostgresReader {
    fn get(&mut self, id: JobId) -> Result<Option<JobRecord>, BrokerError> {
        self.ask(|link| {
            let sql = format!("{RECORD} WHERE j.id = $1");
            let rows = link.query(&sql, &[&&id.as_bytes()[..]])?;
            rows.first().map(record).transpose()
        })
    }

    fn version(&mut self, id: JobId) -> Result<Option<i64>, BrokerError> {
        self.ask(|link| {
            let rows = link
                .query("SELECT version FROM pelton_jobs WHERE id = $1", &[&&id.as_bytes()[..]])?;
            Ok(rows.first().map(|row| row.get(0)))
        })
    }

    fn list(&mut self, filter: &ListFilter) -> Result<Vec<JobRecord>, BrokerError> {
        self.ask(|link| list(link, filter))
    }

    fn queues(&mut self) -> Result<Vec<QueueRecord>, BrokerError> {
        self.ask(queues)
    }

    fn workers(&mut self, since: Time) -> Result<Vec<WorkerRecord>, BrokerError> {
        self.ask(|link| {
            let rows = link.query(
                "SELECT name, hostname, pid, queues, concurrency, started_at, seen_at, processed, \
                 failed, (SELECT count(*) FROM pelton_jobs j WHERE j.state = 3 AND \
                 j.worker = w.row), report FROM pelton_workers w WHERE NOT closed AND seen_at >= $1 \
                 ORDER BY name, row",
                &[&since.0],
            )?;
            Ok(rows.iter().map(worker).collect())
        })
    }

    fn schedules(&mut self) -> Result<Vec<ScheduleRecord>, BrokerError> {
        self.ask(|link| {
            let rows = link.query(
                "SELECT name, task, queue, cron, tz, every, next_at, last_at, last_job, \
                 owner, grace, catch_up, paused FROM pelton_schedules ORDER BY name, owner",
                &[],
            )?;
            Ok(rows.iter().map(schedule).collect())
        })
    }

    fn history(&mut self, id: JobId) -> Result<Vec<AttemptRecord>, BrokerError> {
        self.ask(|link| super::history::of(link, id))
    }

    fn group_counts(&mut self, group: &str) -> Result<[u64; 7], BrokerError> {
        self.ask(|link| {
            let rows = link.query(
                "SELECT state, count(*) FROM pelton_jobs WHERE in_group = $1 GROUP BY state",
                &[&group],
            )?;
            let mut counts = [0; 7];
            for row in &rows {
                counts[state_at(row, 0)? as usize] =
                    u64::try_from(row.get::<_, i64>(1)).unwrap_or(0);
            }
            Ok(counts)
        })
    }

    fn limits(&mut self) -> Result<Vec<LimitRecord>, BrokerError> {
        self.ask(super::limits::all)
    }
}

fn list(link: &mut Link, filter: &ListFilter) -> Result<Vec<JobRecord>, Fault> {
    let before = filter.before.map(|id| id.as_bytes().to_vec());
    let limit = i64::from(filter.limit);
    let mut terms: Vec<String> = Vec::new();
    let mut values: Vec<&(dyn ToSql + Sync)> = Vec::new();
    if let Some(state) = filter.state {
        // As a number in the text, not a parameter: partial indexes are chosen by it.
        terms.push(format!("j.state = {}", state as i64));
    }
    if let Some(before) = &before {
        values.push(before);
        terms.push(format!("j.id < ${}", values.len()));
    }
    for (column, value) in
        [("queue", &filter.queue), ("task", &filter.task), ("in_group", &filter.group)]
    {
        if let Some(value) = value {
            values.push(value);
            terms.push(format!("j.{column} = ${}", values.len()));
        }
    }
    let mut sql = RECORD.to_owned();
    if !terms.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&terms.join(" AND "));
    }
    values.push(&limit);
    sql.push_str(&format!(" ORDER BY j.id DESC LIMIT ${}", values.len()));
    link.query(&sql, &values)?.iter().map(record).collect()
}

fn queues(link: &mut Link) -> Result<Vec<QueueRecord>, Fault> {
    // One statement, so that the parts belong together. The oldest: one step in the index for each
    // lane and priority.
    let rows = link.query(
        "SELECT q.name, q.paused, c.state, coalesce(c.n, 0)::bigint, (\
         WITH RECURSIVE level AS (\
         (SELECT lane, first.priority, first.due FROM (SELECT '' AS lane UNION ALL \
         SELECT task FROM pelton_lanes) lanes, LATERAL (\
         SELECT priority, due FROM pelton_jobs WHERE state = 2 AND queue = q.name AND \
         lane = lanes.lane ORDER BY priority DESC, due LIMIT 1) first) UNION ALL \
         (SELECT level.lane, next.priority, next.due FROM level, LATERAL (\
         SELECT priority, due FROM pelton_jobs WHERE state = 2 AND queue = q.name AND \
         lane = level.lane AND priority < level.priority \
         ORDER BY priority DESC, due LIMIT 1) next)) \
         SELECT min(due) FROM level) \
         FROM pelton_queues q LEFT JOIN (SELECT queue, state, sum(n) AS n FROM pelton_counts \
         GROUP BY queue, state) c ON c.queue = q.name ORDER BY q.name",
        &[],
    )?;
    let mut found: BTreeMap<String, QueueRecord> = BTreeMap::new();
    for row in &rows {
        let name: String = row.get(0);
        let queue = found.entry(name.clone()).or_insert_with(|| QueueRecord {
            name,
            paused: row.get(1),
            counts: [0; 7],
            oldest_queued_at: row.get::<_, Option<i64>>(4).map(Time),
        });
        let state = row.get::<_, Option<i16>>(2).and_then(|n| State::from_number(n.into()));
        if let Some(state) = state {
            queue.counts[state as usize] = u64::try_from(row.get::<_, i64>(3)).unwrap_or(0);
        }
    }
    Ok(found.into_values().collect())
}

fn record(row: &Row) -> Result<JobRecord, Fault> {
    let time = |column| row.get::<_, Option<i64>>(column).map(Time);
    let state = state_at(row, 3)?;
    let (created_at, due) = (Time(row.get(7)), Time(row.get(8)));
    Ok(JobRecord {
        id: id_at(row, 0),
        task: row.get(1),
        queue: row.get(2),
        state,
        priority: i8::try_from(row.get::<_, i16>(4)).unwrap_or(0),
        attempt: u32::try_from(row.get::<_, i32>(5)).unwrap_or(0),
        max_retries: super::read_policy(row.get(6)).max_retries,
        created_at,
        run_at: (state == State::Scheduled || due != created_at)
            .then_some(due)
            .filter(|due| *due < Time::MAX),
        started_at: time(9),
        finished_at: time(10),
        timeout: row.get(11),
        key: row.get(12),
        group: row.get(13),
        worker: row.get(14),
        progress: row.get(15),
        message: row.get(16),
        reason: row.get(17),
        payload: row.get(18),
        result: row.get(19),
        error: row.get(20),
        cancel_requested: row.get(21),
        version: row.get(22),
        extra: Extra { headers: row.get(23), limit_key: row.get(24), key_ttl: None },
        signal: row.get(25),
    })
}

fn worker(row: &Row) -> WorkerRecord {
    let queues: String = row.get(3);
    let count = |column| u64::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    let small = |column| u32::try_from(row.get::<_, i64>(column)).unwrap_or(0);
    WorkerRecord {
        name: row.get(0),
        hostname: row.get(1),
        pid: small(2),
        queues: queues.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        concurrency: small(4),
        started_at: Time(row.get(5)),
        seen_at: Time(row.get(6)),
        processed: count(7),
        failed: count(8),
        running: count(9),
        report: row.get(10),
    }
}

fn schedule(row: &Row) -> ScheduleRecord {
    let time = |column| row.get::<_, Option<i64>>(column).map(Time);
    let last_job: Option<Vec<u8>> = row.get(8);
    ScheduleRecord {
        name: row.get(0),
        task: row.get(1),
        queue: row.get(2),
        cron: row.get(3),
        tz: row.get(4),
        every: row.get(5),
        next_at: time(6),
        last_at: time(7),
        last_job: last_job.and_then(|id| id.try_into().ok()).map(JobId::from_bytes),
        owner: row.get(9),
        paused: row.get(12),
        grace: row.get(10),
        catch_up: u32::try_from(row.get::<_, i32>(11)).unwrap_or(1),
    }
}
