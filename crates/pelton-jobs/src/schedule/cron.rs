//! Ticks by the calendar of a time zone.
//!
//! When clocks change, a pattern with fixed hours and minutes ticks exactly once a day: a local
//! time that is skipped ticks at the first moment after the gap, one that comes twice ticks the
//! first time. A pattern that runs through the hours (`*/15 * * * *`) keeps its rhythm in real
//! time, through the doubled hour too.

use std::fmt;

use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::error::BrokerError;
use crate::time::Time;

/// A cron pattern in a time zone.
#[derive(Clone)]
pub struct Cron {
    text: String,
    zone: TimeZone,
    zone_name: String,
    pattern: croner::Cron,
}

/// Missed ticks that are walked through one by one to find the newest; a schedule that has missed
/// more gets its next tick counted from now.
const WALK_MAX: usize = 100_000;

impl Cron {
    /// Five fields, or six with seconds first; `zone` is an IANA name.
    pub fn new(text: &str, zone: &str) -> Result<Self, BrokerError> {
        let pattern =
            CronParser::builder().seconds(Seconds::Optional).build().parse(text).map_err(
                |error| {
                    BrokerError::Invalid(format!(
                        "{text:?} is not a cron pattern ({error}): five fields (minute, hour, \
                         day of month, month, day of week), or six with seconds first"
                    ))
                },
            )?;
        let found = TimeZone::get(zone).map_err(|_| {
            BrokerError::Invalid(format!(
                "no time zone {zone:?}: use an IANA name such as Europe/Paris"
            ))
        })?;
        Ok(Self { text: text.to_owned(), zone: found, zone_name: zone.to_owned(), pattern })
    }

    /// The pattern.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The time zone's name.
    #[must_use]
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// The first tick after `time`; `None` where there is none (30 February).
    #[must_use]
    pub fn next_after(&self, time: Time) -> Option<Time> {
        let next = self.pattern.find_next_occurrence(&self.zoned(time)?, false).ok()?;
        Some(Time(next.timestamp().as_microsecond()))
    }

    /// The newest tick that is due at `now`, where `from` is a tick that is.
    #[must_use]
    pub fn newest(&self, from: Time, now: Time) -> Time {
        let mut newest = from;
        for _ in 0..WALK_MAX {
            match self.next_after(newest) {
                Some(next) if next <= now => newest = next,
                _ => break,
            }
        }
        newest
    }

    fn zoned(&self, time: Time) -> Option<Zoned> {
        Timestamp::from_microsecond(time.0).ok().map(|at| at.to_zoned(self.zone.clone()))
    }
}

impl fmt::Debug for Cron {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Cron({:?}, {})", self.text, self.zone_name)
    }
}
