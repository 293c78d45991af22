//! Limits, and the jobs that must wait for them.

use rusqlite::{Connection, OptionalExtension};

use super::SqliteBroker;
use super::fault::Fault;
use crate::gate::{Bound, Candidate, Gate};
use crate::limit::{Limit, Rate, Scope};
use crate::record::LimitRecord;
use crate::time::Time;

/// A gate, and the tasks with limits: their jobs stand apart.
pub(super) struct Limits {
    pub(super) gate: Gate<i64>,
    pub(super) lanes: Vec<i64>,
}

impl Limits {
    /// What the limits allow now. Cheap where there are none.
    pub(super) fn open(broker: &mut SqliteBroker, now: Time) -> Result<Self, Fault> {
        let limits = all(&broker.conn)?;
        broker.limited = !limits.is_empty();
        let mut open = Self { gate: Gate::new(now), lanes: Vec::new() };
        for (scope, limit) in limits {
            open.add(broker, &scope, limit)?;
        }
        Ok(open)
    }

    fn add(&mut self, broker: &SqliteBroker, scope: &Scope, limit: Limit) -> Result<(), Fault> {
        let bucket = scope.text();
        let table = if matches!(scope, Scope::Queue(_)) { "queues" } else { "tasks" };
        let row: Option<i64> = broker
            .cached(&format!("SELECT row FROM pelton_{table} WHERE name = ?"))?
            .query_row([scope.name()], |row| row.get(0))
            .optional()?;
        let Some(row) = row else { return Ok(()) };
        if !matches!(scope, Scope::Queue(_)) && !self.lanes.contains(&row) {
            self.lanes.push(row);
        }
        match scope {
            Scope::Queue(_) => {
                let running = broker.running_of_queue(row)?;
                self.gate.limit_queue(row, broker.bound(limit, bucket, running)?);
            }
            Scope::Task(_) => {
                let running = broker
                    .cached("SELECT count(*) FROM pelton_jobs WHERE state = 3 AND lane = ?")?
                    .query_row([row], |found| found.get(0))?;
                self.gate.limit_task(row, broker.bound(limit, bucket, running)?);
            }
            Scope::Key(_) => self.gate.limit_keys(row, limit, bucket),
        }
        Ok(())
    }

    /// Whether this job may begin now.
    pub(super) fn admits(
        &mut self,
        broker: &SqliteBroker,
        candidate: &Candidate<i64, i64>,
    ) -> Result<bool, Fault> {
        if let Some((limit, bucket)) = self.gate.unknown_key(candidate) {
            let running = broker
                .cached(
                    "SELECT count(*) FROM pelton_jobs WHERE state = 3 AND lane = ? AND lane <> 0 \
                     AND limit_key = ?",
                )?
                .query_row((candidate.task, &candidate.key), |found| found.get(0))?;
            self.gate.know_key(candidate, broker.bound(limit, bucket, running)?);
        }
        Ok(self.gate.admits(candidate))
    }

    /// Writes what was used.
    pub(super) fn close(self, broker: &SqliteBroker) -> Result<(), Fault> {
        for (bucket, tat) in self.gate.taken() {
            broker.write_bucket(&bucket, tat)?;
        }
        Ok(())
    }
}

impl SqliteBroker {
    pub(super) fn write_limit(
        &mut self,
        scope: &Scope,
        limit: Option<&Limit>,
        declared: bool,
    ) -> Result<(), Fault> {
        let text = scope.text();
        crate::job::check_name("scope", &text)?;
        let before = match scope {
            Scope::Queue(_) => None,
            _ => {
                let task = self.task_row(scope.name())?;
                Some((task, self.lane_of(task)?))
            }
        };
        // What people set wins over what code declares.
        let set = "SELECT 1 FROM pelton_limits WHERE scope = ? AND declared = 0";
        if declared && self.cached(set)?.exists([&text])? {
            return Ok(());
        }
        match limit {
            None => {
                let sql = "DELETE FROM pelton_limits WHERE scope = ? AND (declared = 1 OR ?)";
                self.cached(sql)?.execute((&text, !declared))?;
            }
            Some(limit) => {
                limit.check()?;
                let rate = limit.rate;
                self.cached(
                    "INSERT OR REPLACE INTO pelton_limits (scope, concurrency, rate, burst, \
                     declared) VALUES (?, ?, ?, ?, ?)",
                )?
                .execute((
                    text,
                    limit.concurrency,
                    rate.map(|rate| rate.per_second),
                    rate.map(|rate| rate.burst),
                    declared,
                ))?;
            }
        }
        if let Some((task, before)) = before {
            self.group.lanes.clear();
            let lane = self.lane_of(task)?;
            // The whole table is read, and workers declare their limits at each start.
            if lane != before {
                self.cached(
                    "UPDATE pelton_jobs SET lane = ?1 WHERE state < 4 AND task = ?2 AND \
                     lane <> ?1",
                )?
                .execute((lane, task))?;
            }
        }
        self.limited = true;
        self.group.commit.work = true;
        Ok(())
    }

