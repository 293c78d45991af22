//! Schedules in Redis: rules are judged here, what follows is written by a script.

use super::link::Call;
use super::pack::{pack, unpack};
use super::resp::{Commands, Value};
use super::script::Script;
use super::{RedisBroker, fields};
use crate::broker::Tick;
use crate::error::BrokerError;
use crate::id::JobId;
use crate::job::{Extra, NewJob};
use crate::schedule::{FIRE_MAX, LEAD, Rule, RuleParts, ScheduleSpec};
use crate::time::Time;

/// A rule as one value: two that are equal are the same rule.
fn rule_text(rule: &Rule) -> Vec<u8> {
    let RuleParts { text, tz, every } = rule.parts();
    let every = every.map(|seconds| seconds.to_string());
    pack(&[
        text.as_deref().map(str::as_bytes),
        Some(tz.as_bytes()),
        every.as_deref().map(str::as_bytes),
    ])
}

/// What `rule_text` wrote.
pub(super) fn rule_parts(bytes: &[u8]) -> Option<RuleParts> {
    let mut parts = unpack(bytes)?.into_iter();
    let mut text = || parts.next().flatten().and_then(|part| String::from_utf8(part).ok());
    let (cron, tz, every) = (text(), text()?, text());
    Some(RuleParts { text: cron, tz, every: every.and_then(|seconds| seconds.parse().ok()) })
}

/// The template of a schedule's jobs, and its grace.
fn write_template(schedule: &ScheduleSpec, policy: i64) -> Vec<u8> {
    let job = &schedule.template;
    let numbers = format!(
        "{} {policy} {} {} {} {}",
        job.priority,
        job.result_ttl,
        schedule.grace,
        schedule.catch_up,
        job.timeout.map(|seconds| seconds.to_string()).unwrap_or_default()
    );
    pack(&[
        Some(job.task.as_bytes()),
        Some(job.queue.as_bytes()),
        Some(numbers.as_bytes()),
        job.group.as_deref().map(str::as_bytes),
        Some(&job.payload),
    ])
}

/// A schedule's job to be, the number of its retry policy and the schedule's grace.
pub(super) struct Template {
    pub(super) job: NewJob,
    policy: i64,
    pub(super) grace: f64,
    pub(super) catch_up: u32,
}

impl Template {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut parts = unpack(bytes)?.into_iter();
        let mut text = || String::from_utf8(parts.next()??).ok();
        let (task, queue, numbers) = (text()?, text()?, text()?);
        let group = parts.next()?.and_then(|bytes| String::from_utf8(bytes).ok());
        let payload = parts.next()??;
        let mut numbers = numbers.split(' ');
        let priority = numbers.next()?.parse().ok()?;
        let policy = numbers.next()?.parse().ok()?;
        let result_ttl = numbers.next()?.parse().ok()?;
        let grace = numbers.next()?.parse().ok()?;
        let catch_up = numbers.next()?.parse().ok()?;
        let timeout = numbers.next().and_then(|text| text.parse().ok());
        let job = NewJob {
            id: JobId::from_bytes([0; 16]),
            task,
            payload,
            queue,
            priority,
            run_at: None,
            expires_at: None,
            key: None,
            timeout,
            retry: crate::retry::RetryPolicy::default(),
            result_ttl,
            group,
            extra: Extra::default(),
        };
        Some(Self { job, policy, grace, catch_up })
    }
}

/// A schedule's field, and its rule.
type Stored = (Vec<u8>, Vec<u8>);

/// A schedule that is due: its field, its tick, its rule and its template.
struct Due {
    field: Vec<u8>,
    tick: Time,
    rule: Rule,
    template: Template,
}

