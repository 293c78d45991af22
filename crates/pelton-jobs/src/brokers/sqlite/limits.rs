//! Limits, and the jobs that must wait for them.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension};

use super::SqliteBroker;
use super::fault::Fault;
use crate::limit::{Limit, Rate, Scope};
use crate::time::Time;

/// Ready jobs of a task with a limit for each key that one lease looks at: those of keys that are
/// open may stand behind many of one that is not.
const KEY_SCAN: usize = 2000;

/// A ready job, and where it stands among the others.
pub(super) struct Candidate {
    pub(super) row: i64,
    pub(super) queue: i64,
    pub(super) lane: i64,
    pub(super) key: Option<String>,
    pub(super) priority: i64,
    pub(super) due: i64,
    /// Its place among those of its queue and priority.
    pub(super) rank: usize,
    /// Its queue's place in this turn.
    pub(super) turn: usize,
}

/// Lets ready jobs through as far as the limits allow.
pub(super) struct Gate {
    now: Time,
    queues: HashMap<i64, Bound>,
    tasks: HashMap<i64, Bound>,
    /// Of each task with such a limit, and what is used of it by key.
    keys: HashMap<i64, (String, Limit, HashMap<String, Bound>)>,
    lanes: Vec<i64>,
    opens_at: Option<Time>,
}

/// A limit and what is used of it.
struct Bound {
    limit: Limit,
    bucket: String,
    running: u32,
    tat: Option<Time>,
    taken: bool,
}

impl Bound {
    fn admits(&self, now: Time) -> Result<(), Option<Time>> {
        if self.limit.concurrency.is_some_and(|most| self.running >= most) {
            return Err(None);
        }
        match self.limit.rate {
            Some(rate) => rate.take(self.tat, 1.0, now).map(drop).map_err(Some),
            None => Ok(()),
        }
    }

    fn pass(&mut self, now: Time) {
        self.running += 1;
        if let Some(rate) = self.limit.rate
            && let Ok(tat) = rate.take(self.tat, 1.0, now)
        {
            self.tat = Some(tat);
            self.taken = true;
        }
    }
}

impl Gate {
    /// What the limits allow now. Cheap where there are none.
    pub(super) fn open(broker: &mut SqliteBroker, now: Time) -> Result<Self, Fault> {
        let limits = all(&broker.conn)?;
        broker.limited = !limits.is_empty();
        let mut gate = Self {
            now,
            queues: HashMap::new(),
            tasks: HashMap::new(),
            keys: HashMap::new(),
            lanes: Vec::new(),
            opens_at: None,
        };
        for (scope, limit) in limits {
            gate.add(broker, &scope, limit)?;
        }
        Ok(gate)
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
                self.queues.insert(row, broker.bound(limit, bucket, running)?);
            }
            Scope::Task(_) => {
                let running = broker
                    .cached("SELECT count(*) FROM pelton_jobs WHERE state = 3 AND lane = ?")?
                    .query_row([row], |found| found.get(0))?;
                self.tasks.insert(row, broker.bound(limit, bucket, running)?);
            }
            Scope::Key(_) => {
                self.keys.insert(row, (bucket, limit, HashMap::new()));
            }
        }
        Ok(())
    }

    /// Tasks with limits: their jobs stand apart.
    pub(super) fn lanes(&self) -> &[i64] {
        &self.lanes
    }

    /// How many ready jobs of a lane are to be looked at.
    pub(super) fn scan(&self, lane: i64, limit: usize) -> usize {
        if self.keys.contains_key(&lane) { limit.max(KEY_SCAN) } else { limit }
    }

    /// Whether this job may begin now.
    pub(super) fn admits(
        &mut self,
        broker: &SqliteBroker,
        candidate: &Candidate,
    ) -> Result<bool, Fault> {
        self.know_key(broker, candidate)?;
        let now = self.now;
        let mut open = true;
        let mut at = None;
        for bound in self.bounds(candidate) {
            if let Err(again) = bound.admits(now) {
                open = false;
                at = at.max(again);
            }
        }
        if let (false, Some(at)) = (open, at) {
            self.opens_at = Some(self.opens_at.map_or(at, |first| first.min(at)));
        }
        Ok(open)
    }

    /// Counts a job that begins.
    pub(super) fn passed(&mut self, candidate: &Candidate) {
        let now = self.now;
        for bound in self.bounds(candidate) {
            bound.pass(now);
        }
    }

    /// When a rate would let through what it held back.
    pub(super) fn opens_at(&self) -> Option<Time> {
        self.opens_at
    }

    /// Writes what was used.
    pub(super) fn close(self, broker: &SqliteBroker) -> Result<(), Fault> {
        let of_keys = self.keys.into_values().flat_map(|(_, _, bounds)| bounds.into_values());
        let all = self.queues.into_values().chain(self.tasks.into_values()).chain(of_keys);
        for bound in all.filter(|bound| bound.taken) {
            broker.write_bucket(&bound.bucket, bound.tat)?;
        }
        Ok(())
    }

    fn bounds(&mut self, candidate: &Candidate) -> impl Iterator<Item = &mut Bound> {
        let of_key = match (&candidate.key, self.keys.get_mut(&candidate.lane)) {
            (Some(key), Some((_, _, bounds))) => bounds.get_mut(key),
            _ => None,
        };
        let of_task = self.tasks.get_mut(&candidate.lane);
        self.queues.get_mut(&candidate.queue).into_iter().chain(of_task).chain(of_key)
    }

    /// Looks up how much of its limit a key has used.
    fn know_key(&mut self, broker: &SqliteBroker, candidate: &Candidate) -> Result<(), Fault> {
        let (Some(key), Some((bucket, limit, bounds))) =
            (&candidate.key, self.keys.get_mut(&candidate.lane))
        else {
            return Ok(());
        };
        if !bounds.contains_key(key) {
            let running = broker
                .cached(
                    "SELECT count(*) FROM pelton_jobs WHERE state = 3 AND lane = ? AND lane <> 0 \
                     AND limit_key = ?",
                )?
                .query_row((candidate.lane, key), |found| found.get(0))?;
            let bound = broker.bound(*limit, format!("{bucket}\n{key}"), running)?;
            bounds.insert(key.clone(), bound);
        }
        Ok(())
    }
}

