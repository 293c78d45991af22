//! How often something may happen, for each key.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// So many permits per period, of which `burst` may be taken at once.
///
/// It is the generic cell rate algorithm: a key's state is one moment, the *theoretical arrival
/// time*, at which all its permits will be back. A permit moves it on by the interval between
/// permits, and may be taken while it is not more than a whole burst ahead of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds in which one permit comes back.
    interval: u64,
    /// Permits that a key has when nothing was taken for long.
    burst: u32,
}

/// A rate that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRate {
    /// Nothing would ever be let in.
    #[error("a limit and a burst must be at least 1")]
    Zero,
    /// Permits would be closer together than a nanosecond, or a burst longer than 100 years.
    #[error("the period is too short or too long for this limit")]
    Period,
}

/// What became of one request for permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether they were given.
    pub allowed: bool,
    /// Permits that the key could take now.
    pub remaining: u32,
    /// When the same request would be let in; zero if it was. `None`: it asks for more than a
    /// whole burst and never will be.
    pub retry_after: Option<Duration>,
    /// When all permits will be back.
    pub reset_after: Duration,
}

/// About a hundred years, so that sums of moments stay far from overflow.
const LONGEST: u64 = 100 * 365 * 24 * 3600 * 1_000_000_000;

impl Rate {
    /// `limit` permits per `period`, at most `burst` of them at once.
    pub fn new(limit: u32, period: Duration, burst: u32) -> Result<Self, InvalidRate> {
        if limit == 0 || burst == 0 {
            return Err(InvalidRate::Zero);
        }
        // Rounded up: never more than `limit` in a period.
        let interval = period.as_nanos().div_ceil(u128::from(limit));
        let interval = u64::try_from(interval).map_err(|_| InvalidRate::Period)?;
        let whole = interval.checked_mul(u64::from(burst)).ok_or(InvalidRate::Period)?;
        if interval == 0 || whole > LONGEST {
            return Err(InvalidRate::Period);
        }
        Ok(Self { interval, burst })
    }

    /// The largest number of permits at once.
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// How far a full burst reaches.
    fn whole(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// Takes `cost` permits from a key whose permits will all be back at `arrival`: the decision,
    /// and that moment after it.
    fn take(&self, arrival: u64, now: u64, cost: u32) -> (Decision, u64) {
        let arrival = arrival.max(now);
        let needed = self.interval.saturating_mul(u64::from(cost));
        let wanted = arrival.saturating_add(needed);
        let most = now.saturating_add(self.whole());
        let allowed = wanted <= most;
        let after = if allowed { wanted } else { arrival };
        // At most a burst, so it fits.
        let remaining = u32::try_from((most - after) / self.interval).unwrap_or(self.burst);
        let retry_after = if allowed {
            Some(Duration::ZERO)
        } else if needed > self.whole() {
            None
        } else {
            Some(Duration::from_nanos(wanted - most))
        };
        let reset_after = Duration::from_nanos(after - now);
        (Decision { allowed, remaining, retry_after, reset_after }, after)
    }
}

/// Rates kept for many keys, in bounded memory.
///
/// A key whose permits are all back is forgotten: it is as a new one. When there are more than
/// `max_keys`, the key that is nearest to that is forgotten early, so that whoever invents keys
/// loses the least used ones, and never frees a key that is at its limit before them.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    max_keys: usize,
    arrivals: HashMap<Arc<[u8]>, u64>,
    /// The same, by the moment at which they may be forgotten.
    by_arrival: BTreeSet<(u64, Arc<[u8]>)>,
    /// The latest moment that was seen.
    now: u64,
    evicted: u64,
}

impl Limiter {
    /// A limiter that knows no key yet. `max_keys` of zero counts as one.
    pub fn new(rate: Rate, max_keys: usize) -> Self {
        Self {
            rate,
            max_keys: max_keys.max(1),
            arrivals: HashMap::new(),
            by_arrival: BTreeSet::new(),
            now: 0,
            evicted: 0,
        }
    }

    /// The rate.
    pub fn rate(&self) -> &Rate {
        &self.rate
    }

    /// Asks for `cost` permits of `key`. What is refused costs nothing; a cost of zero only looks.
    pub fn take(&mut self, key: &[u8], now: Duration, cost: u32) -> Decision {
        let now = self.advance(now);
        self.forget_full(now);
        let known = self.arrivals.get_key_value(key).map(|(key, arrival)| (key.clone(), *arrival));
        let before = known.as_ref().map_or(0, |(_, arrival)| *arrival);
        let (decision, after) = self.rate.take(before, now, cost);
        if after == before || after <= now {
            return decision;
        }
        let key: Arc<[u8]> = match known {
            Some((key, before)) => {
                self.by_arrival.remove(&(before, key.clone()));
                key
            }
            None => {
                self.make_room();
                Arc::from(key)
            }
        };
        self.arrivals.insert(key.clone(), after);
        self.by_arrival.insert((after, key));
        decision
    }

    /// The keys that are remembered.
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// How many keys were forgotten before their permits were all back, for want of room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    fn advance(&mut self, now: Duration) -> u64 {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX - LONGEST);
        self.now = self.now.max(now.min(u64::MAX - LONGEST));
        self.now
    }

    /// Forgets up to two keys that are as new ones: more than come in with one call.
    fn forget_full(&mut self, now: u64) {
        for _ in 0..2 {
            match self.by_arrival.first() {
                Some((arrival, _)) if *arrival <= now => self.forget_first(),
                _ => return,
            }
        }
    }

    fn make_room(&mut self) {
        if self.arrivals.len() >= self.max_keys {
            self.forget_first();
            self.evicted += 1;
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, key)) = self.by_arrival.pop_first() {
            self.arrivals.remove(&key);
        }
    }
}
