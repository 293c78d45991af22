//! Ticks every so many seconds.

use crate::error::BrokerError;
use crate::time::Time;

/// Ticks at the multiples of a period since the epoch: the rhythm does not depend on when a
/// scheduler was started, and does not drift.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    micros: i64,
}

impl Interval {
    /// Every `seconds`, at least a hundredth of one, at most a year.
    pub fn new(seconds: f64) -> Result<Self, BrokerError> {
        if !(0.01..=31_622_400.0).contains(&seconds) {
            return Err(BrokerError::Invalid(format!(
                "a schedule's period is 0.01 seconds to 366 days, not {seconds}"
            )));
        }
        Ok(Self { micros: (seconds * 1e6).round() as i64 })
    }

    /// The period in seconds.
    #[must_use]
    pub fn as_secs(&self) -> f64 {
        self.micros as f64 / 1e6
    }

    /// The first tick after `time`.
    #[must_use]
    pub fn next_after(&self, time: Time) -> Time {
        Time(self.newest(time).0.saturating_add(self.micros))
    }

    /// The newest tick at or before `now`.
    #[must_use]
    pub fn newest(&self, now: Time) -> Time {
        Time(now.0 - now.0.rem_euclid(self.micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_multiples() {
        let every = Interval::new(30.0).unwrap();
        let secs = |seconds: i64| Time(seconds * 1_000_000);
        assert_eq!(every.next_after(secs(59)), secs(60));
        assert_eq!(every.next_after(secs(60)), secs(90));
        assert_eq!(every.newest(secs(60)), secs(60));
        assert_eq!(every.newest(secs(89)), secs(60));
    }

    #[test]
    fn periods_have_limits() {
        for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
            assert!(Interval::new(seconds).is_err());
        }
    }
}
