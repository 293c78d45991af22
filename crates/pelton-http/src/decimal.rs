//! Decimal numbers of headers.

/// The number's digits, in `place`.
pub(crate) fn digits(mut value: u64, place: &mut [u8; 20]) -> &[u8] {
    let mut at = place.len();
    loop {
        at -= 1;
        place[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    &place[at..]
}

/// The number that these bytes are: digits and nothing else.
pub(crate) fn parse(text: &[u8]) -> Option<u64> {
    let digits = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{digits, parse};

    #[test]
    fn both_ways() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut place = [0; 20];
            let text = digits(value, &mut place);
            assert_eq!(text, value.to_string().as_bytes());
            assert_eq!(parse(text), Some(value));
        }
        for text in [&b""[..], b"+1", b"-1", b" 1", b"1 ", b"0x1", b"18446744073709551616"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
