//! Jobs in one SQLite file, shared by the threads and processes of a machine.
//!
//! The file is in WAL mode: one connection writes at a time, readers never wait. A group of
//! operations is one `BEGIN IMMEDIATE` transaction, each operation a savepoint in it.

mod bulk;
mod control;
mod enqueue;
mod family;
mod fault;
mod finish;
mod history;
mod lease;
mod limits;
mod names;
mod read;
mod schedule;
mod schema;
mod steps;
mod tidy;
mod url;
mod worker;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{CachedStatement, Connection, ErrorCode, OpenFlags};

use self::fault::Fault;
use self::names::Names;
use self::url::{Location, Synchronous};
use crate::broker::{Broker, Chance, Claim, Commit, Progress, Reader, Tick, WorkerRow, WorkerSpec};
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Edge, Lease, LeasedJob, NewJob, Outcome, Settled};
use crate::limit::{Limit, Rate, Scope};
use crate::schedule::ScheduleSpec;
use crate::state::State;
use crate::time::Time;

/// How long a write waits for other processes' writes. A group of writes takes milliseconds, so
/// this is not reached unless somebody sits on the lock.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// The broker on one file. One thread drives it; others get a [`Reader`].
pub struct SqliteBroker {
    conn: Connection,
    path: PathBuf,
    /// Not a file, but this process's memory.
    memory: bool,
    names: Names,
    /// What the group under way has done: told to nobody before its commit.
    group: Group,
    data_version: i64,
    /// Which of its queues a worker is served first: the next one each time.
    turn: usize,
    /// Whether there were limits when last looked at: then an attempt's end may let others begin.
    limited: bool,
}

/// What the operations of a group leave for its end.
#[derive(Default)]
struct Group {
    commit: Commit,
    /// Changes to `pelton_counts`, by queue row and state.
    counts: HashMap<(i64, State), i64>,
    /// Lanes of tasks, as they are in this group.
    lanes: HashMap<i64, i64>,
    /// The fault that ended the whole transaction, not just its operation.
    broken: Option<BrokerError>,
}

impl SqliteBroker {
    /// Opens, creates or migrates the file that `url` names.
    pub fn open(url: &str) -> Result<Self, BrokerError> {
        let Location { path, synchronous, memory } = Location::parse(url)?;
        let parent =
            path.parent().filter(|_| !memory).filter(|parent| !parent.as_os_str().is_empty());
        if let Some(parent) = parent
            && !parent.is_dir()
        {
            return Err(BrokerError::Open(format!(
                "{}: there is no directory {}: create it first",
                path.display(),
                parent.display()
            )));
        }
        let path = if memory { path } else { std::path::absolute(&path).unwrap_or(path) };
        match connect(&path, synchronous, memory) {
            Ok(conn) => Ok(Self {
                conn,
                path,
                memory,
                names: Names::default(),
                group: Group::default(),
                data_version: 0,
                turn: 0,
                limited: false,
            }),
            Err(fault) => Err(fault.explain(&path)),
        }
    }

    fn cached(&self, sql: &str) -> Result<CachedStatement<'_>, rusqlite::Error> {
        self.conn.prepare_cached(sql)
    }

    /// Notes that a job of `queue` moved; `None` is before the first and after the last state.
    fn moved(&mut self, queue: i64, from: Option<State>, to: Option<State>) {
        for (state, by) in [(from, -1), (to, 1)] {
            if let Some(state) = state {
                *self.group.counts.entry((queue, state)).or_default() += by;
            }
        }
        self.group.commit.work |= matches!(to, Some(State::Queued | State::Scheduled))
            || (self.limited && from == Some(State::Running));
    }

    /// Runs one operation: all of it happens, or nothing.
    fn atomic<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        if let Some(broken) = &self.group.broken {
            return Err(broken.clone());
        }
        let before = self.group.counts.clone();
        let changed = self.group.commit.changed.len();
        let result = self.in_savepoint(operation);
        result.map_err(|fault| {
            // Names that the operation added are gone with it.
            self.names = Names::default();
            self.group.counts = before;
            self.group.lanes.clear();
            self.group.commit.changed.truncate(changed);
            let error = fault.explain(&self.path);
            if self.conn.is_autocommit() {
                // SQLite gave up the whole transaction: a full disk does that.
                self.group.broken = Some(error.clone());
            }
            error
        })
    }

    fn in_savepoint<T>(
        &mut self,
        operation: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.cached("SAVEPOINT operation")?.execute([])?;
        let result = operation(self);
        if result.is_err() && !self.conn.is_autocommit() {
            self.cached("ROLLBACK TO operation")?.execute([])?;
        }
        if !self.conn.is_autocommit() {
            self.cached("RELEASE operation")?.execute([])?;
        }
        result
    }

    fn begin_group(&mut self) -> Result<(), Fault> {
        self.group = Group::default();
        if !self.conn.is_autocommit() {
            // The group before could not be ended; what it did was reported as failed.
            self.conn.execute_batch("ROLLBACK")?;
        }
        self.cached("BEGIN IMMEDIATE")?.execute([])?;
        Ok(())
    }

    fn commit_group(&mut self) -> Result<(), Fault> {
        let counts = std::mem::take(&mut self.group.counts);
        for ((queue, state), by) in counts.into_iter().filter(|(_, by)| *by != 0) {
            self.cached(
                "INSERT INTO pelton_counts (queue, state, n) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (queue, state) DO UPDATE SET n = n + excluded.n",
            )?
            .execute((queue, state as i64, by))?;
        }
        self.cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// For questions outside a group.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, BrokerError> {
        question(self).map_err(|fault| fault.explain(&self.path))
    }
}

