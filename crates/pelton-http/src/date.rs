//! The `date` header, and the other ways to write a moment.

const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Writes the moment, seconds since the epoch, as HTTP wants it: `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn format(seconds: u64) -> [u8; 29] {
    let days = seconds / 86_400;
    let (year, month, day) = civil(days);
    let weekday = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"][(days % 7) as usize];
    let mut text = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    text[..3].copy_from_slice(weekday);
    two_digits(&mut text[5..7], day);
    text[8..11].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    clock(&mut text[17..25], seconds);
    text
}

/// Writes the moment, seconds since the epoch, as access logs have it:
/// `06/Nov/1994:08:49:37 +0000`.
#[must_use]
pub fn format_common(seconds: u64) -> [u8; 26] {
    let (year, month, day) = civil(seconds / 86_400);
    let mut text = *b"01/Jan/1970:00:00:00 +0000";
    two_digits(&mut text[0..2], day);
    text[3..6].copy_from_slice(MONTHS[(month - 1) as usize]);
    two_digits(&mut text[7..9], year / 100);
    two_digits(&mut text[9..11], year % 100);
    clock(&mut text[12..20], seconds);
    text
}

/// Writes the moment, time since the epoch, as ISO 8601 and RFC 3339 have it:
/// `1994-11-06T08:49:37.250Z`.
#[must_use]
pub fn format_iso(time: std::time::Duration) -> [u8; 24] {
    let seconds = time.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let mut text = *b"1970-01-01T00:00:00.000Z";
    two_digits(&mut text[0..2], year / 100);
    two_digits(&mut text[2..4], year % 100);
    two_digits(&mut text[5..7], month);
    two_digits(&mut text[8..10], day);
    clock(&mut text[11..19], seconds);
    let milliseconds = u64::from(time.subsec_millis());
    text[20] = b'0' + (milliseconds / 100) as u8;
    two_digits(&mut text[21..23], milliseconds % 100);
    text
}

/// `00:00:00`.
fn clock(place: &mut [u8], seconds: u64) {
    let second = seconds % 86_400;
    two_digits(&mut place[0..2], second / 3600);
    two_digits(&mut place[3..5], second / 60 % 60);
    two_digits(&mut place[6..8], second % 60);
}

fn two_digits(place: &mut [u8], value: u64) {
    place[0] = b'0' + (value / 10 % 10) as u8;
    place[1] = b'0' + (value % 10) as u8;
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
///
/// Years begin in March here, so that the leap day is a year's last day and months follow a line.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    let days = days + 719_468;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format, format_common, format_iso};

    #[test]
    fn the_other_forms() {
        let moment = Duration::from_millis(784_111_777_250);
        assert_eq!(format_common(moment.as_secs()), *b"06/Nov/1994:08:49:37 +0000");
        assert_eq!(format_iso(moment), *b"1994-11-06T08:49:37.250Z");
    }

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] {
            assert_eq!(format(seconds), expected.as_bytes());
        }
    }
}
