//! Schedules in Redis: rules are judged here, what follows is written by a script.

use std::sync::Arc;

use super::link::Call;
use super::pack::{pack, unpack};
use super::resp::Value;
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

fn read_rule(bytes: &[u8]) -> Result<Option<Rule>, BrokerError> {
    let Some(RuleParts { text, tz, every }) = rule_parts(bytes) else { return Ok(None) };
    Rule::of(text.as_deref(), &tz, every).map(Some)
}

/// The template of a schedule's jobs, and its grace.
fn write_template(schedule: &ScheduleSpec, policy: i64) -> Vec<u8> {
    let job = &schedule.template;
    let numbers = format!(
        "{} {policy} {} {} {}",
        job.priority,
        job.result_ttl,
        schedule.grace,
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
        Some(Self { job, policy, grace })
    }
}

/// A schedule that is due: its field, its tick, its rule and its template.
struct Due {
    field: Vec<u8>,
    tick: Time,
    rule: Rule,
    template: Template,
}

impl RedisBroker {
    pub(super) fn declare_schedules(
        &mut self,
        owner: &str,
        schedules: &[ScheduleSpec],
        now: Time,
    ) -> Result<(), BrokerError> {
        if owner.contains('\0') {
            return Err(BrokerError::Invalid("an owner's name has no null character".into()));
        }
        let mut call = Call::new(Script::Declare, now);
        call.bytes(owner.as_bytes());
        for schedule in schedules {
            schedule.check()?;
            if schedule.catch_up > 1 {
                return Err(BrokerError::Unsupported("making up for several missed ticks"));
            }
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
            return Ok(Tick { leads: false, fired: Vec::new(), next_at: Time(until) });
        }
        let mut fired = Vec::new();
        for due in answer.next().unwrap_or(Value::Nil).into_array() {
            let due = self.read_due(due)?;
            if let Some(id) = self.fire(leader, &due, now)? {
                let name = due.field.split(|byte| *byte == 0).nth(1).unwrap_or_default();
                fired.push((String::from_utf8_lossy(name).into_owned(), id));
            }
        }
        let key = self.link.key(&[b"ticks"]);
        let mut ask = super::Commands::default();
        ask.add(&[b"ZRANGE", &key, b"0", b"0", b"WITHSCORES"]);
        let next = self.link.ask(&ask)?.swap_remove(0).into_array().get(1).and_then(Value::as_int);
        // Back in a third of the lead, so that it does not lapse.
        let renewal = now.after(LEAD / 3.0);
        let next_at = next.map_or(renewal, |next| Time(next).min(renewal));
        Ok(Tick { leads: true, fired, next_at })
    }

    fn read_due(&self, value: Value) -> Result<Due, BrokerError> {
        let mut parts = value.into_array().into_iter();
        let mut bytes = || parts.next().and_then(Value::into_bytes);
        let (field, tick, rule, template) = (bytes(), bytes(), bytes(), bytes());
        let wrong = || self.unexpected("a schedule");
        let tick = tick.and_then(|bytes| std::str::from_utf8(&bytes).ok()?.parse().ok());
        Ok(Due {
            field: field.ok_or_else(wrong)?,
            tick: Time(tick.ok_or_else(wrong)?),
            rule: read_rule(&rule.unwrap_or_default())?.ok_or_else(wrong)?,
            template: template.and_then(|bytes| Template::read(&bytes)).ok_or_else(wrong)?,
        })
    }

    /// Fires the newest of the due ticks, unless it is too old, and moves the schedule on.
    fn fire(&mut self, leader: &str, due: &Due, now: Time) -> Result<Option<JobId>, BrokerError> {
        let ticks = due.rule.due(due.tick, now, due.template.grace, 1);
        let mut call = Call::new(Script::Fire, now);
        call.bytes(leader.as_bytes()).bytes(&due.field).text(due.tick.0);
        call.text(optional(ticks.next)).text(ticks.newest.0);
        let mut id = None;
        if !ticks.fire.is_empty() {
            let policy = self.policy(due.template.policy)?;
            let job = NewJob { id: JobId::new(now)?, retry: policy, ..due.template.job.clone() };
            fields::write_job(&mut call, &Arc::new(job.clone()), due.template.policy, now, false);
            id = Some(job.id);
        }
        let fired = self.write(&call)?.next().and_then(|value| value.as_int());
        self.note_work();
        Ok(id.filter(|_| fired == Some(1)))
    }
}

fn optional(time: Option<Time>) -> String {
    time.map(|time| time.0.to_string()).unwrap_or_default()
}
