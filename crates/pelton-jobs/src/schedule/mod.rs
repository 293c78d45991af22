//! Jobs that come by the clock.

pub mod cron;
pub mod interval;

use std::sync::Arc;

use crate::error::BrokerError;
use crate::job::NewJob;
use crate::time::Time;

pub use cron::Cron;
pub use interval::Interval;

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
}

/// When a schedule ticks.
#[derive(Clone, Debug)]
pub enum Rule {
    /// By calendar.
    Cron(Box<Cron>),
    /// By stopwatch.
    Every(Interval),
}

impl Rule {
    /// The first tick after `time`; `None` where there is none in sight.
    #[must_use]
    pub fn next_after(&self, time: Time) -> Option<Time> {
        match self {
            Self::Cron(cron) => cron.next_after(time),
            Self::Every(interval) => Some(interval.next_after(time)),
        }
    }

    /// The newest tick that is due at `now`, where `from` is a tick that is.
    #[must_use]
    pub fn newest(&self, from: Time, now: Time) -> Time {
        match self {
            Self::Cron(cron) => cron.newest(from, now),
            Self::Every(interval) => interval.newest(now).max(from),
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
        Ok(())
    }
}
