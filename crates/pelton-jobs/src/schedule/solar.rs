//! Ticks by the sun: its rise, noon and set, and the twilights, at a place.
//!
//! Meeus' low-precision sun, as NOAA's calculator uses it: within a minute of published tables
//! between the polar circles. Where the sun does not cross the height on a day, that day has none.

use crate::error::BrokerError;
use crate::time::Time;

/// An event of the sun at a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Solar {
    event: Event,
    latitude: f64,
    longitude: f64,
}

/// Names of events, with the zenith angle that the sun crosses, and the side of noon: -1 before,
/// 1 after, 0 noon itself.
const EVENTS: [Event; 9] = [
    Event { name: "dawn_astronomical", zenith: 108.0, side: -1.0 },
    Event { name: "dawn_nautical", zenith: 102.0, side: -1.0 },
    Event { name: "dawn_civil", zenith: 96.0, side: -1.0 },
    Event { name: "sunrise", zenith: 90.833, side: -1.0 },
    Event { name: "solar_noon", zenith: 0.0, side: 0.0 },
    Event { name: "sunset", zenith: 90.833, side: 1.0 },
    Event { name: "dusk_civil", zenith: 96.0, side: 1.0 },
    Event { name: "dusk_nautical", zenith: 102.0, side: 1.0 },
    Event { name: "dusk_astronomical", zenith: 108.0, side: 1.0 },
];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Event {
    name: &'static str,
    zenith: f64,
    side: f64,
}

/// Days that are searched: a polar night is over after half a year.
const SEARCH_DAYS: i64 = 400;

const DAY: f64 = 86_400e6;

impl Solar {
    /// `event` at a place; degrees, north and east positive.
    pub fn new(event: &str, latitude: f64, longitude: f64) -> Result<Self, BrokerError> {
        let Some(event) = EVENTS.into_iter().find(|known| known.name == event) else {
            return Err(BrokerError::Invalid(format!(
                "{event:?} is no event of the sun: one of {}",
                EVENTS.map(|known| known.name).join(", ")
            )));
        };
        if !(latitude.abs() <= 90.0 && longitude.abs() <= 180.0) {
            return Err(BrokerError::Invalid(format!(
                "latitude {latitude}, longitude {longitude} is not on Earth: degrees, north and \
                 east positive, up to 90 and 180"
            )));
        }
        Ok(Self { event, latitude, longitude })
    }

    /// From `@sunrise LATITUDE LONGITUDE`.
    pub fn parse(text: &str) -> Result<Self, BrokerError> {
        let mut parts = text.strip_prefix('@').unwrap_or(text).split_ascii_whitespace();
        let event = parts.next().unwrap_or_default();
        let mut degrees = || parts.next().and_then(|number| number.parse::<f64>().ok());
        match (degrees(), degrees(), parts.next()) {
            (Some(latitude), Some(longitude), None) => Self::new(event, latitude, longitude),
            _ => Err(BrokerError::Invalid(format!(
                "{text:?} is not an event of the sun such as \"@sunrise 48.85 2.35\""
            ))),
        }
    }

    /// What `parse` reads.
    #[must_use]
    pub fn text(&self) -> String {
        format!("@{} {} {}", self.event.name, self.latitude, self.longitude)
    }

    /// The first tick after `time`; `None` where there is none in sight.
    #[must_use]
    pub fn next_after(&self, time: Time) -> Option<Time> {
        let first = self.day_of(time) - 1;
        (first..first + SEARCH_DAYS).filter_map(|day| self.on(day)).find(|tick| *tick > time)
    }

    /// The newest tick that is due at `now`, where `from` is a tick that is.
    #[must_use]
    pub fn newest(&self, from: Time, now: Time) -> Time {
        let last = self.day_of(now) + 1;
        let days = (last - SEARCH_DAYS..=last).rev();
        days.filter_map(|day| self.on(day)).find(|tick| *tick <= now).unwrap_or(from).max(from)
    }

