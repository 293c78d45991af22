//! How often, and when, a failed job runs again.

use crate::time::Time;

/// Exponential backoff with full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Failures that are followed by another attempt.
    pub max_retries: u32,
    /// Seconds: the upper bound of the first delay.
    pub base_delay: f64,
    /// Seconds: no delay is longer.
    pub max_delay: f64,
    /// Each upper bound is this many times the one before.
    pub factor: f64,
    /// Whether the delay is uniform in `[0, bound]`, or the bound itself.
    pub jitter: bool,
}

/// Leases that may be lost one after the other before a job counts as the reason for it. A lost
/// lease uses up no retry (the job did nothing wrong, its worker went away), so this bounds it.
pub const MAX_LOSSES: u32 = 5;

/// Dead jobs are kept at least this long: somebody has to look at them. Seconds.
pub const DEAD_TTL_MIN: f64 = 30.0 * 86_400.0;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Another attempt at this time.
    Again(Time),
    /// None: the job is dead.
    GiveUp,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_retries: 3, base_delay: 1.0, max_delay: 600.0, factor: 2.0, jitter: true }
    }
}

impl RetryPolicy {
    /// Seconds to wait after the `failures`-th failure (1 for the first). `random` is in `[0, 1)`.
    #[must_use]
    pub fn delay(&self, failures: u32, random: f64) -> f64 {
        let exponent = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.base_delay * self.factor.powi(exponent);
        // 0 * inf is not a number; a policy without a base has no delay.
        let bound = if grown.is_nan() { 0.0 } else { grown.min(self.max_delay) };
        if self.jitter { bound * random } else { bound }
    }

    /// As one text, for stores that keep it so.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { max_retries, base_delay, max_delay, factor, jitter } = self;
        format!("{max_retries} {base_delay} {max_delay} {factor} {jitter}")
    }

    /// What `to_text` wrote; `None` for any other text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split(' ').collect();
        let [max_retries, base_delay, max_delay, factor, jitter] = parts[..] else { return None };
        Some(Self {
            max_retries: max_retries.parse().ok()?,
            base_delay: base_delay.parse().ok()?,
            max_delay: max_delay.parse().ok()?,
            factor: factor.parse().ok()?,
            jitter: jitter.parse().ok()?,
        })
    }

    /// What follows the `failures`-th failure. `delay` replaces the policy's.
    #[must_use]
    pub fn after_failure(
        &self,
        failures: u32,
        delay: Option<f64>,
        now: Time,
        random: f64,
    ) -> Verdict {
        if failures > self.max_retries {
            return Verdict::GiveUp;
        }
        Verdict::Again(now.after(delay.unwrap_or_else(|| self.delay(failures, random))))
    }
}

/// What follows the `losses`-th lease lost in a row.
#[must_use]
pub fn after_loss(losses: u32, now: Time) -> Verdict {
    if losses >= MAX_LOSSES { Verdict::GiveUp } else { Verdict::Again(now) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_grow_by_the_factor_up_to_the_longest() {
        let policy = RetryPolicy { jitter: false, max_delay: 10.0, ..RetryPolicy::default() };
        let delays: Vec<f64> = (1..7).map(|n| policy.delay(n, 0.3)).collect();
        assert_eq!(delays, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        assert_eq!(policy.delay(u32::MAX, 0.0), 10.0);
    }

    #[test]
    fn jitter_is_a_share_of_the_bound() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay(3, 0.0), 0.0);
        assert_eq!(policy.delay(3, 0.5), 2.0);
        let none = RetryPolicy { base_delay: 0.0, factor: f64::MAX, ..policy };
        assert_eq!(none.delay(90, 0.5), 0.0);
    }

    #[test]
    fn policies_come_back_from_their_text() {
        let policy = RetryPolicy { factor: 1.75, jitter: false, ..RetryPolicy::default() };
        assert_eq!(RetryPolicy::from_text(&policy.to_text()), Some(policy));
        assert_eq!(RetryPolicy::from_text("3 1 600"), None);
    }

    #[test]
    fn retries_are_counted_by_failures() {
        let policy = RetryPolicy { max_retries: 2, jitter: false, ..RetryPolicy::default() };
        let now = Time(0);
        assert_eq!(policy.after_failure(1, None, now, 0.5), Verdict::Again(Time(1_000_000)));
        assert_eq!(policy.after_failure(2, Some(0.5), now, 0.5), Verdict::Again(Time(500_000)));
        assert_eq!(policy.after_failure(3, Some(0.5), now, 0.5), Verdict::GiveUp);
        let never = RetryPolicy { max_retries: 0, ..policy };
        assert_eq!(never.after_failure(1, None, now, 0.5), Verdict::GiveUp);
    }

    #[test]
    fn five_losses_in_a_row_are_too_many() {
        let verdicts: Vec<_> = (1..=5).map(|n| after_loss(n, Time(7))).collect();
        assert_eq!(verdicts[..4], [Verdict::Again(Time(7)); 4]);
        assert_eq!(verdicts[4], Verdict::GiveUp);
    }
}
