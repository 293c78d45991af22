//! Schedules, and who fires them.

use std::sync::Arc;

use postgres::Row;

use super::fault::Fault;
use super::{PostgresBroker, read_policy};
use crate::broker::Tick;
use crate::id::JobId;
use crate::job::{Extra, NewJob};
use crate::schedule::{FIRE_MAX, LEAD, Rule, RuleParts, ScheduleSpec};
use crate::time::Time;

/// What `Due` is read from.
const STORED: &str = "SELECT owner, name, cron, tz, every, grace, next_at, policy, task, queue, \
    priority, timeout, result_ttl, in_group, payload, catch_up FROM pelton_schedules";

/// A schedule that is due, as it was stored.
struct Due {
    owner: String,
    name: String,
    parts: RuleParts,
    grace: f64,
    catch_up: u32,
    next_at: Option<Time>,
    template: NewJob,
}

impl Due {
    fn read(row: &Row) -> Result<Self, Fault> {
        Ok(Self {
            owner: row.get(0),
            name: row.get(1),
            parts: RuleParts { text: row.get(2), tz: row.get(3), every: row.get(4) },
            grace: row.get(5),
            catch_up: u32::try_from(row.get::<_, i32>(15)).unwrap_or(1),
            next_at: row.get::<_, Option<i64>>(6).map(Time),
            template: NewJob {
                id: JobId::from_bytes([0; 16]),
                task: row.get(8),
                queue: row.get(9),
                priority: i8::try_from(row.get::<_, i16>(10)).unwrap_or(0),
                timeout: row.get(11),
                result_ttl: row.get(12),
                group: row.get(13),
                payload: row.get(14),
                run_at: None,
                expires_at: None,
                key: None,
                extra: Extra::default(),
                retry: read_policy(row.get(7)),
            },
        })
    }
}

impl PostgresBroker {
    pub(super) fn declare_schedules(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), Fault> {
        let names: Vec<&str> = schedules.iter().map(|schedule| schedule.name.as_str()).collect();
        self.link.execute(
            "DELETE FROM pelton_schedules WHERE owner = $1 AND NOT name = ANY($2)",
            &[&owner, &names],
        )?;
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
        self.link.execute(
            "INSERT INTO pelton_schedules AS s (owner, name, cron, tz, every, grace, task, queue, \
             priority, policy, timeout, result_ttl, in_group, payload, next_at, catch_up) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16) \
             ON CONFLICT (owner, name) DO UPDATE SET \
             next_at = CASE WHEN s.cron IS NOT DISTINCT FROM excluded.cron AND \
                 s.tz = excluded.tz AND s.every IS NOT DISTINCT FROM excluded.every \
                 THEN s.next_at ELSE excluded.next_at END, \
             cron = excluded.cron, tz = excluded.tz, every = excluded.every, \
             grace = excluded.grace, catch_up = excluded.catch_up, task = excluded.task, queue = excluded.queue, \
             priority = excluded.priority, policy = excluded.policy, \
             timeout = excluded.timeout, result_ttl = excluded.result_ttl, \
             in_group = excluded.in_group, payload = excluded.payload",
            &[
                &owner,
                &schedule.name,
                &text,
                &tz,
                &every,
                &schedule.grace,
                &template.task,
                &template.queue,
                &i16::from(template.priority),
                &template.retry.to_text(),
                &template.timeout,
                &template.result_ttl,
                &template.group,
                &template.payload,
                &schedule.rule.first(now).map(|time| time.0),
                &(schedule.catch_up as i32),
            ],
        )?;
        Ok(())
    }

    pub(super) fn fire_schedules(&mut self, leader: &str, now: Time) -> Result<Tick, Fault> {
        if let Some(until) = self.led_by_other(leader, now)? {
            return Ok(Tick::standby(until));
        }
        let (mut fired, mut unreadable) = (Vec::new(), Vec::new());
        let mut all = false;
        while !all && fired.is_empty() {
            let page = self.due_schedules(now, unreadable.len())?;
            all = (page.len() as i64) < FIRE_MAX;
            for due in page {
                match Rule::of_usable(&due.parts, &due.template) {
                    Some(rule) => {
                        let ids = self.fire(&due, &rule, now)?;
                        fired.extend(ids.into_iter().map(|id| (due.name.clone(), id)));
                    }
                    None => unreadable.push(due.name),
                }
            }
        }
        // What is due still is either more than fires at a time, or unreadable.
        let after = if all { now } else { Time(0) };
        let sql = "SELECT min(next_at) FROM pelton_schedules WHERE NOT paused AND next_at > $1";
        let rows = self.link.query(sql, &[&after.0])?;
        let next: Option<i64> = rows.first().and_then(|row| row.get(0));
        // Back in a third of the lead, so that it does not lapse.
        let renewal = now.after(LEAD / 3.0);
        let next_at = next.map_or(renewal, |next| Time(next).min(renewal));
        Ok(Tick { leads: true, fired, unreadable, next_at })
    }