    /// The number of the day at this place, by the sun, since 1 January 1970.
    fn day_of(&self, time: Time) -> i64 {
        ((time.0 as f64 / DAY) + self.longitude / 360.0).floor() as i64
    }

    /// The moment of the event on a day of this place.
    fn on(&self, day: i64) -> Option<Time> {
        // Noon by the mean sun, in days since 1970; the event is found from there in few steps,
        // since the sun moves little in half a day.
        let noon = day as f64 + 0.5 - self.longitude / 360.0;
        let mut at = noon;
        for _ in 0..4 {
            let Sun { declination, equation } = Sun::at(at);
            let angle = self.hour_angle(declination)?;
            at = noon - equation / 1440.0 + angle / 360.0;
        }
        Some(Time((at * DAY).round() as i64))
    }

    /// Degrees from noon to the event.
    fn hour_angle(&self, declination: f64) -> Option<f64> {
        if self.event.side == 0.0 {
            return Some(0.0);
        }
        let latitude = self.latitude.to_radians();
        let cosine = self.event.zenith.to_radians().cos() / (latitude.cos() * declination.cos())
            - latitude.tan() * declination.tan();
        (-1.0..=1.0).contains(&cosine).then(|| self.event.side * cosine.acos().to_degrees())
    }
}

/// Where the sun stands.
struct Sun {
    /// Radians north of the equator.
    declination: f64,
    /// Minutes that the true sun is ahead of the mean one.
    equation: f64,
}

