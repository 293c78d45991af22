//! Schedules, and who fires them.

use std::sync::Arc;

use rusqlite::{OptionalExtension, Row};

use super::SqliteBroker;
use super::fault::Fault;
use crate::broker::Tick;
use crate::id::JobId;
use crate::job::{Extra, NewJob};
use crate::schedule::{FIRE_MAX, LEAD, Rule, RuleParts, ScheduleSpec};
use crate::time::Time;

/// A schedule that is due, as it was stored.
struct Due {
    owner: String,
    name: String,
    parts: RuleParts,
    grace: f64,
    catch_up: u32,
    next_at: Option<Time>,
    policy: i64,
    template: NewJob,
}

/// Schedules with their rules, and the names of those whose rule cannot be read.
type DueNow = (Vec<(Due, Rule)>, Vec<String>);

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
        let RuleParts { text, tz, every } = schedule.rule.parts();
        let template = &schedule.template;
        let policy = self.policy_row(&template.retry)?;
        self.cached(
            "INSERT INTO pelton_schedules (owner, name, cron, tz, every, grace, task, queue, \
             priority, policy, timeout, result_ttl, grouping, payload, next_at, catch_up) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (owner, name) DO UPDATE SET \
             next_at = CASE WHEN cron IS excluded.cron AND tz = excluded.tz AND \
                 every IS excluded.every THEN next_at ELSE excluded.next_at END, \
             cron = excluded.cron, tz = excluded.tz, every = excluded.every, \
             grace = excluded.grace, catch_up = excluded.catch_up, task = excluded.task, queue = excluded.queue, \
             priority = excluded.priority, policy = excluded.policy, \
             timeout = excluded.timeout, result_ttl = excluded.result_ttl, \
             grouping = excluded.grouping, payload = excluded.payload",
        )?
        .execute(rusqlite::params![
            owner,
            schedule.name,
            text,
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
            schedule.rule.first(now).map(|time| time.0),
            schedule.catch_up,
        ])?;
        Ok(())
    }

    pub(super) fn fire_schedules(&mut self, leader: &str, now: Time) -> Result<Tick, Fault> {
        if let Some(until) = self.led_by_other(leader, now)? {
            return Ok(Tick::standby(until));
        }
        let mut fired = Vec::new();
        let (due, unreadable) = self.due_schedules(now)?;
        let all = (due.len() as i64) < FIRE_MAX;
        for (due, rule) in due {
            for id in self.fire(&due, &rule, now)? {
                fired.push((due.name.clone(), id));
            }
        }
        // What is due still is either more than fires at a time, or unreadable.
        let after = if all { now } else { Time(0) };
        let next: Option<i64> = self
            .cached("SELECT min(next_at) FROM pelton_schedules WHERE paused = 0 AND next_at > ?")?
            .query_row([after.0], |row| row.get(0))?;
        // Back in a third of the lead, so that it does not lapse.
        let renewal = now.after(LEAD / 3.0);
        let next_at = next.map_or(renewal, |next| Time(next).min(renewal));
        Ok(Tick { leads: true, fired, unreadable, next_at })
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

    /// Schedules that fire now, as many as fire at a time, and the names of those that are due
    /// but cannot be read.
    fn due_schedules(&mut self, now: Time) -> Result<DueNow, Fault> {
        let mut statement = self.cached(concat!(
            "SELECT owner, name, cron, tz, every, grace, next_at, policy, task, queue, priority, ",
            "timeout, result_ttl, grouping, payload, catch_up FROM pelton_schedules ",
            "WHERE next_at <= ? AND paused = 0 ORDER BY next_at"
        ))?;
        let (mut usable, mut unreadable) = (Vec::new(), Vec::new());
        for due in statement.query_map([now.0], due)? {
            let due = due?;
            match Rule::of_usable(&due.parts, &due.template) {
                Some(rule) => usable.push((due, rule)),
                None => unreadable.push(due.name),
            }
            if usable.len() as i64 == FIRE_MAX {
                break;
            }
        }
        Ok((usable, unreadable))
    }

    /// Fires what is due of a schedule, and moves it on: in one operation, so that a tick has its
    /// job exactly when it is past.
    fn fire(&mut self, due: &Due, rule: &Rule, now: Time) -> Result<Vec<JobId>, Fault> {
        let ticks = rule.due(due.next_at.unwrap_or(now), now, due.grace, due.catch_up);
        let mut ids = Vec::with_capacity(ticks.fire.len());
        for _ in &ticks.fire {
            ids.push(self.enqueue_template(due, now)?);
        }
        self.cached(
            "UPDATE pelton_schedules SET next_at = ?1, last_at = CASE WHEN ?2 IS NULL THEN \
             last_at ELSE ?3 END, last_job = coalesce(?2, last_job) \
             WHERE owner = ?4 AND name = ?5",
        )?
        .execute((
            ticks.next.map(|time| time.0),
            ids.last().map(JobId::as_bytes),
            ticks.fire.last().unwrap_or(&ticks.newest).0,
            &due.owner,
            &due.name,
        ))?;
        Ok(ids)
    }

    fn enqueue_template(&mut self, due: &Due, now: Time) -> Result<JobId, Fault> {
        let job = NewJob {
            id: JobId::new(now)?,
            retry: self.policy(due.policy)?,
            ..due.template.clone()
        };
        let id = job.id;
        self.enqueue_jobs(&[Arc::new(job)], &[], now)?;
        Ok(id)
    }

    pub(super) fn add_schedule(
        &mut self,
        owner: &str,
        schedule: &ScheduleSpec,
        now: Time,
    ) -> Result<(), Fault> {
        schedule.check()?;
        self.declare_one(owner, schedule, now)
    }

    pub(super) fn delete_schedule(&mut self, name: &str) -> Result<bool, Fault> {
        let gone = self.cached("DELETE FROM pelton_schedules WHERE name = ?")?.execute([name])?;
        Ok(gone > 0)
    }

    /// A schedule that goes on does so with its next tick: those in between were not wanted. When
    /// that is, must be known; any can be paused.
    pub(super) fn rest_schedule(
        &mut self,
        name: &str,
        paused: bool,
        now: Time,
    ) -> Result<bool, Fault> {
        let found = self.schedules_named(name)?;
        for due in &found {
            let next = match due.parts.rule() {
                Ok(rule) => rule.next_after(now),
                Err(_) if paused => None,
                Err(error) => return Err(error.into()),
            };
            self.cached(
                "UPDATE pelton_schedules SET paused = ?1, next_at = CASE WHEN paused = 1 AND \
                 ?1 = 0 THEN ?2 ELSE next_at END WHERE owner = ?3 AND name = ?4",
            )?
            .execute((paused, next.map(|time| time.0), &due.owner, name))?;
        }
        Ok(!found.is_empty())
    }

    pub(super) fn fire_now(&mut self, name: &str, now: Time) -> Result<Option<JobId>, Fault> {
        let found = self.schedules_named(name)?;
        let Some(due) = found.first() else { return Ok(None) };
        let id = self.enqueue_template(due, now)?;
        self.cached(
            "UPDATE pelton_schedules SET last_at = ?, last_job = ? WHERE owner = ? AND name = ?",
        )?
        .execute((now.0, id.as_bytes(), &due.owner, name))?;
        Ok(Some(id))
    }

    fn schedules_named(&mut self, name: &str) -> Result<Vec<Due>, Fault> {
        let mut statement = self.cached(concat!(
            "SELECT owner, name, cron, tz, every, grace, next_at, policy, task, queue, priority, ",
            "timeout, result_ttl, grouping, payload, catch_up FROM pelton_schedules ",
            "WHERE name = ? ORDER BY owner"
        ))?;
        let rows = statement.query_map([name], due)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn due(row: &Row<'_>) -> Result<Due, rusqlite::Error> {
    Ok(Due {
        owner: row.get(0)?,
        name: row.get(1)?,
        parts: RuleParts { text: row.get(2)?, tz: row.get(3)?, every: row.get(4)? },
        grace: row.get(5)?,
        catch_up: row.get(15)?,
        next_at: row.get::<_, Option<i64>>(6)?.map(Time),
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
            extra: Extra::default(),
        },
    })
}
