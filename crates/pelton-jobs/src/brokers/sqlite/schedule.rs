//! Schedules, and who fires them.

use rusqlite::OptionalExtension;

use super::SqliteBroker;
use super::fault::Fault;
use crate::broker::Tick;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::NewJob;
use crate::schedule::{Cron, Interval, Rule, ScheduleSpec};
use crate::time::Time;

/// Seconds that the lead lasts without a sign of life.
const LEAD: f64 = 10.0;

/// Schedules fired in one write; the rest follows in the next.
const FIRE_MAX: i64 = 500;

/// A schedule that is due, as it was stored.
struct Due {
    owner: String,
    name: String,
    cron: Option<String>,
    tz: String,
    every: Option<f64>,
    grace: f64,
    next_at: Time,
    policy: i64,
    template: NewJob,
}

impl SqliteBroker {
    pub(super) fn declare_schedules(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), Fault> {
        let before: Vec<String> = self
            .cached("SELECT name FROM pelton_schedules WHERE owner = ?")?
            .query_map([owner], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in before {
            if !schedules.iter().any(|schedule| schedule.name == name) {
                self.cached("DELETE FROM pelton_schedules WHERE owner = ? AND name = ?")?
                    .execute((owner, name))?;
            }
        }
        for schedule in schedules {
            schedule.check()?;
            self.declare_one(owner, schedule, now)?;
        }
        Ok(())
    }

    /// A schedule whose rule is as before keeps its place, and with it the ticks it missed.
    fn declare_one(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), Fault> {
        let (cron, tz, every) = match &schedule.rule {
            Rule::Cron(cron) => (Some(cron.text()), cron.zone(), None),
            Rule::Every(interval) => (None, "UTC", Some(interval.as_secs())),
        };
        let template = &schedule.template;
        let policy = self.policy_row(&template.retry)?;
        self.cached(
            "INSERT INTO pelton_schedules (owner, name, cron, tz, every, grace, task, queue, \
             priority, policy, timeout, result_ttl, grouping, payload, next_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (owner, name) DO UPDATE SET \
             next_at = CASE WHEN cron IS excluded.cron AND tz = excluded.tz AND \
                 every IS excluded.every THEN next_at ELSE excluded.next_at END, \
             cron = excluded.cron, tz = excluded.tz, every = excluded.every, \
             grace = excluded.grace, task = excluded.task, queue = excluded.queue, \
             priority = excluded.priority, policy = excluded.policy, \
             timeout = excluded.timeout, result_ttl = excluded.result_ttl, \
             grouping = excluded.grouping, payload = excluded.payload",
        )?
        .execute(rusqlite::params![
            owner,
            schedule.name,
            cron,
            tz,
            every,
            schedule.grace,
            template.task,
            template.queue,
            template.priority,
            policy,
            template.timeout,
            template.result_ttl,
            template.group,
            template.payload,
            schedule.rule.next_after(now).map(|time| time.0),
        ])?;
        Ok(())
    }

    pub(super) fn fire_schedules(&mut self, leader: &str, now: Time) -> Result<Tick, Fault> {
        if let Some(until) = self.led_by_other(leader, now)? {
            return Ok(Tick { leads: false, fired: Vec::new(), next_at: until });
        }
        let mut fired = Vec::new();
        for due in self.due_schedules(now)? {
            if let Some(id) = self.fire(&due, now)? {
                fired.push((due.name, id));
            }
        }
        let next: Option<i64> = self
            .cached("SELECT min(next_at) FROM pelton_schedules")?
            .query_row([], |row| row.get(0))?;
        // Back in a third of the lead, so that it does not lapse.
        let renewal = now.after(LEAD / 3.0);
        let next_at = next.map_or(renewal, |next| Time(next).min(renewal));
        Ok(Tick { leads: true, fired, next_at })
    }

    /// Takes or keeps the lead; the end of another's where that cannot be.
    fn led_by_other(&mut self, leader: &str, now: Time) -> Result<Option<Time>, Fault> {
        let led: Option<(String, i64)> = self
            .cached("SELECT name, until FROM pelton_leader WHERE only = 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((name, until)) = led
            && name != leader
            && until > now.0
        {
            return Ok(Some(Time(until)));
        }
        self.cached("INSERT OR REPLACE INTO pelton_leader (only, name, until) VALUES (1, ?, ?)")?
            .execute((leader, now.after(LEAD).0))?;
        Ok(None)
    }

    pub(super) fn give_up_lead(&mut self, leader: &str) -> Result<(), Fault> {
        self.cached("DELETE FROM pelton_leader WHERE name = ?")?.execute([leader])?;
        Ok(())
    }

    fn due_schedules(&mut self, now: Time) -> Result<Vec<Due>, Fault> {
        let mut statement = self.cached(
            "SELECT owner, name, cron, tz, every, grace, next_at, policy, task, queue, priority, \
             timeout, result_ttl, grouping, payload FROM pelton_schedules \
             WHERE next_at <= ? ORDER BY next_at LIMIT ?",
        )?;
        let rows = statement.query_map((now.0, FIRE_MAX), |row| {
            Ok(Due {
                owner: row.get(0)?,
                name: row.get(1)?,
                cron: row.get(2)?,
                tz: row.get(3)?,
                every: row.get(4)?,
                grace: row.get(5)?,
                next_at: Time(row.get(6)?),
                policy: row.get(7)?,
                template: NewJob {
                    id: JobId::from_bytes([0; 16]),
                    task: row.get(8)?,
                    queue: row.get(9)?,
                    priority: row.get(10)?,
                    timeout: row.get(11)?,
                    result_ttl: row.get(12)?,
                    group: row.get(13)?,
                    payload: row.get(14)?,
                    run_at: None,
                    expires_at: None,
                    key: None,
                    retry: crate::retry::RetryPolicy::default(),
                },
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Fires the newest of the due ticks, unless it is too old, and moves the schedule on: in one
    /// operation, so that a tick has its job exactly when it is past.
    fn fire(&mut self, due: &Due, now: Time) -> Result<Option<JobId>, Fault> {
        let rule = match (&due.cron, due.every) {
            (Some(text), _) => Rule::Cron(Box::new(Cron::new(text, &due.tz)?)),
            (None, Some(seconds)) => Rule::Every(Interval::new(seconds)?),
            (None, None) => {
                return Err(Fault::Ours(BrokerError::Store(format!(
                    "schedule {:?} has no rule",
                    due.name
                ))));
            }
        };
        let tick = rule.newest(due.next_at, now);
        let next = rule.next_after(now.max(tick)).map(|time| time.0);
        let id = if now.since(tick) <= due.grace {
            let job = NewJob {
                id: JobId::new(now)?,
                retry: self.policy(due.policy)?,
                ..due.template.clone()
            };
            self.enqueue_jobs(&[std::sync::Arc::new(job.clone())], &[], now)?;
            Some(job.id)
        } else {
            None
        };
        self.cached(
            "UPDATE pelton_schedules SET next_at = ?, last_at = CASE WHEN ?2 IS NULL THEN last_at \
             ELSE ?3 END, last_job = coalesce(?2, last_job) WHERE owner = ?4 AND name = ?5",
        )?
        .execute((
            next,
            id.as_ref().map(JobId::as_bytes),
            tick.0,
            &due.owner,
            &due.name,
        ))?;
        Ok(id)
    }
}
