//! Limits, and the jobs that must wait for them.

use std::collections::{HashMap, HashSet};

use super::fault::Fault;
use super::lease::OPEN;
use super::link::{LONG_WAIT, Link};
use super::{PostgresBroker, check_text, id_at};
use crate::broker::WorkerSpec;
use crate::gate::{self, Bound, Candidate, Gate};
use crate::id::JobId;
use crate::limit::{Limit, Rate, Scope};
use crate::record::LimitRecord;
use crate::time::Time;

/// Leases under limits are made one after the other, or two would count the same running jobs. The
/// lock is the tables' own: others in the database have theirs.
const LOCK: &str = "SELECT pg_advisory_xact_lock(735146092, hashtext(current_schema()))";

/// Jobs that are put in their lane when its task gets its first limit: more follow as leases meet
/// them, so that no write is long.
const MOVE_MAX: i64 = 20_000;

/// Ready jobs among which a lease looks for more of those that it met astray.
const ASTRAY_SCAN: i64 = 2000;

/// Whether there are limits, and whether jobs may stand in lanes.
pub(super) const LIMITED: &str =
    "EXISTS (SELECT 1 FROM pelton_limits), EXISTS (SELECT 1 FROM pelton_lanes)";

/// A ready job, by its id, its queue's and its task's name.
type Ready = Candidate<JobId, String>;

/// What the limits allow, and how much of them is in use.
pub(super) struct Limits {
    pub(super) gate: Gate<String>,
    /// Tasks whose jobs stand apart.
    lanes: Vec<String>,
    /// Ready jobs of such tasks that do not.
    pub(super) astray: HashSet<JobId>,
    /// Running jobs by queue, task and key; empty where no limit counts them.
    running: Vec<(String, String, Option<String>, u32)>,
}

impl Limits {
    fn running(&self, fits: impl Fn(&str, &str, Option<&str>) -> bool) -> u32 {
        let fitting =
            self.running.iter().filter(|(queue, task, key, _)| fits(queue, task, key.as_deref()));
        fitting.map(|(.., count)| count).sum()
    }
}

impl PostgresBroker {
    /// The limits as they are now; `alone`: until the commit no other lease under limits is made.
    pub(super) fn open_limits(&mut self, alone: bool, now: Time) -> Result<Limits, Fault> {
        if alone {
            // Leases queue for it, and hold it for milliseconds: who has waited for an open
            // transaction of another's must not give up its place here.
            self.link.send_ahead(LONG_WAIT);
            self.link.query(LOCK, &[]).map_err(|fault| match fault {
                Fault::Blocked(why) => Fault::Sql(format!(
                    "other workers' leases under limits hold this one's up ({why}); it is tried again"
                )),
                other => other,
            })?;
        }
        let limits = all(&mut self.link)?;
        self.limited = !limits.is_empty();
        let lanes = self.link.query("SELECT task FROM pelton_lanes ORDER BY task", &[])?;
        let mut open = Limits {
            gate: Gate::new(now),
            lanes: lanes.iter().map(|row| row.get(0)).collect(),
            astray: HashSet::new(),
            running: Vec::new(),
        };
        if limits.iter().any(|record| record.limit.concurrency.is_some()) {
            let rows = self.link.query(
                "SELECT queue, task, limit_key, count(*) FROM pelton_jobs WHERE state = 3 \
                 GROUP BY queue, task, limit_key",
                &[],
            )?;
            let count = |count: i64| u32::try_from(count).unwrap_or(u32::MAX);
            open.running = rows
                .iter()
                .map(|row| (row.get(0), row.get(1), row.get(2), count(row.get(3))))
                .collect();
        }
        let names = limits.iter().filter(|record| record.limit.rate.is_some());
        let tats = self.tats(names.map(|record| record.scope.text()).collect())?;
        for LimitRecord { scope, limit, .. } in limits {
            let bucket = scope.text();
            let tat = tats.get(&bucket).copied();
            match scope {
                Scope::Queue(name) => {
                    let running = open.running(|queue, _, _| queue == name);
                    open.gate.limit_queue(name, Bound::new(limit, bucket, running, tat));
                }
                Scope::Task(name) => {
                    let running = open.running(|_, task, _| task == name);
                    open.gate.limit_task(name, Bound::new(limit, bucket, running, tat));
                }
                Scope::Key(name) => open.gate.limit_keys(name, limit, bucket),
            }
        }
        Ok(open)
    }

