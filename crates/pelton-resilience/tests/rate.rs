//! The limiter against a model: a bucket that is filled and emptied in plain arithmetic.

use std::collections::HashMap;
use std::time::Duration;

use pelton_resilience::{InvalidRate, Limiter, Rate};

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A bucket of nanoseconds: each permit costs an interval of them, and they come back as they pass.
struct Bucket {
    interval: u64,
    size: u64,
    level: HashMap<u64, (u64, u64)>,
}

impl Bucket {
    fn take(&mut self, key: u64, now: u64, cost: u64) -> (bool, u64) {
        let (level, seen) = self.level.get(&key).copied().unwrap_or((self.size, now));
        let level = (level + (now - seen)).min(self.size);
        let needed = cost * self.interval;
        let allowed = needed <= level;
        let level = if allowed { level - needed } else { level };
        self.level.insert(key, (level, now));
        (allowed, level)
    }
}

#[test]
fn decides_as_a_token_bucket_does() {
    for seed in 1..60 {
        let mut numbers = Numbers(seed);
        let limit = 1 + numbers.below(20) as u32;
        let burst = 1 + numbers.below(12) as u32;
        let period = 1 + numbers.below(5_000);
        let rate = Rate::new(limit, Duration::from_nanos(period), burst).expect("a rate");
        let interval = period.div_ceil(u64::from(limit));
        let size = interval * u64::from(burst);
        let mut model = Bucket { interval, size, level: HashMap::new() };
        let mut limiter = Limiter::new(rate, 1_000);
        let mut now = 1;
        for _ in 0..2_000 {
            now += numbers.below(interval * 2);
            let key = numbers.below(5);
            let cost = numbers.below(u64::from(burst) + 2);
            let decision = limiter.take(&key.to_le_bytes(), Duration::from_nanos(now), cost as u32);
            let (allowed, level) = model.take(key, now, cost);
            assert_eq!(decision.allowed, allowed, "seed {seed}, now {now}, cost {cost}");
            assert_eq!(u64::from(decision.remaining), level / interval);
            assert_eq!(decision.reset_after, Duration::from_nanos(size - level));
            let wait = match decision.retry_after {
                Some(wait) => wait.as_nanos() as u64,
                None => {
                    assert!(cost > u64::from(burst));
                    continue;
                }
            };
            if allowed {
                assert_eq!(wait, 0);
            } else {
                // Exactly then, and not a nanosecond before.
                assert_eq!(level + wait, cost * interval);
            }
        }
    }
}

#[test]
fn no_window_of_a_period_sees_more_than_burst_and_limit() {
    let rate = Rate::new(10, Duration::from_secs(1), 4).expect("a rate");
    let mut limiter = Limiter::new(rate, 10);
    let mut numbers = Numbers(7);
    let mut given = Vec::new();
    let mut now = Duration::ZERO;
    for _ in 0..5_000 {
        now += Duration::from_micros(numbers.below(40_000));
        if limiter.take(b"key", now, 1).allowed {
            given.push(now);
        }
    }
    for (index, from) in given.iter().enumerate() {
        let within = given[index..].iter().take_while(|at| **at - *from < Duration::from_secs(1));
        assert!(within.count() <= 14);
    }
    assert!(given.len() > 500, "the rate is used up");
}

#[test]
fn memory_is_bounded_and_the_fullest_keys_go_first() {
    let rate = Rate::new(1, Duration::from_secs(1), 5).expect("a rate");
    let mut limiter = Limiter::new(rate, 100);
    for _ in 0..5 {
        assert!(limiter.take(b"greedy", Duration::ZERO, 1).allowed);
    }
    for number in 0..10_000_u32 {
        limiter.take(&number.to_le_bytes(), Duration::ZERO, 1);
        assert!(limiter.len() <= 100);
    }
    assert_eq!(limiter.evicted(), 10_001 - 100);
    // Whoever invents keys does not get a new budget by it.
    assert!(!limiter.take(b"greedy", Duration::ZERO, 1).allowed);
    // Time empties it.
    for _ in 0..60 {
        limiter.take(b"other", Duration::from_secs(10), 0);
    }
    assert!(limiter.is_empty());
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    let rate = Rate::new(1, Duration::from_secs(1), 1).expect("a rate");
    let mut limiter = Limiter::new(rate, 10);
    assert!(limiter.take(b"key", Duration::from_secs(100), 1).allowed);
    let decision = limiter.take(b"key", Duration::from_secs(5), 1);
    assert_eq!(decision.retry_after, Some(Duration::from_secs(1)));
    assert!(limiter.take(b"key", Duration::from_secs(101), 1).allowed);
    // However far it goes, there is no overflow.
    assert!(limiter.take(b"key", Duration::MAX, 1).allowed);
    assert!(!limiter.take(b"key", Duration::MAX, 1).allowed);
}

#[test]
fn rates_that_make_no_sense_are_refused() {
    let second = Duration::from_secs(1);
    assert_eq!(Rate::new(0, second, 1), Err(InvalidRate::Zero));
    assert_eq!(Rate::new(1, second, 0), Err(InvalidRate::Zero));
    assert_eq!(Rate::new(1, Duration::ZERO, 1), Err(InvalidRate::Period));
    assert_eq!(Rate::new(1, Duration::MAX, 1), Err(InvalidRate::Period));
    assert_eq!(Rate::new(1, second * 3600 * 24 * 365, 200), Err(InvalidRate::Period));
}