    /// Takes or keeps the lead, until the commit by the row's lock; the end of another's where that
    /// cannot be.
    fn led_by_other(&mut self, leader: &str, now: Time) -> Result<Option<Time>, Fault> {
        let taken = self.link.query(
            "INSERT INTO pelton_leader AS l (one, name, until) VALUES (1, $1, $2) \
             ON CONFLICT (one) DO UPDATE SET name = excluded.name, until = excluded.until \
             WHERE l.name = excluded.name OR l.until <= $3 RETURNING 1",
            &[&leader, &now.after(LEAD).0, &now.0],
        )?;
        if !taken.is_empty() {
            return Ok(None);
        }
        let rows = self.link.query("SELECT until FROM pelton_leader", &[])?;
        Ok(Some(rows.first().map_or(now.after(LEAD), |row| Time(row.get(0)))))
    }

    pub(super) fn give_up_lead(&mut self, leader: &str) -> Result<(), Fault> {
        self.link.execute("DELETE FROM pelton_leader WHERE name = $1", &[&leader])?;
        Ok(())
    }

    /// The oldest that are due, but for the first `skip`: those cannot be read.
    fn due_schedules(&mut self, now: Time, skip: usize) -> Result<Vec<Due>, Fault> {
        let sql = format!(
            "{STORED} WHERE next_at <= $1 AND NOT paused ORDER BY next_at, owner, name LIMIT $2 \
             OFFSET $3 FOR UPDATE"
        );
        let rows = self.link.query(&sql, &[&now.0, &FIRE_MAX, &(skip as i64)])?;
        rows.iter().map(Due::read).collect()
    }

    /// Fires what is due of a schedule, and moves it on: in one operation, so that a tick has its
    /// job exactly when it is past.
    fn fire(&mut self, due: &Due, rule: &Rule, now: Time) -> Result<Vec<JobId>, Fault> {
        let ticks = rule.due(due.next_at.unwrap_or(now), now, due.grace, due.catch_up);
        let mut ids = Vec::with_capacity(ticks.fire.len());
        for _ in &ticks.fire {
            ids.push(self.enqueue_template(due, now)?);
        }
        let last = ids.last().map(|id| &id.as_bytes()[..]);
        self.link.execute(
            "UPDATE pelton_schedules SET next_at = $1, \
             last_at = CASE WHEN $2::bytea IS NULL THEN last_at ELSE $3 END, \
             last_job = coalesce($2, last_job) WHERE owner = $4 AND name = $5",
            &[
                &ticks.next.map(|time| time.0),
                &last,
                &ticks.fire.last().unwrap_or(&ticks.newest).0,
                &due.owner,
                &due.name,
            ],
        )?;
        Ok(ids)
    }

    fn enqueue_template(&mut self, due: &Due, now: Time) -> Result<JobId, Fault> {
        let job = Arc::new(NewJob { id: JobId::new(now)?, ..due.template.clone() });
        self.enqueue_jobs(&[&job], &[], false, now)?;
        Ok(job.id)
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
        let gone = self.link.execute("DELETE FROM pelton_schedules WHERE name = $1", &[&name])?;
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
            self.link.execute(
                "UPDATE pelton_schedules SET paused = $1, next_at = CASE WHEN paused AND NOT $1 \
                 THEN $2 ELSE next_at END WHERE owner = $3 AND name = $4",
                &[&paused, &next.map(|time| time.0), &due.owner, &name],
            )?;
        }
        Ok(!found.is_empty())
    }

    pub(super) fn fire_now(&mut self, name: &str, now: Time) -> Result<Option<JobId>, Fault> {
        let found = self.schedules_named(name)?;
        let Some(due) = found.first() else { return Ok(None) };
        let id = self.enqueue_template(due, now)?;
        self.link.execute(
            "UPDATE pelton_schedules SET last_at = $1, last_job = $2 \
             WHERE owner = $3 AND name = $4",
            &[&now.0, &&id.as_bytes()[..], &due.owner, &name],
        )?;
        Ok(Some(id))
    }

    fn schedules_named(&mut self, name: &str) -> Result<Vec<Due>, Fault> {
        let sql = format!("{STORED} WHERE name = $1 ORDER BY owner FOR UPDATE");
        self.link.query(&sql, &[&name])?.iter().map(Due::read).collect()
    }
}
