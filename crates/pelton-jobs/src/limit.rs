//! How many, and how often: limits that hold across all workers of a broker.

use crate::error::BrokerError;
use crate::job::check_name;
use crate::time::Time;

/// What is limited.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// All jobs of a queue.
    Queue(String),
    /// All jobs of a task.
    Task(String),
    /// Of a task, the jobs of each `limit_key` by themselves.
    Key(String),
}

/// A limit: at least one of the two is given.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limit {
    /// Jobs that may run at a time.
    pub concurrency: Option<u32>,
    /// How often jobs may begin.
    pub rate: Option<Rate>,
}

/// So many a second in the long run, and `burst` at once after a rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// A second.
    pub per_second: f64,
    /// At once, 1 or more.
    pub burst: f64,
}

impl Rate {
    /// Takes `cost` from a bucket whose theoretical arrival time is `tat` (GCRA): that time
    /// afterwards, or, as an error, when there is enough.
    pub fn take(&self, tat: Option<Time>, cost: f64, now: Time) -> Result<Time, Time> {
        let from = tat.map_or(now, |tat| tat.max(now));
        let next = from.after(cost / self.per_second);
        let allowed = next.after(-self.burst / self.per_second);
        // A microsecond of grace: times are whole ones.
        if allowed.0 <= now.0 + 1 { Ok(next) } else { Err(allowed) }
    }

    /// Refuses a cost that means nothing, or that no rest would ever allow.
    pub fn check_cost(&self, cost: f64) -> Result<(), BrokerError> {
        if cost.is_finite() && cost > 0.0 && cost <= self.burst {
            return Ok(());
        }
        let burst = self.burst;
        invalid(format!("a cost is above 0 and at most the burst of {burst}, not {cost}"))
    }

    /// Refuses what means nothing.
    pub fn check(&self) -> Result<(), BrokerError> {
        let Self { per_second, burst } = *self;
        if !(per_second.is_finite() && (1e-6..=1e6).contains(&per_second)) {
            return invalid(format!("a rate is 0.000001 to 1000000 a second, not {per_second}"));
        }
        if !(burst.is_finite() && (1.0..=1e9).contains(&burst)) {
            return invalid(format!("a burst is 1 or more, not {burst}"));
        }
        Ok(())
    }
}

impl Limit {
    /// Refuses what means nothing.
    pub fn check(&self) -> Result<(), BrokerError> {
        if self.concurrency.is_none() && self.rate.is_none() {
            return invalid("a limit has a concurrency, a rate, or both".into());
        }
        if self.concurrency == Some(0) {
            return invalid("a concurrency is 1 or more: to stop a queue, pause it".into());
        }
        self.rate.map_or(Ok(()), |rate| rate.check())
    }
}

impl Scope {
    /// `queue:…`, `task:…` or `key:…`.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Queue(name) => format!("queue:{name}"),
            Self::Task(name) => format!("task:{name}"),
            Self::Key(name) => format!("key:{name}"),
        }
    }

    /// From its text.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        let scope = match text.split_once(':') {
            Some(("queue", name)) => Self::Queue(name.to_owned()),
            Some(("task", name)) => Self::Task(name.to_owned()),
            Some(("key", name)) => Self::Key(name.to_owned()),
            _ => {
                return invalid(format!(
                    "{text:?} is not a scope: queue:NAME, task:NAME, or key:TASK for each key of \
                     a task"
                ));
            }
        };
        check_name("scope", scope.name())?;
        Ok(scope)
    }

    /// The queue, or the task.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Queue(name) | Self::Task(name) | Self::Key(name) => name,
        }
    }
}

fn invalid<T>(message: String) -> Result<T, BrokerError> {
    Err(BrokerError::Invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { per_second: 2.0, burst: 3.0 };
        let now = Time(5_000_000);
        let mut tat = None;
        for _ in 0..3 {
            tat = Some(rate.take(tat, 1.0, now).unwrap());
        }
        assert_eq!(rate.take(tat, 1.0, now), Err(now.after(0.5)));
        let then = now.after(0.5);
        tat = Some(rate.take(tat, 1.0, then).unwrap());
        assert_eq!(rate.take(tat, 1.0, then), Err(then.after(0.5)));
        assert!(rate.take(tat, 3.0, then.after(2.0)).is_ok());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let rate = |per_second, burst| Rate { per_second, burst }.check();
        assert!(rate(1.0, 1.0).is_ok());
        let costs = [0.0, 0.5, 2.0, 3.0, f64::NAN];
        let two = Rate { per_second: 1.0, burst: 2.0 };
        let fits = costs.map(|cost| two.check_cost(cost).is_ok());
        assert_eq!(fits, [false, true, true, false, false]);
        assert!(rate(0.0, 1.0).is_err() && rate(f64::NAN, 1.0).is_err() && rate(1.0, 0.5).is_err());
        assert!(Limit::default().check().is_err());
        assert!(Limit { concurrency: Some(0), rate: None }.check().is_err());
    }

    #[test]
    fn scopes_come_back_from_text() {
        for text in ["queue:a", "task:m.f", "key:m:f"] {
            assert_eq!(Scope::parse(text).unwrap().text(), text);
        }
        assert!(Scope::parse("all").is_err() && Scope::parse("queue:").is_err());
    }
}
