//! Answers from what was committed, on a connection of their own.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql};

use super::fault::Fault;
use super::{id_at, state_at, wait_for_lock};
use crate::broker::Reader;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::Extra;
use crate::record::{
    AttemptRecord, JobRecord, LimitRecord, ListFilter, QueueRecord, ScheduleRecord, WorkerRecord,
};
use crate::state::State;
use crate::time::Time;

/// A read-only view of the file.
pub(super) struct SqliteReader {
    conn: Connection,
    path: PathBuf,
}

/// What a job's record is made of.
const RECORD: &str = "SELECT j.id, t.name, q.name, j.state, j.priority, j.attempt, \
    p.max_retries, j.created_at, j.due, j.started_at, j.finished_at, j.timeout, j.key, \
    j.grouping, w.name, j.progress, j.message, j.reason, j.payload, j.result, j.error, \
    j.cancel, j.version, j.headers, j.limit_key, j.signal FROM pelton_jobs j \
    JOIN pelton_tasks t ON t.row = j.task JOIN pelton_queues q ON q.row = j.queue \
    JOIN pelton_policies p ON p.row = j.policy LEFT JOIN pelton_workers w ON w.row = j.worker";

impl SqliteReader {
    pub(super) fn open(path: &Path, memory: bool) -> Result<Self, BrokerError> {
        let open = || -> Result<Connection, Fault> {
            // Not read-only as a file: a reader keeps its place in the WAL's shared memory.
            let mut conn = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE
                    | super::uri(memory)
                    | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            conn.busy_handler(Some(wait_for_lock))?;
            conn.set_prepared_statement_cache_capacity(64);
            conn.execute_batch("PRAGMA query_only = ON; PRAGMA cache_size = -8192;")?;
            Ok(conn)
        };
        match open() {
            Ok(conn) => Ok(Self { conn, path: path.to_owned() }),
            Err(fault) => Err(fault.explain(path)),
        }
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        question(&self.conn).map_err(|fault| fault.explain(&self.path))
    }
}

impl Reader for SqliteReader {
    fn get(&mut self, id: JobId) -> Result<Option<JobRecord>, BrokerError> {
        self.ask(|conn| {
            let sql = format!("{RECORD} WHERE j.id = ?");
            Ok(conn.prepare_cached(&sql)?.query_row([id.as_bytes()], record).optional()?)
        })
    }

    fn version(&mut self, id: JobId) -> Result<Option<i64>, BrokerError> {
        self.ask(|conn| {
            Ok(conn
                .prepare_cached("SELECT version FROM pelton_jobs WHERE id = ?")?
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional()?)
        })
    }

    fn list(&mut self, filter: &ListFilter) -> Result<Vec<JobRecord>, BrokerError> {
        self.ask(|conn| list(conn, filter))
    }

    fn queues(&mut self) -> Result<Vec<QueueRecord>, BrokerError> {
        self.ask(queues)
    }

    fn workers(&mut self, since: Time) -> Result<Vec<WorkerRecord>, BrokerError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT name, hostname, pid, queues, concurrency, started_at, seen_at, processed, \
                 failed, (SELECT count(*) FROM pelton_jobs j WHERE j.state = 3 AND \
                 j.worker = w.row), report FROM pelton_workers w WHERE closed = 0 AND seen_at >= ? \
                 ORDER BY name, row",
            )?;
            let rows = statement.query_map([since.0], worker)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn schedules(&mut self) -> Result<Vec<ScheduleRecord>, BrokerError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT name, task, queue, cron, tz, every, next_at, last_at, last_job, owner, \
                 paused, grace, catch_up FROM pelton_schedules ORDER BY name, owner",
            )?;
            let rows = statement.query_map([], schedule)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn history(&mut self, id: JobId) -> Result<Vec<AttemptRecord>, BrokerError> {
        self.ask(|conn| super::history::of(conn, id))
    }

    fn group_counts(&mut self, group: &str) -> Result<[u64; 7], BrokerError> {
        self.ask(|conn| {
            let mut statement = conn.prepare_cached(
                "SELECT state, count(*) FROM pelton_jobs WHERE grouping = ? GROUP BY state",
            )?;
            let mut found = statement.query([group])?;
            let mut counts = [0; 7];
            while let Some(row) = found.next()? {
                counts[state_at(row, 0)? as usize] =
                    u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
            }
            Ok(counts)
        })
    }

    fn limits(&mut self) -> Result<Vec<LimitRecord>, BrokerError> {
        self.ask(super::limits::records)
    }
}

