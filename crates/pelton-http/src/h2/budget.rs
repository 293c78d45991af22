//! How much of what costs us and gives nothing a client may do.

use std::time::Duration;

/// So many at once, and again within ten seconds; what is useful earns more.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    /// In thousandths.
    spent: u64,
    at: Duration,
}

const PERIOD_MS: u64 = 10_000;

impl Budget {
    pub(super) fn new(limit: u32, now: Duration) -> Self {
        Self { limit, spent: 0, at: now }
    }

    /// One more; `false` where that is too many.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let elapsed = now.saturating_sub(self.at).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX).min(PERIOD_MS);
        let recovered = elapsed * u64::from(self.limit) * 1000 / PERIOD_MS;
        if recovered > 0 {
            self.at = now;
            self.spent = self.spent.saturating_sub(recovered);
        }
        let allowed = self.spent + 1000 <= u64::from(self.limit) * 1000;
        if allowed {
            self.spent += 1000;
        }
        allowed
    }

    /// Takes back so many thousandths.
    pub(super) fn earn(&mut self, thousandths: u64) {
        self.spent = self.spent.saturating_sub(thousandths);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Budget;

    #[test]
    fn time_and_use_give_back() {
        let mut budget = Budget::new(10, Duration::ZERO);
        assert!((0..10).all(|_| budget.spend(Duration::ZERO)));
        assert!(!budget.spend(Duration::ZERO));
        budget.earn(2000);
        assert!(budget.spend(Duration::ZERO) && budget.spend(Duration::ZERO));
        assert!(!budget.spend(Duration::ZERO));
        let later = Duration::from_secs(60);
        assert!((0..10).all(|_| budget.spend(later)));
        assert!(!budget.spend(later));
        assert!(!budget.spend(later + Duration::from_millis(500)));
    }

    #[test]
    fn a_steady_trickle_is_allowed() {
        let mut budget = Budget::new(10, Duration::ZERO);
        assert!((0u64..1000).all(|n| budget.spend(Duration::from_millis(n * 1001))));
    }
}