    /// Ready jobs in the order in which they should run: at least the first `limit`, where there
    /// are as many. Each is one that the gate can judge.
    pub(super) fn candidates(
        &mut self,
        spec: &WorkerSpec,
        limit: usize,
        limits: &mut Limits,
        now: Time,
    ) -> Result<Vec<Ready>, Fault> {
        let lanes: Vec<&str> =
            std::iter::once("").chain(limits.lanes.iter().map(String::as_str)).collect();
        let scan = |lane: &String| limits.gate.scan(lane, limit) as i64;
        let scans: Vec<i64> =
            std::iter::once(limit as i64).chain(limits.lanes.iter().map(scan)).collect();
        let sql = format!(
            "WITH open AS MATERIALIZED ({OPEN}) SELECT ready.id, ready.queue, ready.task, \
             ready.limit_key, ready.priority, ready.due, lanes.lane FROM open, unnest($4::text[], $5::bigint[]) \
             AS lanes (lane, scan), LATERAL (SELECT id, queue, task, limit_key, priority, due \
             FROM pelton_jobs WHERE state = 2 AND queue = open.name AND lane = lanes.lane AND \
             (expires_at IS NULL OR expires_at > $6) ORDER BY priority DESC, due, id \
             LIMIT lanes.scan) ready ORDER BY open.name"
        );
        let all = spec.queues.is_empty();
        let rows =
            self.link.query(&sql, &[&spec.queues, &all, &spec.skip, &lanes, &scans, &now.0])?;
        let mut queues: Vec<Vec<Ready>> = Vec::new();
        for row in &rows {
            let candidate = Candidate {
                row: id_at(row, 0),
                queue: row.get(1),
                task: row.get(2),
                key: row.get(3),
                priority: row.get::<_, i16>(4).into(),
                due: row.get(5),
            };
            if row.get::<_, &str>(6).is_empty() && limits.lanes.contains(&candidate.task) {
                limits.astray.insert(candidate.row);
            }
            match queues.last_mut() {
                Some(of_queue) if of_queue[0].queue == candidate.queue => of_queue.push(candidate),
                _ => queues.push(vec![candidate]),
            }
        }
        let ready = gate::in_turn(queues, self.turn);
        self.know_keys(limits, &ready)?;
        Ok(ready)
    }

    /// Looks up how much of their limits the keys of these jobs have used.
    fn know_keys(&mut self, limits: &mut Limits, ready: &[Ready]) -> Result<(), Fault> {
        let unknown = ready.iter().filter_map(|one| limits.gate.unknown_key(one));
        let mut names: Vec<String> =
            unknown.filter(|(limit, _)| limit.rate.is_some()).map(|(_, bucket)| bucket).collect();
        names.sort_unstable();
        names.dedup();
        let tats = self.tats(names)?;
        for one in ready {
            if let Some((limit, bucket)) = limits.gate.unknown_key(one) {
                let running =
                    limits.running(|_, task, key| task == one.task && key == one.key.as_deref());
                let tat = tats.get(&bucket).copied();
                limits.gate.know_key(one, Bound::new(limit, bucket, running, tat));
            }
        }
        Ok(())
    }

    /// Jobs of tasks with limits that stand among those without are put where they belong, with
    /// those near them.
    pub(super) fn put_in_lanes(&mut self, limits: &Limits, ready: &[Ready]) -> Result<(), Fault> {
        let astray = ready.iter().filter(|one| limits.astray.contains(&one.row));
        let mut queues: Vec<&str> = astray.map(|one| one.queue.as_str()).collect();
        queues.dedup();
        if queues.is_empty() {
            return Ok(());
        }
        self.link.execute(
            "UPDATE pelton_jobs SET lane = task WHERE id IN (SELECT j.id FROM \
             (SELECT DISTINCT name FROM unnest($1::text[]) AS named (name)) queues, \
             LATERAL (SELECT id FROM pelton_jobs WHERE state = 2 AND queue = queues.name AND \
             lane = '' ORDER BY priority DESC, due, id LIMIT $2) first \
             JOIN pelton_jobs j ON j.id = first.id WHERE j.task = ANY($3) \
             FOR UPDATE OF j SKIP LOCKED)",
            &[&queues, &ASTRAY_SCAN, &limits.lanes],
        )?;
        Ok(())
    }

    /// Writes what was used.
    pub(super) fn close_limits(&mut self, gate: Gate<String>) -> Result<(), Fault> {
        let (names, tats): (Vec<String>, Vec<i64>) =
            gate.taken().map(|(name, tat)| (name, tat.0)).unzip();
        if names.is_empty() {
            return Ok(());
        }
        self.link.execute(
            "INSERT INTO pelton_buckets (name, tat) SELECT * FROM unnest($1::text[], $2::bigint[]) \
             ON CONFLICT (name) DO UPDATE SET tat = excluded.tat",
            &[&names, &tats],
        )?;
        Ok(())
    }