impl Broker for SqliteBroker {
    fn begin(&mut self) -> Result<(), BrokerError> {
        self.ask(Self::begin_group)
    }

    fn commit(&mut self) -> Result<Commit, BrokerError> {
        if let Some(broken) = self.group.broken.take() {
            return Err(broken);
        }
        if let Err(fault) = self.commit_group() {
            self.names = Names::default();
            let error = fault.explain(&self.path);
            if !self.conn.is_autocommit() {
                self.ask(|broker| Ok(broker.conn.execute_batch("ROLLBACK")?))?;
            }
            return Err(error);
        }
        Ok(std::mem::take(&mut self.group.commit))
    }

    fn enqueue(
        &mut self,
        jobs: &[Arc<NewJob>],
        edges: &[Edge],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.atomic(|broker| broker.enqueue_jobs(jobs, edges, now))
    }

    fn lease(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        limit: usize,
        now: Time,
    ) -> Result<Vec<LeasedJob>, BrokerError> {
        self.atomic(|broker| broker.lease_jobs(worker, spec, limit, now))
    }

    fn claim(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        ids: &[JobId],
        limit: usize,
        now: Time,
    ) -> Result<Claim, BrokerError> {
        self.atomic(|broker| broker.claim_jobs(worker, spec, ids, limit, now))
    }

    fn finish(
        &mut self,
        worker: WorkerRow,
        outcomes: &[Outcome],
        now: Time,
        chance: &mut dyn Chance,
    ) -> Result<Vec<Settled>, BrokerError> {
        self.atomic(|broker| broker.finish_jobs(worker, outcomes, now, chance))
    }

