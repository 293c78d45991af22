//! The tables, and how a file gets them.
//!
//! The constraints repeat the rules of `state`: a row that breaks them cannot be written, by
//! whatever program. All names begin with `pelton_`, so that other tables may be in the file; but
//! a process that has a broker open must not open the same file with another copy of SQLite, such
//! as Python's `sqlite3`: POSIX locks are the process's, so two copies do not see each other's
//! locks, and closing one copy's file drops the other's. Times are microseconds since the epoch.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::fault::Fault;
use crate::error::BrokerError;

/// The version that this release reads and writes.
const VERSION: i64 = 3;

const TABLES: &str = "
CREATE TABLE pelton_schema (version INTEGER NOT NULL) STRICT;
INSERT INTO pelton_schema VALUES (1);

CREATE TABLE pelton_queues (
    row INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1))
) STRICT;

CREATE TABLE pelton_tasks (row INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;

CREATE TABLE pelton_policies (
    row INTEGER PRIMARY KEY,
    max_retries INTEGER NOT NULL,
    base_delay REAL NOT NULL,
    max_delay REAL NOT NULL,
    factor REAL NOT NULL,
    jitter INTEGER NOT NULL,
    UNIQUE (max_retries, base_delay, max_delay, factor, jitter)
) STRICT;

-- How many jobs of each queue are in each state, kept by every write, so that nobody counts rows.
CREATE TABLE pelton_counts (
    queue INTEGER NOT NULL,
    state INTEGER NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (queue, state)
) STRICT, WITHOUT ROWID;

-- state: 0 waiting, 1 scheduled, 2 queued, 3 running, 4 succeeded, 5 dead, 6 cancelled.
-- due: not to be run before; the order within a priority. pending: parents without a result.
CREATE TABLE pelton_jobs (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL CHECK (length(id) = 16),
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 6),
    queue INTEGER NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN -100 AND 100),
    due INTEGER NOT NULL,
    task INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    failures INTEGER NOT NULL DEFAULT 0,
    losses INTEGER NOT NULL DEFAULT 0,
    token INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 1,
    inputs INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0 CHECK (pending BETWEEN 0 AND inputs),
    children INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    purge_at INTEGER,
    worker INTEGER,
    cancel INTEGER NOT NULL DEFAULT 0 CHECK (cancel IN (0, 1)),
    timeout REAL,
    result_ttl REAL NOT NULL,
    progress REAL,
    message TEXT,
    reason TEXT,
    key TEXT,
    grouping TEXT,
    payload BLOB NOT NULL,
    result BLOB,
    error BLOB,
    CHECK ((state = 3) = (worker IS NOT NULL)),
    CHECK ((state >= 4) = (finished_at IS NOT NULL)),
    CHECK ((state >= 4) = (purge_at IS NOT NULL)),
    CHECK ((state = 4) = (result IS NOT NULL)),
    CHECK (state <> 0 OR pending > 0),
    CHECK (pending = 0 OR state IN (0, 6)),
    CHECK (state <> 3 OR attempt > 0)
) STRICT;

CREATE UNIQUE INDEX pelton_jobs_id ON pelton_jobs (id);
CREATE UNIQUE INDEX pelton_jobs_key ON pelton_jobs (key) WHERE key IS NOT NULL AND state < 4;
CREATE INDEX pelton_jobs_ready ON pelton_jobs (queue, priority DESC, due) WHERE state = 2;
CREATE INDEX pelton_jobs_due ON pelton_jobs (due) WHERE state = 1;
CREATE INDEX pelton_jobs_running ON pelton_jobs (worker) WHERE state = 3;
CREATE INDEX pelton_jobs_cancel ON pelton_jobs (worker) WHERE state = 3 AND cancel = 1;
CREATE INDEX pelton_jobs_expiry ON pelton_jobs (expires_at)
    WHERE expires_at IS NOT NULL AND state < 3;
CREATE INDEX pelton_jobs_purge ON pelton_jobs (purge_at) WHERE purge_at IS NOT NULL;
CREATE INDEX pelton_jobs_aside ON pelton_jobs (state, row) WHERE state IN (0, 1, 5, 6);
CREATE INDEX pelton_jobs_group ON pelton_jobs (grouping, row) WHERE grouping IS NOT NULL;