    pub(super) fn write_limit(
        &mut self,
        scope: &Scope,
        limit: Option<&Limit>,
        declared: bool,
    ) -> Result<(), Fault> {
        let text = scope.text();
        check_text("scope", &text)?;
        match limit {
            None => {
                // What people set wins over what code declares.
                let sql = "DELETE FROM pelton_limits WHERE scope = $1 AND (declared OR NOT $2)";
                self.link.execute(sql, &[&text, &declared])?;
            }
            Some(limit) => {
                limit.check()?;
                let rate = limit.rate;
                let concurrency =
                    limit.concurrency.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
                self.link.execute(
                    "INSERT INTO pelton_limits (scope, concurrency, rate, burst, declared) \
                     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (scope) DO UPDATE SET \
                     concurrency = excluded.concurrency, rate = excluded.rate, \
                     burst = excluded.burst, declared = excluded.declared \
                     WHERE pelton_limits.declared OR NOT excluded.declared",
                    &[
                        &text,
                        &concurrency,
                        &rate.map(|rate| rate.per_second),
                        &rate.map(|rate| rate.burst),
                        &declared,
                    ],
                )?;
                if !matches!(scope, Scope::Queue(_)) {
                    self.make_lane(scope.name())?;
                }
            }
        }
        self.limited = true;
        self.group.work = true;
        Ok(())
    }

    /// Jobs of this task stand apart from now on.
    fn make_lane(&mut self, task: &str) -> Result<(), Fault> {
        let new = self.link.execute(
            "INSERT INTO pelton_lanes (task) VALUES ($1) ON CONFLICT DO NOTHING",
            &[&task],
        )?;
        if new > 0 {
            // Those that another has in hand are left: leases put them where they belong.
            self.link.execute(
                "UPDATE pelton_jobs SET lane = task WHERE id IN (SELECT id FROM pelton_jobs WHERE \
                 state < 4 AND task = $1 AND lane = '' LIMIT $2 FOR UPDATE SKIP LOCKED)",
                &[&task, &MOVE_MAX],
            )?;
        }
        Ok(())
    }

    pub(super) fn take_from(
        &mut self,
        bucket: &str,
        rate: Rate,
        cost: f64,
        now: Time,
    ) -> Result<Option<Time>, Fault> {
        check_text("bucket", bucket)?;
        rate.check()?;
        rate.check_cost(cost)?;
        let name = format!("user:{bucket}");
        // There, and locked, until the commit: whoever comes next sees what is taken now.
        let rows = self.link.query(
            "INSERT INTO pelton_buckets AS b (name, tat) VALUES ($1, $2) \
             ON CONFLICT (name) DO UPDATE SET tat = b.tat RETURNING tat",
            &[&name, &i64::MIN],
        )?;
        let tat = rows.first().map(|row| Time(row.get(0)));
        match rate.take(tat, cost, now) {
            Ok(tat) => {
                self.link.execute(
                    "UPDATE pelton_buckets SET tat = $1 WHERE name = $2",
                    &[&tat.0, &name],
                )?;
                Ok(None)
            }
            Err(again) => Ok(Some(again)),
        }
    }

    fn tats(&mut self, names: Vec<String>) -> Result<HashMap<String, Time>, Fault> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let sql = "SELECT name, tat FROM pelton_buckets WHERE name = ANY($1)";
        let rows = self.link.query(sql, &[&names])?;
        Ok(rows.iter().map(|row| (row.get(0), Time(row.get(1)))).collect())
    }
}

/// All limits, by scope.
pub(super) fn all(link: &mut Link) -> Result<Vec<LimitRecord>, Fault> {
    let sql = "SELECT scope, concurrency, rate, burst, declared FROM pelton_limits ORDER BY scope";
    let limit = |row: &postgres::Row| {
        let (per_second, burst): (Option<f64>, Option<f64>) = (row.get(2), row.get(3));
        let rate = per_second.zip(burst).map(|(per_second, burst)| Rate { per_second, burst });
        let concurrency = row.get::<_, Option<i32>>(1).map(i32::unsigned_abs);
        let scope = Scope::parse(row.get(0))?;
        Ok(LimitRecord { scope, limit: Limit { concurrency, rate }, declared: row.get(4) })
    };
    link.query(sql, &[])?.iter().map(limit).collect()
}