    fn progress(&mut self, reports: &[Progress]) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_progress(reports))
    }

    fn cancel(&mut self, id: JobId, reason: &str, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.cancel_job(id, reason, now))
    }

    fn retry(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.retry_job(id, now))
    }

    fn delete(&mut self, id: JobId, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.delete_job(id, now))
    }

    fn set_paused(&mut self, queue: &str, paused: bool) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.pause_queue(queue, paused))
    }

    fn add_worker(&mut self, spec: &WorkerSpec, now: Time) -> Result<WorkerRow, BrokerError> {
        self.atomic(|broker| broker.insert_worker(None, spec, now))
    }

    fn renew(
        &mut self,
        worker: WorkerRow,
        spec: &WorkerSpec,
        held: &[Lease],
        now: Time,
    ) -> Result<Vec<JobId>, BrokerError> {
        self.atomic(|broker| broker.renew_leases(worker, spec, held, now))
    }

    fn remove_worker(&mut self, worker: WorkerRow) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.delete_worker(worker))
    }

    fn declare(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.declare_schedules(owner, schedules, now))
    }

    fn tick(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError> {
        self.atomic(|broker| broker.fire_schedules(leader, now))
    }

    fn resign(&mut self, leader: &str) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.give_up_lead(leader))
    }

    fn tidy(&mut self, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.tidy_up(now))
    }

    fn work_at(&mut self, spec: &WorkerSpec, now: Time) -> Result<Option<Time>, BrokerError> {
        self.ask(|broker| broker.next_work(spec, now))
    }

    fn was_changed_by_others(&mut self) -> Result<bool, BrokerError> {
        self.ask(|broker| {
            let seen = broker.cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
            Ok(std::mem::replace(&mut broker.data_version, seen) != seen)
        })
    }

    fn cancels(&mut self, worker: WorkerRow) -> Result<Vec<JobId>, BrokerError> {
        self.ask(|broker| broker.cancelled_of(worker))
    }

    fn save_step(&mut self, lease: Lease, step: &str, value: &[u8]) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.write_step(lease, step, value))
    }

    fn steps(&mut self, lease: Lease) -> Result<Vec<(String, Vec<u8>)>, BrokerError> {
        self.ask(|broker| broker.steps_of(lease))
    }

    fn take_signal(
        &mut self,
        lease: Lease,
        signal: &str,
        step: &str,
    ) -> Result<Option<Vec<u8>>, BrokerError> {
        self.atomic(|broker| broker.signal_to_step(lease, signal, step))
    }

    fn signal(
        &mut self,
        id: JobId,
        signal: &str,
        value: &[u8],
        now: Time,
    ) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.send_signal(id, signal, value, now))
    }

    fn set_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_limit(scope, limit, false))
    }

    fn declare_limit(&mut self, scope: &Scope, limit: Option<&Limit>) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.write_limit(scope, limit, true))
    }

    fn acquire(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, BrokerError> {
        self.atomic(|broker| broker.take_from(bucket, rate, cost, now))
    }

    fn cancel_group(&mut self, group: &str, reason: &str, now: Time) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.cancel_all_of(group, reason, now))
    }

    fn purge_queue(&mut self, queue: &str, limit: u32, now: Time) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.cancel_unstarted_of(queue, limit, now))
    }

    fn put_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), BrokerError> {
        self.atomic(|broker| broker.add_schedule(owner, schedule, now))
    }

    fn remove_schedule(&mut self, name: &str) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.delete_schedule(name))
    }

    fn pause_schedule(&mut self, name: &str, paused: bool, now: Time) -> Result<bool, BrokerError> {
        self.atomic(|broker| broker.rest_schedule(name, paused, now))
    }

    fn run_schedule(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError> {
        self.atomic(|broker| broker.fire_now(name, now))
    }

    fn order_workers(
        &mut self,
        name: Option<&str>,
        order: &[u8],
        now: Time,
    ) -> Result<u64, BrokerError> {
        self.atomic(|broker| broker.write_orders(name, order, now))
    }

    fn orders(
        &mut self,
        worker: WorkerRow,
        report: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, BrokerError> {
        self.atomic(|broker| broker.take_orders(worker, report))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, BrokerError> {
        read::SqliteReader::open(&self.path, self.memory)
            .map(|reader| Box::new(reader) as Box<dyn Reader>)
    }
}

/// Opens the file for writing, in WAL mode, with our tables in it.
fn connect(path: &Path, synchronous: Synchronous, memory: bool) -> Result<Connection, Fault> {
    let mut conn = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | uri(memory)
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    conn.busy_handler(Some(wait_for_lock))?;
    conn.set_prepared_statement_cache_capacity(256);
    if memory {
        conn.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA foreign_keys = OFF;")?;
        schema::prepare(&mut conn)?;
        return Ok(conn);
    }
    let level = match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    // The switch to WAL does not always ask the busy handler, so the wait for others who open the
    // file at the same time is here.
    let deadline = Instant::now() + BUSY_WAIT;
    loop {
        let switched = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0));
        match switched {
            Ok(mode) if mode == *"wal" => break,
            Ok::<String, _>(mode) => {
                return Err(Fault::Ours(BrokerError::Open(format!(
                    "{}: its file system has no shared memory for SQLite's WAL mode (it stays in \
                     {mode} mode): use a local disk",
                    path.display()
                ))));
            }
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error.into()),
        }
    }
    conn.execute_batch(&format!(
        "PRAGMA synchronous = {level}; PRAGMA foreign_keys = OFF; PRAGMA temp_store = MEMORY; \
         PRAGMA cache_size = -32768; PRAGMA wal_autocheckpoint = 2000; \
         PRAGMA journal_size_limit = 67108864;"
    ))?;
    schema::prepare(&mut conn)?;
    Ok(conn)
}

/// Names of databases in memory are URIs; a file's name is taken as it is.
fn uri(memory: bool) -> OpenFlags {
    if memory { OpenFlags::SQLITE_OPEN_URI } else { OpenFlags::empty() }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// SQLite asks this when another process writes: short naps, so that the wait is not much longer
/// than the other's write, and at most `BUSY_WAIT` of them.
fn wait_for_lock(attempts: i32) -> bool {
    let micros = match attempts {
        0..5 => 100,
        5..20 => 500,
        _ => 2000,
    };
    std::thread::sleep(Duration::from_micros(micros));
    u128::try_from(attempts).unwrap_or(0) * 2000 < BUSY_WAIT.as_micros()
}

/// Reads a job's id from a column.
fn id_at(row: &rusqlite::Row<'_>, column: usize) -> Result<JobId, rusqlite::Error> {
    row.get::<_, [u8; 16]>(column).map(JobId::from_bytes)
}

/// Reads a state from a column.
fn state_at(row: &rusqlite::Row<'_>, column: usize) -> Result<State, rusqlite::Error> {
    let number = row.get(column)?;
    State::from_number(number).ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number))
}