    pub(super) fn take_from(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, Fault> {
        crate::job::check_name("bucket", bucket)?;
        rate.check()?;
        rate.check_cost(cost)?;
        let name = format!("user:{bucket}");
        match rate.take(self.bucket(&name)?, cost, now) {
            Ok(tat) => {
                self.write_bucket(&name, tat)?;
                Ok(None)
            }
            Err(again) => Ok(Some(again)),
        }
    }

    /// Where jobs of a task stand: apart, if the task has limits.
    pub(super) fn lane_of(&mut self, task: i64) -> Result<i64, Fault> {
        if let Some(lane) = self.group.lanes.get(&task) {
            return Ok(*lane);
        }
        let limited = self
            .cached(
                "SELECT 1 FROM pelton_limits l JOIN pelton_tasks t ON t.row = ? \
                 WHERE l.scope IN ('task:' || t.name, 'key:' || t.name)",
            )?
            .exists([task])?;
        let lane = if limited { task } else { 0 };
        self.group.lanes.insert(task, lane);
        Ok(lane)
    }

    fn bound(&self, limit: Limit, bucket: String, running: u32) -> Result<Bound, Fault> {
        let tat = if limit.rate.is_some() { self.bucket(&bucket)? } else { None };
        Ok(Bound::new(limit, bucket, running, tat))
    }

    fn bucket(&self, name: &str) -> Result<Option<Time>, Fault> {
        let tat = self
            .cached("SELECT tat FROM pelton_buckets WHERE name = ?")?
            .query_row([name], |row| row.get(0).map(Time))
            .optional()?;
        Ok(tat)
    }

    fn write_bucket(&self, name: &str, tat: Time) -> Result<(), Fault> {
        self.cached("INSERT OR REPLACE INTO pelton_buckets (name, tat) VALUES (?, ?)")?
            .execute((name, tat.0))?;
        Ok(())
    }

    /// Running jobs of a queue, with those that this group began or ended.
    fn running_of_queue(&self, queue: i64) -> Result<u32, Fault> {
        use crate::state::State::Running;
        let written: Option<i64> = self
            .cached("SELECT n FROM pelton_counts WHERE queue = ? AND state = ?")?
            .query_row((queue, Running as i64), |row| row.get(0))
            .optional()?;
        let by = self.group.counts.get(&(queue, Running)).copied().unwrap_or(0);
        Ok(u32::try_from(written.unwrap_or(0) + by).unwrap_or(0))
    }
}

/// All limits, by scope.
pub(super) fn all(conn: &Connection) -> Result<Vec<(Scope, Limit)>, Fault> {
    Ok(records(conn)?.into_iter().map(|found| (found.scope, found.limit)).collect())
}

/// All limits, by scope, with where they are from.
pub(super) fn records(conn: &Connection) -> Result<Vec<LimitRecord>, Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT scope, concurrency, rate, burst, declared FROM pelton_limits ORDER BY scope",
    )?;
    let mut rows = statement.query([])?;
    let mut limits = Vec::new();
    while let Some(row) = rows.next()? {
        let (per_second, burst): (Option<f64>, Option<f64>) = (row.get(2)?, row.get(3)?);
        let rate = per_second.zip(burst).map(|(per_second, burst)| Rate { per_second, burst });
        let scope = Scope::parse(row.get_ref(0)?.as_str().unwrap_or_default())?;
        let declared = row.get::<_, Option<bool>>(4)?.unwrap_or(false);
        let limit = Limit { concurrency: row.get(1)?, rate };
        limits.push(LimitRecord { scope, limit, declared });
    }
    Ok(limits)
}

/// Every lane that ready jobs may stand in.
pub(super) fn lanes(conn: &Connection) -> Result<Vec<i64>, Fault> {
    let mut lanes = vec![0];
    for (scope, _) in all(conn)? {
        if let Scope::Task(name) | Scope::Key(name) = scope {
            let row: Option<i64> = conn
                .prepare_cached("SELECT row FROM pelton_tasks WHERE name = ?")?
                .query_row([name], |row| row.get(0))
                .optional()?;
            lanes.extend(row.filter(|row| !lanes.contains(row)));
        }
    }
    Ok(lanes)
}