impl Sun {
    /// At a moment, in days since 1970.
    fn at(days: f64) -> Self {
        // Julian centuries since 2000.
        let t = (days + 2_440_587.5 - 2_451_545.0) / 36_525.0;
        let longitude = (280.466_46 + t * (36_000.769_83 + 0.000_303_2 * t)).to_radians();
        let anomaly = (357.529_11 + t * (35_999.050_29 - 0.000_153_7 * t)).to_radians();
        let eccentricity = 0.016_708_634 - t * (0.000_042_037 + 0.000_000_126_7 * t);
        let center = anomaly.sin() * (1.914_602 - t * (0.004_817 + 0.000_014 * t))
            + (2.0 * anomaly).sin() * (0.019_993 - 0.000_101 * t)
            + (3.0 * anomaly).sin() * 0.000_289;
        let node = (125.04 - 1934.136 * t).to_radians();
        let apparent = longitude + (center - 0.005_69 - 0.004_78 * node.sin()).to_radians();
        let obliquity = (23.439_291 - t * 0.013_004_2 + 0.002_56 * node.cos()).to_radians();
        let y = (obliquity / 2.0).tan().powi(2);
        let equation = y * (2.0 * longitude).sin() - 2.0 * eccentricity * anomaly.sin()
            + 4.0 * eccentricity * y * anomaly.sin() * (2.0 * longitude).cos()
            - 0.5 * y * y * (4.0 * longitude).sin()
            - 1.25 * eccentricity * eccentricity * (2.0 * anomaly).sin();
        Self {
            declination: (obliquity.sin() * apparent.sin()).asin(),
            equation: 4.0 * equation.to_degrees(),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    /// The next event after a moment, to the minute, in UTC.
    fn next(event: &str, place: (f64, f64), from: &str) -> String {
        let solar = Solar::new(event, place.0, place.1).unwrap();
        let from = Time(from.parse::<Timestamp>().unwrap().as_microsecond());
        match solar.next_after(from) {
            Some(at) => Timestamp::from_microsecond(at.0 + 30_000_000)
                .unwrap()
                .strftime("%m-%d %H:%M")
                .to_string(),
            None => "never".into(),
        }
    }

    fn minutes(text: &str) -> i64 {
        let number =
            |range| text.get::<std::ops::Range<usize>>(range).unwrap().parse::<i64>().unwrap();
        (number(3..5) * 24 + number(6..8)) * 60 + number(9..11)
    }

    const LONDON: (f64, f64) = (51.4733, -0.000_834);
    const PARIS: (f64, f64) = (48.8566, 2.3522);
    const NEW_YORK: (f64, f64) = (40.7128, -74.006);
    const SYDNEY: (f64, f64) = (-33.8688, 151.2093);
    const TROMSO: (f64, f64) = (69.6492, 18.9553);

    /// Published times (almanacs; UTC), within two minutes: they are rounded, and for a city.
    #[test]
    fn as_the_tables_say() {
        for (event, place, from, published) in [
            ("sunrise", LONDON, "2015-12-01T00:00:00Z", "12-01 07:43"),
            ("sunset", LONDON, "2015-12-01T00:00:00Z", "12-01 15:55"),
            ("dawn_civil", LONDON, "2015-12-01T00:00:00Z", "12-01 07:04"),
            ("dusk_civil", LONDON, "2015-12-01T12:00:00Z", "12-01 16:34"),
            ("dawn_nautical", LONDON, "2015-12-01T00:00:00Z", "12-01 06:22"),
            ("dusk_nautical", LONDON, "2015-12-01T12:00:00Z", "12-01 17:16"),
            ("dawn_astronomical", LONDON, "2015-12-01T00:00:00Z", "12-01 05:42"),
            ("dusk_astronomical", LONDON, "2015-12-01T12:00:00Z", "12-01 17:56"),
            ("sunrise", LONDON, "2015-12-25T00:00:00Z", "12-25 08:05"),
            ("solar_noon", LONDON, "2015-12-01T00:00:00Z", "12-01 11:49"),
            ("sunrise", PARIS, "2024-06-20T00:00:00Z", "06-20 03:47"),
            ("sunset", PARIS, "2024-06-20T00:00:00Z", "06-20 19:58"),
            ("sunrise", PARIS, "2024-12-21T00:00:00Z", "12-21 07:41"),
            ("sunset", PARIS, "2024-12-21T00:00:00Z", "12-21 15:56"),
            ("sunrise", NEW_YORK, "2024-03-20T05:00:00Z", "03-20 10:59"),
            ("sunset", NEW_YORK, "2024-03-20T12:00:00Z", "03-20 23:08"),
            ("sunrise", SYDNEY, "2024-12-20T12:00:00Z", "12-20 18:41"),
            ("sunset", SYDNEY, "2024-12-21T00:00:00Z", "12-21 09:05"),
        ] {
            let found = next(event, place, from);
            let off = (minutes(&found) - minutes(published)).abs();
            assert!(off <= 2, "{event} at {place:?}: {found}, published {published}");
        }
    }

    #[test]
    fn a_polar_night_has_no_sunrise_and_ends() {
        let first = next("sunrise", TROMSO, "2024-12-01T00:00:00Z");
        assert!(first.starts_with("01-1"), "{first}");
        let pole = Solar::new("sunrise", 90.0, 0.0).unwrap();
        assert!(pole.next_after(Time(0)).is_none_or(|at| at > Time(0)));
    }

    #[test]
    fn each_day_has_one_and_the_newest_is_found() {
        let solar = Solar::new("sunset", SYDNEY.0, SYDNEY.1).unwrap();
        let mut at = Time::from_secs(1_700_000_000.0);
        let first = solar.next_after(at).unwrap();
        for _ in 0..400 {
            let next = solar.next_after(at).unwrap();
            assert!(next > at);
            let gap = next.since(at);
            assert!(gap <= 86_600.0, "{gap}");
            assert_eq!(solar.newest(first, Time(next.0 + 1)), next);
            at = next;
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, word) in [
            ("@noonish 1 2", "no event"),
            ("@sunrise 91 2", "not on Earth"),
            ("@sunrise 1", "such as"),
            ("@sunrise 1 NaN", "not on Earth"),
            ("@sunrise 1 2 3", "such as"),
        ] {
            let error = Solar::parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
