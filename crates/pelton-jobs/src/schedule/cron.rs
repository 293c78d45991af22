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
pub(super) const WALK_MAX: usize = 100_000;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks after `from` (RFC 3339), as local times with their offsets.
    fn ticks(pattern: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let cron = Cron::new(pattern, zone).unwrap();
        let mut at = Time(from.parse::<Timestamp>().unwrap().as_microsecond());
        let mut found = Vec::new();
        for _ in 0..count {
            at = cron.next_after(at).unwrap();
            let zoned = cron.zoned(at).unwrap();
            found.push(zoned.strftime("%m-%d %H:%M %:z").to_string());
        }
        found
    }

    #[test]
    fn plain_days() {
        assert_eq!(
            ticks("0 3 * * 2", "Europe/Paris", "2026-01-05T00:00:00Z", 2),
            ["01-06 03:00 +01:00", "01-13 03:00 +01:00"]
        );
        assert_eq!(
            ticks("30 9 1,15 * *", "Asia/Kolkata", "2026-01-05T00:00:00Z", 2),
            ["01-15 09:30 +05:30", "02-01 09:30 +05:30"]
        );
        assert_eq!(ticks("0 0 29 2 *", "UTC", "2026-01-05T00:00:00Z", 1), ["02-29 00:00 +00:00"]);
    }

    #[test]
    fn a_skipped_local_time_ticks_once_after_the_gap() {
        // North: 2:00 to 3:00 do not exist on 29 March 2026.
        assert_eq!(
            ticks("30 2 * * *", "Europe/Paris", "2026-03-28T12:00:00Z", 2),
            ["03-29 03:00 +02:00", "03-30 02:30 +02:00"]
        );
        assert_eq!(
            ticks("30 2 * * *", "America/New_York", "2026-03-08T00:00:00Z", 2),
            ["03-08 03:00 -04:00", "03-09 02:30 -04:00"]
        );
        // South: 4 October 2026.
        assert_eq!(
            ticks("15 2 * * *", "Australia/Sydney", "2026-10-03T00:00:00Z", 2),
            ["10-04 03:00 +11:00", "10-05 02:15 +11:00"]
        );
        // A gap of half an hour: 2:00 to 2:30 on Lord Howe Island.
        assert_eq!(
            ticks("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", 2),
            ["10-04 02:30 +11:00", "10-05 02:15 +11:00"]
        );
        // At midnight: 0:00 to 1:00 in Santiago, on 6 September 2026.
        assert_eq!(
            ticks("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00Z", 2),
            ["09-06 01:00 -03:00", "09-07 00:00 -03:00"]
        );
    }

    #[test]
    fn a_doubled_local_time_ticks_the_first_time() {
        assert_eq!(
            ticks("30 2 * * *", "Europe/Paris", "2026-10-24T12:00:00Z", 2),
            ["10-25 02:30 +02:00", "10-26 02:30 +01:00"]
        );
        assert_eq!(
            ticks("30 1 * * *", "America/New_York", "2026-11-01T00:00:00Z", 2),
            ["11-01 01:30 -04:00", "11-02 01:30 -05:00"]
        );
        assert_eq!(
            ticks("30 2 * * *", "Australia/Sydney", "2026-04-04T00:00:00Z", 2),
            ["04-05 02:30 +11:00", "04-06 02:30 +10:00"]
        );
        // Half an hour twice: 1:30 to 2:00 on Lord Howe Island.
        assert_eq!(
            ticks("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00:00Z", 2),
            ["04-05 01:45 +11:00", "04-06 01:45 +10:30"]
        );
    }

    #[test]
    fn a_pattern_through_the_hours_keeps_its_rhythm() {
        let stamps = |zone, from: &str, count| {
            let cron = Cron::new("*/30 * * * *", zone).unwrap();
            let mut at = Time(from.parse::<Timestamp>().unwrap().as_microsecond());
            let mut gaps = Vec::new();
            for _ in 0..count {
                let next = cron.next_after(at).unwrap();
                gaps.push(next.since(at));
                at = next;
            }
            gaps
        };
        assert_eq!(stamps("Europe/Paris", "2026-03-28T22:00:00Z", 12), [1800.0; 12]);
        assert_eq!(stamps("Europe/Paris", "2026-10-24T22:00:00Z", 12), [1800.0; 12]);
        assert_eq!(stamps("Australia/Sydney", "2026-04-04T13:00:00Z", 12), [1800.0; 12]);
    }

    #[test]
    fn seconds_come_first() {
        let cron = Cron::new("*/10 * * * * *", "UTC").unwrap();
        assert_eq!(cron.next_after(Time(1_000_000)), Some(Time(10_000_000)));
        assert_eq!(cron.next_after(Time(10_000_000)), Some(Time(20_000_000)));
    }

    #[test]
    fn the_newest_missed_tick() {
        let cron = Cron::new("* * * * *", "UTC").unwrap();
        let minutes = |minutes: i64| Time(minutes * 60_000_000);
        assert_eq!(cron.newest(minutes(1), minutes(7)), minutes(7));
        assert_eq!(cron.newest(minutes(1), Time(minutes(8).0 - 1)), minutes(7));
        assert_eq!(cron.newest(minutes(5), minutes(5)), minutes(5));
    }

    #[test]
    fn mistakes_are_told() {
        for (pattern, zone, word) in [
            ("", "UTC", "cron pattern"),
            ("61 * * * *", "UTC", "cron pattern"),
            ("* * * *", "UTC", "cron pattern"),
            ("every day", "UTC", "cron pattern"),
            ("0 0 * * *", "Europe/Atlantis", "IANA"),
        ] {
            let error = Cron::new(pattern, zone).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(Cron::new("0 0 30 2 *", "UTC").unwrap().next_after(Time(0)), None);
    }
}