-- parent and child are rows of pelton_jobs; the result is kept here for the child's sake, for as
-- long as the child is there.
CREATE TABLE pelton_edges (
    child INTEGER NOT NULL,
    position INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    done INTEGER NOT NULL DEFAULT 0,
    result BLOB,
    PRIMARY KEY (child, position),
    CHECK ((done = 1) = (result IS NOT NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX pelton_edges_parent ON pelton_edges (parent) WHERE done = 0;

-- AUTOINCREMENT: a worker that was given up and comes back finds its number unused.
CREATE TABLE pelton_workers (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid INTEGER NOT NULL,
    queues TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    processed INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX pelton_workers_lease ON pelton_workers (lease_until);

-- A schedule with the template of its jobs: whoever leads can fire it, whatever it has loaded.
CREATE TABLE pelton_schedules (
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    cron TEXT,
    tz TEXT NOT NULL,
    every REAL,
    grace REAL NOT NULL,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    timeout REAL,
    result_ttl REAL NOT NULL,
    grouping TEXT,
    payload BLOB NOT NULL,
    next_at INTEGER,
    last_at INTEGER,
    last_job BLOB,
    PRIMARY KEY (owner, name),
    CHECK ((cron IS NULL) <> (every IS NULL))
) STRICT, WITHOUT ROWID;

CREATE TABLE pelton_leader (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    name TEXT NOT NULL,
    until INTEGER NOT NULL
) STRICT;
";

/// What made each later version of the one before. A new file goes through all of them, so that
/// there is one way to a version.
const MIGRATIONS: &[(i64, &str)] = &[(2, TO_2), (3, TO_3)];

const TO_2: &str = "
-- lane: 0, or the task's row where the task has limits of its own: ready jobs that must wait for
-- a limit are then passed over without looking at each.
ALTER TABLE pelton_jobs ADD COLUMN lane INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pelton_jobs ADD COLUMN headers BLOB;
ALTER TABLE pelton_jobs ADD COLUMN limit_key TEXT;
ALTER TABLE pelton_jobs ADD COLUMN key_until INTEGER;
-- The signal that a suspended job waits for.
ALTER TABLE pelton_jobs ADD COLUMN signal TEXT;
DROP INDEX pelton_jobs_ready;
CREATE INDEX pelton_jobs_ready ON pelton_jobs (queue, lane, priority DESC, due) WHERE state = 2;
CREATE INDEX pelton_jobs_lane ON pelton_jobs (lane, limit_key) WHERE state = 3 AND lane <> 0;
CREATE INDEX pelton_jobs_window ON pelton_jobs (key) WHERE key_until IS NOT NULL;

-- kind: 0 waits for the parent's success, 1 for its failure.
ALTER TABLE pelton_edges ADD COLUMN kind INTEGER NOT NULL DEFAULT 0 CHECK (kind IN (0, 1));

ALTER TABLE pelton_workers ADD COLUMN report BLOB;
CREATE TABLE pelton_orders (
    row INTEGER PRIMARY KEY,
    worker INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

ALTER TABLE pelton_schedules ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pelton_schedules ADD COLUMN catch_up INTEGER NOT NULL DEFAULT 1;

-- Attempts that did not succeed.
CREATE TABLE pelton_attempts (
    job INTEGER NOT NULL,
    token INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    worker TEXT,
    started_at INTEGER,
    ended_at INTEGER NOT NULL,
    ending TEXT NOT NULL,
    error BLOB,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

CREATE TABLE pelton_steps (
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (job, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE pelton_signals (
    row INTEGER PRIMARY KEY,
    job INTEGER NOT NULL,
    name TEXT NOT NULL,
    value BLOB NOT NULL
) STRICT;
CREATE INDEX pelton_signals_job ON pelton_signals (job, name);

CREATE TABLE pelton_limits (
    scope TEXT PRIMARY KEY,
    concurrency INTEGER CHECK (concurrency > 0),
    rate REAL CHECK (rate > 0),
    burst REAL,
    CHECK (concurrency IS NOT NULL OR rate IS NOT NULL),
    CHECK ((rate IS NULL) = (burst IS NULL))
) STRICT, WITHOUT ROWID;

-- tat: the theoretical arrival time of GCRA.
CREATE TABLE pelton_buckets (name TEXT PRIMARY KEY, tat INTEGER NOT NULL) STRICT, WITHOUT ROWID;

UPDATE pelton_schema SET version = 2;
";

const TO_3: &str = "
-- 1: a task's own, by its code; 0: set by people, which wins. Unknown in files of version 2.
ALTER TABLE pelton_limits ADD COLUMN declared INTEGER CHECK (declared IN (0, 1));

UPDATE pelton_schema SET version = 3;
";

/// Creates or migrates the tables; refuses a file of a newer release.
pub(super) fn prepare(conn: &mut Connection) -> Result<(), Fault> {
    if version(conn)? == Some(VERSION) {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Looked at again, under the lock: another process may have been faster.
    let found = version(&tx)?;
    match found {
        None => tx.execute_batch(TABLES)?,
        Some(..=VERSION) => {}
        Some(newer) => {
            return Err(Fault::Ours(BrokerError::Newer(format!(
                "it was written by a newer Pelton (schema {newer}; this one knows {VERSION}): \
                 upgrade Pelton, or use another file"
            ))));
        }
    }
    for (_, statements) in MIGRATIONS.iter().filter(|(to, _)| *to > found.unwrap_or(1)) {
        tx.execute_batch(statements)?;
    }
    Ok(tx.commit()?)
}

fn version(conn: &Connection) -> Result<Option<i64>, rusqlite::Error> {
    let exists: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND \
         name = 'pelton_schema')",
        [],
        |row| row.get(0),
    )?;
    if !exists {
        return Ok(None);
    }
    conn.query_row("SELECT version FROM pelton_schema ORDER BY version DESC", [], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_an_older_release_is_migrated_with_its_jobs() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(TABLES).unwrap();
        conn.execute_batch(
            "INSERT INTO pelton_queues (row, name) VALUES (1, 'default');
             INSERT INTO pelton_jobs (id, state, queue, priority, due, task, policy, created_at,
                 result_ttl, payload) VALUES (zeroblob(16), 2, 1, 0, 5, 1, 1, 5, 60.0, x'7b7d');",
        )
        .unwrap();
        for _ in 0..2 {
            assert!(prepare(&mut conn).is_ok());
        }
        assert_eq!(version(&conn).unwrap(), Some(VERSION));
        let kept: (i64, i64, Option<Vec<u8>>) = conn
            .query_row("SELECT due, lane, headers FROM pelton_jobs WHERE state = 2", [], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
            .unwrap();
        assert_eq!(kept, (5, 0, None));
        assert_eq!(MIGRATIONS.last().map(|(to, _)| *to), Some(VERSION));
    }

    #[test]
    fn a_newer_file_is_refused() {
        let mut conn = Connection::open_in_memory().unwrap();
        prepare(&mut conn).unwrap();
        conn.execute("UPDATE pelton_schema SET version = ?", [VERSION + 1]).unwrap();
        assert!(matches!(prepare(&mut conn), Err(Fault::Ours(BrokerError::Newer(_)))));
    }
}