impl RedisBroker {
    /// `alone`: whether the owner's other schedules stay.
    pub(super) fn declare_schedules(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        alone: bool,
        now: Time,
    ) -> Result<(), BrokerError> {
        if owner.contains('\0') {
            return Err(BrokerError::Invalid("an owner's name has no null character".into()));
        }
        let mut call = Call::new(Script::Declare, now);
        call.bytes(owner.as_bytes()).text(u8::from(alone));
        for schedule in schedules {
            schedule.check()?;
            let policy = self.policy_row(&schedule.template.retry)?;
            call.bytes(schedule.name.as_bytes()).bytes(&rule_text(&schedule.rule));
            call.bytes(&write_template(schedule, policy));
            call.text(optional(schedule.rule.first(now)));
        }
        self.write(&call)?;
        Ok(())
    }

    pub(super) fn fire_schedules(&mut self, leader: &str, now: Time) -> Result<Tick, BrokerError> {
        let mut call = Call::new(Script::Lead, now);
        call.bytes(leader.as_bytes()).text(now.after(LEAD).0).text(FIRE_MAX);
        let mut answer = self.write(&call)?;
        if let Some(until) = answer.next().and_then(|value| value.as_int()) {
            return Ok(Tick::standby(Time(until)));
        }
        let (mut fired, mut unreadable) = (Vec::new(), Vec::new());
        let due = answer.next().unwrap_or(Value::Nil).into_array();
        let all = (due.len() as i64) < FIRE_MAX;
        for due in due {
            match self.read_due(due)? {
                Ok(due) => {
                    let ids = self.fire(leader, &due, now)?;
                    fired.extend(ids.into_iter().map(|id| (name_of(&due.field), id)));
                }
                Err(field) => unreadable.push(name_of(&field)),
            }
        }
        let key = self.link.key(&[b"ticks"]);
        let mut ask = Commands::default();
        // What is due still is either more than fires at a time, or unreadable.
        let after = if all { format!("({}", now.0) } else { "-inf".to_owned() };
        let from = after.as_bytes();
        ask.add(&[b"ZRANGEBYSCORE", &key, from, b"+inf", b"WITHSCORES", b"LIMIT", b"0", b"1"]);
        let next = self.link.ask(&ask)?.swap_remove(0).into_array().get(1).and_then(Value::as_int);
        // Back in a third of the lead, so that it does not lapse.
        let renewal = now.after(LEAD / 3.0);
        let next_at = next.map_or(renewal, |next| Time(next).min(renewal));
        Ok(Tick { leads: true, fired, unreadable, next_at })
    }

    /// A schedule that is due, or the field of one that cannot be read.
    fn read_due(&self, value: Value) -> Result<Result<Due, Vec<u8>>, BrokerError> {
        let mut parts = value.into_array().into_iter();
        let mut bytes = || parts.next().and_then(Value::into_bytes);
        let (field, tick, rule, template) = (bytes(), bytes(), bytes(), bytes());
        let wrong = || self.unexpected("a schedule");
        let tick = tick.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        let (field, tick) = (field.ok_or_else(wrong)?, Time(tick.ok_or_else(wrong)?));
        let parts = rule.and_then(|bytes| rule_parts(&bytes));
        let template = template.and_then(|bytes| Template::read(&bytes));
        let Some((parts, template)) = parts.zip(template) else { return Ok(Err(field)) };
        Ok(match Rule::of_usable(&parts, &template.job) {
            Some(rule) => Ok(Due { field, tick, rule, template }),
            None => Err(field),
        })
    }

    /// Fires the newest of the due ticks, as far as they are wanted, and moves the schedule on.
    fn fire(&mut self, leader: &str, due: &Due, now: Time) -> Result<Vec<JobId>, BrokerError> {
        let Template { grace, catch_up, .. } = due.template;
        let ticks = due.rule.due(due.tick, now, grace, catch_up);
        let mut call = Call::new(Script::Fire, now);
        call.bytes(leader.as_bytes()).bytes(&due.field).text(due.tick.0);
        call.text(optional(ticks.next)).text(ticks.newest.0);
        let mut ids = Vec::with_capacity(ticks.fire.len());
        for _ in &ticks.fire {
            ids.push(self.write_from(&mut call, &due.template, now)?);
        }
        let fired = self.write(&call)?.next().and_then(|value| value.as_int());
        Ok(if fired == Some(1) { ids } else { Vec::new() })
    }

