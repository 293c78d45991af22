//! Names of jobs: UUIDs of version 7.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::BrokerError;
use crate::time::Time;

/// A job's name, unique among all brokers. Sorts by the time of creation.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId([u8; 16]);

/// Milliseconds (48 bits) and their 4096ths (12 bits) of the newest id of this process: two ids of
/// a process never sort against the order in which they were made.
static NEWEST: AtomicU64 = AtomicU64::new(0);

impl JobId {
    /// A new id at `now`. Fails only where the system has no random numbers to give.
    pub fn new(now: Time) -> Result<Self, BrokerError> {
        let mut random = [0; 8];
        // Asked for anew each time: a generator's state would be shared with forked children.
        getrandom::fill(&mut random)
            .map_err(|error| BrokerError::Store(format!("no random numbers: {error}")))?;
        let micros = u64::try_from(now.0).unwrap_or(0);
        let ticks = ((micros / 1000) << 12) | ((micros % 1000) * 4096 / 1000);
        let next = |newest: u64| Some(ticks.max(newest + 1));
        let (Ok(before) | Err(before)) =
            NEWEST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        Ok(Self::from_parts(ticks.max(before + 1), u64::from_le_bytes(random)))
    }

    /// The id with this time (as in `NEWEST`) and these random bits.
    fn from_parts(ticks: u64, random: u64) -> Self {
        let high = ((ticks >> 12) << 16) | 0x7000 | (ticks & 0x0fff);
        let low = (random & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        Self(((u128::from(high) << 64) | u128::from(low)).to_be_bytes())
    }

    /// From the 16 bytes that a store kept.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for JobId {
    type Err = BrokerError;

    fn from_str(text: &str) -> Result<Self, BrokerError> {
        let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() == 32
            && text.bytes().all(hexadecimal)
            && let Ok(number) = u128::from_str_radix(text, 16)
        {
            return Ok(Self(number.to_be_bytes()));
        }
        Err(BrokerError::Invalid(format!(
            "{text:?} is not a job id: 32 lower-case hexadecimal digits, as new_job_id() makes them"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_creation_and_come_back_from_text() {
        let now = Time::from_secs(1_700_000_000.123);
        let ids: Vec<_> = (0..10_000).map(|_| JobId::new(now).unwrap()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        for id in ids.iter().take(10) {
            let text = id.to_string();
            assert_eq!((text.len(), &text[12..13]), (32, "7"));
            assert!(matches!(&text[16..17], "8" | "9" | "a" | "b"));
            assert_eq!(text.parse::<JobId>().unwrap(), *id);
        }
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "x", &"A".repeat(32), &"0".repeat(31), "+0000000000000000000000000000001"]
        {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
