//! Jobs that come by the clock.

pub mod cron;
pub mod interval;
pub mod solar;

use std::sync::Arc;

use crate::error::BrokerError;
use crate::job::NewJob;
use crate::time::Time;

pub use cron::Cron;
pub use interval::Interval;
pub use solar::Solar;

/// Who owns the schedules that are made at run time: no program can be called so.
pub const AT_RUN_TIME: &str = "@api";

/// Missed ticks that a schedule may make up for.
pub const CATCH_UP_MAX: u32 = 1000;

/// Seconds that the lead lasts without a sign of life.
pub(crate) const LEAD: f64 = 10.0;

/// Schedules fired in one write; the rest follows in the next.
pub(crate) const FIRE_MAX: i64 = 500;

/// A schedule, as code declares it.
#[derive(Clone, Debug)]
pub struct ScheduleSpec {
    /// Unique among its owner's.
    pub name: String,
    /// When.
    pub rule: Rule,
    /// What; the id, key and times are ignored.
    pub template: Arc<NewJob>,
    /// Seconds: a missed tick that is older does not fire.
    pub grace: f64,
    /// How many of the ticks that were missed fire at most, the newest ones; 1 or more.
    pub catch_up: u32,
}

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub enum Rule {
    /// By calendar.
    Cron(Box<Cron>),
    /// By stopwatch.
    Every(Interval),
    /// By the sun.
    Sun(Solar),
    /// Once.
    At(Time),
}

/// A rule as stores keep it: a text with a time zone, or a period.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleParts {
    /// A cron pattern, `@sunrise LATITUDE LONGITUDE`, or `@at MICROSECONDS`.
    pub text: Option<String>,
    /// An IANA name.
    pub tz: String,
    /// Seconds.
    pub every: Option<f64>,
}

impl RuleParts {
    /// The rule that they are of.
    pub fn rule(&self) -> Result<Rule, BrokerError> {
        Rule::of(self.text.as_deref(), &self.tz, self.every)
    }
}

/// What is to be done about a schedule's ticks at some moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Due {
    /// The ticks that fire now, oldest first.
    pub fire: Vec<Time>,
    /// The newest tick that is past, fired or not.
    pub newest: Time,
    /// The next one; `None` where there is none in sight.
    pub next: Option<Time>,
}

impl Rule {
    /// From the parts that a store kept.
    pub fn of(text: Option<&str>, tz: &str, every: Option<f64>) -> Result<Self, BrokerError> {
        match (text, every) {
            (None, Some(seconds)) => Interval::new(seconds).map(Self::Every),
            (Some(text), None) => match text.strip_prefix("@at ") {
                Some(micros) => micros.parse().map(|at| Self::At(Time(at))).map_err(|_| {
                    BrokerError::Invalid(format!("{text:?} is not a moment of a schedule"))
                }),
                None if text.starts_with('@') => Solar::parse(text).map(Self::Sun),
                None => Cron::new(text, tz).map(|cron| Self::Cron(Box::new(cron))),
            },
            _ => Err(BrokerError::Invalid("a schedule has a text or a period, not both".into())),
        }
    }

    /// The rule of a stored schedule that can be fired; `None` where its rule or its job is not as
    /// this release knows them.
    #[must_use]
    pub fn of_usable(parts: &RuleParts, template: &NewJob) -> Option<Self> {
        let rule = parts.rule().ok()?;
        template.check().ok().map(|()| rule)
    }

    /// The parts that a store keeps.
    #[must_use]
    pub fn parts(&self) -> RuleParts {
        let utc = || "UTC".to_owned();
        match self {
            Self::Cron(cron) => {
                RuleParts { text: Some(cron.text().into()), tz: cron.zone().into(), every: None }
            }
            Self::Every(interval) => {
                RuleParts { text: None, tz: utc(), every: Some(interval.as_secs()) }
            }
            Self::Sun(solar) => RuleParts { text: Some(solar.text()), tz: utc(), every: None },
            Self::At(at) => {
                RuleParts { text: Some(format!("@at {}", at.0)), tz: utc(), every: None }
            }
        }
    }