    /// A job of a schedule, at the end of a call.
    fn write_from(
        &mut self,
        call: &mut Call,
        template: &Template,
        now: Time,
    ) -> Result<JobId, BrokerError> {
        let retry = self.policy(template.policy)?;
        let job = NewJob { id: JobId::new(now)?, retry, ..template.job.clone() };
        fields::write_job(call, &job, template.policy, now, false);
        Ok(job.id)
    }

    pub(super) fn delete_schedule(&mut self, name: &str) -> Result<bool, BrokerError> {
        let mut call = Call::new(Script::Schedule, Time(0));
        call.bytes(b"remove").bytes(name.as_bytes());
        Ok(self.write(&call)?.next().and_then(|value| value.as_int()) == Some(1))
    }

    /// A schedule that goes on does so with its next tick: those in between were not wanted.
    pub(super) fn rest_schedule(
        &mut self,
        name: &str,
        paused: bool,
        now: Time,
    ) -> Result<bool, BrokerError> {
        let mut call = Call::new(Script::Schedule, now);
        call.bytes(b"rest").text(u8::from(paused));
        let found = self.schedules_named(name)?;
        for (field, rule) in &found {
            let rule = rule_parts(rule).ok_or_else(|| self.unexpected("a schedule"));
            // When it goes on must be known; any can be paused.
            let next = match rule.and_then(|parts| parts.rule()) {
                Ok(rule) => rule.next_after(now),
                Err(_) if paused => None,
                Err(error) => return Err(error),
            };
            call.bytes(field).text(optional(next));
        }
        if !found.is_empty() {
            self.write(&call)?;
        }
        Ok(!found.is_empty())
    }

    pub(super) fn fire_now(&mut self, name: &str, now: Time) -> Result<Option<JobId>, BrokerError> {
        let Some((field, _)) = self.schedules_named(name)?.into_iter().next() else {
            return Ok(None);
        };
        let key = self.link.key(&[b"schedules"]);
        let mut ask = Commands::default();
        ask.add(&[b"HGET", &key, &field]);
        let template = self.link.ask(&ask)?.swap_remove(0).into_bytes();
        // It may have been removed this moment.
        let Some(template) = template else { return Ok(None) };
        let template = Template::read(&template).ok_or_else(|| self.unexpected("a schedule"))?;
        let mut call = Call::new(Script::Schedule, now);
        call.bytes(b"run").bytes(&field);
        let id = self.write_from(&mut call, &template, now)?;
        self.write(&call)?;
        Ok(Some(id))
    }

    /// The fields and rules of all schedules of a name, by owner.
    fn schedules_named(&mut self, name: &str) -> Result<Vec<Stored>, BrokerError> {
        let key = self.link.key(&[b"rules"]);
        let mut ask = Commands::default();
        ask.add(&[b"HGETALL", &key]);
        let mut all = self.link.ask(&ask)?.swap_remove(0).into_array().into_iter();
        let mut found = Vec::new();
        while let (Some(field), Some(rule)) = (all.next(), all.next()) {
            if let (Some(field), Some(rule)) = (field.into_bytes(), rule.into_bytes())
                && name_in(&field) == name.as_bytes()
            {
                found.push((field, rule));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A schedule's name, from its field.
pub(super) fn name_in(field: &[u8]) -> &[u8] {
    let at = field.iter().position(|byte| *byte == 0).map_or(0, |at| at + 1);
    &field[at..]
}

fn name_of(field: &[u8]) -> String {
    String::from_utf8_lossy(name_in(field)).into_owned()
}

fn optional(time: Option<Time>) -> String {
    time.map(|time| time.0.to_string()).unwrap_or_default()
}