fn list(conn: &Connection, filter: &ListFilter) -> Result<Vec<JobRecord>, Fault> {
    let mut sql = RECORD.to_owned();
    let mut values: Vec<&dyn ToSql> = Vec::new();
    let mut terms: Vec<String> = Vec::new();
    if let Some(state) = filter.state {
        // As a number in the text, not a parameter: partial indexes are chosen by it.
        terms.push(format!("j.state = {}", state as i64));
    }
    let before = filter.before.map(|id| *id.as_bytes());
    if let Some(before) = &before {
        terms.push("j.row < (SELECT row FROM pelton_jobs WHERE id = ?)".into());
        values.push(before);
    }
    for (column, value) in
        [("q.name", &filter.queue), ("t.name", &filter.task), ("j.grouping", &filter.group)]
    {
        if let Some(value) = value {
            terms.push(match column {
                "q.name" => "j.queue = (SELECT row FROM pelton_queues WHERE name = ?)".into(),
                "t.name" => "j.task = (SELECT row FROM pelton_tasks WHERE name = ?)".into(),
                other => format!("{other} = ?"),
            });
            values.push(value);
        }
    }
    if !terms.is_empty() {
        sql.push_str(" WHERE ");
        sql.push_str(&terms.join(" AND "));
    }
    sql.push_str(" ORDER BY j.row DESC LIMIT ?");
    values.push(&filter.limit);
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(&values[..], record)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn queues(conn: &Connection) -> Result<Vec<QueueRecord>, Fault> {
    // One transaction, so that the parts belong together.
    let tx = conn.unchecked_transaction()?;
    let mut rows: Vec<(i64, QueueRecord)> = tx
        .prepare_cached("SELECT row, name, paused FROM pelton_queues ORDER BY name")?
        .query_map([], |row| {
            let queue = QueueRecord {
                name: row.get(1)?,
                paused: row.get(2)?,
                counts: [0; 7],
                oldest_queued_at: None,
            };
            Ok((row.get(0)?, queue))
        })?
        .collect::<Result<_, _>>()?;
    let mut counts = tx.prepare_cached("SELECT state, n FROM pelton_counts WHERE queue = ?")?;
    for (row, queue) in &mut rows {
        let mut found = counts.query([*row])?;
        while let Some(count) = found.next()? {
            queue.counts[state_at(count, 0)? as usize] =
                u64::try_from(count.get::<_, i64>(1)?).unwrap_or(0);
        }
        queue.oldest_queued_at = oldest(&tx, *row)?;
    }
    Ok(rows.into_iter().map(|(_, queue)| queue).collect())
}

/// When the longest waiting of the ready jobs became due: one step in the index per priority.
fn oldest(conn: &Connection, queue: i64) -> Result<Option<Time>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT priority, due FROM pelton_jobs WHERE state = 2 AND queue = ? AND lane = ? AND \
         priority < ? ORDER BY priority DESC, due LIMIT 1",
    )?;
    let mut oldest: Option<Time> = None;
    for lane in super::limits::lanes(conn)? {
        let mut above = i64::from(i8::MAX);
        while let Some((priority, due)) = statement
            .query_row((queue, lane, above), |row| Ok((row.get(0)?, Time(row.get(1)?))))
            .optional()?
        {
            oldest = Some(oldest.map_or(due, |oldest| oldest.min(due)));
            above = priority;
        }
    }
    Ok(oldest)
}

fn record(row: &Row<'_>) -> Result<JobRecord, rusqlite::Error> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|micros| micros.map(Time));
    let state = state_at(row, 3)?;
    let created_at = Time(row.get(7)?);
    let due = Time(row.get(8)?);
    Ok(JobRecord {
        id: id_at(row, 0)?,
        task: row.get(1)?,
        queue: row.get(2)?,
        state,
        priority: row.get(4)?,
        attempt: row.get(5)?,
        max_retries: row.get(6)?,
        created_at,
        run_at: (state == State::Scheduled || due != created_at)
            .then_some(due)
            .filter(|due| *due < Time::MAX),
        started_at: time(9)?,
        finished_at: time(10)?,
        timeout: row.get(11)?,
        key: row.get(12)?,
        group: row.get(13)?,
        worker: row.get(14)?,
        progress: row.get(15)?,
        message: row.get(16)?,
        reason: row.get(17)?,
        payload: row.get(18)?,
        result: row.get(19)?,
        error: row.get(20)?,
        cancel_requested: row.get(21)?,
        version: row.get(22)?,
        extra: Extra { headers: row.get(23)?, limit_key: row.get(24)?, key_ttl: None },
        signal: row.get(25)?,
    })
}

fn worker(row: &Row<'_>) -> Result<WorkerRecord, rusqlite::Error> {
    let queues: String = row.get(3)?;
    let count = |column| row.get::<_, i64>(column).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(WorkerRecord {
        name: row.get(0)?,
        hostname: row.get(1)?,
        pid: row.get(2)?,
        queues: queues.split('\n').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        concurrency: row.get(4)?,
        started_at: Time(row.get(5)?),
        seen_at: Time(row.get(6)?),
        processed: count(7)?,
        failed: count(8)?,
        running: count(9)?,
        report: row.get(10)?,
    })
}

fn schedule(row: &Row<'_>) -> Result<ScheduleRecord, rusqlite::Error> {
    let time = |column| row.get::<_, Option<i64>>(column).map(|micros| micros.map(Time));
    let last_job: Option<[u8; 16]> = row.get(8)?;
    Ok(ScheduleRecord {
        name: row.get(0)?,
        task: row.get(1)?,
        queue: row.get(2)?,
        cron: row.get(3)?,
        tz: row.get(4)?,
        every: row.get(5)?,
        next_at: time(6)?,
        last_at: time(7)?,
        last_job: last_job.map(JobId::from_bytes),
        owner: row.get(9)?,
        paused: row.get(10)?,
        grace: row.get(11)?,
        catch_up: row.get(12)?,
    })
}