impl SqliteBroker {
    pub(super) fn write_limit(
        &mut self,
        scope: &Scope,
        limit: Option<&Limit>,
    ) -> Result<(), Fault> {
        let text = scope.text();
        crate::job::check_name("scope", &text)?;
        match limit {
            None => {
                self.cached("DELETE FROM pelton_limits WHERE scope = ?")?.execute([&text])?;
            }
            Some(limit) => {
                limit.check()?;
                let rate = limit.rate;
                self.cached(
                    "INSERT OR REPLACE INTO pelton_limits (scope, concurrency, rate, burst) \
                     VALUES (?, ?, ?, ?)",
                )?
                .execute((
                    text,
                    limit.concurrency,
                    rate.map(|rate| rate.per_second),
                    rate.map(|rate| rate.burst),
                ))?;
            }
        }
        if !matches!(scope, Scope::Queue(_)) {
            let task = self.task_row(scope.name())?;
            self.group.lanes.clear();
            let lane = self.lane_of(task)?;
            self.cached(
                "UPDATE pelton_jobs SET lane = ?1 WHERE state < 4 AND task = ?2 AND lane <> ?1",
            )?
            .execute((lane, task))?;
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
        if !(cost.is_finite() && cost > 0.0 && cost <= rate.burst) {
            return Err(Fault::Ours(crate::BrokerError::Invalid(format!(
                "a cost is above 0 and at most the burst of {}, not {cost}",
                rate.burst
            ))));
        }
        let name = format!("user:{bucket}");
        match rate.take(self.bucket(&name)?, cost, now) {
            Ok(tat) => {
                self.write_bucket(&name, Some(tat))?;
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
        Ok(Bound { limit, bucket, running, tat, taken: false })
    }

    fn bucket(&self, name: &str) -> Result<Option<Time>, Fault> {
        let tat = self
            .cached("SELECT tat FROM pelton_buckets WHERE name = ?")?
            .query_row([name], |row| row.get(0).map(Time))
            .optional()?;
        Ok(tat)
    }

    fn write_bucket(&self, name: &str, tat: Option<Time>) -> Result<(), Fault> {
        self.cached("INSERT OR REPLACE INTO pelton_buckets (name, tat) VALUES (?, ?)")?
            .execute((name, tat.map(|tat| tat.0)))?;
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
    let mut statement = conn.prepare_cached(
        "SELECT scope, concurrency, rate, burst FROM pelton_limits ORDER BY scope",
    )?;
    let mut rows = statement.query([])?;
    let mut limits = Vec::new();
    while let Some(row) = rows.next()? {
        let (per_second, burst): (Option<f64>, Option<f64>) = (row.get(2)?, row.get(3)?);
        let rate = per_second.zip(burst).map(|(per_second, burst)| Rate { per_second, burst });
        let scope = Scope::parse(row.get_ref(0)?.as_str().unwrap_or_default())?;
        limits.push((scope, Limit { concurrency: row.get(1)?, rate }));
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