    /// What fires of the ticks from `from`, which is due, to `now`: the newest `catch_up` of those
    /// that are not older than `grace` seconds.
    #[must_use]
    pub fn due(&self, from: Time, now: Time, grace: f64, catch_up: u32) -> Due {
        let newest = self.newest(from, now);
        let young = |tick: &Time| now.since(*tick) <= grace;
        let mut fire = std::collections::VecDeque::new();
        if catch_up > 1 {
            // Those that are too old to fire are not walked through one by one.
            let first = if young(&from) { Some(from) } else { self.next_after(now.after(-grace)) };
            let mut tick = first.filter(|tick| *tick <= now);
            let mut steps = 0;
            while let Some(at) = tick {
                fire.push_back(at);
                if fire.len() > catch_up.min(CATCH_UP_MAX) as usize {
                    fire.pop_front();
                }
                steps += 1;
                tick = self.next_after(at).filter(|next| *next <= newest && steps < cron::WALK_MAX);
            }
        } else if young(&newest) {
            fire.push_back(newest);
        }
        Due { fire: fire.into(), newest, next: self.next_after(now.max(newest)) }
    }

    /// The first tick of a schedule that is new at `now`: a moment that is past already is due.
    #[must_use]
    pub fn first(&self, now: Time) -> Option<Time> {
        match self {
            Self::At(at) => Some(*at),
            rule => rule.next_after(now),
        }
    }

    /// The first tick after `time`; `None` where there is none in sight.
    #[must_use]
    pub fn next_after(&self, time: Time) -> Option<Time> {
        match self {
            Self::Cron(cron) => cron.next_after(time),
            Self::Every(interval) => Some(interval.next_after(time)),
            Self::Sun(solar) => solar.next_after(time),
            Self::At(at) => Some(*at).filter(|at| *at > time),
        }
    }

    /// The newest tick that is due at `now`, where `from` is a tick that is.
    #[must_use]
    pub fn newest(&self, from: Time, now: Time) -> Time {
        match self {
            Self::Cron(cron) => cron.newest(from, now),
            Self::Every(interval) => interval.newest(now).max(from),
            Self::Sun(solar) => solar.newest(from, now),
            Self::At(_) => from,
        }
    }
}

impl ScheduleSpec {
    /// Refuses what no broker could store.
    pub fn check(&self) -> Result<(), BrokerError> {
        crate::job::check_name("schedule", &self.name)?;
        self.template.check()?;
        if !(self.grace.is_finite() && self.grace >= 0.0) {
            return Err(BrokerError::Invalid(format!(
                "the grace of schedule {:?} must be a finite number, 0 or more, not {}",
                self.name, self.grace
            )));
        }
        if self.catch_up == 0 || self.catch_up > CATCH_UP_MAX {
            return Err(BrokerError::Invalid(format!(
                "schedule {:?} may catch up 1 to {CATCH_UP_MAX} ticks, not {}",
                self.name, self.catch_up
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(seconds: f64) -> Rule {
        Rule::Every(Interval::new(seconds).unwrap())
    }

    fn secs(seconds: i64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn missed_ticks_fire_as_far_as_is_wanted() {
        let rule = every(10.0);
        let due = |grace, catch_up| rule.due(secs(20), secs(57), grace, catch_up);
        assert_eq!(due(60.0, 1).fire, [secs(50)]);
        assert_eq!(due(60.0, 100).fire, [secs(20), secs(30), secs(40), secs(50)]);
        assert_eq!(due(60.0, 2).fire, [secs(40), secs(50)]);
        assert_eq!(due(20.0, 100).fire, [secs(40), secs(50)]);
        assert_eq!(due(5.0, 1).fire, []);
        assert_eq!((due(5.0, 9).newest, due(5.0, 9).next), (secs(50), Some(secs(60))));
    }

    #[test]
    fn once_is_once() {
        let rule = Rule::At(secs(20));
        assert_eq!((rule.next_after(secs(3)), rule.next_after(secs(20))), (Some(secs(20)), None));
        let due = rule.due(secs(20), secs(21), 60.0, 5);
        assert_eq!((due.fire, due.next), (vec![secs(20)], None));
    }

    #[test]
    fn rules_come_back_from_their_parts() {
        let sun = Rule::of(Some("@sunset 48.85 2.35"), "UTC", None).unwrap();
        let cron = Rule::of(Some("0 3 * * 2"), "Europe/Paris", None).unwrap();
        for rule in [every(5.0), Rule::At(Time(7)), sun, cron] {
            let RuleParts { text, tz, every } = rule.parts();
            let back = Rule::of(text.as_deref(), &tz, every).unwrap();
            assert_eq!(back.parts(), rule.parts());
            assert_eq!(back.next_after(Time(0)), rule.next_after(Time(0)));
        }
        assert!(Rule::of(Some("@at noon"), "UTC", None).is_err());
        assert!(Rule::of(None, "UTC", None).is_err());
    }
}
